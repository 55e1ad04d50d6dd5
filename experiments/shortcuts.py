"""Which kind of shortcut connection is best? (section 3.3, and the question of Table 3 on CIFAR-10)

    python experiments/shortcuts.py                                 # every kind at 20 and 56 layers
    python experiments/shortcuts.py --shortcuts A B C --seeds 0 1 2
    python experiments/shortcuts.py --plan

Trains plain nets, residual nets with options A, B and C, highway nets (Srivastava et al., 2015) and pre-activation nets
(He et al., 2016): for 64,000 iterations with a GPU, otherwise for 2,000. For 1,000 iterations, the eight plain
nets and nets with options A, B and C took 1.3 hours on an AMD EPYC with AVX-512 BF16, most of them on one core
(`seconds` in results/cifar10-1k-bf16). `--plan` prints the time of all twelve.

Expected from Table 3: A, B and C have much lower errors than the plain net, and differ little among themselves. The
runs of 1,000 iterations and one seed cannot decide between them: there, A has the highest training error of the three
at 20 layers and the lowest at 56. Use several seeds and more iterations.
"""

from dataclasses import dataclass

from plainres.cli import parse_options, run_command
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train nets with several kinds of shortcuts at the same depths."""

    depths: tuple[int, ...] = (20, 56)
    """Depths of the nets, each 6n+2."""
    shortcuts: tuple[str, ...] = ("none", "A", "B", "C", "highway", "preact")
    """Kinds of shortcuts; none is the plain net."""


def main() -> int:
    options = parse_options(Options, description=__doc__)
    device, common = options.resolve(2_000)
    configs = [
        RunConfig(depth=depth, shortcut=None if shortcut == "none" else shortcut, seed=seed, **common)
        for seed in options.seeds
        for depth in options.depths
        for shortcut in options.shortcuts
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
