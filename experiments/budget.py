"""Are deep plain nets only slow? (section 4.1, footnote: three times the iterations do not remove degradation)

    python experiments/budget.py                            # 1k, 2k and 4k iterations
    python experiments/budget.py --budgets 8000 16000 64000

Plain and residual nets of 20 and 56 layers at growing budgets, with the learning rate divided by 10 at N/2 and 3N/4 of
each. At the smallest budget there are controls: plain-56 at learning rates of 0.03 and 0.01, and plain-20 and plain-56
with the gradient norm bounded by 1, because the first gradients of plain-56 are hundreds of times as large as those of
plain-20. About 5 hours of one core of an AMD EPYC, estimated from its runs of 1,000 and 2,000 iterations.

What the committed records show, with seed 0: the errors fall with the budget, except that ResNet-56 has higher ones at
1,500 iterations than at 1,000, on another CPU. Plain-56 remains behind plain-20 at every budget up to 64,000
iterations. The gap is much smaller there than at 8,000. The controls have 1,000 iterations, where none of them brings
plain-56 near plain-20. That is too short to say what a smaller learning rate or a bounded gradient would give at the
end of a full training; `early_explosion.py` has controls at 8,000 iterations.
The footnote is about ImageNet; a test of it on CIFAR requires 64,000 and 192,000 iterations.
"""

from dataclasses import dataclass

from plainres.cli import parse_options, run_command
from plainres.errors import UserError
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train plain and residual nets at growing budgets, and plain nets with smaller updates."""

    budgets: tuple[int, ...] = (1_000, 2_000, 4_000)
    """Numbers of iterations."""
    rates: tuple[float, ...] = (0.03, 0.01)
    """Initial learning rates of plain-56 beside 0.1, at the smallest budget."""
    clips: tuple[float, ...] = (1.0,)
    """Bounds on the gradient norm of plain-20 and plain-56, at the smallest budget."""


def main() -> int:
    options = parse_options(Options, description=__doc__)
    if options.iterations is not None:
        raise UserError("this experiment trains at several budgets: use --budgets instead of --iterations")
    if not options.budgets:
        raise UserError("--budgets must be followed by at least one number of iterations")
    device, common = options.resolve(min(options.budgets))
    del common["iterations"]
    configs = [
        RunConfig(depth=depth, shortcut=shortcut, seed=seed, iterations=budget, **common)
        for budget in sorted(options.budgets)
        for seed in options.seeds
        for shortcut in (None, "A")
        for depth in (20, 56)
    ]
    controls = [{"depth": 56, "lr": lr} for lr in options.rates]
    controls += [{"depth": depth, "clip": clip} for clip in options.clips for depth in (20, 56)]
    configs += [
        RunConfig(shortcut=None, seed=seed, iterations=min(options.budgets), **control, **common)
        for control in controls
        for seed in options.seeds
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
