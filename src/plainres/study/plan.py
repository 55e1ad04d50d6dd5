"""The plan of a study: its runs, the state of each, and the expected time of the rest."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table

from plainres.errors import UserError
from plainres.nets import count_complexity
from plainres.training import Record, RunConfig, RunContext
from plainres.training.build import image_shape, make_net
from plainres.training.checkpoints import iteration_of, list_checkpoints
from plainres.training.engines import FastEngine, choose_engine
from plainres.training.engines.fast import GRAPH_DEVICES
from plainres.training.evaluation import BN_IMAGES
from plainres.training.module import ClassificationModule
from plainres.training.schedule import test_points

# A forward pass costs about a third of an iteration. At its end, a run evaluates the training set, the images for its
# averaged BN statistics, and the test set.
FORWARD_SHARE = 1 / 3
CALIBRATED_SPAN = 50  # iterations per span of a calibration, enough for the cost per span to vanish


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study and its state.

    Attributes:
        config: Configuration of the run.
        status: `"finished"`, `"diverged"`, `"partial"`, `"missing"`, or `"blocked"` if its record cannot be used.
        reason: Why the run is blocked.
        resumed_after: Number of iterations that the latest checkpoint of a partial run contains.
    """

    config: RunConfig
    status: str
    reason: str = ""
    resumed_after: int = 0

    @property
    def to_do(self) -> bool:
        """Whether the run still has to be trained, or resumed."""
        return self.status in ("partial", "missing")


def plan_study(configs: Iterable[RunConfig], results: Path) -> list[PlannedRun]:
    """Return the state of every run in the results folder. A record that cannot be used blocks only its own run."""
    runs = []
    for config in configs:
        try:
            record = Record(results, config)
            runs.append(PlannedRun(config, record.status(), resumed_after=_resumed_after(record)))
        except UserError as error:
            runs.append(PlannedRun(config, "blocked", str(error)))
    return runs


def _resumed_after(record: Record) -> int:
    """Return the number of iterations that the latest checkpoint contains, or 0 if there is none."""
    return max(map(iteration_of, list_checkpoints(record.checkpoints)), default=0)


def calibrate(config: RunConfig, device: torch.device, engine: str = "auto", iterations: int = 5) -> float:
    """Return the seconds per multiply-add of one training image, from a few iterations of a plain net.

    The net is plain-20 for small images and plain-18 for ImageNet. On CUDA the fast engine compiles it first, which
    takes longer than the timing itself, so studies use `StudyEstimate` where `estimates_while_training` says so.

    Args:
        config: Configuration of a run, which decides on data set and precision.
        device: Device to time on.
        engine: `"auto"`, `"eager"` or `"fast"`.
        iterations: Number of spans that are timed. The median counts.
    """
    depth, batch_size = (18, 16) if config.family == "imagenet" else (20, 128)
    config = replace(config, depth=depth, batch_size=batch_size, shortcut=None, norm="batch", init="he", micro_batch=0)
    # PyTorch's stub of `to` has no memory format beside a device.
    net = make_net(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
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


def multiply_adds(config: RunConfig) -> int:
    """Return the number of multiply-adds of a run's net for one image."""
    with torch.device("meta"):
        return count_complexity(make_net(config), image_shape(config)).multiply_adds


def estimate_seconds(
    config: RunConfig,
    seconds_per_multiply_add: float,
    sizes: dict[str, int] | None = None,
    evaluation_cost: float = FORWARD_SHARE,
    resumed_after: int = 0,
) -> float:
    """Return the expected duration of a run in seconds, including all evaluations.

    Args:
        config: Configuration of the run.
        seconds_per_multiply_add: Seconds per multiply-add of one training image, from `calibrate`.
        sizes: Number of images in the parts `"train"` and `"test"`, if the data set has no fixed sizes.
        evaluation_cost: Time to evaluate an image, divided by the time to train on one.
        resumed_after: Number of iterations that are done already and take no time.
    """
    sizes = sizes or config.info.sizes[config.train_set]
    evaluated = sum(point > resumed_after for point in test_points(config)) * sizes["test"]
    evaluated += sizes["train"] + min(BN_IMAGES, sizes["train"]) + sizes["test"]
    images = (config.iterations - resumed_after) * config.batch_size + evaluated * evaluation_cost
    return images * multiply_adds(config) * seconds_per_multiply_add


def estimates_while_training(config: RunConfig, context: RunContext) -> bool:
    """Return whether nothing can be timed without compiling it, so that `StudyEstimate` must replace `calibrate`."""
    engine = choose_engine(context.engine, config, context.device)
    return context.device.type in GRAPH_DEVICES and issubclass(engine, FastEngine)


class StudyEstimate(pl.Callback):
    """Prints how long the runs of a study will take, after the first pass over the test set in the first of them.

    Passes are timed as well as iterations, because a captured iteration is faster and a pass is not.

    Args:
        runs: Runs that are trained one after the other. Pass the same callback to each.
    """

    def __init__(self, runs: Sequence[PlannedRun]):
        self.runs = runs
        self.printed = False

    def on_validation_start(self, *_: object) -> None:
        self.begin = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        if self.printed or not trainer.is_global_zero:
            return
        self.printed = True
        speed = module.rows[-1]["images_per_second"]
        sizes = {name: len(part) for name, part in module.data.parts.items()}
        evaluated = sum(sizes[name] for name in module.data.evaluated)
        evaluation_cost = (time.perf_counter() - self.begin) * speed / evaluated
        seconds_per_multiply_add = 1 / (speed * multiply_adds(module.config))
        seconds = {
            run.config: estimate_seconds(
                run.config, seconds_per_multiply_add, sizes, evaluation_cost, run.resumed_after
            )
            for run in self.runs
        }
        own, total = format_seconds(seconds[module.config]), format_seconds(sum(seconds.values()))
        print(f"{module.config.name}: about {own}; all {len(seconds)} runs: about {total}", flush=True)


def format_seconds(seconds: float) -> str:
    """Return a duration in a suitable unit: 45 s, 12 min or 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_plan(runs: list[PlannedRun], seconds: dict[RunConfig, float], console: Console) -> None:
    """Print the runs of a study with their states, and the expected time of those that are to be trained."""
    table = Table(title=f"Study {', '.join(sorted({run.config.study for run in runs}))}")
    for name in ("net", "seed", "iterations", "state", "expected time"):
        table.add_column(name, justify="left" if name in ("net", "state") else "right")
    for run in runs:
        config = run.config
        expected = format_seconds(seconds[config]) if config in seconds else ""
        iterations = f"{run.resumed_after:,}/{config.iterations:,}" if run.to_do else f"{config.iterations:,}"
        table.add_row(config.net, str(config.seed), iterations, run.status, expected)
    console.print(table)
    for run in runs:
        if run.reason:
            console.print(f"[red]{run.config.name}:[/] {run.reason}", highlight=False)
