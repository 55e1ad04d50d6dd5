"""Weights of a recorded net: one safetensors file whose metadata hold the recipe."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from plainres.errors import UserError, first_line
from plainres.files import expand_user
from plainres.nets.checkpoint_files import load_state, read_checkpoint
from plainres.nets.cifar import CifarNet, check_cifar, cifar_net
from plainres.nets.imagenet import ImageNetNet, check_imagenet, imagenet_net

# For each family of nets: the function that makes one, and the one that checks its arguments.
ARCHITECTURES: dict[str, Callable[..., CifarNet | ImageNetNet]] = {"cifar": cifar_net, "imagenet": imagenet_net}
CHECKS: dict[str, Callable[..., None]] = {"cifar": check_cifar, "imagenet": check_imagenet}

PUBLISHED = ("plain-20", "plain-56", "resnet-20", "resnet-56")
PIXEL_MARGIN = 0.25  # by how much resized images may leave the range from 0 to 1, and normalized ones usually do


def published_weights(name: str) -> Path:
    """Return the weights file of a published net: in an installed package beside this file, else in the clone."""
    installed = Path(__file__).with_name("published") / f"{name}.safetensors"
    in_clone = Path(__file__).parents[3] / "results" / "cifar10-64k-bf16" / name / "seed-0" / "weights.safetensors"
    return installed if installed.exists() else in_clone


def _per_channel(values: Tensor | Sequence[float]) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float32)
    return tensor[:, None, None] if tensor.dim() == 1 else tensor


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
        self.has_warned = False

    def normalize(self, images: Tensor) -> Tensor:
        """Turn pixels (B, 3, H, W) between 0 and 1 into the input that the net expects.

        Warns once if they are far outside this range.

        Raises:
            UserError: If they are integers, or have another shape.
        """
        if not images.is_floating_point():
            raise UserError(f"images must be pixels between 0 and 1, not {images.dtype}: divide bytes by 255")
        if images.dim() != 4 or images.shape[1] != len(self.mean):
            raise UserError(f"images must have the shape (B, {len(self.mean)}, H, W), not {tuple(images.shape)}")
        if not (self.has_warned or images.is_meta or torch.compiler.is_compiling()):
            self.has_warned = bool(((images < -PIXEL_MARGIN) | (images > 1 + PIXEL_MARGIN)).any())
            if self.has_warned:
                warnings.warn("images must be pixels between 0 and 1, which the net normalizes itself", stacklevel=3)
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


def load_net(
    weights: str | Path,
    net: nn.Module | None = None,
    mean: Tensor | Sequence[float] | None = None,
    std: Tensor | Sequence[float] | None = None,
) -> Normalized:
    """Load a net with its weights and preprocessing, in evaluation mode, on the CPU.

    Weights files of this project say what net they belong to and how images are normalized. Other people's checkpoints
    do not: they need `net` and `mean`. What fits the net is loaded, and a warning names what does not.

    Args:
        weights: Name of a published net (`"plain-20"`, `"plain-56"`, `"resnet-20"` or `"resnet-56"`, trained for 64,000
            iterations with seed 0), or path of a weights file or checkpoint.
        net: Net that the state dict of a checkpoint is loaded into.
        mean: Mean that the training of the checkpoint subtracted, per channel (3,) or per pixel (3, H, W), between 0
            and 1.
        std: Standard deviation per channel (3,) that it divided by, or None.

    Raises:
        UserError: If there is no such net or file, if the file holds no weights, or if none of them fit.
    """
    path = published_weights(weights) if weights in PUBLISHED else expand_user(weights)
    if net is not None:
        if mean is None:
            raise UserError(f"{path}: a state dict does not say how images are normalized: pass `mean`, and `std`")
        load_state(net, path)
        return Normalized(net, _per_channel(mean), None if std is None else _per_channel(std), {}, {}).eval()
    if isinstance(weights, str) and not path.exists():
        raise UserError(f"{path}: no such weights file, and no published net: these are {', '.join(PUBLISHED)}")
    tensors, metadata = read_checkpoint(path)
    if "architecture" not in metadata:
        raise UserError(
            f"{path}: a state dict says neither what net it belongs to nor how images are normalized: pass both to "
            "load_net, or convert it with `plainres adopt`"
        )
    try:
        architecture = json.loads(metadata["architecture"])
        make = ARCHITECTURES[architecture.pop("family")]
        # The weights that are drawn here are replaced at once; the caller's random state must not notice.
        with torch.random.fork_rng(devices=[]):
            net = make(**architecture)
        recipe = json.loads(metadata["recipe"])
        loaded = Normalized(net, tensors["mean"], tensors.get("std"), architecture, recipe)
        loaded.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{path}: not a weights file of a recorded run ({reason})") from None
    return loaded.eval()
