"""The configuration of one run, and the names that follow from it."""

import hashlib
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

from plainres.data import DATASETS, TRAIN_SETS
from plainres.errors import UserError
from plainres.nets.blocks import INITS, NORMS, SHORTCUTS, STRIDES_IN
from plainres.nets.imagenet import BLOCKS_PER_STAGE, BOTTLENECK_DEPTH, DOWNSAMPLING, IMAGENET_SHORTCUTS

PRECISIONS = ("fp64", "fp32", "bf16")
SCHEDULES = ("halves", "thirds", "plateau")
IMAGENET = "imagenet"
IMAGENET_BATCH = 256
IMAGENET_CLASSES = 1000
ROWS = 64  # of metrics.csv, whatever the budget
PAPER_ITERATIONS = 64_000
WARMUP_DEPTH = 110  # this depth and more begin at a tenth of the learning rate


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes; device and engine, which only compute it, are not part of it.

    Attributes:
        depth: layers of the net, 6n+2; on ImageNet 18, 34, 50, 101 or 152.
        shortcut: None (plain), "A", "B", "C" or "highway".
        seed: of the initial weights and of the batches.
        iterations: the budget N.
        norm: "batch", or "none" for nets without batch normalization (whose convolutions then have biases).
        init: "he", or "naive" (all weights from N(0, 0.01^2)).
        dataset: "cifar10", "demo" or "imagenet" (any folders of photographs).
        train_set: "50k", or "45k" with 5,000 images held out for validation.
        precision: "fp32", "bf16" (autocast; weights, statistics and loss stay fp32), or "fp64" for proofs.
        batch_size, lr, momentum, weight_decay: of SGD (section 4.2).
        clip: longest gradient (L2 norm over all parameters) that an update sees; 0 for no bound, as in the paper.
        image_size: side of the images that a net is trained on; the paper's 224 on ImageNet.
        num_classes: outputs of the classifier.
        stride_in: where a bottleneck's stride stands, "1x1" or "3x3".
        micro_batch: images that go through the net at once, gradients of a batch being summed over them: what BN
            normalizes over, on however many devices. 0: the whole batch.
        schedule: the learning rate falls tenfold at N/2 and 3N/4 ("halves"), at N/3 and 2N/3 ("thirds": 30 and 60 of
            90 epochs), or where the training error no longer falls ("plateau").

    Raises:
        UserError: a value is out of its range.
    """

    depth: int
    shortcut: str | None = "A"
    norm: str = "batch"
    init: str = "he"
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
    image_size: int = 32
    num_classes: int = 10
    stride_in: str = "1x1"
    schedule: str = "halves"
    micro_batch: int = 0

    def __post_init__(self) -> None:
        if self.dataset == IMAGENET:
            self._check_imagenet()
        elif self.depth < 8 or (self.depth - 2) % 6:
            raise UserError(f"depth must be 6n+2 (8, 14, 20, 26, 32, ...), not {self.depth}")
        if self.iterations < ROWS:
            raise UserError(f"iterations must be {ROWS} or more, not {self.iterations}")
        if self.micro_batch < 0 or (self.micro_batch and self.batch_size % self.micro_batch):
            raise UserError(f"micro-batch {self.micro_batch} must divide the batch size {self.batch_size}")
        if self.batch_size < 1:
            raise UserError(f"batch size must be 1 or more, not {self.batch_size}")
        for name, value in (("learning rate", self.lr), ("weight decay", self.weight_decay), ("clip", self.clip)):
            if not 0 <= value < math.inf:
                raise UserError(f"{name} must be 0 or more, not {value:g}")
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum must be at least 0 and less than 1, not {self.momentum:g}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed must be between 0 and 2^63 - 1, not {self.seed}")
        for name, value, known in (
            ("shortcut", self.shortcut, SHORTCUTS),
            ("norm", self.norm, NORMS),
            ("init", self.init, INITS),
            ("precision", self.precision, PRECISIONS),
            ("data set", self.dataset, (*DATASETS, IMAGENET)),
            ("stride_in", self.stride_in, STRIDES_IN),
            ("schedule", self.schedule, SCHEDULES),
            ("training set", self.train_set, TRAIN_SETS),
        ):
            if value not in known:
                raise UserError(f"{name} must be one of {', '.join(map(str, known))}, not {value}")

    def _check_imagenet(self) -> None:
        if self.depth not in BLOCKS_PER_STAGE:
            raise UserError(f"depth must be one of {', '.join(map(str, BLOCKS_PER_STAGE))}, not {self.depth}")
        if self.shortcut not in IMAGENET_SHORTCUTS:
            raise UserError(f"shortcut must be one of {', '.join(map(str, IMAGENET_SHORTCUTS))}, not {self.shortcut}")
        if self.image_size < DOWNSAMPLING:
            raise UserError(f"image size must be {DOWNSAMPLING} or more, not {self.image_size}")
        if (self.norm, self.init, self.train_set) != ("batch", "he", "50k"):
            raise UserError("ImageNet nets have batch normalization and He initialization, and no 45k split")

    @property
    def family(self) -> str:
        """The kind of net, a key of `nets.weights.ARCHITECTURES`."""
        return "imagenet" if self.dataset == IMAGENET else "cifar"

    @property
    def study(self) -> str:
        """The study's name: data set, what is not the paper's of it, budget, precision (`cifar10-64k-bf16`)."""
        n = self.iterations
        budget = f"{n // 1000}k" if n % 1000 == 0 else str(n)
        split = [self.train_set] if self.train_set != "50k" else []
        if self.dataset == IMAGENET and self.num_classes != IMAGENET_CLASSES:
            split.append(f"{self.num_classes}-classes")
        if self.dataset == IMAGENET and self.image_size != 224:
            split.append(f"{self.image_size}px")
        if self.micro_batch:
            split.append(f"bn{self.micro_batch}")
        if self.schedule != "halves":
            split.append(self.schedule)
        return "-".join([self.dataset, *split, budget, self.precision])

    @property
    def kind(self) -> str:
        """ "plain", "residual" or "highway"."""
        return {None: "plain", "highway": "highway"}.get(self.shortcut, "residual")

    @property
    def net(self) -> str:
        """The net's name as in the paper (`plain-56`, `resnet-56`, `resnet-56-b`), and where it departs from it."""
        name = f"{'resnet' if self.kind == 'residual' else self.kind}-{self.depth}"
        if self.shortcut in ("B", "C"):
            name += f"-{self.shortcut.lower()}"
        if self.dataset == IMAGENET and self.depth >= BOTTLENECK_DEPTH and self.stride_in != "1x1":
            name += "-stride3x3"
        if self.norm != "batch":
            name += "-nobn"
        if self.init != "he":
            name += f"-{self.init}"
        for field, short in (
            ("batch_size", "batch"),
            ("lr", "lr"),
            ("momentum", "momentum"),
            ("weight_decay", "decay"),
            ("clip", "clip"),
        ):
            usual = IMAGENET_BATCH if (self.dataset, field) == (IMAGENET, "batch_size") else getattr(type(self), field)
            if getattr(self, field) != usual:
                name += f"-{short}{getattr(self, field):g}"
        return name

    @property
    def name(self) -> str:
        """What messages call the run."""
        return f"{self.net} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The record's folder below the results folder: <study>/<net>/seed-<s>."""
        return Path(self.study, self.net, f"seed-{self.seed}")

    @property
    def hash(self) -> str:
        """Twelve hex digits that any change of the configuration changes.

        Fields at their defaults do not count, so that a field added later leaves older records valid.
        """
        chosen = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]
