"""Do deeper plain nets train worse, and do shortcuts prevent it? (sections 1 and 4.2, Figures 1 and 6, Table 6)

    make reproduce-cifar                        # set-up, this script, and its figures
    python experiments/cifar10_depth.py --plan  # the state of each run, and on a CPU the expected time

With a GPU, the nets and the protocol are the paper's: plain nets of 20, 32, 44 and 56 layers and residual nets of 20,
32, 44, 56 and 110 layers, trained for 64,000 iterations with a batch size of 128.

Without a GPU, plain and residual nets of 20 and 56 layers are trained for 1,500 iterations. As many runs as cores and
memory allow are trained side by side, and share the cores equally. `--plan` prints how long that takes; on an Intel
Xeon with AMX, the four runs took 39 minutes of one core in total (`seconds` in results/cifar10-1500-bf16), and CPUs
without bf16 are several times slower. With three seeds, every plain-56 ends far behind every plain-20 on the training
set and every ResNet-56 ahead of every plain-56, but not yet ahead of ResNet-20.

`--demo` trains smaller nets on small synthetic images, where the deep plain net also ends far behind the shallow one,
within minutes and without a download.
"""

import os
import sys
from dataclasses import dataclass, replace
from typing import Literal

from plainres.catalog.datasets import CIFAR10
from plainres.catalog.datasets import DEMO as DEMO_SET
from plainres.cli import parse_options, run_command
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


def main() -> int:
    options = parse_options(Options, description=__doc__)
    try:
        return study(options)
    except DataMissing as error:
        if os.environ.get("STRICT", "") not in ("", "0"):
            raise
        print(f"\n{error}\n\nContinuing with the embedded demo set instead:\n", file=sys.stderr)
        status = study(replace(options, demo=True, depths=(), iterations=None, train_set="50k"))
        print(f"\nThese results are for the DEMO SET, not CIFAR-10. {error}", file=sys.stderr)
        return status


if __name__ == "__main__":
    run_command(main)
