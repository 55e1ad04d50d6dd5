"""Seconds an iteration of one way to train, under Lightning's Trainer, data loading included."""

import gc
import logging
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch

from plainres.bench.stock import StockModule, stock_loader
from plainres.data import CifarData, demo_set
from plainres.data.cifar.files import load_cifar
from plainres.training import ClassificationModule, RunConfig
from plainres.training.build import make_net
from plainres.training.engines.fast import LONGEST_SPAN

STOCK_WORKERS = 4  # at most, and one a core
BUDGET = {"cuda": 64_000, "cpu": 4_096}  # of the run that is begun; on a GPU it decides how long chunks are


@dataclass(frozen=True)
class Way:
    """One way to train: "stock", or an engine of ours at a precision."""

    engine: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return "stock" if self.engine == "stock" else f"{self.engine} {self.precision}"


@dataclass
class Measurement:
    """What one measurement found.

    Attributes:
        seconds: of one iteration, the mean over those timed.
        first_step: seconds from the Trainer's start to the end of the first step (an iteration, or a chunk of them).
        peak_memory: bytes allocated on the GPU at most; None on a CPU.
    """

    seconds: float
    first_step: float
    peak_memory: int | None


class Stopwatch(pl.Callback):
    """Times iterations after as many unmeasured ones, then ends the training."""

    def __init__(self, warm_up: int, timed: int, device: torch.device):
        self.warm_up, self.timed, self.device = warm_up, timed, device
        self.first_step = 0.0
        self.started: tuple[int, float] | None = None

    def on_fit_start(self, *_: object) -> None:
        self.begin = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: object) -> None:
        done = getattr(module, "iteration", trainer.global_step)
        if not self.first_step:
            self.first_step = self._now() - self.begin
        if self.started is None and done >= self.warm_up:
            self.started = done, self._now()
        elif self.started and done >= self.started[0] + self.timed:
            self.seconds = (self._now() - self.started[1]) / (done - self.started[0])
            trainer.should_stop = True

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def timed_iterations(depth: int, device: torch.device) -> int:
    """Enough for a figure, and few enough for a round of all ways to take a minute on a CPU."""
    return 8 * LONGEST_SPAN["cuda"] if device.type == "cuda" else max(2, 200 // depth)


def measure(
    way: Way, depth: int, batch_size: int, timed: int, data_dir: Path | None, device: torch.device
) -> Measurement:
    """Train a residual net for some iterations and time them.

    Args:
        way: how.
        depth: of the net.
        batch_size: images an iteration.
        timed: iterations.
        data_dir: folder that holds CIFAR-10; None for the demo set, on which an iteration costs the same.
        device: where.
    """
    config = RunConfig(
        depth=depth,
        iterations=BUDGET[device.type],
        dataset="cifar10" if data_dir else "demo",
        precision=way.precision,
        batch_size=batch_size,
    )
    cuda = device.type == "cuda"
    watch = Stopwatch(2 * LONGEST_SPAN["cuda"] if cuda else 2, timed, device)
    net = make_net(config)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if cuda:
        gc.collect()  # nets measured before
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, about workers and loggers
        trainer = pl.Trainer(
            accelerator="gpu" if cuda else "cpu",
            devices=[device.index or 0] if cuda else 1,
            max_epochs=-1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[watch],
        )
        if way.engine == "stock":
            if data_dir:
                train = load_cifar("cifar10", data_dir, train=True)
            else:  # as many images as CIFAR-10 has, so that epochs end as rarely
                train = tuple(torch.cat([part] * 10) for part in demo_set(5_000, seed=0))
            workers = min(STOCK_WORKERS, os.cpu_count() or 1)
            trainer.fit(StockModule(config, net), stock_loader(*train, batch_size, workers, pin=cuda))
        else:
            data = CifarData(config.dataset, data_dir or ".", "50k", 0, config.iterations, batch_size)
            data.prepare_data()
            data.setup()
            trainer.fit(ClassificationModule(config, net, data, way.engine))
    peak = torch.cuda.max_memory_allocated(device) if cuda else None
    return Measurement(watch.seconds, watch.first_step, peak)
