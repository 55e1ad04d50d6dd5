"""Nets to test: recorded ones, and weights of torchvision made into the same kind of file."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from plainres.data.imagenet.photos import Photos
from plainres.errors import UserError
from plainres.nets import imagenet_net, load_net
from plainres.nets.imagenet import BLOCKS_PER_STAGE, BOTTLENECK_DEPTH, ImageNetNet
from plainres.nets.weights import Normalized, weights_bytes


def load_model(path: Path) -> Normalized:
    """Read a weights file that holds an ImageNet net.

    Raises:
        UserError: it does not, or it holds no normalization.
    """
    if path.suffix in (".pt", ".pth", ".tar"):
        raise UserError(
            f"{path}: a state dict does not say how images are normalized; store that with the weights first: "
            f"python -m plainres.scoring adopt {path} --help"
        )
    model = load_net(path)
    if not isinstance(model.net, ImageNetNet):
        raise UserError(f"{path} holds a CIFAR net: it cannot be tested on photographs")
    return model


def state_depth(state: dict[str, Tensor]) -> int | None:
    """The depth of the net that a state dict is of; None where it is of none of ours."""
    blocks = {
        match.groups() for name in state if (match := re.match(r"layer([1-4])\.(\d+)\.conv1\.weight", name)) is not None
    }
    numbers = tuple(sum(stage == str(number) for stage, _ in blocks) for number in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in state
    for depth, expected in BLOCKS_PER_STAGE.items():
        if numbers == expected and bottleneck == (depth >= BOTTLENECK_DEPTH):
            return depth
    return None


def adopt(path: Path, depth: int, mean: Sequence[float], std: Sequence[float], stride_in: str, size: int) -> bytes:
    """Make a state dict file with torchvision's names into a weights file that has its normalization with it.

    Args:
        path: of a state dict.
        depth: of the net; the file is held to it.
        mean, std: that training subtracted and divided by, a number for red, green and blue each, between 0 and 1.
        stride_in: "3x3" for torchvision's own weights, "1x1" for some older ones; weights do not tell.
        size: of the crops it was trained on.

    Raises:
        UserError: the file is no such state dict, or of another depth.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # torch.load raises whatever pickle and zip do
        raise UserError(f"{path}: not a state dict ({str(error).splitlines()[0]})") from None
    found = state_depth(state) if isinstance(state, dict) else None
    if found is None or "fc.weight" not in state:
        known = ", ".join(map(str, BLOCKS_PER_STAGE))
        raise UserError(f"{path}: not the state dict of a net of {known} layers with torchvision's names")
    if found != depth:
        raise UserError(f"{path} holds a net of {found} layers, not {depth}")
    shortcut = "B" if "layer2.0.downsample.0.weight" in state else None
    architecture = {
        "depth": depth,
        "shortcut": shortcut,
        "num_classes": len(state["fc.weight"]),
        "stride_in": stride_in,
    }
    with torch.device("meta"):
        net = imagenet_net(**architecture)
    try:
        net.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"{path}: does not fit a net of {depth} layers ({str(error).splitlines()[1].strip()})"
        ) from None
    recipe = {"name": path.stem, "size": size}
    channels = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
    mean_tensor, std_tensor = channels
    return weights_bytes(net, mean_tensor, {"family": "imagenet"} | architecture, recipe, std_tensor)


def labels_for(model: Normalized, photos: Photos, path: Path) -> Tensor:
    """The output of `model` that is right for each photograph: int64 (N,).

    Classes are matched by name where the weights file names them, so a folder may hold some of them; else the folder
    must hold all of them, in the order of their names.

    Raises:
        UserError: the folder has classes that the model does not.
    """
    names = model.recipe.get("classes")
    outputs = model.net.fc.out_features
    if names is None:
        if len(photos.classes) != outputs:
            raise UserError(
                f"{photos.folder} holds {len(photos.classes)} classes and {path} knows {outputs}, without their names: "
                "the folder must hold the same ones"
            )
        return photos.labels
    unknown = [name for name in photos.classes if name not in names]
    if unknown:
        raise UserError(
            f"{photos.folder} holds {len(unknown)} classes that {path} was not trained on, {unknown[0]} the first; "
            f"it knows {outputs}"
        )
    return torch.tensor([names.index(name) for name in photos.classes])[photos.labels]
