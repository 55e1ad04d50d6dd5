"""Which runs make a study, how far each is, and how long the rest will take."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from plainres.errors import UserError
from plainres.nets import count_complexity
from plainres.training import Record, RunConfig
from plainres.training.build import image_shape, make_net
from plainres.training.engines import choose_engine
from plainres.training.evaluation import BN_IMAGES
from plainres.training.schedule import test_points

# A forward pass costs about a third of an iteration. The end of a run passes over the training set, the images of its
# BN statistics and the test set.
FORWARD_SHARE = 1 / 3
CALIBRATED_SPAN = 50  # iterations per span of a calibration, enough for the cost per span to vanish


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study and its state: "finished", "diverged", "partial", "missing" or "blocked" (with the reason)."""

    config: RunConfig
    status: str
    reason: str = ""

    @property
    def to_do(self) -> bool:
        return self.status in ("partial", "missing")


def plan_study(configs: Iterable[RunConfig], results: Path) -> list[PlannedRun]:
    """Look every run up in the results folder. A record that cannot be used blocks its run, not the study."""
    runs = []
    for config in configs:
        try:
            runs.append(PlannedRun(config, Record(results, config).status()))
        except UserError as error:
            runs.append(PlannedRun(config, "blocked", str(error)))
    return runs


def calibrate(config: RunConfig, device: torch.device, engine: str = "auto", iterations: int = 5) -> float:
    """Return the seconds per multiply-add of one training image, from a few iterations of a plain net.

    The net is plain-20 for small images and plain-18 for ImageNet. On CUDA this includes compiling the net, which
    takes longer than the timing itself; PyTorch keeps the compiled kernels on disk for the runs that follow.

    Args:
        config: Configuration of a run, which decides on data set and precision.
        device: Device to time on.
        engine: `"auto"`, `"eager"` or `"fast"`.
        iterations: Number of spans that are timed. The median counts.
    """
    depth, batch_size = (18, 16) if config.family == "imagenet" else (20, 128)
    config = replace(config, depth=depth, batch_size=batch_size, shortcut=None, norm="batch", init="he", micro_batch=0)
    net = make_net(config).to(device, memory_format=torch.channels_last)
    images = torch.rand(batch_size, *image_shape(config), generator=torch.Generator().manual_seed(0))
    images = images.to(device, memory_format=torch.channels_last)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)
    compute = choose_engine(engine, config, device)(net, config, lambda _: (images, labels))
    optimizer = compute.make_optimizer()
    span = min(compute.longest_span, CALIBRATED_SPAN)
    rows = torch.zeros(span, batch_size, 4, dtype=torch.int32, device=device)
    times = []
    for _ in range(iterations + 2):
        begin = time.perf_counter()
        losses, _ = compute.advance(optimizer, rows, config.lr)
        losses.tolist()  # synchronizes with the device
        times.append(time.perf_counter() - begin)
    seconds = sorted(times[2:])[iterations // 2] / span
    return seconds / (batch_size * count_complexity(net, image_shape(config)).multiply_adds)


def estimate_seconds(config: RunConfig, seconds_per_multiply_add: float, sizes: dict[str, int] | None = None) -> float:
    """Expected seconds of a whole run from the calibration: training, test passes, and the passes at its end.

    Args:
        config: the run.
        seconds_per_multiply_add: of one training image, from `calibrate`.
        sizes: how many images "train" and "test" have, where the data set does not say so by its name.
    """
    with torch.device("meta"):
        multiply_adds = count_complexity(make_net(config), image_shape(config)).multiply_adds
    sizes = sizes or config.info.sizes[config.train_set]
    tests = len(test_points(config)) * sizes["test"] * FORWARD_SHARE
    end = (sizes["train"] + min(BN_IMAGES, sizes["train"]) + sizes["test"]) * FORWARD_SHARE
    return (config.iterations * config.batch_size + tests + end) * multiply_adds * seconds_per_multiply_add


def format_seconds(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_plan(runs: list[PlannedRun], seconds: dict[RunConfig, float], console: Console) -> None:
    """Print a study's runs with their state and the expected time of those to do."""
    table = Table(title=f"Study {', '.join(sorted({run.config.study for run in runs}))}")
    for name in ("net", "seed", "iterations", "state", "expected"):
        table.add_column(name, justify="left" if name in ("net", "state") else "right")
    for run in runs:
        c = run.config
        expected = format_seconds(seconds[c]) if c in seconds else ""
        table.add_row(c.net, str(c.seed), f"{c.iterations:,}", run.status, expected)
    console.print(table)
    for run in runs:
        if run.reason:
            console.print(f"[red]{run.config.name}:[/] {run.reason}", highlight=False)
