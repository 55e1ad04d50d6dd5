"""The callback that writes the record and the checkpoints of a run."""

import math
import time
from contextlib import suppress

import pytorch_lightning as pl

from plainres.errors import UserError
from plainres.training.checkpoints import checkpoint_path, prune
from plainres.training.module import ClassificationModule
from plainres.training.record import Record
from plainres.training.signals import StopRequest

# Shortest time between two times that metrics.csv is written. It takes as long as ten iterations on a GPU.
METRICS_SECONDS = {"cuda": 2.0, "cpu": 0.0}


class Recorder(pl.Callback):
    """Writes the rows of metrics.csv once they are complete, on a GPU at most every two seconds, and checkpoints.

    A row at a test point is complete after the pass over the test set. No row is missing when a checkpoint is written
    or when training ends, for whatever reason. A checkpoint is written when the last one is old enough, when a signal
    has arrived, and after the last iteration.

    Args:
        record: Record of the run.
        checkpoint_seconds: Shortest time between two checkpoints, in seconds.
        stop: Request to stop. Once it has been made, the current step is finished and `Stopped` is raised.
    """

    def __init__(self, record: Record, checkpoint_seconds: float, stop: StopRequest):
        self.record, self.checkpoint_seconds, self.stop = record, checkpoint_seconds, stop
        self.saved_at = time.monotonic()
        self.written_at = -math.inf
        self.rows_complete = self.rows_written = 0

    def on_train_start(self, *_: object) -> None:
        # Lightning's own handler of SIGTERM would end the process with status 0 and without a checkpoint.
        self.stop.install_handlers()

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        # At a test point both wait for the pass, which would not be repeated on resuming.
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        self._write_when_due(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self._write_when_due(trainer, module)

    def on_exception(self, trainer: pl.Trainer, module: ClassificationModule, error: BaseException) -> None:
        with suppress(UserError):  # which would hide the exception itself
            self._write_metrics(trainer, module)

    def _write_metrics(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        if self.rows_written == self.rows_complete:
            return
        self.rows_written, self.written_at = self.rows_complete, time.monotonic()
        if trainer.is_global_zero:
            self.record.write_metrics(module.rows[: self.rows_complete])

    def _write_when_due(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        """Write metrics and a checkpoint if it is time to. A checkpoint is also due at the end and on a signal."""
        self.rows_complete = len(module.rows)
        done = module.iteration == module.config.iterations
        due = self.stop.synchronize(due=time.monotonic() - self.saved_at >= self.checkpoint_seconds)
        save = done or due or self.stop.agreed is not None
        if save or time.monotonic() - self.written_at >= METRICS_SECONDS.get(module.device.type, 0.0):
            self._write_metrics(trainer, module)
        if save:
            trainer.save_checkpoint(checkpoint_path(self.record.checkpoints, module.iteration))
            if trainer.is_global_zero:
                prune(self.record.checkpoints)
            self.saved_at = time.monotonic()
        self.stop.raise_if_stopped(
            f"{module.config.name} at iteration {module.iteration:,} of {module.config.iterations:,}"
        )
