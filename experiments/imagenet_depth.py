"""Does depth hurt plain nets on ImageNet, and does it pay in residual ones? (section 4.1; Figure 4, Tables 2 and 3)

    make reproduce-imagenet DATA_DIR=/data/imagenet GPUS=8
    python experiments/imagenet_depth.py --data-dir /data/imagenet --plan     # GPU-hours, before anything is trained
    python experiments/imagenet_depth.py --data-dir SAMPLE --check            # minutes on a CPU: is the pipeline whole?

Plain and residual nets (option A) of 18 and 34 layers and residual ones (option B) of 50, 101 and 152, 600,000
iterations of 256 each, one net a GPU. Score the weights afterwards with `python -m plainres.scoring score`. Expected:
plain-34 behind plain-18 in training and validation error, ResNet-34 ahead of ResNet-18, deeper ones ahead of that.
"""

from dataclasses import dataclass

import tyro

from plainres.cli import run_command
from plainres.experiment import run_experiment
from plainres.study.imagenet import ImageNetOptions
from plainres.training import RunConfig

PAIRED = (18, 34)
BOTTLENECKS = (50, 101, 152)


@dataclass(frozen=True, kw_only=True)
class Options(ImageNetOptions):
    """Train the paper's plain and residual ImageNet nets and draw Figure 4."""

    depths: tuple[int, ...] = ()
    """Of 18, 34, 50, 101, 152. Default: all; 18 and 34 with --check."""


def main() -> int:
    options = tyro.cli(Options)
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
