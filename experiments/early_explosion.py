"""How much of the gap between plain-56 and plain-20 is due to the explosion of the first gradients?

    python experiments/early_explosion.py --seeds 1
    python experiments/early_explosion.py --seeds 1 --plan

At initialization, the gradients of plain nets with batch normalization grow exponentially towards the first layers
(Yang et al., "A Mean Field Theory of Batch Normalization", 2019), so that the first updates of plain-56 are very large.
Two controls reduce them: an upper bound of 1 on the gradient norm (plain-56-clip1, and plain-20-clip1 to see the effect
of the bound itself), and a warm-up at a tenth of the learning rate, as the paper uses for ResNet-110 (plain-56-warmup).
They are compared with plain-20 and plain-56 after 8,000 iterations.

The three nets with a control took 2.7 hours of one core of an Intel Xeon with AMX, and plain-56 without a control 2.9
hours of one core of an AMD EPYC, both beside other programs (`seconds` in results/cifar10-8k-bf16).

The part of the gap that remains between plain-56 with a control and plain-20, or plain-20-clip1, is not explained by
the first updates. With one seed (results/cifar10-8k-bf16), the bound takes the training error of plain-56 from 54.9% to
38.1% and the warm-up to 49.6%, while that of plain-20 is 12.8%. Three seeds of plain-56 at this budget differ by ten
points (results/cifar10-8k-fp32), so single runs do not decide how much of the gap the first updates explain. The nets
with a control were trained on another CPU than those without. At 2,000 iterations, the nets with and without the bound
have three seeds each on one kind of CPU (results/cifar10-2k-bf16): there, most of the gap remains with the bound, and
docs/findings.md has the intervals.
"""

from dataclasses import dataclass

from plainres.cli import parse_options, run_command
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig

ITERATIONS = 8_000


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train plain nets with a bounded gradient norm and with a warm-up, beside plain nets without either."""

    depths: tuple[int, int] = (20, 56)
    """Depths of the shallow and of the deep plain net, each 6n+2."""
    clip: float = 1.0
    """Upper bound of the gradient norm."""


def main() -> int:
    options = parse_options(Options, description=__doc__)
    device, common = options.resolve(ITERATIONS, ITERATIONS)
    shallow, deep = options.depths
    nets = [
        {"depth": shallow},
        {"depth": deep},
        {"depth": shallow, "clip": options.clip},
        {"depth": deep, "clip": options.clip},
        {"depth": deep, "warmup": "on"},
    ]
    configs = [RunConfig(shortcut=None, seed=seed, **net, **common) for seed in options.seeds for net in nets]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
