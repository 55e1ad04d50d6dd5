"""Helpers of several test modules: small runs on a small demo set, and comparisons of their records."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

import plainres.__main__
from plainres.catalog.datasets import DEMO
from plainres.nets import load_net
from plainres.nets.imagenet import BLOCKS_PER_STAGE
from plainres.training import RunConfig, RunContext, evaluation, probes, train_run

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TIMES = ["images_per_second", "seconds"]
SMALL_DEMO = {"train": 640, "test": 160}


def shrink_demo(patch: pytest.MonkeyPatch, train: int = 640, test: int = 160) -> None:
    """Make the demo set, and the sets of images that nets are probed on, so small that a run takes seconds."""
    patch.setitem(DEMO.sizes, "50k", {"train": train, "test": test})
    patch.setattr(probes, "RESPONSE_IMAGES", 32)
    patch.setattr(probes, "GRADIENT_IMAGES", 16)
    patch.setattr(evaluation, "BN_IMAGES", 96)


def shrink_photo_nets(patch: pytest.MonkeyPatch) -> None:
    """Give the ImageNet nets of 18 layers one block per stage, and probe them on few images."""
    patch.setitem(BLOCKS_PER_STAGE, 18, (1, 1, 1, 1))
    patch.setattr(probes, "RESPONSE_IMAGES", 8)
    patch.setattr(probes, "GRADIENT_IMAGES", 8)
    patch.setattr(evaluation, "BN_IMAGES", 12)


def config(**changes) -> RunConfig:
    """Return the configuration of a small run, ResNet-8 on the demo set, with changes."""
    return RunConfig(**{"depth": 8, "iterations": 64, "dataset": "demo", "batch_size": 32} | changes)


def context(results: Path, **changes) -> RunContext:
    """Return a context that writes records to `results` and trains on the CPU, with changes."""
    return RunContext(**{"data_dir": results, "results": results, "device": CPU} | changes)


def train(results: Path, run_config: RunConfig, *callbacks: pl.Callback, **changes) -> dict:
    """Train a run and return the contents of its run.json."""
    return train_run(run_config, context(results, **changes), callbacks)


def metrics(results: Path, run_config: RunConfig) -> pd.DataFrame:
    """Return the rows of metrics.csv of a run."""
    return pd.read_csv(results / run_config.folder / "metrics.csv")


def one_line(text: str) -> bool:
    """Return whether an error message is a single line."""
    return text.startswith("error: ") and text.count("\n") == 1


def run_plainres(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    """Run the command `plainres` in this process, and return its exit status and what it printed (stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["plainres", *arguments])
    with pytest.raises(SystemExit) as ended:
        plainres.__main__.main()
    return ended.value.code, *capsys.readouterr()


class Interrupt(pl.Callback):
    """Raises an exception after a number of iterations, as a crash would."""

    def __init__(self, iteration: int):
        self.iteration = iteration

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == self.iteration:
            raise RuntimeError("crash")


class Iterations(pl.Callback):
    """Keeps the iterations that were trained, in `done`."""

    def __init__(self):
        self.done = []

    def on_train_batch_end(self, trainer, module, *_):
        self.done.append(trainer.global_step)


def assert_same_run(results: Path, others: Path, run_config: RunConfig) -> None:
    """Check that two records hold the same rows, except for times, and the same weights bit for bit."""
    rows = [metrics(folder, run_config).drop(columns=TIMES) for folder in (results, others)]
    pd.testing.assert_frame_equal(*rows)
    nets = [load_net(folder / run_config.folder / "weights.safetensors").state_dict() for folder in (results, others)]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
