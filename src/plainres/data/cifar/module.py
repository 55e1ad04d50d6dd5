"""The data module of small images: CIFAR-10, CIFAR-100 and the demo set."""

import os
from functools import lru_cache
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from plainres.catalog import DATASETS
from plainres.catalog.datasets import TRAIN_SETS
from plainres.data.base import BatchLoader, StudyData, shard_range
from plainres.data.cifar.batch_table import batch_table, unaugmented_rows
from plainres.data.cifar.files import SOURCES, require_cifar
from plainres.data.cifar.image_set import ImageSet
from plainres.data.cifar.parts import load_parts
from plainres.errors import UserError, require_one_of

TEST_BATCH = 500  # larger batches overflow the caches of a CPU
# Runs that follow one another in a process often differ only in their nets. 64,000 iterations take 130 MB.
shared_batch_table = lru_cache(maxsize=1)(batch_table)


class CifarData(StudyData):
    """The training, validation and test images of one run, all of them in memory.

    The loaders yield rows of a batch table, int32 (B, 4). `inputs` turns rows into images and labels with one gather
    on their device, so no worker process is needed. Test images, and the 5,000 validation images of the 45k split, are
    normalized with the mean of the training images. Images and batch table are kept for the next run of this process,
    which often shares them.

    Args:
        data_dir: Folder that holds, or will hold, the data set. Default: the environment variable DATA_DIR, or ./data.
        dataset: `"cifar10"`, `"cifar100"` or `"demo"`.
        train_set: `"50k"` to train on all training images, or `"45k"` to hold out 5,000 for validation.
        seed: Seed of the batches, see `batch_table`.
        iterations: Number of batches of the table. An epoch, however, is a pass over the images.
        batch_size: Number of images per iteration, over all processes.
        micro_batch: As for `StudyData`.

    Attributes:
        parts: `ImageSet` of `"train"`, `"test"` and, with the 45k split, `"val"`. Filled by `setup` if it is empty.

    Raises:
        UserError: If the data set or the training set is unknown.
    """

    parts: dict[str, ImageSet]

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        dataset: str = "cifar10",
        train_set: str = "50k",
        seed: int = 0,
        iterations: int = 64_000,
        batch_size: int = 128,
        micro_batch: int = 0,
    ):
        super().__init__(seed, iterations, batch_size, micro_batch)
        require_one_of("data set", dataset, [info.name for info in DATASETS.values() if info.family == "cifar"])
        require_one_of("training set", train_set, TRAIN_SETS)
        self.info = DATASETS[dataset]
        if train_set not in self.info.train_sets:
            raise UserError(f"the {self.info.title} has no validation split: use --train-set 50k")
        self.data_dir = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
        self.train_set = train_set
        self.parts = {}

    def prepare_data(self) -> None:
        if self.info.name in SOURCES:
            require_cifar(self.info.name, self.data_dir)

    def setup(self, stage: str | None = None) -> None:
        if not self.parts:
            self.parts = load_parts(self.info.name, self.data_dir, self.train_set)
        self.table = shared_batch_table(self.seed, self.iterations, len(self.parts["train"]), self.batch_size)

    @property
    def mean(self) -> Tensor:
        """Mean of the training images per pixel, (3, H, W), between 0 and 1."""
        train = self.parts["train"]
        inner = slice((train.mean.shape[0] - train.size) // 2, (train.mean.shape[0] + train.size) // 2)
        return train.mean[inner, inner].permute(2, 0, 1).cpu() / 255

    def inputs(self, batch: Tensor, part: str = "train") -> tuple[Tensor, Tensor]:
        """Return images float32 (B, 3, H, W), with the mean subtracted, and labels int64 (B,).

        Args:
            batch: Rows int32 (B, 4) of a loader. The images are moved to their device once.
            part: Part that the rows refer to.
        """
        return self.parts[part].gather(batch)

    def train_items(self) -> tuple[Dataset, dict]:
        share = shard_range(self.batch_size, self.shard)
        rows = self.table[:, share.start : share.stop]
        items = rows.reshape(self.iterations * self.micro_batches, -1, rows.shape[-1])
        return cast(Dataset, items), {}  # a loader accepts whatever can be indexed

    def views(self, part: str) -> BatchLoader:
        return _loader(unaugmented_rows(len(self.parts[part])), shard_range(len(self.parts[part]), self.shard))

    def first(self, images: int) -> BatchLoader:
        """Return a loader of the first training images, at most all of them, without augmentation."""
        count = min(images, len(self.parts["train"]))
        return _loader(unaugmented_rows(count), range(count))


def _loader(rows: Tensor, share: range) -> BatchLoader:
    """Return a loader of some rows, in batches."""
    return BatchLoader(cast(Dataset, rows), torch.arange(share.start, share.stop).split(TEST_BATCH))


def default_data_dir() -> Path:
    """Return the folder that contains the data sets: the environment variable DATA_DIR if it is set, else `./data`."""
    return Path(os.environ.get("DATA_DIR") or "data").expanduser()
