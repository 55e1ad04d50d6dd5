"""plainres.study.worker on a demo set of seconds."""

import sys

import torch

from plainres.data import cifar_data
from plainres.study.worker import main

if __name__ == "__main__":
    torch.set_num_threads(1)
    cifar_data.DEMO_TRAIN, cifar_data.DEMO_TEST = 640, 160
    sys.exit(main())
