"""The callback that writes the checkpoints of a run and stops it on a signal."""

import time
from typing import Any

import pytorch_lightning as pl

from plainres.training.checkpoints import checkpoint_path, prune
from plainres.training.record import RecordLogger
from plainres.training.schedule import validation_interval
from plainres.training.signals import StopRequest


class Checkpointer(pl.Callback):
    """Writes a checkpoint when the last one is old enough, when a signal has arrived, and after the last iteration.

    The checkpoints hold the rows of metrics so far, from which a resumed run writes metrics.csv again.

    Args:
        logger: Logger that writes metrics.csv.
        seconds: Shortest time between two checkpoints, in seconds.
        stop: Request to stop. Once it has been made, the current iteration is finished and `Stopped` is raised.
    """

    def __init__(self, logger: RecordLogger, seconds: float, stop: StopRequest):
        self.logger, self.seconds, self.stop = logger, seconds, stop
        self.config, self.folder = logger.record.config, logger.record.checkpoints
        self.saved_at = time.monotonic()

    def state_dict(self) -> dict:
        return {"rows": self.logger.rows}

    def load_state_dict(self, state: dict) -> None:
        self.logger.rows = state["rows"]

    def on_fit_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.logger.rows and trainer.is_global_zero:
            self.logger.record.write_rows(self.logger.rows)

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
                prune(self.folder)
            self.saved_at = time.monotonic()
        iterations = f"{trainer.global_step:,} of {self.config.iterations:,}"
        self.stop.raise_if_stopped(f"{self.config.name} at iteration {iterations}")
