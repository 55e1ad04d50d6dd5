"""The data module of photographs: ILSVRC-2012, or any folders like it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from plainres.data.batches import drawn_places, share_of
from plainres.data.draws import DrawStream
from plainres.data.photo_batches import MEAN, BadImages, CenterBatches, PhotoBatch, TrainBatches, normalized
from plainres.data.photos import Photos, require_same_classes
from plainres.errors import UserError

TEST_BATCH = 250
MOST_WORKERS = 16
BAD_LIMIT = 100
FOLDERS = {"train": "train", "test": "val"}  # the paper tests its single nets on the validation images


class ImageNetData(pl.LightningDataModule):
    """Training and validation photographs of one run, decoded as they are needed.

    Loaders yield `PhotoBatch`es and `inputs` turns them into images and labels, augmented in batches on the device.
    The mean that is subtracted is one number a channel: a per-pixel one has no meaning at other sizes of image. What
    the module calls "test" is the folder `val`.

    Args:
        data_dir: folder that holds `train/<class>/*` and `val/<class>/*`.
        size: of the crop.
        seed, iterations, batch_size: of the training stream, see `DrawStream`.
        num_classes: how many class folders there must be; default: any number.
        workers: processes that decode; default: one for each core that this process may use, at most 16.
        share: (rank, ranks) of this process, where several divide each batch, and the views of a part, among them.
        bad_limit: how many unreadable images are let pass, by each process that shares the batches.
        bad_log: file that names them.

    Attributes:
        chunks: slices of consecutive iterations that the next training loader yields, one at a time.
        parts: `Photos` of "train" and "test"; filled by `setup`.
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
        share: tuple[int, int] = (0, 1),
        bad_limit: int = BAD_LIMIT,
        bad_log: Path | None = None,
    ):
        super().__init__()
        self.data_dir, self.size, self.share = Path(data_dir), size, share
        self.seed, self.iterations, self.batch_size = seed, iterations, batch_size
        self.expected_classes = num_classes
        self.workers = min(len(os.sched_getaffinity(0)), MOST_WORKERS) if workers is None else workers
        self.chunks = [slice(0, iterations)]
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
        found = len(parts["train"].classes)
        if self.expected_classes not in (None, found):
            raise UserError(f"{self.data_dir} holds {found} classes, and the net has {self.expected_classes}")
        self.parts = parts
        self.stream = DrawStream(self.seed, len(parts["train"]), self.batch_size)

    def to(self, device: torch.device) -> None:
        """Have `inputs` put images on `device`."""
        self.device = torch.device(device)

    @property
    def num_classes(self) -> int:
        return len(self.parts["train"].classes)

    @property
    def mean(self) -> Tensor:
        """The per-channel mean that is subtracted: (3, 1, 1), between 0 and 1."""
        return self._mean

    @property
    def evaluated(self) -> list[str]:
        """Parts that validation passes cover, in the order of `val_dataloader`."""
        return ["test"]

    def inputs(self, batch: PhotoBatch, part: str = "train") -> tuple[Tensor, Tensor]:
        """Images float32 (B, 3, size, size), mean subtracted, and labels int64 (B,), on the module's device.

        Raises:
            UserError: more images than the limit could not be read.
        """
        self.bad.add(self.parts[part].folder, batch.bad)
        tensors = (tensor.to(self.device, non_blocking=True) for tensor in batch[:-1])
        batch = PhotoBatch(*tensors, batch.bad)
        return normalized(batch, self._mean.to(self.device)), batch.labels

    def _loader(self, dataset: Dataset, keys: list[int] | list[Sequence[int]], workers: int) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=keys,
            num_workers=min(workers, len(keys)),
            pin_memory=self.device.type == "cuda",
            prefetch_factor=2 if workers else None,
        )

    def train_dataloader(self) -> DataLoader:
        batches = TrainBatches(self.parts["train"], self.stream, self.size, self.share)
        iterations = [iteration for chunk in self.chunks for iteration in range(chunk.start, chunk.stop)]
        return self._loader(batches, iterations, self.workers)

    def views(self, part: str, batch_size: int = TEST_BATCH) -> DataLoader:
        """The centre crop of every image of a part (or of this process's share of it) once, in batches."""
        photos = self.parts[part]
        own = share_of(len(photos), self.share)
        return self._loader(CenterBatches(photos, self.size), _parts(own, batch_size), self.workers)

    def sample(self, images: int, batch_size: int = TEST_BATCH) -> DataLoader:
        """The centre crops of a fixed random sample of the training images (or of this process's share of it)."""
        photos = self.parts["train"]
        drawn = drawn_places(len(photos), images).tolist()
        own = share_of(len(drawn), self.share)
        batches = _parts(drawn[own.start : own.stop], batch_size)
        return self._loader(CenterBatches(photos, self.size), batches, self.workers)

    def first(self, images: int, batch_size: int = TEST_BATCH) -> Iterator[PhotoBatch]:
        """The centre crops of that many training images (at most all of them), of mixed classes, in batches."""
        photos = self.parts["train"]
        wanted = drawn_places(len(photos), images).tolist()
        return iter(self._loader(CenterBatches(photos, self.size), _parts(wanted, batch_size), 0))

    def val_dataloader(self) -> list[DataLoader]:
        return [self.views(part) for part in self.evaluated]


def _parts(places: Sequence[int], size: int) -> list[Sequence[int]]:
    return [places[begin : begin + size] for begin in range(0, len(places), size)]
