"""Plain and residual nets of several depths on CIFAR-10, or small ones on the demo set."""

import os
import sys
from dataclasses import dataclass, replace
from typing import Literal

from plainres.catalog.datasets import CIFAR10
from plainres.catalog.datasets import DEMO as DEMO_SET
from plainres.cli import parse_options
from plainres.data import DataMissing
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.study.options import LOCAL_RESULTS
from plainres.training import RunConfig

PAPER = {"plain": (20, 32, 44, 56), "residual": (20, 32, 44, 56, 110)}
CPU = {"plain": (20, 56), "residual": (20, 56)}
CPU_ITERATIONS = 1_500
DEMO = {"plain": (8, 32), "residual": (8, 32)}
DEMO_ITERATIONS = 1_200


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train plain and residual nets of several depths on CIFAR-10, and draw Figure 6 and Table 6."""

    depths: tuple[int, ...] = ()
    """Depths of the nets, each 6n+2. Default: the paper's with a GPU, 20 and 56 without."""
    kinds: tuple[Literal["plain", "residual"], ...] = ("plain", "residual")
    """Kinds of nets."""
    demo: bool = False
    """Train small nets for a few iterations on the embedded demo set, without a download, into results/demo."""


def study(options: Options) -> int:
    """Train the runs that the options describe, draw their figures, and return the exit status."""
    if options.demo:
        device, common = options.resolve(DEMO_ITERATIONS, DEMO_ITERATIONS, DEMO_SET.batch_size)
        common |= {"dataset": DEMO_SET.name, "batch_size": DEMO_SET.batch_size}
        print(
            f"Demo: synthetic images of {DEMO_SET.image_size} x {DEMO_SET.image_size} pixels in batches of "
            f"{DEMO_SET.batch_size}, {common['iterations']:,} iterations; nets of {DEMO_SET.warmup_depth} layers start "
            f"at a tenth of the learning rate. The paper has CIFAR-10, 32 x 32 pixels, batches of "
            f"{CIFAR10.batch_size}, {CIFAR10.paper_iterations:,} iterations, and that start at "
            f"{CIFAR10.warmup_depth} layers; all else follows the paper."
        )
    else:
        device, common = options.resolve(CPU_ITERATIONS)
    default = DEMO if options.demo else PAPER if device.type == "cuda" else CPU
    depths = {kind: options.depths or default[kind] for kind in options.kinds}
    configs = [
        RunConfig(depth=depth, shortcut=None if kind == "plain" else "A", seed=seed, **common)
        for seed in options.seeds
        for kind, chosen in depths.items()
        for depth in chosen
    ]
    if not options.demo and device.type == "cpu" and not options.depths and options.iterations is None:
        print(
            f"No GPU: nets of {' and '.join(map(str, CPU['plain']))} layers are trained for {CPU_ITERATIONS:,} "
            "iterations. The paper's protocol takes days: --iterations 64000 --depths 20 32 44 56"
        )
    results = options.results
    if options.demo:
        results = results.parent / "demo" if results == LOCAL_RESULTS else results / "demo"
    return run_experiment(configs, options, device, results)


def main(description: str | None = None) -> int:
    """Run the command line; see `plainres.cli.parse_options` for the description."""
    options = parse_options(Options, description=description)
    try:
        return study(options)
    except DataMissing as error:
        if os.environ.get("STRICT", "") not in ("", "0"):
            raise
        print(f"\n{error}\n\nContinuing with the embedded demo set instead:\n", file=sys.stderr)
        status = study(replace(options, demo=True, depths=(), iterations=None, train_set="50k"))
        print(f"\nThese results are for the DEMO SET, not CIFAR-10. {error}", file=sys.stderr)
        return status
