"""Files of weights, our own and other people's, and what is in a file that holds none."""

import re
import warnings
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from plainres.errors import UserError, first_line

NESTINGS = ("state_dict", "model_state_dict", "model", "net")
WRAPPERS = re.compile(r"^((module|net|model|_orig_mod)\.)+")  # of DataParallel, Lightning modules and torch.compile
LFS_POINTER = b"version https://git-lfs"


def read_checkpoint(path: Path) -> tuple[dict, dict[str, str]]:
    """Return the contents of a file of safetensors or of `torch.save`, and its metadata.

    Raises:
        UserError: If the file cannot be read, or is something else.
    """
    head = b""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
        if head[8:9] == b"{":  # safetensors begin with the length of a JSON header
            with safe_open(path, "pt") as tensors:
                return {name: tensors.get_tensor(name) for name in tensors.keys()}, tensors.metadata() or {}  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such weights file") from None
    except Exception as error:  # torch.load passes on those of pickle and zipfile
        raise UserError(f"{path}: not a weights file: {_describe(head, error)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a weights file: it holds a {type(content).__name__}")
    return content, {}


def _describe(head: bytes, error: Exception) -> str:
    """Return in one line what a file is that holds no weights, from its first bytes and the error of reading it."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if not head:
        return "it is empty"
    if head.startswith(LFS_POINTER):
        return "it is a pointer of Git LFS, whose contents `git lfs pull` fetches"
    text = head.decode(errors="ignore")
    if all(character.isprintable() or character.isspace() for character in text):
        return f"it is text that begins with {' '.join(text.split())!r}"
    return f"{type(error).__name__}: {first_line(error)}"


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in anybody's checkpoint, under the names of this project's nets and torchvision's.

    A nesting and the prefixes of wrappers are removed. Linear layers called `linear` become `fc`, and shortcuts called
    `shortcut` become `downsample`, as in widespread implementations of the CIFAR nets.

    Raises:
        UserError: If the file cannot be read, or is no checkpoint.
    """
    content, _ = read_checkpoint(path)
    state = next((content[key] for key in NESTINGS if isinstance(content.get(key), dict)), content)
    tensors = {WRAPPERS.sub("", str(name)): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path}: not a weights file: it holds {', '.join(map(str, content)) or 'nothing'}")
    return {
        re.sub(r"^linear\.", "fc.", name).replace(".shortcut.", ".downsample."): tensor
        for name, tensor in tensors.items()
    }


def load_state(net: nn.Module, path: Path, strict: bool = False) -> None:
    """Load the tensors of a checkpoint that have the names and shapes of those of a net.

    A warning names the others. Counters of batches, which old checkpoints lack, may be missing.

    Args:
        net: Net, changed in place.
        path: Checkpoint, see `read_state`.
        strict: Whether to raise an error instead of the warning.

    Raises:
        UserError: If nothing fits, or if `strict` is true and something does not.
    """
    state, own = read_state(path), net.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    others = [name for name in own | state if name not in fitting and not name.endswith("num_batches_tracked")]
    if others:
        listed = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
        message = f"{path}: these tensors of the net or of the file do not fit the other: {listed}"
        if strict or not fitting:
            raise UserError(message)
        warnings.warn(message, stacklevel=3)
    net.load_state_dict(fitting, strict=False)
