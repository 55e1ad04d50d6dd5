"""Do projection shortcuts matter on ImageNet? (section 4.1, Table 3)

    python experiments/imagenet_shortcuts.py --data-dir /data/imagenet --plan
    python experiments/imagenet_shortcuts.py --data-dir /data/imagenet

Plain-34 and ResNet-34 with zero-padding shortcuts (A), projections where dimensions grow (B) and projections everywhere
(C) are trained for 600,000 iterations with a batch size of 256. This study has not been run: --plan estimates its cost.

Expected from the paper: C has slightly lower errors than B, B has slightly lower errors than A, and all three have much
lower errors than plain-34.
"""

from plainres.cli import parse_options, run_command
from plainres.experiment import run_experiment
from plainres.study.imagenet import ImageNetOptions
from plainres.training import RunConfig

DEPTH = 34


def main() -> int:
    options = parse_options(ImageNetOptions, description=__doc__)
    device, common = options.resolve_imagenet()
    configs = [
        RunConfig(depth=DEPTH, shortcut=shortcut, seed=seed, **common)
        for seed in options.seeds
        for shortcut in (None, "A", "B", "C")
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
