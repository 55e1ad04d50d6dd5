import os
import warnings
from pathlib import Path

import pytest
import torch
from helpers import config, shrink_demo, train

# Only the tests of W&B start it.
os.environ["WANDB_MODE"] = "disabled"

# The nets here are too small to share a step, and threads that wait for each other slow everything else down.
torch.set_num_threads(1)


@pytest.fixture
def small_demo(monkeypatch):
    """A demo set small enough that a run takes seconds."""
    shrink_demo(monkeypatch)


@pytest.fixture
def tiny_demo(monkeypatch):
    """A demo set for deep nets and double precision, of which probes and last passes would else take a minute."""
    shrink_demo(monkeypatch, 64, 16)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A results folder with one finished small run, and what its run.json holds; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        shrink_demo(patch)
        results = tmp_path_factory.mktemp("results")
        return results, train(results, config())


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    folder = Path(os.environ.get("DATA_DIR", "data"))
    if not (folder / "cifar-10-batches-py").exists():
        pytest.skip(f"no CIFAR-10 in DATA_DIR ({folder})")
    return folder


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


with warnings.catch_warnings():
    # torchvision imports what NumPy 2.4 deprecates; once is enough, before warnings are errors.
    warnings.simplefilter("ignore")
    import torchvision  # noqa: F401
