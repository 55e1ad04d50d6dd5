"""What the data modules of small images and of photographs share: loaders, sharding and Lightning's hooks."""

import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from plainres.files import expand_user


def default_data_dir() -> Path:
    """Return the folder that contains the data sets: the environment variable DATA_DIR if it is set, else `./data`.

    Raises:
        UserError: If DATA_DIR begins with `~` and the name of a user who does not exist.
    """
    return expand_user(os.environ.get("DATA_DIR") or "data")


class BatchLoader:
    """Yields those items of a dataset that `keys` name. Each is a whole batch. `options` are those of `DataLoader`.

    It is not itself a `DataLoader`, to which Lightning would give a sampler of its own where several processes train
    a run. The data modules divide the batches.
    """

    def __init__(self, batches: Dataset, keys: Sequence, **options: Any):
        self.batches, self.keys, self.options = batches, keys, options

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Any]:
        return iter(DataLoader(self.batches, batch_size=None, sampler=self.keys, **self.options))


class TrainLoader(BatchLoader):
    """Yields the `total` training batches in their order, `epoch` at a time, and then begins again with the first.

    Each epoch continues where the last one ended. Lightning saves the position with its checkpoints and restores it, so
    that a resumed run sees the batches that an uninterrupted one would have seen.
    """

    def __init__(self, batches: Dataset, epoch: int, total: int, **options: Any):
        super().__init__(batches, range(epoch), **options)
        self.total, self.position = total, 0

    def __iter__(self) -> Iterator[Any]:
        keys = [(self.position + key) % self.total for key in self.keys]
        for batch in BatchLoader(self.batches, keys, **self.options):
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class StudyData(pl.LightningDataModule):
    """Base class of the data modules.

    Batches are a function of the seed and of the iteration alone. Loaders yield them in a compact form, without
    decoding or augmenting more than necessary, and `inputs` turns them into images and labels on their device.
    Several processes divide each batch among them. An epoch has as many whole batches as there are images for.

    Args:
        data_dir: Folder that holds the data set. Default: the environment variable DATA_DIR, or ./data.
        seed: Seed of the batches.
        iterations: Number of different training batches. An epoch, however, is a pass over the images.
        batch_size: Number of images per iteration, over all processes.
        micro_batch: Number of images per item of the training loader, for `Trainer(accumulate_grad_batches=...)`. 0
            means the whole batch, or this process's share of it.

    Attributes:
        parts: Images, with `len` and `md5()`, by name of the part: `"train"`, `"test"` and, if images are held out,
            `"val"`. Filled by `setup`.
        class_names: Names of the classes in the order of the labels, if the files name them.
    """

    parts: Mapping[str, Any]
    class_names: list[str] | None = None

    def __init__(self, data_dir: str | Path | None, seed: int, iterations: int, batch_size: int, micro_batch: int):
        super().__init__()
        self.data_dir = default_data_dir() if data_dir is None else expand_user(data_dir)
        self.seed, self.iterations, self.batch_size, self.micro_batch = seed, iterations, batch_size, micro_batch
        self.parts = {}

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Mean that `inputs` subtracts, per pixel (3, H, W) or per channel (3, 1, 1), between 0 and 1."""

    @abstractmethod
    def setup(self, stage: str | None = None) -> None:
        """Fill `parts`."""

    @abstractmethod
    def inputs(self, batch: Any, part: str = "train") -> tuple[Tensor, Tensor]:
        """Return images float32 (B, 3, H, W), with the mean subtracted, and labels int64 (B,), on its device."""

    @abstractmethod
    def train_items(self) -> tuple[Dataset, dict]:
        """Return a dataset of the items of the training loader, and further arguments of `DataLoader`."""

    @abstractmethod
    def views(self, part: str) -> BatchLoader:
        """Return a loader of every image of a part, or of this process's share, without augmentation."""

    @abstractmethod
    def first(self, images: int) -> BatchLoader:
        """Return a loader of a fixed sample of training images without augmentation, the same in every process."""

    @property
    def evaluated(self) -> list[str]:
        """Names of the parts that a validation pass covers, in the order of `val_dataloader`."""
        return [name for name in ("test", "val") if name in self.parts]

    @property
    def shard(self) -> tuple[int, int]:
        """`(rank, size)` of this process among those that divide each batch."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @property
    def micro_batches(self) -> int:
        """Number of items of the training loader per iteration."""
        share = self.batch_size // self.shard[1]
        return share // (self.micro_batch or share)

    def batches(self, loader: BatchLoader, part: str, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels on a device for each batch of a loader, as `inputs` returns them."""
        for batch in loader:
            yield self.inputs(move_data_to_device(batch, device), part)

    def train_dataloader(self) -> TrainLoader:
        items, options = self.train_items()
        epoch = min(len(self.parts["train"]) // self.batch_size, self.iterations) or 1
        total = self.iterations
        some = getattr(self.trainer, "overfit_batches", 0)
        if some:
            total = some if isinstance(some, int) else max(1, int(some * epoch))
        return TrainLoader(items, epoch * self.micro_batches, total * self.micro_batches, **options)

    def val_dataloader(self) -> list[BatchLoader]:
        return [self.views(part) for part in self.evaluated]

    def test_dataloader(self) -> BatchLoader:
        return self.views("test")

    predict_dataloader = test_dataloader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        assert self.trainer is not None
        return self.inputs(batch, "train" if self.trainer.training else self.evaluated[dataloader_idx])


def shard_range(n: int, shard: tuple[int, int]) -> range:
    """Return the indices among `n` that belong to the process `(rank, size)`. A single process gets all of them."""
    rank, size = shard
    return range(rank * n // size, (rank + 1) * n // size)
