"""Checkpoints that are written atomically and checked before they are used."""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from plainres.errors import UserError
from plainres.files import write_atomic

KEPT = 2  # number of checkpoints that are kept, so that one remains if the last one is damaged


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, oldest first."""
    return sorted(folder.glob("iteration-*.ckpt"))


def checkpoint_path(folder: Path, iteration: int) -> Path:
    """Return the path of a checkpoint, to whose name `AtomicCheckpointIO` adds a digest."""
    return folder / f"iteration-{iteration:09d}.ckpt"


def iteration_of(checkpoint: Path) -> int:
    """Return the number of iterations before a checkpoint, which its name states."""
    return int(checkpoint.stem.split("-")[1])


def prune(folder: Path) -> None:
    """Remove all checkpoints except the last two, and incomplete files of a process that was killed while writing.

    Args:
        folder: Folder of the checkpoints in that of the record.
    """
    for path in [*list_checkpoints(folder)[:-KEPT], *folder.glob("*.tmp"), *folder.parent.glob("*.tmp")]:
        path.unlink()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes Lightning's checkpoints to a temporary file, which is synced to disk and then renamed.

    The name of a checkpoint ends with a digest of its contents, because the checksums of PyTorch's file format do not
    cover all of the file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path, content = Path(path), buffer.getvalue()
        write_atomic(path.with_stem(f"{path.stem}-{_digest(content)}"), content)


def latest_usable(folder: Path, config_hash: str) -> Path | None:
    """Return the newest checkpoint that is complete and belongs to a configuration.

    Unusable checkpoints are removed, with a message on stderr.

    Args:
        folder: Folder of the checkpoints.
        config_hash: Hash of the configuration, see `RunConfig.hash`.

    Returns:
        Path of the checkpoint, or None if there is none.

    Raises:
        UserError: If a checkpoint cannot be read, which says nothing about its contents. It is kept.
    """
    checkpoints = list_checkpoints(folder)
    for path in reversed(checkpoints):
        try:
            content = path.read_bytes()
            if not path.stem.endswith(_digest(content)):
                raise ValueError("it is truncated or altered: its contents do not match the digest in its name")
            checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            if checkpoint["run"]["config_hash"] != config_hash:
                raise ValueError("it belongs to another configuration")
        except OSError as error:
            raise UserError(
                f"{path}: the checkpoint cannot be read ({error.strerror or error}); try again, or remove it to resume "
                "from an earlier one"
            ) from None
        except (ValueError, KeyError) as error:
            print(f"{path}: unusable checkpoint removed ({error})", file=sys.stderr)
            path.unlink()
        else:
            return path
    if checkpoints:
        print(f"{folder}: no usable checkpoint is left; the run starts over", file=sys.stderr)
    return None
