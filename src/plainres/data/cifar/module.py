"""The data module of small images: CIFAR-10, CIFAR-100 and the demo set."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from plainres.catalog import DATASETS
from plainres.catalog.datasets import TRAIN_SETS
from plainres.data.cifar.batch_table import batch_table, unaugmented_rows
from plainres.data.cifar.files import SOURCES, require_cifar
from plainres.data.cifar.image_set import ImageSet
from plainres.data.cifar.parts import load_parts
from plainres.data.sharding import shard_range
from plainres.errors import UserError, require_one_of

TEST_BATCH = {"cpu": 500, "cuda": 2_500}  # larger batches save launches on a GPU and overflow the caches of a CPU
# Runs that follow one another in a process often differ only in their nets. 64,000 iterations take 130 MB.
shared_batch_table = lru_cache(maxsize=1)(batch_table)


class CifarData(pl.LightningDataModule):
    """The training, validation and test images of one run, all of them in memory.

    The loaders yield rows of a batch table, int32 (B, 4), or (iterations, B, 4) in training. `inputs` turns rows into
    images and labels with one gather on the device of the images, so no worker process is needed. Test images, and
    the 5,000 validation images of the 45k split, are normalized with the mean of the training images. Images and
    batch table are kept for the next run of this process, which often shares them. Implements `RunData`.

    Args:
        dataset: `"cifar10"`, `"cifar100"` or `"demo"`.
        data_dir: Folder that holds, or will hold, the data set.
        train_set: `"50k"` to train on all training images, or `"45k"` to hold out 5,000 for validation.
        seed: Seed of the batches, see `batch_table`.
        iterations: Length of the batch table.
        batch_size: Number of images per iteration.
        shard: `(rank, size)` of this process, if several processes divide each batch among them.

    Attributes:
        parts: `ImageSet` of `"train"`, `"test"` and, with the 45k split, `"val"`. Filled by `setup` if it is empty.

    Raises:
        UserError: If the data set or the training set is unknown.
    """

    def __init__(
        self,
        dataset: str = "cifar10",
        data_dir: str | Path = "data",
        train_set: str = "50k",
        seed: int = 0,
        iterations: int = 64_000,
        batch_size: int = 128,
        shard: tuple[int, int] = (0, 1),
    ):
        super().__init__()
        require_one_of("data set", dataset, [info.name for info in DATASETS.values() if info.family == "cifar"])
        require_one_of("training set", train_set, TRAIN_SETS)
        self.info = DATASETS[dataset]
        if train_set not in self.info.train_sets:
            raise UserError(f"the {self.info.title} has no validation split: use --train-set 50k")
        self.data_dir, self.train_set = Path(data_dir), train_set
        self.seed, self.iterations, self.batch_size = seed, iterations, batch_size
        self.shard = shard
        self.parts: dict[str, ImageSet] = {}

    def prepare_data(self) -> None:
        if self.info.name in SOURCES:
            require_cifar(self.info.name, self.data_dir)

    def setup(self, stage: str | None = None) -> None:
        if not self.parts:
            self.parts = load_parts(self.info.name, self.data_dir, self.train_set)
        self.table = shared_batch_table(self.seed, self.iterations, len(self.parts["train"]), self.batch_size)

    def to(self, device: torch.device) -> None:
        """Move all images and the batch table to `device`."""
        self.parts = {name: part.to(device) for name, part in self.parts.items()}
        self.table = self.table.to(device)

    @property
    def mean(self) -> Tensor:
        """Mean of the training images per pixel, (3, H, W), between 0 and 1."""
        train = self.parts["train"]
        inner = slice((train.mean.shape[0] - train.size) // 2, (train.mean.shape[0] + train.size) // 2)
        return train.mean[inner, inner].permute(2, 0, 1).cpu() / 255

    @property
    def evaluated(self) -> list[str]:
        """Names of the parts that a pass over the test set covers, in the order of `val_dataloader`."""
        return [name for name in ("test", "val") if name in self.parts]

    @property
    def class_names(self) -> None:
        """None: weights files of small images do not name their classes."""
        return None

    def inputs(self, batch: Tensor, part: str = "train") -> tuple[Tensor, Tensor]:
        """Return images float32 (B, 3, H, W), with the mean subtracted, and labels int64 (B,).

        Args:
            batch: Rows int32 (B, 4) of a loader, on the device of the images.
            part: Part that the rows refer to.
        """
        return self.parts[part].gather(batch)

    def train_batches(self, spans: Sequence[slice]) -> DataLoader:
        """Return a loader that yields the rows of each span of iterations, int32 (iterations, B, 4)."""
        shard = shard_range(self.batch_size, self.shard)
        # A loader accepts whatever can be indexed.
        rows = cast(Dataset, self.table[:, shard.start : shard.stop])
        return DataLoader(rows, batch_size=None, sampler=spans)

    def iterations_of(self, loaded: Tensor) -> Tensor:
        """Return the rows as they are: their first dimension is the iteration."""
        return loaded

    def train_dataloader(self) -> DataLoader:
        return self.train_batches([slice(i, i + 1) for i in range(self.iterations)])

    def val_dataloader(self) -> list[DataLoader]:
        return [self.views(part) for part in self.evaluated]

    def views(self, part: str, batch_size: int | None = None) -> DataLoader:
        """Return a loader of rows that show every image of a part, or of this process's share of it, once."""
        rows = unaugmented_rows(len(self.parts[part]))
        batch_size = batch_size or TEST_BATCH.get(self.table.device.type, TEST_BATCH["cpu"])
        sampler = BatchSampler(shard_range(len(rows), self.shard), batch_size, drop_last=False)
        return DataLoader(cast(Dataset, rows.to(self.table.device)), batch_size=None, sampler=sampler)

    def first(self, images: int, batch_size: int = TEST_BATCH["cpu"]) -> tuple[Tensor, ...]:
        """Return rows that show the first training images (at most all of them) without augmentation, in batches."""
        return unaugmented_rows(min(images, len(self.parts["train"]))).to(self.table.device).split(batch_size)
