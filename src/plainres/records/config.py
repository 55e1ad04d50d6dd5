"""The configuration of one run, and the names that follow from it.

`run.json` holds it. Its defaults are known without PyTorch. Making one imports the nets, which check their arguments.
"""

import hashlib
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from plainres.catalog import DATASETS, SHORTCUTS, DatasetInfo
from plainres.catalog.datasets import CIFAR10, TRAIN_SETS
from plainres.errors import UserError, require_one_of

# Precisions, and what Lightning's Trainer calls them.
PRECISIONS: dict[str, Literal["64-true", "32-true", "bf16-mixed"]] = {
    "fp64": "64-true",
    "fp32": "32-true",
    "bf16": "bf16-mixed",
}
SCHEDULES = ("halves", "thirds", "plateau")
WARMUPS = ("auto", "on", "off")
ROWS = 64  # number of rows of metrics.csv, whatever the number of iterations
MOST_ITERATIONS = 1_000_000  # the batches of a run, which are drawn before its first iteration, take 2 KB each
PAPER_ITERATIONS = CIFAR10.paper_iterations
# Defaults that older records were hashed with. They must never change.
HASHED_DEFAULTS = {"num_classes": 10, "image_size": 32}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes. The device only decides how it is computed.

    Attributes:
        depth: Number of layers of the net: 6n+2 for small images; 18, 34, 50, 101 or 152 for photographs.
        shortcut: None for a plain net; A, B or C for a residual net; highway or preact.
        norm: `"batch"`, or `"none"` for nets without batch normalization, whose convolutions have biases.
        init: `"he"`, or `"naive"` for weights drawn from N(0, 0.01^2).
        classifier_init: `"he"`, `"uniform"` for the classifier's default in PyTorch, or `"small"` for N(0, 0.01^2).
        seed: Seed of the initial weights and of the batches.
        iterations: Number of iterations N, from which the learning rate schedule follows.
        dataset: cifar10, cifar100, demo (a synthetic set of shapes that needs no download) or imagenet.
        train_set: `"50k"`, or `"45k"` to hold out 5,000 images for validation.
        precision: `"fp32"`, `"bf16"` (Lightning's `bf16-mixed`: weights, BN statistics and loss stay in fp32), or
            `"fp64"` for proofs of equivalence. A study trains in it; a Trainer of your own has its own `precision`.
        batch_size: Number of images per iteration.
        lr: Initial learning rate of SGD (section 4.2).
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD, which applies to all parameters.
        clip: Upper bound of the gradient norm over all parameters. 0 means no bound, as in the paper. A Trainer's own
            `gradient_clip_val` goes before it.
        image_size: Height and width of the images that the net is trained on. 0 means the data set's own.
        num_classes: Number of outputs of the classifier. 0 means the data set's own.
        stride_in: Convolution of a bottleneck that has the stride, `"1x1"` or `"3x3"`. `"1x1"` for nets without them.
        schedule: `"halves"` to divide the learning rate by 10 at N/2 and 3N/4, `"thirds"` at N/3 and 2N/3 (30 and 60
            of 90 epochs), or `"plateau"` when the training error stops decreasing.
        micro_batch: Number of images that pass through the net together, and therefore that BN normalizes over.
            Gradients are summed over the micro-batches of a batch. 0 means the whole batch.
        warmup: `"auto"` to start nets of 110 and more layers at a tenth of the learning rate, as the paper does (on the
            demo set, those of 32 and more); `"on"` or `"off"` to decide it for any depth.

    Raises:
        UserError: If a value is out of its range.
    """

    depth: int
    shortcut: str | None = "A"
    norm: Literal["batch", "none"] = "batch"
    init: Literal["he", "naive"] = "he"
    classifier_init: Literal["he", "uniform", "small"] = "he"
    seed: int = 0
    iterations: int = PAPER_ITERATIONS
    dataset: str = "cifar10"
    train_set: str = "50k"
    precision: str = "fp32"
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip: float = 0.0
    image_size: int = 0
    num_classes: int = 0
    stride_in: str = "1x1"
    schedule: str = "halves"
    micro_batch: int = 0
    warmup: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        require_one_of("data set", self.dataset, DATASETS)
        require_one_of("precision", self.precision, PRECISIONS)
        require_one_of("schedule", self.schedule, SCHEDULES)
        require_one_of("training set", self.train_set, TRAIN_SETS)
        require_one_of("warm-up", self.warmup, WARMUPS)
        if self.train_set not in self.info.train_sets:
            raise UserError(f"the {self.info.title} has no validation split: use the training set 50k")
        self._check_net()
        if self.warmup == "on" and self.schedule != "halves":
            raise UserError("a warm-up is part of the schedule 'halves' only")
        if not ROWS <= self.iterations <= MOST_ITERATIONS:
            raise UserError(f"iterations must be between {ROWS} and {MOST_ITERATIONS:,}, not {self.iterations:,}")
        if self.batch_size < 1:
            raise UserError(f"batch size must be 1 or more, not {self.batch_size}")
        if self.micro_batch < 0 or (self.micro_batch and self.batch_size % self.micro_batch):
            raise UserError(f"micro-batch {self.micro_batch} must divide the batch size {self.batch_size}")
        for name, number in (("learning rate", self.lr), ("weight decay", self.weight_decay), ("clip", self.clip)):
            if not 0 <= number < math.inf:
                raise UserError(f"{name} must be 0 or more, not {number:g}")
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum must be at least 0 and less than 1, not {self.momentum:g}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed must be between 0 and 2^63 - 1, not {self.seed}")

    def _check_net(self) -> None:
        from plainres.nets.imagenet import BOTTLENECK_DEPTH, DOWNSAMPLING
        from plainres.nets.weights import CHECKS

        for name, title in (("num_classes", "classes"), ("image_size", "pixels per side")):
            default = getattr(self.info, name)
            if not getattr(self, name):
                object.__setattr__(self, name, default)
            if self.info.has_fixed_format and getattr(self, name) != default:
                raise UserError(f"{self.info.title} has {default} {title}, not {getattr(self, name)}")
        CHECKS[self.family](**{name: value for name, value in self.architecture().items() if name != "num_classes"})
        if self.family == "imagenet":
            if self.image_size < DOWNSAMPLING:
                raise UserError(f"image size must be {DOWNSAMPLING} or more, not {self.image_size}")
            if (self.norm, self.init) != ("batch", "he"):
                raise UserError("ImageNet nets have batch normalization and He initialization")
        if self.family != "imagenet" or self.depth < BOTTLENECK_DEPTH:
            # Without bottlenecks it has no effect, and equal runs must have equal hashes.
            object.__setattr__(self, "stride_in", type(self).stride_in)

    @property
    def info(self) -> DatasetInfo:
        """Description of the data set."""
        return DATASETS[self.dataset]

    @property
    def family(self) -> str:
        """Family of the net, a key of `plainres.nets.weights.ARCHITECTURES`."""
        return self.info.family

    def architecture(self) -> dict:
        """Return the arguments of the function that makes the net."""
        own = ("stride_in",) if self.family == "imagenet" else ("norm", "init")
        return {name: getattr(self, name) for name in ("depth", "shortcut", "classifier_init", "num_classes", *own)}

    @property
    def study(self) -> str:
        """Name of the study: data set, departures from the paper's data and BN, number of iterations, and precision.

        For example, `cifar10-64k-bf16`.
        """
        departures = {
            self.train_set: self.train_set != "50k",
            f"{self.num_classes}-classes": self.num_classes != self.info.num_classes,
            f"{self.image_size}px": self.image_size != self.info.image_size,
            f"bn{self.micro_batch}": self.micro_batch,
            self.schedule: self.schedule != "halves",
        }
        budget = str(self.iterations) if self.iterations % 1000 else f"{self.iterations // 1000}k"
        named = [text for text, departs in departures.items() if departs]
        return "-".join([self.dataset, *named, budget, self.precision])

    @property
    def kind(self) -> str:
        """Kind of the net's shortcuts: `"plain"`, `"residual"`, `"highway"` or `"pre-activation"`."""
        return SHORTCUTS[self.shortcut].kind

    @property
    def net(self) -> str:
        """Name of the net as in the paper (`plain-56`, `resnet-56`, `resnet-56-b`), with departures from the paper."""
        shortcut = SHORTCUTS[self.shortcut]
        departures = {
            "stride3x3": self.stride_in != "1x1",
            "nobn": self.norm != "batch",
            self.init: self.init != "he",
            f"{self.classifier_init}-classifier": self.classifier_init != "he",
            "warmup": self.warmup == "on",
            "nowarmup": self.warmup == "off",
            f"batch{self.batch_size}": self.batch_size != self.info.batch_size,
        }
        for field in ("lr", "momentum", "weight_decay", "clip"):
            value = getattr(self, field)
            departures[f"{field.removeprefix('weight_')}{value:g}"] = value != getattr(type(self), field)
        named = [text for text, departs in departures.items() if departs]
        return "-".join([f"{shortcut.prefix}-{self.depth}{shortcut.suffix}", *named])

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        return f"{self.net} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of the record below the results folder: `<study>/<net>/seed-<s>`."""
        return Path(self.study, self.net, f"seed-{self.seed}")

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with every change of the configuration.

        Fields at their defaults do not count, so adding a field leaves older records valid.
        """
        defaults = {f.name: f.default for f in fields(self)} | HASHED_DEFAULTS
        chosen = {name: getattr(self, name) for name in defaults if getattr(self, name) != defaults[name]}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


def learning_rate_drops(schedule: str, iterations: int) -> list[int]:
    """Return the iterations, counted from 0, at which the learning rate falls. Empty if the training error decides."""
    n = iterations
    return {"halves": [n // 2, 3 * n // 4], "thirds": [-(-n // 3), -(-2 * n // 3)]}.get(schedule, [])


# What older records that lack a field were trained with. Their data set decides the format of their images.
CONFIG_DEFAULTS = {f.name: f.default for f in fields(RunConfig) if f.name not in {"depth", *HASHED_DEFAULTS}}
