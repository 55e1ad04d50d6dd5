"""What does this one net give? Train any net of the study with any of its settings.

    python experiments/train.py --depth 56 --shortcut none --seeds 0 1 --iterations 8000
    python experiments/train.py --depth 20 --lr 0.03 --train-set 45k      # settings are chosen on held-out images

The program of the W&B sweeps in `experiments/sweeps/`. A ResNet-20 takes 0.13 to 0.25 s an iteration on 2 CPU cores
in bf16 without AMX (measured), a ResNet-56 2.8 times that.
"""

from dataclasses import dataclass
from typing import Literal

import tyro

from plainres.cli import run_command
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig

CPU_ITERATIONS = 1_000


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Train one net, once for each seed."""

    depth: int = 20
    """Layers, 6n+2."""
    shortcut: str = "A"
    """Kind of shortcut: none (the plain net), A, B, C, highway or preact."""
    norm: Literal["batch", "none"] = "batch"
    """none: without batch normalization."""
    init: Literal["he", "naive"] = "he"
    """naive: all weights from N(0, 0.01^2)."""
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float = 0.0
    """Longest gradient that an update sees; 0: no bound."""
    dataset: str = "cifar10"
    """cifar10, cifar100, or demo (the embedded set of drawn shapes, for trying things offline)."""
    warmup: Literal["auto", "on", "off"] = "auto"
    """Whether the run starts at a tenth of the learning rate. auto: from 110 layers on."""


def main() -> int:
    options = tyro.cli(Options)
    device, common = options.resolve(CPU_ITERATIONS)
    chosen = ("depth", "norm", "init", "batch_size", "lr", "momentum", "weight_decay", "clip", "dataset", "warmup")
    net = {name: getattr(options, name) for name in chosen}
    net["shortcut"] = None if options.shortcut == "none" else options.shortcut
    return run_experiment([RunConfig(seed=seed, **net, **common) for seed in options.seeds], options, device)


if __name__ == "__main__":
    run_command(main)
