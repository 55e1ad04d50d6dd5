"""The data module of photographs: ILSVRC-2012, or folders with the same layout."""

import signal
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from plainres.cores import available_cores
from plainres.data.base import BatchLoader, StudyData, fixed_sample, shard_range
from plainres.data.cifar.module import default_data_dir
from plainres.data.imagenet.augmentation import AugmentationStream
from plainres.data.imagenet.batches import MEAN, BadImages, CenterBatches, PhotoBatch, TrainBatches, normalize
from plainres.data.imagenet.photos import Photos, require_same_classes
from plainres.errors import UserError

TEST_BATCH = 250
MAX_WORKERS = 16
BAD_LIMIT = 100
WORKER_TIMEOUT = 120  # seconds without a batch after which a worker is taken to hang
FOLDERS = {"train": "train", "test": "val"}  # the paper evaluates its single nets on the validation images


class ImageNetData(StudyData):
    """The training and validation photographs of one run, decoded when they are needed.

    The loaders yield `PhotoBatch`es, and `inputs` turns them into images and labels, which are augmented in batches
    on the device. The mean that is subtracted is one value per channel, because a mean per pixel has no meaning at
    other image sizes. The part named `"test"` is the folder `val`.

    Args:
        data_dir: Folder that holds `train/<class>/*` and `val/<class>/*`. Default: the environment variable DATA_DIR,
            or ./data.
        size: Height and width of the crops, in pixels.
        seed: Seed of the batches, see `AugmentationStream`.
        iterations: Number of different training batches. An epoch, however, is a pass over the images.
        batch_size: Number of images per iteration, over all processes.
        micro_batch: As for `StudyData`.
        num_classes: Required number of class folders. By default, any number is accepted.
        workers: Number of processes that decode. By default, one for each core that this process may use, at most 16.
        bad_limit: Number of unreadable images that the run tolerates.
        bad_log: File in which to list them.

    Attributes:
        parts: `Photos` of `"train"` and `"test"`. Filled by `setup`.
    """

    parts: dict[str, Photos]

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        size: int = 224,
        seed: int = 0,
        iterations: int = 600_000,
        batch_size: int = 256,
        micro_batch: int = 0,
        num_classes: int | None = None,
        workers: int | None = None,
        bad_limit: int = BAD_LIMIT,
        bad_log: Path | None = None,
    ):
        super().__init__(seed, iterations, batch_size, micro_batch)
        self.data_dir = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
        self.size, self.expected_classes = size, num_classes
        self.workers = min(available_cores(), MAX_WORKERS) if workers is None else workers
        self.parts = {}
        self.bad = BadImages(bad_limit, bad_log)

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

    @property
    def class_names(self) -> list[str]:
        """Names of the class folders in the order of the labels."""
        return self.parts["train"].classes

    @property
    def mean(self) -> Tensor:
        """Mean that `inputs` subtracts, (3, 1, 1), between 0 and 1."""
        return torch.tensor(MEAN)[:, None, None]

    def inputs(self, batch: PhotoBatch, part: str = "train") -> tuple[Tensor, Tensor]:
        """Return images float32 (B, 3, size, size), with the mean subtracted, and labels int64 (B,).

        Raises:
            UserError: If more images than the limit could not be read, or none of the batch.
        """
        folder = self.parts[part].folder
        self.bad.add(folder, batch.bad)
        if not len(batch.labels):
            raise UserError(f"{folder}: {len(batch.bad)} consecutive images cannot be read ({': '.join(batch.bad[0])})")
        return normalize(batch, self.mean.to(batch.pixels.device)), batch.labels

    def train_items(self) -> tuple[Dataset, dict]:
        items = TrainBatches(self.parts["train"], self.stream, self.size, self.shard, self.micro_batches)
        return items, _worker_options(self.workers)

    def views(self, part: str, batch_size: int = TEST_BATCH) -> BatchLoader:
        """Return a loader of the center crops of all images of a part, or of this process's share."""
        share = shard_range(len(self.parts[part]), self.shard)
        return self._center_crops(part, share, batch_size, self.workers)

    def first(self, images: int, batch_size: int = TEST_BATCH) -> BatchLoader:
        """Return a loader of the center crops of a fixed sample of training images of mixed classes."""
        sample = fixed_sample(len(self.parts["train"]), images).tolist()
        return self._center_crops("train", sample, batch_size, 0)

    def _center_crops(self, part: str, indices: Sequence[int], batch_size: int, workers: int) -> BatchLoader:
        keys = [indices[begin : begin + batch_size] for begin in range(0, len(indices), batch_size)]
        options = _worker_options(min(workers, len(keys)))
        return BatchLoader(CenterBatches(self.parts[part], self.size), keys, **options)


def _worker_options(workers: int) -> dict:
    """Return arguments of `DataLoader` for a number of worker processes."""
    if not workers:
        return {}
    return {
        "num_workers": workers,
        "prefetch_factor": 2,
        "pin_memory": torch.cuda.is_available(),
        "worker_init_fn": _ignore_signals,
        "timeout": WORKER_TIMEOUT,
    }


def _ignore_signals(_worker: int) -> None:
    """Leave it to the main process to stop its workers, also where a signal reaches the whole process group."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
