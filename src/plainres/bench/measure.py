"""Seconds per iteration of one training method under Lightning's Trainer, including data loading."""

import gc
import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from plainres.bench.stock import StockModule, stock_loader
from plainres.catalog.datasets import CIFAR10
from plainres.cores import available_cores
from plainres.data import CifarData, ImageSet, demo_set
from plainres.data.cifar_files import load_cifar
from plainres.nets import cifar_net
from plainres.nets.complexity import trace_layers
from plainres.training import ClassificationModule, RunConfig
from plainres.training.accelerate import CudaGraphs
from plainres.training.config import PRECISIONS

MAX_STOCK_WORKERS = 4  # worker processes of the stock loop, but at most one per core
WARM_UP = {"cuda": 100, "cpu": 2}  # iterations before the timed ones


@dataclass(frozen=True)
class Method:
    """One method of training.

    Attributes:
        name: `"stock"` for the stock Lightning loop, or `"plainres"`, or `"eager"` for the latter without compiled nets
            and CUDA graphs.
        precision: `"fp32"` or `"bf16"`.
    """

    name: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return "stock" if self.name == "stock" else f"{self.name} {self.precision}"


@dataclass
class Measurement:
    """The result of one measurement.

    Attributes:
        seconds: Mean duration of the timed iterations, in seconds.
        peak_memory: Largest number of bytes allocated on the GPU. None on a CPU.
    """

    seconds: float
    peak_memory: int | None


class Stopwatch(pl.Callback):
    """Callback that times a number of iterations and then ends the training.

    Args:
        timed: Number of timed iterations.
        device: Device that the net is trained on.
    """

    def __init__(self, timed: int, device: torch.device):
        self.timed, self.device, self.warm_up = timed, device, WARM_UP[device.type]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.warm_up:
            self.started = self._now()
        elif trainer.global_step == self.warm_up + self.timed:
            self.seconds = (self._now() - self.started) / self.timed
            trainer.should_stop = True

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def default_timed_iterations(depth: int, device: torch.device) -> int:
    """Return the number of timed iterations, such that one round of all methods takes about a minute on a CPU."""
    return 500 if device.type == "cuda" else max(2, 200 // depth)


def convolution_outputs(depth: int) -> int:
    """Return the number of elements in the outputs of all convolutions of a residual net, for one image."""
    with torch.device("meta"):
        net = cifar_net(depth)
    return sum(call.output.numel() for call in trace_layers(net, (3, 32, 32), (nn.Conv2d,)))


def drawn_images() -> tuple[Tensor, Tensor]:
    """Return drawn images of CIFAR-10's size, and as many of them, so that epochs are equally long."""
    images, labels = demo_set(5_000, seed=0, size=CIFAR10.image_size)
    return images.repeat(10, 1, 1, 1), labels.repeat(10)


def cifar_data(iterations: int, batch_size: int, data_dir: Path | None) -> CifarData:
    """Return CIFAR-10, or drawn images in its place.

    Args:
        iterations: Number of iterations.
        batch_size: Number of images per iteration.
        data_dir: Folder that holds CIFAR-10. None means drawn images.
    """
    data = CifarData(data_dir or ".", iterations=iterations, batch_size=batch_size)
    if not data_dir:
        images, labels = drawn_images()
        data.parts = {"train": ImageSet(images, labels, images.float().mean(0))}
        data.prepare_data = lambda: None  # type: ignore[method-assign]
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
    """
    iterations = max(4_096, 2 * timed)  # rows are then as long as in a study on the CPU
    config = RunConfig(depth=depth, iterations=iterations, precision=method.precision, batch_size=batch_size)
    cuda = device.type == "cuda"
    watch = Stopwatch(timed, device)
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
            precision=PRECISIONS[method.precision],
            max_epochs=-1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[watch, CudaGraphs()] if cuda and method.name == "plainres" else [watch],
        )
        if method.name == "stock":
            images, labels = load_cifar("cifar10", data_dir, train=True) if data_dir else drawn_images()
            workers = min(MAX_STOCK_WORKERS, available_cores())
            loader = stock_loader(images, labels, batch_size, workers, pin=cuda)
            trainer.fit(StockModule(config), loader)
        else:
            trainer.fit(ClassificationModule(config), cifar_data(iterations, batch_size, data_dir))
    peak = torch.cuda.max_memory_allocated(device) if cuda else None
    return Measurement(watch.seconds, peak)
