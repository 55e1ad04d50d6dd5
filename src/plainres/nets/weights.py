"""Weights of a recorded net: one safetensors file with the recipe in its metadata."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from plainres.errors import UserError
from plainres.nets.cifar import cifar_net
from plainres.nets.imagenet import imagenet_net

ARCHITECTURES = {"cifar": cifar_net, "imagenet": imagenet_net}


class Normalized(nn.Module):
    """A net with its preprocessing in front: raw images in, logits out.

    `forward` maps pixels (B, 3, H, W) between 0 and 1 to logits (B, classes).

    Attributes:
        net: the net itself, which wants images less `mean`, and divided by `std` where there is one.
        mean: of the training images, per pixel (3, H, W) or per channel (3, 1, 1), between 0 and 1.
        std: of each channel (3, 1, 1), or None: this project's own nets are trained without.
        architecture: the arguments that the net was made with.
        recipe: configuration that the weights were trained with.
    """

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor | None, architecture: dict, recipe: dict):
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.architecture, self.recipe = architecture, recipe

    def normalize(self, images: Tensor) -> Tensor:
        """What the net wants to see of pixels (B, 3, H, W) between 0 and 1."""
        images = images - self.mean
        return images if self.std is None else images / self.std

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.normalize(images))


def weights_bytes(net: nn.Module, mean: Tensor, architecture: dict, recipe: dict, std: Tensor | None = None) -> bytes:
    """The contents of a weights file: the net's state, its normalization, and how both came to be.

    Args:
        net: the trained net.
        mean: per pixel (3, H, W) or per channel (3, 1, 1), that training subtracted, between 0 and 1.
        architecture: `family` (a key of `ARCHITECTURES`) and the arguments of its function.
        recipe: the run's configuration and figures, JSON-able.
        std: of each channel (3, 1, 1), that training divided by, if it did.
    """
    tensors = {f"net.{name}": value.contiguous() for name, value in net.state_dict().items()}
    metadata = {"architecture": json.dumps(architecture), "recipe": json.dumps(recipe)}
    normalization = {"mean": mean.contiguous()} | ({} if std is None else {"std": std.contiguous()})
    return save(tensors | normalization, metadata)


def load_net(path: str | Path) -> Normalized:
    """Read a recorded net, with its weights, ready to use: in evaluation mode, on the CPU, preprocessing included.

    Args:
        path: a `weights.safetensors` of a run's record.

    Raises:
        UserError: there is no such file, or it is not a weights file of this project.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        architecture = json.loads(metadata["architecture"])
        recipe = json.loads(metadata["recipe"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such weights file") from None
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a weights file of a recorded run ({error})") from None
    make = ARCHITECTURES[architecture.pop("family")]
    with torch.random.fork_rng(devices=[]):
        loaded = Normalized(make(**architecture), tensors["mean"], tensors.get("std"), architecture, recipe)
    loaded.load_state_dict(tensors)
    return loaded.eval()
