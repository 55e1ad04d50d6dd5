"""plainres.study.worker on a demo set of seconds."""

import torch

from plainres.catalog.datasets import DEMO
from plainres.study.worker import main
from plainres.training.distributed import exit_process


def shrink():
    """What a worker does before its first run."""
    torch.set_num_threads(1)
    DEMO.sizes["50k"].update(train=640, test=160)


if __name__ == "__main__":
    shrink()
    exit_process(main())
