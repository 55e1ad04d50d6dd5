"""The command `plainres bench`, which times a training iteration of nets of several depths."""

import gc
import json
import logging
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import pytorch_lightning as pl
import torch
from tabulate import tabulate
from torch import Tensor
from torch.utils.data import DataLoader

from plainres.bench_stock import StockModule, stock_loader
from plainres.catalog.datasets import CIFAR10
from plainres.cli import parse_options
from plainres.cores import available_cores
from plainres.data import CifarData, ImageSet, demo_set
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.records.config import PRECISIONS
from plainres.records.provenance import describe_hardware, describe_software
from plainres.study.options import LOCAL_RESULTS
from plainres.training import ClassificationModule, RunConfig
from plainres.training.accelerate import CudaGraphs
from plainres.training.device import choose_device, fast_precision, limit_threads

BATCH_SIZE = 128
MAX_STOCK_WORKERS = 4  # worker processes of the stock loop, but at most one per core
WARM_UP = {"cuda": 100, "cpu": 2}  # iterations before the timed ones
# Runs side by side: this depth, and so many iterations that the processes overlap for most of the time.
SIDE_BY_SIDE_DEPTH, SIDE_BY_SIDE_TIMED = 20, 30
CONDITIONS = {"quiet": 0, "beside one busy process": 1}
# A process whose parent has been killed gets another one: it must not go on for ever.
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time a training iteration of residual nets, and that of a stock Lightning loop, in turn."""

    depths: tuple[int, ...] = (20, 56, 110)
    """Depths of the residual nets, each 6n+2."""
    rounds: int = 3
    """Number of rounds. Every way of training is timed once per round."""
    timed: int | None = None
    """Number of timed iterations. Default: 500 on a GPU; 200 / depth on a CPU, at least 2; 30 with --side-by-side."""
    side_by_side: bool = False
    """Instead, compare runs side by side on the CPU, one thread each, with runs in turn that have all threads.
    --depths and --device have no effect then."""
    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:<index>."""
    results: Path = LOCAL_RESULTS
    """Results folder. The measurements are written to bench/ below it, as JSON."""


def main() -> int:
    """Run the benchmark with the options of the command line."""
    options = parse_options(Options, prog="plainres bench")
    for name in ("rounds", "timed"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be 1 or more, not {value}")
    device = choose_device("cpu" if options.side_by_side else options.device)
    limit_threads()
    compare = compare_side_by_side if options.side_by_side else compare_ways
    content = compare(options, device)
    print(tabulate(map(table_row, content["lines"]), headers="keys", floatfmt=",.2f"))
    hardware = describe_hardware(device)
    suffix = "-side-by-side" if options.side_by_side else ""
    path = options.results / "bench" / f"{file_stem(hardware)}{suffix}.json"
    facts = {"hardware": hardware, "software": describe_software(), "data": "drawn images"}
    write_atomic(path, json.dumps(facts | content, indent=2) + "\n")
    print(f"\n{path}")
    return 0


def table_row(line: dict) -> dict:
    """Return a line of the JSON file as the printed table shows it: medians of rounds, and the range of the ratio."""
    low, high = line["ratio_spread"]
    row = {name: median(value) if isinstance(value, list) else value for name, value in line.items()}
    for name in ("batch_size", "milliseconds_of_rounds"):
        row.pop(name, None)
    return row | {"ratio_spread": f"{low:.2f} to {high:.2f}"}


def file_stem(hardware: dict) -> str:
    """Return the name of the JSON file for some hardware, for example `amd-epyc-2-threads` or `nvidia-h200`."""
    threads = "one thread" if hardware["threads"] == 1 else f"{hardware['threads']} threads"
    name = hardware.get("gpu") or f"{hardware['cpu']} {threads}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def compare_ways(options: Options, device: torch.device) -> dict:
    """Time all ways of training in turn, and return the contents of the JSON file."""
    ways: dict[str, Callable[..., float]] = {"stock": time_stock}
    for precision in dict.fromkeys(("fp32", fast_precision(device))):
        if device.type == "cuda":
            ways[f"eager {precision}"] = partial(time_study, precision=precision)
        ways[f"plainres {precision}"] = partial(time_study, precision=precision, graphs=device.type == "cuda")
    lines = []
    with ExitStack() as stack:
        # In separate processes, the memory, threads and compilation of one way cannot affect another.
        pools = {way: stack.enter_context(_process(torch.get_num_threads())) for way in ways}
        for depth in options.depths:
            timed = options.timed or (500 if device.type == "cuda" else max(2, 200 // depth))
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, function in ways.items():
                    seconds[way].append(pools[way].submit(function, depth, timed, device).result())
                    print(f"resnet-{depth} {way}: {1e3 * seconds[way][-1]:.3g} ms", file=sys.stderr, flush=True)
            lines += [summarize(way, depth, seconds[way], seconds["stock"]) for way in ways]
    return {"lines": lines}


def summarize(way: str, depth: int, seconds: Sequence[float], stock: Sequence[float]) -> dict:
    """Return medians over the rounds, and the speed relative to the stock loop, round by round.

    `seconds` has the seconds per iteration in each round, and `stock` those of the stock loop in the same rounds.
    """
    ratios = [base / own for own, base in zip(seconds, stock, strict=True)]
    return {
        "way": way,
        "net": f"resnet-{depth}",
        "batch_size": BATCH_SIZE,
        "milliseconds": 1e3 * median(seconds),
        "milliseconds_of_rounds": [1e3 * value for value in seconds],
        "images_per_second": BATCH_SIZE / median(seconds),
        "ratio_to_stock": median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
    }


def compare_side_by_side(options: Options, device: torch.device) -> dict:
    """Compare one run per core, one thread each, with runs in turn; return the contents of the JSON file.

    Their numbers are images per second of all runs together. `start_seconds` is what a new process takes to import this
    package and to draw its data. In turn, only the first run has this start.
    """
    precision, cores = fast_precision(device), available_cores()
    train = partial(time_study, SIDE_BY_SIDE_DEPTH, options.timed or SIDE_BY_SIDE_TIMED, device, precision)

    def images_per_second(pools: list[ProcessPoolExecutor]) -> float:
        """Train a net in each of the processes at the same time, and return their throughput together."""
        return sum(BATCH_SIZE / future.result() for future in [pool.submit(train) for pool in pools])

    lines: list[dict] = []
    with ExitStack() as stack:
        in_turn = [stack.enter_context(_process(cores))]
        side_by_side = [stack.enter_context(_process(1)) for _ in range(cores)]
        begin = time.perf_counter()
        in_turn[0].submit(load_data).result()
        start_seconds = time.perf_counter() - begin
        for condition, busy in CONDITIONS.items():
            before, after = [], []
            with busy_processes(busy):
                for _ in range(options.rounds):
                    before.append(images_per_second(in_turn))
                    after.append(images_per_second(side_by_side))
                    speeds = f"{before[-1]:.0f} and {after[-1]:.0f} images/s"
                    print(f"{condition}: {speeds}", file=sys.stderr, flush=True)
            ratios = [new / old for old, new in zip(before, after, strict=True)]
            lines.append({"condition": condition, "cores": cores, "in_turn": before, "side_by_side": after})
            lines[-1] |= {"ratio": median(ratios), "ratio_spread": [min(ratios), max(ratios)]}
    print(f"A new process takes {start_seconds:.1f} s to its first iteration.\n")
    return {"method": f"plainres {precision}", "start_seconds": start_seconds, "lines": lines}


def _process(threads: int) -> ProcessPoolExecutor:
    """Return a new process that computes with this number of threads."""
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,))


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` other processes computing, each of them on one core."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Stopwatch(pl.Callback):
    """Callback that times a number of iterations and then ends the training. `seconds` is their mean duration."""

    seconds: float

    def __init__(self, timed: int, device: torch.device):
        self.timed, self.device, self.warm_up = timed, device, WARM_UP[device.type]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step in (self.warm_up, self.warm_up + self.timed):
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            now = time.perf_counter()
            if trainer.global_step == self.warm_up:
                self.started = now
            else:
                self.seconds = (now - self.started) / self.timed
                trainer.should_stop = True


def time_stock(depth: int, timed: int, device: torch.device) -> float:
    """Return the seconds per iteration of a ResNet in the stock Lightning loop, in fp32; see `time_study`."""
    images, labels = drawn_images()
    workers = min(MAX_STOCK_WORKERS, available_cores())
    loader = stock_loader(images, labels, BATCH_SIZE, workers, pin=device.type == "cuda")
    return _time(StockModule(_config(depth, timed, "fp32")), loader, timed, device)


def time_study(depth: int, timed: int, device: torch.device, precision: str, graphs: bool = False) -> float:
    """Return the seconds per iteration of a ResNet that is trained as the experiments train it.

    `graphs` says whether to compile the net and to use CUDA graphs.
    """
    config = _config(depth, timed, precision)
    data = load_data(config.iterations)
    return _time(ClassificationModule(config), data, timed, device, [CudaGraphs()] if graphs else [])


def _config(depth: int, timed: int, precision: str) -> RunConfig:
    iterations = max(4_096, 2 * timed)  # rows are then as long as in a study on the CPU
    return RunConfig(depth=depth, iterations=iterations, precision=precision, batch_size=BATCH_SIZE)


def load_data(iterations: int = 1) -> CifarData:
    """Return the data module of a run on `drawn_images`."""
    data = CifarData(".", iterations=iterations, batch_size=BATCH_SIZE)
    images, labels = drawn_images()
    data.parts = {"train": ImageSet(images, labels, images.float().mean(0))}
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    data.setup()
    return data


def drawn_images() -> tuple[Tensor, Tensor]:
    """Return drawn images in place of CIFAR-10's: of their size, and as many, so that iterations cost the same."""
    images, labels = demo_set(5_000, seed=0, size=CIFAR10.image_size)
    return images.repeat(10, 1, 1, 1), labels.repeat(10)


def _time(
    module: StockModule | ClassificationModule,
    data: DataLoader | CifarData,
    timed: int,
    device: torch.device,
    callbacks: Sequence[pl.Callback] = (),
) -> float:
    """Train a module with Lightning's Trainer, and return the seconds per timed iteration, data loading included."""
    watch, cuda = Stopwatch(timed, device), device.type == "cuda"
    gc.collect()  # frees the nets of earlier measurements
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning warns about workers and loggers
        trainer = pl.Trainer(
            accelerator="gpu" if cuda else "cpu",
            devices=[device.index or 0] if cuda else 1,
            precision=PRECISIONS[module.config.precision],
            max_epochs=-1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[watch, *callbacks],
        )
        trainer.fit(module, data)
    return watch.seconds
