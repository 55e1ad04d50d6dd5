"""What watches a run: its record, its checkpoints, and the progress that a person sees."""

import os
import sys
import time
from pathlib import Path

import pytorch_lightning as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from plainres.training.module import ClassificationModule
from plainres.training.record import Record

CHECKPOINT_SECONDS = 30.0
CHECKPOINTS_KEPT = 2


class Recorder(pl.Callback):
    """Writes metrics.csv as its rows come, and a checkpoint for resuming when the last is 30 seconds old.

    Args:
        record: where to.
        checkpoint_seconds: time between checkpoints.
    """

    def __init__(self, record: Record, checkpoint_seconds: float = CHECKPOINT_SECONDS):
        self.record = record
        self.checkpoint_seconds = checkpoint_seconds
        self.saved_at = time.monotonic()
        self.rows_written = 0

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        if len(module.rows) != self.rows_written:
            self.rows_written = len(module.rows)
            self.record.write_metrics(module.rows)
        # At a test point the checkpoint waits for the pass, which would not be repeated on resuming.
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save_when_due(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self.record.write_metrics(module.rows)
        self._save_when_due(trainer, module)

    def _save_when_due(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        done = module.iteration == module.config.iterations
        if done or time.monotonic() - self.saved_at >= self.checkpoint_seconds:
            self.save(trainer, module)

    def save(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        """Write a checkpoint under a temporary name, rename it, and drop all but the last two."""
        folder = self.record.checkpoints
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"iteration-{module.iteration:07d}.ckpt"
        temporary = path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary)
        os.replace(temporary, path)
        for old in list_checkpoints(folder)[:-CHECKPOINTS_KEPT]:
            old.unlink()
        self.saved_at = time.monotonic()


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("iteration-*.ckpt"))


class ProgressBar(pl.Callback):
    """A live bar with errors and time left on a terminal; elsewhere a line every eighth of the run."""

    def __init__(self, config_name: str, iterations: int):
        self.name, self.iterations = config_name, iterations
        self.bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self.rows_told = len(module.rows)
        if sys.stdout.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
            self.bar = Progress(TextColumn("{task.description}"), *columns, TextColumn("{task.fields[errors]}"))
            self.bar.start()
            self.task = self.bar.add_task(self.name, total=self.iterations, completed=module.iteration, errors="")

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        if self.bar is not None:
            tally = module.since_row
            running = f"train {tally.error:.1f}%" if tally.images else ""
            tests = [row["test_error"] for row in module.rows if "test_error" in row]
            test = f" test {tests[-1]:.1f}%" if tests else ""
            self.bar.update(self.task, completed=module.iteration, errors=(running or self._errors(module)) + test)
        elif len(module.rows) >= self.rows_told + 8:
            self.rows_told = len(module.rows)
            print(f"{self.name}  {module.iteration}/{self.iterations}  {self._errors(module)}", flush=True)

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
