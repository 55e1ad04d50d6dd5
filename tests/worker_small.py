"""The worker process of `plainres.study`, on a demo set reduced to seconds."""

import torch

from plainres.catalog.datasets import DEMO
from plainres.study.worker import main
from plainres.training.distributed import exit_process


def shrink():
    """Use one thread and a small demo set, as the fixtures of the tests do."""
    torch.set_num_threads(1)
    DEMO.sizes["50k"].update(train=640, test=160)


if __name__ == "__main__":
    shrink()
    exit_process(main())
