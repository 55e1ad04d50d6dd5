"""The worker process of `plainres.study`, on a demo set reduced to seconds."""

import pytest
import torch
from helpers import shrink_demo

from plainres.cli import run_command
from plainres.study.worker import main


def shrink():
    """Use one thread and a small demo set, as the fixtures of the tests do."""
    torch.set_num_threads(1)
    shrink_demo(pytest.MonkeyPatch())


if __name__ == "__main__":
    shrink()
    run_command(main)
