"""How does depth change plain and residual nets on ImageNet? (section 4.1, Figure 4, Tables 2 and 3)

    make reproduce-imagenet DATA_DIR=/data/imagenet GPUS=8
    python experiments/imagenet_depth.py --data-dir /data/imagenet --plan     # expected time on this machine
    python experiments/imagenet_depth.py --data-dir SAMPLE --check            # test of the pipeline on a CPU

Plain and residual nets (option A) of 18 and 34 layers, and residual nets (option B) of 50, 101 and 152 layers, are
trained for 600,000 iterations with a batch size of 256, one net per GPU. Afterwards, score the weights with
`python -m plainres.scoring score`. This study has not been run: --plan estimates its cost on the machine at which it is
called. With --check, the four shallow nets took 10 minutes in total on one core of an AMD EPYC, on ten classes
(`seconds` in results/imagenet-10-classes-64px-plateau-256-bf16).

Expected from the paper: plain-34 has a higher training and validation error than plain-18, ResNet-34 has lower errors
than ResNet-18, and the errors of the bottleneck nets decrease with depth.
"""

from dataclasses import dataclass

from plainres.cli import parse_options, run_command
from plainres.experiment import run_experiment
from plainres.study.imagenet import ImageNetOptions
from plainres.training import RunConfig

PAIRED = (18, 34)
BOTTLENECKS = (50, 101, 152)


@dataclass(frozen=True, kw_only=True)
class Options(ImageNetOptions):
    """Train the paper's plain and residual ImageNet nets, and draw Figure 4."""

    depths: tuple[int, ...] = ()
    """Depths of the nets: 18, 34, 50, 101, 152. Default: all, or 18 and 34 with --check."""


def main() -> int:
    options = parse_options(Options, description=__doc__)
    device, common = options.resolve_imagenet()
    depths = options.depths or (PAIRED if options.check else PAIRED + BOTTLENECKS)
    configs = [
        RunConfig(depth=depth, shortcut=shortcut, seed=seed, **common)
        for seed in options.seeds
        for depth in depths
        for shortcut in ((None, "A") if depth in PAIRED else ("B",))
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
