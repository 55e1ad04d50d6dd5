"""Do projections matter? (section 4.1, Table 3)

    python experiments/imagenet_shortcuts.py --data-dir /data/imagenet --plan
    python experiments/imagenet_shortcuts.py --data-dir /data/imagenet

ResNet-34 with zero padding (A), projections where dimensions grow (B) and projections everywhere (C), beside plain-34,
600,000 iterations of 256 each. Expected: C ahead of B ahead of A by little, all of them far ahead of plain.
"""

import tyro

from plainres.cli import run_command
from plainres.experiment import run_experiment
from plainres.study.imagenet import ImageNetOptions
from plainres.training import RunConfig

DEPTH = 34


def main() -> int:
    options = tyro.cli(ImageNetOptions)
    device, common = options.resolve_imagenet()
    configs = [
        RunConfig(depth=DEPTH, shortcut=shortcut, seed=seed, **common)
        for seed in options.seeds
        for shortcut in (None, "A", "B", "C")
    ]
    return run_experiment(configs, options, device)


if __name__ == "__main__":
    run_command(main)
