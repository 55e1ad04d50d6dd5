"""What are the errors of one net? Train any net of the study with any settings.

    python experiments/train.py --depth 56 --shortcut none --seeds 0 1 --iterations 8000
    python experiments/train.py --depth 20 --lr 0.03 --train-set 45k      # choose settings on held-out images
    python experiments/train.py --depth 20 --plan                         # expected time on this CPU

Without `--iterations`, a GPU trains for the paper's 64,000 iterations, and a CPU for 1,000.

The W&B sweeps in `experiments/sweeps/` run this script. On one core of an AMD EPYC with AVX-512 BF16, 8,000 iterations
of ResNet-20 took 34 minutes, and those of ResNet-56 took 184 minutes beside other programs (`seconds` in the last row
of metrics.csv, results/cifar10-8k-bf16).
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
    """Train one net, once per seed."""

    depth: int = 20
    """Depth of the net, 6n+2."""
    shortcut: str = "A"
    """Kind of shortcut: none (the plain net), A, B, C, highway or preact."""
    norm: Literal["batch", "none"] = "batch"
    """Normalization. none: no batch normalization."""
    init: Literal["he", "naive"] = "he"
    """Initialization. he: He et al. (2015); naive: all weights from N(0, 0.01^2)."""
    classifier_init: Literal["he", "uniform", "small"] = "he"
    """Initial weights of the classifier. he: as the other layers; uniform: PyTorch's default; small: N(0, 0.01^2)."""
    batch_size: int = 128
    """Number of images per iteration."""
    lr: float = 0.1
    """Initial learning rate."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 1e-4
    """Weight decay of SGD."""
    clip: float = 0.0
    """Upper bound of the gradient norm. 0: no bound, as in the paper."""
    dataset: str = "cifar10"
    """Data set: cifar10, cifar100, or demo (a synthetic set of shapes that requires no download)."""
    warmup: Literal["auto", "on", "off"] = "auto"
    """Whether training starts at a tenth of the learning rate. auto: only nets of 110 and more layers."""


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    device, common = options.resolve(CPU_ITERATIONS, batch_size=options.batch_size)
    names = ("depth", "norm", "init", "classifier_init", "batch_size", "lr", "momentum", "weight_decay", "clip")
    names += ("dataset", "warmup")
    settings = {name: getattr(options, name) for name in names}
    settings["shortcut"] = None if options.shortcut == "none" else options.shortcut
    return run_experiment([RunConfig(seed=seed, **settings, **common) for seed in options.seeds], options, device)


if __name__ == "__main__":
    run_command(main)
