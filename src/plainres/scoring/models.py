"""The nets that can be scored: those of recorded runs, and checkpoints with torchvision's names."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from plainres.data.photos import Photos
from plainres.errors import UserError
from plainres.nets import imagenet_net, load_net
from plainres.nets.checkpoint_files import load_state, read_state
from plainres.nets.imagenet import BLOCKS_PER_STAGE, BOTTLENECK_DEPTH, ImageNetNet
from plainres.nets.weights import Normalized, weights_bytes


def load_model(path: Path) -> Normalized:
    """Read a weights file that holds an ImageNet net.

    Raises:
        UserError: If it holds another net, or does not say how images are normalized.
    """
    if path.suffix in (".pt", ".pth", ".tar"):
        raise UserError(
            f"{path}: a state dict does not say how images are normalized; convert it first, see "
            "`plainres adopt --help`"
        )
    model = load_net(path)
    if not isinstance(model.net, ImageNetNet):
        raise UserError(f"{path} holds a CIFAR net, which cannot be scored on photographs")
    return model


def state_depth(state: dict[str, Tensor]) -> int | None:
    """Return the depth of the ImageNet net that a state dict belongs to, or None if it belongs to no such net."""
    blocks = {
        match.groups() for name in state if (match := re.match(r"layer([1-4])\.(\d+)\.conv1\.weight", name)) is not None
    }
    numbers = tuple(sum(stage == str(number) for stage, _ in blocks) for number in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in state
    for depth, expected in BLOCKS_PER_STAGE.items():
        if numbers == expected and bottleneck == (depth >= BOTTLENECK_DEPTH):
            return depth
    return None


def adopt(
    path: Path,
    depth: int,
    mean: Sequence[float],
    std: Sequence[float],
    stride_in: str,
    size: int,
    shortcut: str | None = None,
) -> bytes:
    """Convert a state dict with torchvision's names to a weights file that includes the normalization of images.

    Args:
        path: Checkpoint with the state dict, see `read_state`.
        depth: Depth of the net.
        mean: Mean of red, green and blue that training subtracted, between 0 and 1.
        std: Standard deviation of red, green and blue that training divided by.
        stride_in: Convolution of a bottleneck that has the stride, which the weights do not reveal: `"3x3"` for
            torchvision's own weights, `"1x1"` for some older ones.
        size: Size of the crops that the net was trained on, in pixels.
        shortcut: `"none"` or `"A"`, for a state dict without projections, which does not reveal whether the net has
            shortcuts. None for one with projections.

    Returns:
        Contents of the weights file.

    Raises:
        UserError: If the file does not hold such a state dict, belongs to a net of another depth, does not fit
            `shortcut`, or lacks tensors of the net or has others.
    """
    state = read_state(path)
    actual_depth = state_depth(state)
    if actual_depth is None or "fc.weight" not in state:
        known = ", ".join(map(str, BLOCKS_PER_STAGE))
        raise UserError(f"{path}: not the state dict of a net of {known} layers with torchvision's names")
    if actual_depth != depth:
        raise UserError(f"{path} holds a net of {actual_depth} layers, not {depth}")
    if "layer2.0.downsample.0.weight" in state:
        if shortcut is not None:
            raise UserError(f"{path} holds a net with projections (option B): leave out --shortcut")
        option: str | None = "B"
    else:
        if shortcut is None:
            raise UserError(
                f"{path} holds no projections, and plain nets have the same weights as residual nets with option A: "
                "choose --shortcut none or --shortcut A"
            )
        option = None if shortcut == "none" else shortcut
    architecture: dict[str, Any] = {
        "depth": depth,
        "shortcut": option,
        "num_classes": len(state["fc.weight"]),
        "stride_in": stride_in,
    }
    net = imagenet_net(**architecture)
    load_state(net, path, strict=True)
    recipe = {"name": path.stem, "size": size}
    mean_tensor, std_tensor = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
    return weights_bytes(net, mean_tensor, {"family": "imagenet"} | architecture, recipe, std_tensor)


def labels_for(model: Normalized, photos: Photos, path: Path) -> Tensor:
    """Return the index of the model's correct output for each photograph, int64 (N,).

    If the weights file names its classes, they are matched by name, and the folder may contain any of them. Otherwise,
    the folder must contain all classes of the model, in alphabetical order.

    Raises:
        UserError: If the folder contains other classes than the model.
    """
    names = model.recipe.get("classes")
    outputs = cast(ImageNetNet, model.net).fc.out_features
    if names is None:
        if len(photos.classes) != outputs:
            raise UserError(
                f"{photos.folder} contains {len(photos.classes)} classes, but {path} has {outputs} unnamed classes: "
                "the folder must contain exactly its classes"
            )
        return photos.labels
    unknown = [name for name in photos.classes if name not in names]
    if unknown:
        raise UserError(
            f"{photos.folder} contains {len(unknown)} classes that {path} was not trained on, such as {unknown[0]}; "
            f"it has {outputs} classes"
        )
    return torch.tensor([names.index(name) for name in photos.classes])[photos.labels]
