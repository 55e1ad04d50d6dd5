"""What processes of the tests run, on a demo set of seconds: one training, or an experiment with its arguments."""

import runpy
import sys
from pathlib import Path

import torch
from worker_small import shrink

from plainres.training import RunConfig, train_run


def small_config(iterations: int) -> RunConfig:
    return RunConfig(depth=8, iterations=iterations, dataset="demo", batch_size=32)


def train_small(results: Path, iterations: int) -> None:
    """One run with a checkpoint after every iteration, to be killed."""
    shrink()
    train_run(small_config(iterations), results, results, torch.device("cpu"), checkpoint_seconds=0)


if __name__ == "__main__":
    shrink()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
