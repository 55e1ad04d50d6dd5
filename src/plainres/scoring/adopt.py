"""The command `plainres adopt`: checkpoints with torchvision's names as weights files that can be scored."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from plainres.catalog.datasets import IMAGENET
from plainres.cli import parse_options
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.nets import imagenet_net
from plainres.nets.checkpoint_files import load_state, read_state
from plainres.nets.weights import weights_bytes


@dataclass(frozen=True, kw_only=True)
class Adopt:
    """Convert a checkpoint with torchvision's names to a weights file that includes the normalization of images.

    Prefixes of wrappers such as `module.` and nestings such as `state_dict` are removed.

    For torchvision's own weights, use --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --stride-in 3x3.
    """

    state: tyro.conf.Positional[Path]
    """File with the state dict, written by `torch.save` or safetensors."""
    depth: int
    """Number of layers, which must match the file."""
    mean: tuple[float, float, float]
    """Mean of red, green and blue that training subtracted, between 0 and 1."""
    std: tuple[float, float, float]
    """Standard deviation of red, green and blue that training divided by; 1 1 1 for none."""
    stride_in: Literal["1x1", "3x3"]
    """Convolution of a bottleneck that has the stride."""
    shortcut: Literal["none", "A"] | None = None
    """Shortcuts of a net without projections: none (a plain net) or A. Weights do not tell these apart."""
    size: int = IMAGENET.image_size
    """Size of the crops that the net was trained on, in pixels."""
    out: Path
    """Weights file to write (*.safetensors)."""


def adopt_main() -> int:
    """Run `plainres adopt`.

    Raises:
        UserError: If the file holds no such state dict, does not fit `depth` or `shortcut`, or lacks tensors of the net
            or has others.
    """
    options = parse_options(Adopt, prog="plainres adopt")
    path, shortcut = options.state, options.shortcut
    state = read_state(path)
    if "fc.weight" not in state:
        raise UserError(f"{path}: not the state dict of an ImageNet net with torchvision's names (it has no fc.weight)")
    projects = "layer2.0.downsample.0.weight" in state
    if projects and shortcut is not None:
        raise UserError(f"{path} holds a net with projections (option B): leave out --shortcut")
    if not projects and shortcut is None:
        raise UserError(
            f"{path} holds no projections, and plain nets have the same weights as residual nets with option A: "
            "choose --shortcut none or --shortcut A"
        )
    architecture: dict[str, Any] = {
        "depth": options.depth,
        "shortcut": "B" if projects else None if shortcut == "none" else shortcut,
        "num_classes": len(state["fc.weight"]),
        "stride_in": options.stride_in,
    }
    net = imagenet_net(**architecture)
    load_state(net, path, strict=True)
    recipe = {"name": path.stem, "size": options.size}
    mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (options.mean, options.std))
    write_atomic(options.out, weights_bytes(net, mean, {"family": "imagenet"} | architecture, recipe, std))
    print(options.out)
    return 0
