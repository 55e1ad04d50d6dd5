"""Batches of photographs. Worker processes decode and crop them; the device flips, colours and normalizes them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import resize

from plainres.data.base import shard_range
from plainres.data.imagenet.augmentation import AugmentationStream
from plainres.data.imagenet.photos import BadImage, Photos, center_view
from plainres.errors import UserError

# Bounds of the shorter side that a photograph is resized to, relative to the size of the crop (section 3.4).
SHORTER_SIDE = (256 / 224, 480 / 224)
# Mean and principal components of the colours of the training images of ILSVRC-2012, between 0 and 1, as published
# with fb.resnet.torch. The columns of EIGENVECTORS are the components.
MEAN = (0.485, 0.456, 0.406)
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class PhotoBatch(NamedTuple):
    """A batch of B crops, as a worker process returns it.

    Attributes:
        pixels: Crops uint8 (B, 3, size, size).
        labels: Labels int64 (B,).
        flip: Whether to flip each crop, bool (B,).
        colour: Colour noise of each crop, float32 (B, 3), see `Augmentations`.
        bad: Name and reason of every unreadable file that was encountered.
    """

    pixels: Tensor
    labels: Tensor
    flip: Tensor
    colour: Tensor
    bad: tuple[tuple[str, str], ...]


def no_images(size: int, bad: Sequence[tuple[str, str]]) -> PhotoBatch:
    """Return a batch without images, for which the main process raises an error that has no worker's traceback.

    Args:
        size: Height and width of the crops.
        bad: Name and reason of every unreadable file that was encountered.
    """
    pixels = torch.empty((0, 3, size, size), dtype=torch.uint8)
    none = torch.empty(0, dtype=torch.long)
    return PhotoBatch(pixels, none, none.bool(), torch.empty(0, 3), tuple(bad))


def jittered_crop(image: Tensor, crop: Tensor, size: int) -> Tensor:
    """Return a square crop of a photograph whose shorter side has been resized to a random length (section 3.4).

    The square is cut from the original photograph and then resized, which gives the same picture, except that its
    position is rounded to whole pixels, at a lower cost.

    Args:
        image: Photograph uint8 (3, H, W).
        crop: Scale and position of the crop, float32 (3,), see `Augmentations`.
        size: Height and width of the crop. The shorter side lies between 256 and 480 pixels for a size of 224, and in
            proportion for other sizes.

    Returns:
        uint8 (3, size, size).
    """
    scale, y, x = crop.tolist()
    low, high = (round(bound * size) for bound in SHORTER_SIDE)
    shorter = low + int(scale * (high - low + 1))
    height, width = image.shape[1:]
    side = max(1, round(size * min(height, width) / shorter))
    top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
    return resize(image[:, top : top + side, left : left + side], [size, size], antialias=True)


class TrainBatches(Dataset):
    """The training batches. An item is the whole batch of one iteration, so one worker process decodes all of it.

    An unreadable photograph is replaced by the next readable one in the order of the folder. If there is none, the
    batch is empty. With micro-batches, an item is one of them.

    Args:
        photos: Training photographs.
        stream: Augmentations of the run.
        size: Height and width of the crops.
        shard: `(rank, size)` of this process, if several processes divide each batch among them.
        micro_batches: Number of items per iteration.
    """

    def __init__(
        self,
        photos: Photos,
        stream: AugmentationStream,
        size: int,
        shard: tuple[int, int] = (0, 1),
        micro_batches: int = 1,
    ):
        self.photos, self.stream, self.size, self.shard, self.micro_batches = photos, stream, size, shard, micro_batches

    def __getitem__(self, item: int) -> PhotoBatch:
        iteration, part = divmod(item, self.micro_batches)
        share = shard_range(self.stream.batch_size, self.shard)
        rows = share[part * len(share) // self.micro_batches : (part + 1) * len(share) // self.micro_batches]
        index, crop, flip, colour = (column[rows.start : rows.stop] for column in self.stream.batch(iteration))
        shape = (len(index), 3, self.size, self.size)
        pixels = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        labels, bad = torch.empty_like(index), []
        for row, first in enumerate(index.tolist()):
            for step in range(len(self.photos)):
                photo = (first + step) % len(self.photos)
                try:
                    image = self.photos.read(photo)
                except BadImage as error:
                    bad.append((self.photos.name(photo), str(error)))
                else:
                    break
            else:
                return no_images(self.size, bad)
            pixels[row] = jittered_crop(image, crop[row], self.size)
            labels[row] = self.photos.labels[photo]
        return PhotoBatch(pixels, labels, flip, colour, tuple(bad))


class CenterBatches(Dataset):
    """The center crops of photographs. An item is a batch: its key is a sequence of indices of photographs.

    Unreadable photographs are left out. If all of them are, the batch is empty.

    Args:
        photos: Photographs to crop.
        size: Height and width of the crops.
    """

    def __init__(self, photos: Photos, size: int):
        self.photos, self.size = photos, size

    def __getitem__(self, indices: Sequence[int]) -> PhotoBatch:
        pixels, labels, bad = [], [], []
        for index in indices:
            try:
                pixels.append(center_view(self.photos.read(index), self.size))
                labels.append(self.photos.labels[index])
            except BadImage as error:
                bad.append((self.photos.name(index), str(error)))
        if not pixels:
            return no_images(self.size, bad)
        n = len(pixels)
        return PhotoBatch(
            torch.stack(pixels), torch.stack(labels), torch.zeros(n, dtype=torch.bool), torch.zeros(n, 3), tuple(bad)
        )


def normalize(batch: PhotoBatch, mean: Tensor) -> Tensor:
    """Flip a batch, add the colour noise and subtract the mean, on the device of the batch.

    Args:
        batch: Batch whose tensors are all on one device.
        mean: Mean to subtract, (3, 1, 1), between 0 and 1.

    Returns:
        float32 (B, 3, size, size) in channels_last layout, pixels / 255 + colour noise - mean.
    """
    pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
    pixels = torch.where(batch.flip[:, None, None, None], pixels.flip(3), pixels)
    components = torch.tensor(EIGENVECTORS, device=mean.device) * torch.tensor(EIGENVALUES, device=mean.device)
    # In place: on a CPU, allocating memory costs more than the additions.
    return pixels.float().div_(255).add_((batch.colour @ components.T)[:, :, None, None] - mean)


class BadImages:
    """The unreadable files of a run. Each is reported once, on stderr and in a log, until there are too many.

    Args:
        limit: Number of unreadable files that is tolerated.
        log: File in which to list them. Files that an earlier start of the run has listed count as well, and so do
            those of the other processes that write into it. None to report them on stderr only.

    Attributes:
        names: Paths of all unreadable files so far.
    """

    def __init__(self, limit: int, log: Path | None = None):
        self.limit, self.log = limit, log
        self.names: set[str] = set()
        self._read_log()

    def _read_log(self) -> None:
        """Add the files that the log lists, for example those that other processes have found."""
        if self.log is not None and self.log.exists():
            lines = self.log.read_text(errors="surrogateescape").splitlines()
            self.names |= {line.split("\t")[0] for line in lines}

    def add(self, folder: Path, bad: tuple[tuple[str, str], ...]) -> None:
        """Report unreadable files.

        Args:
            folder: Folder that contains the files.
            bad: Name below `folder` and reason for each file.

        Raises:
            UserError: If there are more than the limit, or if the log cannot be written.
        """
        if bad:
            self._read_log()
        for name, reason in bad:
            path = str(folder / name)
            if path in self.names:
                continue
            self.names.add(path)
            print(f"{path}: skipped ({reason})".encode(errors="backslashreplace").decode(), file=sys.stderr)
            self._write(f"{path}\t{reason}\n")
        if len(self.names) > self.limit:
            where = f", listed in {self.log}" if self.log is not None else ""
            raise UserError(f"{len(self.names)} images cannot be read{where}; at most {self.limit} are tolerated")

    def _write(self, line: str) -> None:
        """Append a line to the log in one operation, because other processes may write into it at the same time."""
        if self.log is None:
            return
        try:
            with self.log.open("ab", buffering=0) as file:
                file.write(line.encode(errors="surrogateescape"))
        except OSError as error:
            raise UserError(f"{self.log}: cannot be written ({error.strerror or error})") from None
