"""Callbacks that write the record and the checkpoints of a run, and show its progress."""

import sys
import time

import pytorch_lightning as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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


class ProgressBar(pl.Callback):
    """Shows a live bar with errors and the time left on a terminal, and elsewhere a line per eighth of the run."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self.rows_printed = len(module.rows)
        if sys.stdout.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
            self.bar = Progress(TextColumn("{task.description}"), *columns, TextColumn("{task.fields[errors]}"))
            self.bar.start()
            self.task = self.bar.add_task(
                module.config.name, total=module.config.iterations, completed=module.iteration, errors=""
            )

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        if self.bar is not None:
            tally = module.since_row
            running = f"train {tally.error:.1f}%" if tally.images else ""
            tests = [row["test_error"] for row in module.rows if "test_error" in row]
            test = f" test {tests[-1]:.1f}%" if tests else ""
            self.bar.update(self.task, completed=module.iteration, errors=(running or self._errors(module)) + test)
        elif len(module.rows) >= self.rows_printed + 8:
            self.rows_printed = len(module.rows)
            c = module.config
            print(f"{c.name}  {module.iteration}/{c.iterations}  {self._errors(module)}", flush=True)

    @staticmethod
    def _errors(module: ClassificationModule) -> str:
        row = module.rows[-1]
        return f"train {row['train_error']:.1f}%  {row['images_per_second']:.0f} images/s"

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_train_end(self, *_: object) -> None:
        self._stop()

    def on_exception(self, *_: object) -> None:
        self._stop()
