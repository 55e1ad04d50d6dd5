"""A process to be killed: one small run with a checkpoint after every iteration. Arguments: results, iterations."""

import sys
from pathlib import Path

import torch

from plainres.data import cifar_data
from plainres.training import RunConfig, train_run


def small_config(iterations: int) -> RunConfig:
    return RunConfig(depth=8, iterations=iterations, dataset="demo", batch_size=32)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cifar_data.DEMO_TRAIN, cifar_data.DEMO_TEST = 640, 160
    results = Path(sys.argv[1])
    train_run(small_config(int(sys.argv[2])), results, results, torch.device("cpu"), checkpoint_seconds=0)
