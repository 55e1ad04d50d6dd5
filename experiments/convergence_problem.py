"""Is degradation the old convergence problem? (section 1)

    python experiments/convergence_problem.py

Plain nets with and without batch normalization, with He and with naive initialization (all weights from N(0, 0.01^2)),
at 20 and 56 layers and a small budget: 256 iterations, 25 minutes on 2 shared cores of an AMD EPYC, two runs at a time.
Expected: without BN nothing is learned, with either initialization (the signal vanishes, or the rate of 0.1 is too much
for it; a run that diverges is recorded so, which is a result here and no failure); with both it converges, and the
deeper net is still worse. That is the other problem, degradation.
"""

from dataclasses import dataclass

import tyro

from plainres.cli import run_command
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train plain nets with and without batch normalization and He initialization."""

    depths: tuple[int, ...] = (20, 56)
    """Layers, each 6n+2."""


def main() -> int:
    options = tyro.cli(Options)
    device, common = options.resolve(256, 256)
    configs = [
        RunConfig(depth=depth, shortcut=None, norm=norm, init=init, seed=seed, **common)
        for seed in options.seeds
        for norm in ("none", "batch")
        for init in ("naive", "he")
        for depth in options.depths
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
