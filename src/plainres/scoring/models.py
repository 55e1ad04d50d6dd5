"""The nets that can be scored, and the places of their classes among the outputs."""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from plainres.data.photos import Photos
from plainres.errors import UserError
from plainres.nets import load_net
from plainres.nets.imagenet import ImageNetNet
from plainres.nets.weights import Normalized


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
