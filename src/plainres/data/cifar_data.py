"""The data module of 32x32 images: CIFAR-10 or the embedded demo set."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from plainres.data.batches import batch_table, drawn_places, share_of, single_views
from plainres.data.cifar10 import load_cifar10, require_cifar10, validation_split
from plainres.data.demo import demo_set
from plainres.data.images import ImageSet
from plainres.errors import UserError

DATASETS = ("cifar10", "demo")
TRAIN_SETS = ("50k", "45k")
DEMO_TRAIN, DEMO_TEST = 5_120, 1_280
CIFAR_TRAIN, CIFAR_TEST, CIFAR_VALIDATION = 50_000, 10_000, 5_000
TEST_BATCH = 500
MEAN_CHUNK = 1_000  # images turned to fp32 at a time; their sums stay whole numbers under 2^24, hence exact


def part_sizes(dataset: str, train_set: str) -> dict[str, int]:
    """How many images each part has, known before anything is loaded."""
    if dataset == "demo":
        return {"train": DEMO_TRAIN, "test": DEMO_TEST}
    if train_set == "45k":
        return {"train": CIFAR_TRAIN - CIFAR_VALIDATION, "test": CIFAR_TEST, "val": CIFAR_VALIDATION}
    return {"train": CIFAR_TRAIN, "test": CIFAR_TEST}


class CifarData(pl.LightningDataModule):
    """Training, validation and test images of one run, whole and in memory.

    Loaders yield rows of a batch table, int32 (B, 4) or, in training, (iterations, B, 4), and `inputs` turns the rows
    of a batch into images and labels: a batch costs one gather on whatever device holds the images, and no worker
    process. The 5,000 validation images of the 45k split get the mean of the 45,000 subtracted, as does the test set.

    Args:
        dataset: "cifar10" or "demo".
        data_dir: folder that holds, or will hold, CIFAR-10.
        train_set: "50k" to train on all of the training images, "45k" to hold 5,000 out for validation.
        seed, iterations, batch_size: of the training stream, see `batch_table`.
        share: (rank, ranks) of this process, where several divide each batch, and the views of a part, among them.

    Attributes:
        chunks: slices of consecutive iterations, each of which the next training loader yields as one.
        parts: `ImageSet` of "train", "test" and, of a 45k split, "val"; filled by `setup`.
    """

    def __init__(
        self,
        dataset: str = "cifar10",
        data_dir: str | Path = "data",
        train_set: str = "50k",
        seed: int = 0,
        iterations: int = 64_000,
        batch_size: int = 128,
        share: tuple[int, int] = (0, 1),
    ):
        super().__init__()
        if dataset not in DATASETS:
            raise UserError(f"data set must be one of {', '.join(DATASETS)}, not {dataset!r}")
        if train_set not in TRAIN_SETS:
            raise UserError(f"training set must be one of {', '.join(TRAIN_SETS)}, not {train_set!r}")
        if dataset == "demo" and train_set != "50k":
            raise UserError("the demo set has no validation split: leave --train-set at 50k")
        self.dataset, self.data_dir, self.train_set = dataset, Path(data_dir), train_set
        self.seed, self.iterations, self.batch_size = seed, iterations, batch_size
        self.share = share
        self.chunks = [slice(i, i + 1) for i in range(iterations)]
        self.parts: dict[str, ImageSet] = {}

    def prepare_data(self) -> None:
        if self.dataset == "cifar10":
            require_cifar10(self.data_dir)

    def setup(self, stage: str | None = None) -> None:
        if self.parts:
            return
        if self.dataset == "demo":
            train, test = demo_set(DEMO_TRAIN, seed=0), demo_set(DEMO_TEST, seed=1)
        else:
            train, test = load_cifar10(self.data_dir, train=True), load_cifar10(self.data_dir, train=False)
        parts = {"train": train, "test": test}
        if self.train_set == "45k":
            training, validation = validation_split(train[1])
            parts["train"] = tuple(t[training] for t in train)
            parts["val"] = tuple(t[validation] for t in train)
        pixels = parts["train"][0]
        mean = sum(some.float().sum(0) for some in pixels.split(MEAN_CHUNK)) / len(pixels)
        self.parts = {name: ImageSet(*part, mean) for name, part in parts.items()}
        self.table = batch_table(self.seed, self.iterations, len(self.parts["train"]), self.batch_size)

    def to(self, device: torch.device) -> None:
        """Move all images and the table to `device`."""
        for part in self.parts.values():
            part.to(device)
        self.table = self.table.to(device)

    @property
    def mean(self) -> Tensor:
        """The per-pixel mean as nets see it: (3, 32, 32), between 0 and 1."""
        train = self.parts["train"]
        inner = slice((train.mean.shape[0] - train.size) // 2, (train.mean.shape[0] + train.size) // 2)
        return train.mean[inner, inner].permute(2, 0, 1).cpu() / 255

    @property
    def evaluated(self) -> list[str]:
        """Parts that validation passes cover, in the order of `val_dataloader`."""
        return [name for name in ("test", "val") if name in self.parts]

    def inputs(self, rows: Tensor, part: str = "train") -> tuple[Tensor, Tensor]:
        """Images float32 (B, 3, 32, 32), mean subtracted, and labels int64 (B,) for rows (B, 4) of a loader."""
        return self.parts[part].gather(rows)

    def train_dataloader(self) -> DataLoader:
        own = share_of(self.batch_size, self.share)
        return DataLoader(self.table[:, own.start : own.stop], batch_size=None, sampler=self.chunks)

    def views(self, part: str, batch_size: int = TEST_BATCH) -> DataLoader:
        """Rows that show every image of a part (or of this process's share of it) once, as it is, in batches."""
        return self._shared(single_views(len(self.parts[part])), batch_size)

    def sample(self, images: int, batch_size: int = TEST_BATCH) -> DataLoader:
        """Rows that show a fixed random sample of the training images (or this process's share of it), as they are."""
        n = len(self.parts["train"])
        return self._shared(single_views(n)[drawn_places(n, images)], batch_size)

    def _shared(self, rows: Tensor, batch_size: int) -> DataLoader:
        own = share_of(len(rows), self.share)
        sampler = BatchSampler(own, batch_size, drop_last=False)
        return DataLoader(rows.to(self.table.device), batch_size=None, sampler=sampler)

    def first(self, images: int, batch_size: int = TEST_BATCH) -> tuple[Tensor, ...]:
        """Rows that show the first training images (at most all of them) unaugmented, in batches."""
        return single_views(min(images, len(self.parts["train"]))).to(self.table.device).split(batch_size)

    def val_dataloader(self) -> list[DataLoader]:
        return [self.views(part) for part in self.evaluated]
