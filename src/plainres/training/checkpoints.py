"""Checkpoints that are whole or absent, and of which a damaged one is found out."""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from plainres.training.record import write_atomic

KEPT = 2


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("iteration-*.ckpt"))


def checkpoint_path(folder: Path, iteration: int) -> Path:
    """The name of the checkpoint after `iteration` iterations, to which its writer adds its digest."""
    return folder / f"iteration-{iteration:09d}.ckpt"


def iteration_of(checkpoint: Path) -> int:
    """How many iterations a run had done at a checkpoint of that name."""
    return int(checkpoint.stem.split("-")[1])


def prune(folder: Path) -> None:
    """Remove all checkpoints but the last two, and what a process killed in the middle of writing one left."""
    for old in [*list_checkpoints(folder)[:-KEPT], *folder.glob("*.tmp")]:
        old.unlink()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint format, written under a temporary name, synced and renamed.

    The name ends in a digest of the contents: PyTorch's own checksums leave parts of the file out.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path, content = Path(path), buffer.getvalue()
        write_atomic(path.with_stem(f"{path.stem}-{_digest(content)}"), content)


def latest_usable(folder: Path, config_hash: str) -> Path | None:
    """The newest checkpoint that is whole and of this configuration; None where there is none.

    A truncated or altered one is named on stderr, removed, and the one before it tried.
    """
    checkpoints = list_checkpoints(folder)
    for path in reversed(checkpoints):
        try:
            content = path.read_bytes()
            if not path.stem.endswith(_digest(content)):
                raise ValueError("truncated or altered: its digest is another")
            checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            if checkpoint["run"]["config_hash"] != config_hash:
                raise ValueError("it is of another configuration")
        except (OSError, ValueError, KeyError) as error:
            print(f"{path}: unusable checkpoint removed ({error})", file=sys.stderr)
            path.unlink()
        else:
            return path
    if checkpoints:
        print(f"{folder}: no usable checkpoint is left: starting over", file=sys.stderr)
    return None
