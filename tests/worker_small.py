"""plainres.study.worker on a demo set of seconds."""

import torch

from plainres.data import cifar_data
from plainres.study.worker import main
from plainres.training.ranks import leave


def shrink():
    """What a worker does before its first run."""
    torch.set_num_threads(1)
    cifar_data.DEMO_TRAIN, cifar_data.DEMO_TEST = 640, 160


if __name__ == "__main__":
    shrink()
    leave(main())
