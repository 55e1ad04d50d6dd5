"""Checkpoints that are whole or absent, and of which a damaged one is found out."""

import io
import sys
import zipfile
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
    """The file of the checkpoint that is written after `iteration` iterations."""
    return folder / f"iteration-{iteration:09d}.ckpt"


def prune(folder: Path) -> None:
    """Remove all checkpoints but the last two."""
    for old in list_checkpoints(folder)[:-KEPT]:
        old.unlink()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint format, written under a temporary name, synced and renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomic(Path(path), buffer.getvalue())


def latest_usable(folder: Path, config_hash: str) -> tuple[Path, dict] | None:
    """The newest checkpoint that is whole and of this configuration, with its contents; None where there is none.

    A truncated or altered one is named on stderr, removed, and the one before it tried: PyTorch's files are zip
    archives, and every member carries a checksum.
    """
    checkpoints = list_checkpoints(folder)
    for path in reversed(checkpoints):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                raise ValueError(f"checksum of {damaged} is wrong")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            if checkpoint["run"]["config_hash"] != config_hash:
                raise ValueError("it is of another configuration")
        except Exception as error:  # a damaged pickle may raise anything
            print(f"{path}: unusable checkpoint removed ({error})", file=sys.stderr)
            path.unlink()
        else:
            return path, checkpoint
    if checkpoints:
        print(f"{folder}: no usable checkpoint is left: starting over", file=sys.stderr)
    return None
