"""Weights of a recorded net: one safetensors file whose metadata hold the recipe."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from plainres.errors import UserError
from plainres.nets.cifar import check_cifar, cifar_net
from plainres.nets.imagenet import check_imagenet, imagenet_net

# For each family of nets: the function that makes one, and the one that checks its arguments.
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"cifar": cifar_net, "imagenet": imagenet_net}
CHECKS: dict[str, Callable[..., None]] = {"cifar": check_cifar, "imagenet": check_imagenet}


class Normalized(nn.Module):
    """A net together with its preprocessing.

    `forward` maps pixels (B, 3, H, W) between 0 and 1 to logits (B, num_classes).

    Attributes:
        net: Net that expects images minus `mean`, divided by `std` if there is one.
        mean: Mean of the training images, per pixel (3, H, W) or per channel (3, 1, 1), between 0 and 1.
        std: Standard deviation per channel (3, 1, 1), or None. This project trains its own nets without one.
        architecture: Arguments that the net was made with.
        recipe: Configuration that the weights were trained with.
    """

    mean: Tensor
    std: Tensor | None

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor | None, architecture: dict, recipe: dict):
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.architecture, self.recipe = architecture, recipe

    def normalize(self, images: Tensor) -> Tensor:
        """Turn pixels (B, 3, H, W) between 0 and 1 into the input that the net expects."""
        images = images - self.mean
        return images if self.std is None else images / self.std

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.normalize(images))


def weights_bytes(net: nn.Module, mean: Tensor, architecture: dict, recipe: dict, std: Tensor | None = None) -> bytes:
    """Return the contents of a weights file: the state of the net, its normalization, and its recipe.

    Args:
        net: Trained net.
        mean: Mean that training subtracted, per pixel (3, H, W) or per channel (3, 1, 1), between 0 and 1.
        architecture: `family` (a key of `ARCHITECTURES`) and the arguments of the function of that family.
        recipe: Configuration and results of the run, JSON-compatible.
        std: Standard deviation per channel (3, 1, 1) that training divided by, or None.
    """
    tensors = {f"net.{name}": value.contiguous() for name, value in net.state_dict().items()}
    metadata = {"architecture": json.dumps(architecture), "recipe": json.dumps(recipe)}
    normalization = {"mean": mean.contiguous()} | ({} if std is None else {"std": std.contiguous()})
    return save(tensors | normalization, metadata)


def load_net(path: str | Path) -> Normalized:
    """Load a recorded net with its weights and preprocessing, in evaluation mode, on the CPU.

    Args:
        path: File `weights.safetensors` of the record of a run.

    Raises:
        UserError: If there is no such file, or if it is not a weights file of this project.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        architecture = json.loads(metadata["architecture"])
        recipe = json.loads(metadata["recipe"])
        make = ARCHITECTURES[architecture.pop("family")]
        # The weights that are drawn here are replaced at once; the caller's random state must not notice.
        with torch.random.fork_rng(devices=[]):
            loaded = Normalized(make(**architecture), tensors["mean"], tensors.get("std"), architecture, recipe)
        loaded.load_state_dict(tensors)
    except FileNotFoundError:
        raise UserError(f"{path}: no such weights file") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), "no reason given")
        raise UserError(f"{path}: not a weights file of a recorded run ({type(error).__name__}: {reason})") from None
    return loaded.eval()
