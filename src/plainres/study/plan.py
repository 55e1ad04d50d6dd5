"""The plan of a study: its runs, the state of each, and the expected time of the rest."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy

from plainres.errors import UserError
from plainres.nets import count_complexity
from plainres.training import Record, RunConfig
from plainres.training.build import image_shape, make_net
from plainres.training.checkpoints import iteration_of, list_checkpoints
from plainres.training.device import keep_freed_memory
from plainres.training.evaluation import BN_IMAGES, predict
from plainres.training.schedule import validation_interval

# A forward pass costs about a third of an iteration. At its end, a run evaluates the training set, the images for its
# averaged BN statistics, and the test set.
FORWARD_SHARE = 1 / 3


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study and its state."""

    config: RunConfig
    status: str  # that of the record, or "blocked" if the record cannot be used
    reason: str = ""  # why the run has diverged or is blocked
    resumed_after: int = 0  # number of iterations that the latest checkpoint contains

    @property
    def to_do(self) -> bool:
        """Whether the run still has to be trained, or resumed."""
        return self.status in ("partial", "missing")


def plan_study(configs: Iterable[RunConfig], results: Path) -> list[PlannedRun]:
    """Return the state of every run in the results folder. A record that cannot be used blocks only its own run."""
    runs = []
    for config in configs:
        record = Record.of(results, config)
        try:
            status, reason = record.status(config), (record.read_as(config) or {}).get("reason", "")
        except UserError as error:
            status, reason = "blocked", str(error)
        resumed_after = max(map(iteration_of, list_checkpoints(record.checkpoints)), default=0)
        runs.append(PlannedRun(config, status, reason, resumed_after))
    return runs


def calibrate(config: RunConfig, device: torch.device, iterations: int = 5) -> float:
    """Return the seconds per multiply-add of one training image, from a few iterations of a plain net.

    The net is plain-20 for small images and plain-18 for ImageNet. It is not compiled, which would take longer than
    the timing itself: with CUDA graphs, training is faster than that.
    """
    depth, batch_size = (18, 16) if config.family == "imagenet" else (20, 128)
    config = replace(config, depth=depth, batch_size=batch_size, shortcut=None, norm="batch", init="he", micro_batch=0)
    if device.type == "cpu":
        keep_freed_memory()
    net = make_net(config).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), fused=True)
    images = torch.rand(batch_size, *image_shape(config), generator=torch.Generator().manual_seed(0))
    images = images.to(device, memory_format=torch.channels_last)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)

    seconds = []
    for _ in range(iterations + 1):  # the first is slower
        start = time.perf_counter()
        loss = cross_entropy(predict(net, images, config.precision), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:]) / (batch_size * count_complexity(net, image_shape(config)).multiply_adds)


def multiply_adds(config: RunConfig) -> int:
    """Return the number of multiply-adds of a run's net for one image."""
    with torch.device("meta"):
        return count_complexity(make_net(config), image_shape(config)).multiply_adds


def estimate_seconds(run: PlannedRun, seconds_per_multiply_add: float, sizes: dict[str, int]) -> float:
    """Return the expected duration of what is left of a run in seconds, including all evaluations.

    `sizes` are the numbers of images in the parts `"train"` and `"test"`, and the speed is that of `calibrate`.
    """
    config, interval = run.config, validation_interval(run.config)
    evaluated = (config.iterations // interval - run.resumed_after // interval) * sizes["test"]
    evaluated += sizes["train"] + min(BN_IMAGES, sizes["train"]) + sizes["test"]
    images = (config.iterations - run.resumed_after) * config.batch_size + evaluated * FORWARD_SHARE
    return images * multiply_adds(config) * seconds_per_multiply_add


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
        if run.status == "blocked":
            console.print(f"[red]{run.config.name}:[/] {run.reason}", highlight=False)
