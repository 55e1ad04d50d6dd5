"""Seconds per iteration of one training method under Lightning's Trainer, including data loading."""

import gc
import logging
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from plainres.bench.stock import StockModule, stock_loader
from plainres.catalog.datasets import CIFAR10
from plainres.data import CifarData, ImageSet, demo_set
from plainres.data.cifar.files import load_cifar
from plainres.errors import UserError
from plainres.training import ClassificationModule, RunConfig
from plainres.training.build import make_net
from plainres.training.engines.fast import LONGEST_SPAN

MAX_STOCK_WORKERS = 4  # worker processes of the stock loop, but at most one per core
# Iterations of the run that is started. On a GPU, it determines the length of the spans of the fast engine.
RUN_ITERATIONS = {"cuda": 64_000, "cpu": 4_096, "mps": 4_096}


@dataclass(frozen=True)
class Method:
    """One method of training.

    Attributes:
        engine: `"stock"` for the stock Lightning loop, or one of our engines, `"eager"` or `"fast"`.
        precision: `"fp32"` or `"bf16"`.
    """

    engine: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return "stock" if self.engine == "stock" else f"{self.engine} {self.precision}"


@dataclass
class Measurement:
    """The result of one measurement.

    Attributes:
        seconds: Mean duration of the timed iterations, in seconds.
        first_step: Seconds from the start of the Trainer to the end of its first step, which is one iteration or one
            span of iterations.
        peak_memory: Largest number of bytes allocated on the GPU. None on a CPU.
    """

    seconds: float
    first_step: float
    peak_memory: int | None


class Stopwatch(pl.Callback):
    """Callback that times a number of iterations and then ends the training.

    Args:
        warm_up: Number of iterations before the timed ones.
        timed: Number of timed iterations.
        device: Device that the net is trained on.
    """

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


def default_timed_iterations(depth: int, device: torch.device) -> int:
    """Return the number of timed iterations, such that one round of all methods takes about a minute on a CPU."""
    return 2 * LONGEST_SPAN["cuda"] if device.type == "cuda" else max(2, 200 // depth)


def drawn_images() -> tuple[Tensor, Tensor]:
    """Return drawn images of CIFAR-10's size, and as many of them, so that epochs are equally long."""
    images, labels = demo_set(5_000, seed=0, size=CIFAR10.image_size)
    return images.repeat(10, 1, 1, 1), labels.repeat(10)


def cifar_data(iterations: int, batch_size: int, data_dir: Path | None) -> CifarData:
    """Return CIFAR-10, or drawn images in its place, ready for training.

    Args:
        iterations: Number of iterations.
        batch_size: Number of images per iteration.
        data_dir: Folder that holds CIFAR-10. None means drawn images.
    """
    data = CifarData("cifar10", data_dir or ".", "50k", 0, iterations, batch_size)
    if data_dir:
        data.prepare_data()
    else:
        images, labels = drawn_images()
        data.parts = {"train": ImageSet(images, labels, images.float().mean(0))}
    data.setup()
    return data


def measure(
    method: Method, depth: int, batch_size: int, timed: int, data_dir: Path | None, device: torch.device
) -> Measurement:
    """Train a residual net and return the time per iteration.

    Args:
        method: Method of training.
        depth: Depth of the net, 6n+2.
        batch_size: Number of images per iteration.
        timed: Number of timed iterations.
        data_dir: Folder that holds CIFAR-10. None means drawn images of the same size, whose iterations cost the same.
        device: Device to train on.

    Raises:
        UserError: If so many iterations cannot be timed.
    """
    config = RunConfig(
        depth=depth,
        iterations=RUN_ITERATIONS[device.type],
        precision=method.precision,
        batch_size=batch_size,
    )
    cuda = device.type == "cuda"
    warm_up = LONGEST_SPAN["cuda"] if cuda else 2
    most = config.iterations - 2 * warm_up
    if timed > most:
        raise UserError(f"the number of timed iterations must be {most:,} or fewer, not {timed:,}")
    watch = Stopwatch(warm_up, timed, device)
    net = make_net(config)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if cuda:
        gc.collect()  # frees the nets of earlier measurements
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning warns about workers and loggers
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
        if method.engine == "stock":
            images, labels = load_cifar("cifar10", data_dir, train=True) if data_dir else drawn_images()
            workers = min(MAX_STOCK_WORKERS, os.cpu_count() or 1)
            trainer.fit(StockModule(config, net), stock_loader(images, labels, batch_size, workers, pin=cuda))
        else:
            data = cifar_data(config.iterations, batch_size, data_dir)
            trainer.fit(ClassificationModule(config, net, data, method.engine))
    peak = torch.cuda.max_memory_allocated(device) if cuda else None
    return Measurement(watch.seconds, watch.first_step, peak)
