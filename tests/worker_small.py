"""The worker process of `plainres.study`, on a demo set reduced to seconds."""

import pytest
import torch
from helpers import shrink_demo, shrink_photo_nets

from plainres.cli import run_command
from plainres.study.worker import main


def shrink():
    """Use one thread, a small demo set and small nets, as the fixtures of the tests do."""
    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    shrink_photo_nets(patch)
    shrink_demo(patch)


if __name__ == "__main__":
    shrink()
    run_command(main)
