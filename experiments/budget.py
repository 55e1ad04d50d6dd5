"""Are deep plain nets only slow? (the paper's footnote: three times the iterations do not mend degradation)

    python experiments/budget.py                            # 1k, 2k and 4k iterations without a GPU
    python experiments/budget.py --budgets 8000 16000 64000

Plain and residual 20 and 56 at growing budgets, the learning rate falling at N/2 and 3N/4 of each. And plain-56 at the
smallest budget with other updates, since a bad rate is the first objection: at rates of 0.03 and 0.01, and with the
gradient's length bounded by 1, since its first gradients are some hundred times as long as later ones. About 5 hours
of one core of an AMD EPYC, by its runs of 1,000 and 2,000.
Expected: the error of every net falls with the budget, the gap between plain-56 and plain-20 stays.
"""

from dataclasses import dataclass

import tyro

from plainres.cli import run_command
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train plain and residual nets at growing budgets, and plain-56 with smaller updates."""

    budgets: tuple[int, ...] = (1_000, 2_000, 4_000)
    """Iterations."""
    rates: tuple[float, ...] = (0.03, 0.01)
    """Initial learning rates of plain-56 beside 0.1, at the smallest budget."""
    clips: tuple[float, ...] = (1.0,)
    """Bounds on the length of plain-56's gradient, at the smallest budget."""


def main() -> int:
    options = tyro.cli(Options)
    device, common = options.resolve(min(options.budgets))
    del common["iterations"]
    configs = [
        RunConfig(depth=depth, shortcut=shortcut, seed=seed, iterations=budget, **common)
        for budget in sorted(options.budgets)
        for seed in options.seeds
        for shortcut in (None, "A")
        for depth in (20, 56)
    ]
    controls = [{"lr": lr} for lr in options.rates] + [{"clip": clip} for clip in options.clips]
    configs += [
        RunConfig(depth=56, shortcut=None, seed=seed, iterations=min(options.budgets), **control, **common)
        for control in controls
        for seed in options.seeds
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
