"""Programs for child processes of the tests: one training run, or an experiment, on a demo set reduced to seconds."""

import os
import runpy
import sys
from pathlib import Path

import torch
from worker_small import shrink

from plainres.training import ClassificationModule, RunConfig, RunContext, train_run


def small_config(iterations: int) -> RunConfig:
    return RunConfig(depth=8, iterations=iterations, dataset="demo", batch_size=32)


def train_small(results: Path, iterations: int) -> None:
    """Train one run with a checkpoint after every iteration. A test kills the process."""
    shrink()
    context = RunContext(data_dir=results, results=results, device=torch.device("cpu"), checkpoint_seconds=0)
    train_run(small_config(iterations), context)


def log_trainings(path: Path) -> None:
    """Write the name of every run that this process really trains to a file, one per line."""
    start = ClassificationModule.on_fit_start

    def log_and_start(self):
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{self.config.name}\n")
        start(self)

    ClassificationModule.on_fit_start = log_and_start


if __name__ == "__main__":
    shrink()
    if "TRAINING_LOG" in os.environ:
        log_trainings(Path(os.environ["TRAINING_LOG"]))
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
