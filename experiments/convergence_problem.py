"""Is degradation the old convergence problem? (section 1)

    python experiments/convergence_problem.py

Plain nets of 20 and 56 layers with and without batch normalization, with He and with naive initialization (all weights
from N(0, 0.01^2)), for 256 iterations. A learning rate of 0.1 may simply be too high without batch normalization, so
nets without it are trained at 0.1, 0.01 and 0.001. The 16 runs took 36 minutes of one core in total, half of them on an
AMD EPYC and half on an Intel Xeon (`seconds` in results/cifar10-256-bf16).

What the committed records show, with seed 0: without batch normalization and with naive initialization, both nets
predict the same class for every image at every rate (a test error of exactly 90%). With He initialization, plain-20
learns at the rate 0.01, and plain-56 hardly leaves 90% at any rate. With batch normalization and He initialization both
nets learn, and plain-56 is behind plain-20; with naive initialization only plain-20 clearly learns. 256 iterations
cannot tell a slower start from a worse end. A run that diverges is recorded as such, which is a result here.
"""

from dataclasses import dataclass

from plainres.cli import parse_options, run_command
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train plain nets with and without batch normalization and He initialization."""

    depths: tuple[int, ...] = (20, 56)
    """Depths, each 6n+2."""
    rates: tuple[float, ...] = (0.1, 0.01, 0.001)
    """Initial learning rates of the nets without batch normalization."""


def main() -> int:
    options = parse_options(Options, description=__doc__)
    device, common = options.resolve(256, 256)
    configs = [
        RunConfig(depth=depth, shortcut=None, norm=norm, init=init, seed=seed, lr=lr, **common)
        for seed in options.seeds
        for norm, rates in (("none", options.rates), ("batch", (0.1,)))
        for init in ("naive", "he")
        for lr in rates
        for depth in options.depths
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
