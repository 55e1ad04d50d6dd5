import os
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest
import torch
import vl_convert
from helpers import config, shrink_demo, train
from hypothesis import settings

# Only the tests of W&B start it, in offline mode.
os.environ["WANDB_MODE"] = "disabled"

# By default, an example that takes longer than 200 ms fails, and machines may be slow.
settings.register_profile("any-speed", deadline=None)
settings.load_profile("any-speed")

# The tests write thousands of small files, and none of them is to survive a power failure.
os.fsync = lambda _: None

# Every page has the same scripts, which take seconds to collect.
vl_convert.javascript_bundle = cache(vl_convert.javascript_bundle)

# The nets are too small to profit from several threads, which would slow down the other test process.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures of each test, because matplotlib keeps all of them open and warns of many."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def undrawn(monkeypatch):
    """Write empty files in place of figures, for tests of what stands beside them."""

    def save(figure, path):
        path.touch()
        return path

    monkeypatch.setattr("plainres.report.write.save_figure", save)


@pytest.fixture
def small_demo(monkeypatch):
    """Make the demo set so small that a run takes seconds."""
    shrink_demo(monkeypatch)


@pytest.fixture
def tiny_demo(monkeypatch):
    """Make the demo set even smaller, for runs in double precision whose probes and final passes would take long."""
    shrink_demo(monkeypatch, 64, 16)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return a results folder with one finished small run, and the contents of its run.json. Do not modify them."""
    with pytest.MonkeyPatch.context() as patch:
        shrink_demo(patch)
        results = tmp_path_factory.mktemp("results")
        return results, train(results, config())


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """Return the folder that holds CIFAR-10, or skip the test."""
    folder = Path(os.environ.get("DATA_DIR", "data"))
    if not (folder / "cifar-10-batches-py").exists():
        pytest.skip(f"no CIFAR-10 in DATA_DIR ({folder})")
    return folder


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


with warnings.catch_warnings():
    # torchvision uses what NumPy 2.4 deprecates. Import it once before warnings become errors.
    warnings.simplefilter("ignore")
    import torchvision  # noqa: F401
