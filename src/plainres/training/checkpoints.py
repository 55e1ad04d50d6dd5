"""Checkpoints: written atomically when they are due or a signal has arrived, and checked before they are used."""

import hashlib
import io
import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.training.record import RecordLogger
from plainres.training.schedule import validation_interval
from plainres.training.signals import StopRequest

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


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes Lightning's checkpoints atomically.

    Their names end with a digest, because the checksums of PyTorch's file format do not cover all of the file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path, content = Path(path), buffer.getvalue()
        write_atomic(path.with_stem(f"{path.stem}-{_digest(content)}"), content)


def latest_usable(folder: Path, config_hash: str) -> Path | None:
    """Return the newest checkpoint that is complete and belongs to a configuration, or None if there is none.

    Unusable checkpoints are removed, with a message on stderr.

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


class Checkpointer(pl.Callback):
    """Writes a checkpoint when the last one is old enough, when a signal has arrived, and after the last iteration.

    The checkpoints hold the rows of metrics so far, from which a resumed run writes metrics.csv again. Two of them are
    at least `seconds` apart. Once a stop has been requested, the current iteration is finished and `Stopped` is raised.
    """

    def __init__(self, logger: RecordLogger, seconds: float, stop: StopRequest):
        self.logger, self.seconds, self.stop = logger, seconds, stop
        self.config, self.folder = logger.config, logger.record.checkpoints
        self.saved_at = time.monotonic()

    def state_dict(self) -> dict:
        return {"rows": self.logger.rows}

    def load_state_dict(self, state: dict) -> None:
        self.logger.rows = state["rows"]

    def on_fit_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.logger.rows and trainer.is_global_zero:
            self.logger.write()

    def on_train_start(self, *_: Any) -> None:
        # Lightning's own handler of SIGTERM would end the process with status 0 and without a checkpoint.
        self.stop.install_handlers()

    def on_train_batch_end(self, trainer: pl.Trainer, _module: Any, _outputs: Any, _batch: Any, batch_idx: int) -> None:
        # Before a validation pass there is no checkpoint, because resuming from it would not repeat the pass.
        ends_iteration = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if ends_iteration and trainer.global_step % validation_interval(self.config):
            self._save_when_due(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._save_when_due(trainer)

    def _save_when_due(self, trainer: pl.Trainer) -> None:
        done = trainer.global_step == self.config.iterations
        due = self.stop.synchronize(due=time.monotonic() - self.saved_at >= self.seconds)
        if done or due or self.stop.agreed is not None:
            trainer.save_checkpoint(checkpoint_path(self.folder, trainer.global_step))
            if trainer.is_global_zero:
                # Incomplete files are those of a process that was killed while writing.
                incomplete = [*self.folder.glob("*.tmp"), *self.folder.parent.glob("*.tmp")]
                for path in list_checkpoints(self.folder)[:-KEPT] + incomplete:
                    path.unlink()
            self.saved_at = time.monotonic()
        iterations = f"{trainer.global_step:,} of {self.config.iterations:,}"
        self.stop.raise_if_stopped(f"{self.config.name} at iteration {iterations}")
