"""Do projections matter, or gates? (section 3.3; Table 3's question, asked on CIFAR-10)

    python experiments/shortcuts.py                        # options A, B, C and highway at 20 and 56 layers
    python experiments/shortcuts.py --depths 20 --seeds 0 1 2

With a GPU 64,000 iterations each; without one 2,000, about 3.5 hours of one core of an AMD EPYC (1,000 took 1.8).
Expected: all of A, B and C beat plain; C and B lead A by little, so projections are not what matters. Not so at 1,000
iterations, where one seed's start decides: several seeds, or longer runs, are wanted.
"""

from dataclasses import dataclass

import tyro

from plainres.cli import run_command
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train plain nets and every kind of shortcut at the same depths."""

    depths: tuple[int, ...] = (20, 56)
    """Layers, each 6n+2."""


def main() -> int:
    options = tyro.cli(Options)
    device, common = options.resolve(2_000)
    configs = [
        RunConfig(depth=depth, shortcut=shortcut, seed=seed, **common)
        for seed in options.seeds
        for depth in options.depths
        for shortcut in (None, "A", "B", "C", "highway")
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
