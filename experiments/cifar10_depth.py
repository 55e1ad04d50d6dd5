"""Does depth hurt plain nets, and do shortcuts mend it? (sections 1 and 4.2; Figures 1 and 6, Table 6)

    make reproduce-cifar                        # this script, set-up and figures included
    python experiments/cifar10_depth.py --plan  # what is done, what is missing, how long it would take

With a GPU: plain-20/32/44/56 and ResNet-20/32/44/56/110, 64,000 iterations of 128 each, the paper's protocol.
Without one: plain and residual 20 and 44 at 1,000 iterations, about 20 minutes on 2 cores. That is enough to see the
deeper plain net fall behind and the residual twin lead at both depths; not enough for the deeper residual net to win.
"""

import os
import sys
from dataclasses import dataclass, replace
from typing import Literal

import tyro

from plainres.cli import run_command
from plainres.data import DataMissing
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.study.options import LOCAL_RESULTS
from plainres.training import RunConfig

PAPER = {"plain": (20, 32, 44, 56), "residual": (20, 32, 44, 56, 110)}
CPU = {"plain": (20, 44), "residual": (20, 44)}
CPU_ITERATIONS = 1_000
DEMO = {"plain": (8, 20), "residual": (8, 20)}
DEMO_ITERATIONS = 256


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train the plain and residual nets of the chosen depths on CIFAR-10 and draw the degradation figure."""

    depths: tuple[int, ...] = ()
    """Layers, each 6n+2. Default: the paper's with a GPU, 20 and 44 without."""
    kinds: tuple[Literal["plain", "residual"], ...] = ("plain", "residual")
    """Which nets."""
    demo: bool = False
    """Use the embedded demo set (no download) with small nets and a small budget, into results/demo."""


def study(options: Options) -> int:
    """Run the study that the options describe and draw its figures; exit status."""
    if options.demo:
        device, common = options.resolve(DEMO_ITERATIONS, DEMO_ITERATIONS)
        common["dataset"] = "demo"
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
            f"No GPU: depths {', '.join(map(str, CPU['plain']))} at {CPU_ITERATIONS:,} iterations. The full protocol, "
            "64,000 iterations of nine nets, wants a GPU; days here: --iterations 64000 --depths 20 32 44 56"
        )
    results = options.results
    if options.demo:
        results = results.parent / "demo" if results == LOCAL_RESULTS else results / "demo"
    return run_experiment(configs, options, device, results)


def main() -> int:
    options = tyro.cli(Options)
    try:
        return study(options)
    except DataMissing as error:
        if os.environ.get("STRICT", "") not in ("", "0"):
            raise
        print(f"\n{error}\n\nUntil then, the same pipeline on the embedded demo set:\n", file=sys.stderr)
        status = study(replace(options, demo=True, depths=(), iterations=None, train_set="50k"))
        print(f"\nThis was the DEMO SET, not CIFAR-10. {error}", file=sys.stderr)
        return status


if __name__ == "__main__":
    run_command(main)
