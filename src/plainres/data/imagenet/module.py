"""The data module of photographs: ILSVRC-2012, or folders with the same layout."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from plainres.cores import available_cores
from plainres.data.imagenet.augmentation import AugmentationStream
from plainres.data.imagenet.batches import MEAN, BadImages, CenterBatches, PhotoBatch, TrainBatches, normalize
from plainres.data.imagenet.photos import Photos, require_same_classes
from plainres.data.sharding import fixed_sample, shard_range
from plainres.errors import UserError

TEST_BATCH = 250
MAX_WORKERS = 16
BAD_LIMIT = 100
FOLDERS = {"train": "train", "test": "val"}  # the paper evaluates its single nets on the validation images


class ImageNetData(pl.LightningDataModule):
    """The training and validation photographs of one run, decoded when they are needed.

    The loaders yield `PhotoBatch`es, and `inputs` turns them into images and labels, which are augmented in batches
    on the device. The mean that is subtracted is one value per channel, because a mean per pixel has no meaning at
    other image sizes. The part named `"test"` is the folder `val`. Implements `RunData`.

    Args:
        data_dir: Folder that holds `train/<class>/*` and `val/<class>/*`.
        size: Height and width of the crops, in pixels.
        seed: Seed of the batches, see `AugmentationStream`.
        iterations: Number of iterations of the run.
        batch_size: Number of images per iteration.
        num_classes: Required number of class folders. By default, any number is accepted.
        workers: Number of processes that decode. By default, one for each core that this process may use, at most 16.
        shard: `(rank, size)` of this process, if several processes divide each batch among them.
        bad_limit: Number of unreadable images that the run tolerates.
        bad_log: File in which to list them.

    Attributes:
        parts: `Photos` of `"train"` and `"test"`. Filled by `setup`.
    """

    def __init__(
        self,
        data_dir: str | Path,
        size: int = 224,
        seed: int = 0,
        iterations: int = 600_000,
        batch_size: int = 256,
        *,
        num_classes: int | None = None,
        workers: int | None = None,
        shard: tuple[int, int] = (0, 1),
        bad_limit: int = BAD_LIMIT,
        bad_log: Path | None = None,
    ):
        super().__init__()
        self.data_dir, self.size, self.shard = Path(data_dir), size, shard
        self.seed, self.iterations, self.batch_size = seed, iterations, batch_size
        self.expected_classes = num_classes
        self.workers = min(available_cores(), MAX_WORKERS) if workers is None else workers
        self.parts: dict[str, Photos] = {}
        self.bad = BadImages(bad_limit, bad_log)
        self.device = torch.device("cpu")
        self._mean = torch.tensor(MEAN)[:, None, None]

    def prepare_data(self) -> None:
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        if self.parts:
            return
        parts = {part: Photos(self.data_dir / folder) for part, folder in FOLDERS.items()}
        require_same_classes(parts["train"], parts["test"])
        classes = len(parts["train"].classes)
        if self.expected_classes not in (None, classes):
            raise UserError(f"{self.data_dir} has {classes} classes, but the net has {self.expected_classes}")
        self.parts = parts
        self.stream = AugmentationStream(self.seed, len(parts["train"]), self.batch_size)

    def to(self, device: torch.device) -> None:
        """Set the device that `inputs` moves images to."""
        self.device = torch.device(device)

    @property
    def class_names(self) -> list[str]:
        """Names of the class folders in the order of the labels."""
        return self.parts["train"].classes

    @property
    def mean(self) -> Tensor:
        """Mean that `inputs` subtracts, (3, 1, 1), between 0 and 1."""
        return self._mean

    @property
    def evaluated(self) -> list[str]:
        """Names of the parts that a pass over the test set covers, in the order of `val_dataloader`."""
        return ["test"]

    def inputs(self, batch: PhotoBatch, part: str = "train") -> tuple[Tensor, Tensor]:
        """Return images float32 (B, 3, size, size), with the mean subtracted, and labels int64 (B,), on the device.

        Raises:
            UserError: If more images than the limit could not be read, or none of the batch.
        """
        folder = self.parts[part].folder
        self.bad.add(folder, batch.bad)
        if not len(batch.labels):
            raise UserError(f"{folder}: {len(batch.bad)} consecutive images cannot be read ({': '.join(batch.bad[0])})")
        pixels, labels, flip, colour = (tensor.to(self.device, non_blocking=True) for tensor in batch[:-1])
        batch = PhotoBatch(pixels, labels, flip, colour, batch.bad)
        return normalize(batch, self._mean.to(self.device)), batch.labels

    def _loader(self, dataset: Dataset, keys: list[int] | list[Sequence[int]], workers: int) -> DataLoader:
        workers = min(workers, len(keys))
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=keys,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=2 if workers else None,
        )

    def train_batches(self, spans: Sequence[slice]) -> DataLoader:
        """Return a loader that yields the batches of consecutive spans of iterations, one iteration at a time."""
        batches = TrainBatches(self.parts["train"], self.stream, self.size, self.shard)
        iterations = [iteration for span in spans for iteration in range(span.start, span.stop)]
        return self._loader(batches, iterations, self.workers)

    def iterations_of(self, loaded: PhotoBatch) -> list[PhotoBatch]:
        """Return a list of the one batch that the loader has yielded."""
        return [loaded]

    def train_dataloader(self) -> DataLoader:
        return self.train_batches([slice(0, self.iterations)])

    def views(self, part: str, batch_size: int = TEST_BATCH) -> DataLoader:
        """Return a loader of the center crops of all images of a part, or of this process's share."""
        photos = self.parts[part]
        shard = shard_range(len(photos), self.shard)
        return self._loader(CenterBatches(photos, self.size), _batches(shard, batch_size), self.workers)

    def first(self, images: int, batch_size: int = TEST_BATCH) -> Iterator[PhotoBatch]:
        """Yield the center crops of a fixed sample of training images of mixed classes, in batches."""
        photos = self.parts["train"]
        sample = fixed_sample(len(photos), images).tolist()
        return iter(self._loader(CenterBatches(photos, self.size), _batches(sample, batch_size), 0))

    def val_dataloader(self) -> list[DataLoader]:
        return [self.views(part) for part in self.evaluated]


def _batches(indices: Sequence[int], size: int) -> list[Sequence[int]]:
    return [indices[begin : begin + size] for begin in range(0, len(indices), size)]
