"""The callback that writes the record and the checkpoints of a run."""

import time

import pytorch_lightning as pl

from plainres.training.checkpoints import checkpoint_path, prune
from plainres.training.module import ClassificationModule
from plainres.training.record import Record
from plainres.training.signals import StopRequest


class Recorder(pl.Callback):
    """Writes each row of metrics.csv once it is complete, and checkpoints.

    A row at a test point is complete after the pass over the test set. A checkpoint is written when the last one is
    old enough, when a signal has arrived, and after the last iteration.

    Args:
        record: Record of the run.
        checkpoint_seconds: Shortest time between two checkpoints, in seconds.
        stop: Request to stop. Once it has been made, the current step is finished and `Stopped` is raised.
    """

    def __init__(self, record: Record, checkpoint_seconds: float, stop: StopRequest):
        self.record, self.checkpoint_seconds, self.stop = record, checkpoint_seconds, stop
        self.saved_at = time.monotonic()
        self.rows_written = 0

    def on_train_start(self, *_: object) -> None:
        # Lightning's own handler of SIGTERM would end the process with status 0 and without a checkpoint.
        self.stop.install_handlers()

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        # At a test point both wait for the pass, which would not be repeated on resuming.
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        if len(module.rows) != self.rows_written:
            self._write_metrics(trainer, module)
        self._save_when_due(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self._write_metrics(trainer, module)
        self._save_when_due(trainer, module)

    def _write_metrics(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self.rows_written = len(module.rows)
        if trainer.is_global_zero:
            self.record.write_metrics(module.rows)

    def _save_when_due(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        done = module.iteration == module.config.iterations
        due = self.stop.synchronize(due=time.monotonic() - self.saved_at >= self.checkpoint_seconds)
        if done or due or self.stop.agreed is not None:
            trainer.save_checkpoint(checkpoint_path(self.record.checkpoints, module.iteration))
            if trainer.is_global_zero:
                prune(self.record.checkpoints)
            self.saved_at = time.monotonic()
        self.stop.raise_if_stopped(
            f"{module.config.name} at iteration {module.iteration:,} of {module.config.iterations:,}"
        )
