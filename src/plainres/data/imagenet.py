"""The data module of photographs: ILSVRC-2012, or folders with the same layout.

Worker processes decode and crop the photographs; the device flips, colours and normalizes them.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from plainres.cores import available_cores
from plainres.data.augmentation import MEAN, AugmentationStream, jittered_crop, normalize
from plainres.data.base import BatchLoader, StudyData, shard_range
from plainres.data.photos import BadImage, Photos, center_view
from plainres.errors import UserError

TEST_BATCH = 250
MAX_WORKERS = 16
BAD_LIMIT = 100
WORKER_TIMEOUT = 120  # seconds without a batch after which a worker is taken to hang
FOLDERS = {"train": "train", "test": "val"}  # the paper evaluates its single nets on the validation images

Bad = tuple[tuple[str, str], ...]  # name and reason of unreadable files


class PhotoBatch(NamedTuple):
    """A batch of B crops, as a worker process returns it.

    It is empty if no photograph can be read: the main process raises an error that has no worker's traceback.
    """

    pixels: Tensor  # uint8 (B, 3, size, size)
    labels: Tensor  # int64 (B,)
    flip: Tensor  # bool (B,), as in `Augmentations`
    colour: Tensor  # float32 (B, 3), as in `Augmentations`
    bad: Bad


@dataclass(frozen=True)
class TrainBatches(Dataset):
    """The training batches. An item is the whole batch of one iteration, so one worker process decodes all of it.

    An unreadable photograph is replaced by the next readable one in the order of the folder. With micro-batches, an
    item is one of them.
    """

    photos: Photos
    stream: AugmentationStream
    size: int  # height and width of the crops
    shard: tuple[int, int]  # as of `StudyData`
    micro_batches: int  # number of items per iteration

    def __getitem__(self, item: int) -> PhotoBatch:
        iteration, micro_batch = divmod(item, self.micro_batches)
        rank, processes = self.shard
        share = rank * self.micro_batches + micro_batch, processes * self.micro_batches
        own = shard_range(self.stream.batch_size, share)
        index, crop, flip, colour = (column[own.start : own.stop] for column in self.stream.batch(iteration))
        pixels = torch.empty(len(index), 3, self.size, self.size, dtype=torch.uint8)
        labels, bad = torch.empty_like(index), []
        for position, first in enumerate(index.tolist()):
            for step in range(len(self.photos)):
                photo = (first + step) % len(self.photos)
                try:
                    pixels[position] = jittered_crop(self.photos.read(photo), crop[position], self.size)
                except BadImage as error:
                    bad.append((self.photos.name(photo), str(error)))
                else:
                    labels[position] = self.photos.labels[photo]
                    break
            else:
                return PhotoBatch(pixels[:0], labels[:0], flip[:0], colour[:0], tuple(bad))
        return PhotoBatch(pixels, labels, flip, colour, tuple(bad))


@dataclass(frozen=True)
class CenterBatches(Dataset):
    """The center crops of photographs. The key of a batch is a sequence of indices. Unreadable ones are left out."""

    photos: Photos
    size: int

    def __getitem__(self, indices: Sequence[int]) -> PhotoBatch:
        pixels, labels, bad = [torch.empty(0, 3, self.size, self.size, dtype=torch.uint8)], [], []
        for index in indices:
            try:
                pixels.append(center_view(self.photos.read(index), self.size)[None])
                labels.append(self.photos.labels[index].item())
            except BadImage as error:
                bad.append((self.photos.name(index), str(error)))
        n = len(labels)
        unchanged = torch.zeros(n, dtype=torch.bool), torch.zeros(n, 3)
        return PhotoBatch(torch.cat(pixels), torch.tensor(labels, dtype=torch.long), *unchanged, tuple(bad))


class BadImages:
    """The unreadable files of a run. Each is reported once, on stderr and in a log, until there are more than `limit`.

    Files that an earlier start of the run has listed in the log count as well, and so do those of the other processes
    that write into it. `names` are the paths of all of them so far.
    """

    def __init__(self, limit: int, log: Path | None = None):
        self.limit, self.log = limit, log
        self.names: set[str] = set()

    def add(self, folder: Path, bad: Bad) -> None:
        """Report unreadable files in a folder.

        Raises:
            UserError: If there are more than the limit, or if the log cannot be written.
        """
        if bad and self.log is not None and self.log.exists():
            lines = self.log.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            self.names |= {line.split("\t")[0] for line in lines}
        for name, reason in bad:
            path = str(folder / name)
            if path not in self.names:
                self.names.add(path)
                print(f"{path}: skipped ({reason})".encode(errors="backslashreplace").decode(), file=sys.stderr)
                if self.log is not None:
                    try:
                        with self.log.open("ab", buffering=0) as file:  # other processes may write into it, too
                            file.write(f"{path}\t{reason}\n".encode(errors="surrogateescape"))
                    except OSError as error:
                        raise UserError(f"{self.log}: cannot be written ({error.strerror or error})") from None
        if len(self.names) > self.limit:
            where = f", listed in {self.log}" if self.log is not None else ""
            raise UserError(f"{len(self.names)} images cannot be read{where}; at most {self.limit} are tolerated")


class ImageNetData(StudyData):
    """The training and validation photographs of one run, decoded when they are needed.

    The loaders yield `PhotoBatch`es, which `inputs` augments on the device. The mean that is subtracted is one value
    per channel, because a mean per pixel has no meaning at other image sizes. The part `"test"` is the folder `val`.

    Args:
        data_dir: Folder that holds `train/<class>/*` and `val/<class>/*`; this and what is missing here as for
            `StudyData`.
        size: Height and width of the crops, in pixels.
        num_classes: Required number of class folders. By default, any number is accepted.
        workers: Number of processes that decode. By default, one for each core that this process may use, at most 16.
        bad_limit: Number of unreadable images that the run tolerates.
        bad_log: File in which to list them.
    """

    parts: dict[str, Photos]
    mean = torch.tensor(MEAN)[:, None, None]

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
        super().__init__(data_dir, seed, iterations, batch_size, micro_batch)
        self.size, self.expected_classes = size, num_classes
        self.workers = min(available_cores(), MAX_WORKERS) if workers is None else workers
        self.bad = BadImages(bad_limit, bad_log)

    def prepare_data(self) -> None:
        self.setup()  # one process reports an unusable folder before all of them read it

    def setup(self, stage: str | None = None) -> None:
        if self.parts:
            return
        train, test = (Photos(self.data_dir / FOLDERS[part]) for part in ("train", "test"))
        for photos, other in ((train, test), (test, train)):
            if missing := sorted(set(photos.classes) - set(other.classes)):
                raise UserError(
                    f"{other.folder} lacks {len(missing)} class folders of {photos.folder}, such as {missing[0]}: "
                    "training and validation images must have the same classes"
                )
        if self.expected_classes not in (None, len(train.classes)):
            raise UserError(
                f"{self.data_dir} has {len(train.classes)} classes, but the net has {self.expected_classes}"
            )
        self.parts, self.class_names = {"train": train, "test": test}, train.classes

    def inputs(self, batch: PhotoBatch, part: str = "train") -> tuple[Tensor, Tensor]:
        """See `StudyData`. Raises `UserError` if more images than the limit are unreadable, or all of the batch."""
        folder = self.parts[part].folder
        self.bad.add(folder, batch.bad)
        if not len(batch.labels):
            raise UserError(f"{folder}: {len(batch.bad)} consecutive images cannot be read ({': '.join(batch.bad[0])})")
        return normalize(batch.pixels, batch.flip, batch.colour), batch.labels

    def train_items(self) -> tuple[Dataset, dict]:
        photos = self.parts["train"]
        stream = AugmentationStream(self.seed, len(photos), self.batch_size)
        return TrainBatches(photos, stream, self.size, self.shard, self.micro_batches), _worker_options(self.workers)

    def views(self, part: str) -> BatchLoader:
        return self._center_crops(part, shard_range(len(self.parts[part]), self.shard), self.workers)

    def first(self, images: int) -> BatchLoader:
        # A random sample: the first images of the folder would all belong to one class.
        order = torch.randperm(len(self.parts["train"]), generator=torch.Generator().manual_seed(0))
        return self._center_crops("train", order[:images].tolist(), 0)

    def _center_crops(self, part: str, indices: Sequence[int], workers: int) -> BatchLoader:
        keys = [indices[begin : begin + TEST_BATCH] for begin in range(0, len(indices), TEST_BATCH)]
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
