"""Batches of photographs: decoded and cropped by workers, flipped, coloured and normalized on the device."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import resize

from plainres.data.imagenet.augmentation import DrawStream
from plainres.data.imagenet.photos import BadImage, Photos, center_view
from plainres.data.sharding import shard_range
from plainres.errors import UserError

JITTER = (256 / 224, 480 / 224)  # bounds of the shorter side, in crops
# Mean and principal components of the colours of ILSVRC-2012's training images, between 0 and 1, as published with
# fb.resnet.torch; a component is a column of EIGENVECTORS.
MEAN = (0.485, 0.456, 0.406)
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class PhotoBatch(NamedTuple):
    """What a worker makes of B draws.

    Attributes:
        pixels: uint8 (B, 3, size, size).
        labels: int64 (B,).
        flip: bool (B,).
        colour: float32 (B, 3), see `Draws`.
        bad: (name, reason) of every unreadable file met.
    """

    pixels: Tensor
    labels: Tensor
    flip: Tensor
    colour: Tensor
    bad: tuple[tuple[str, str], ...]


def jittered_crop(image: Tensor, place: Tensor, size: int) -> Tensor:
    """Crop as if the shorter side had been resized to a random length first (section 3.4).

    Args:
        image: uint8 (3, H, W).
        place: (3,), see `Draws`.
        size: of the crop. The shorter side lies between 256 and 480 for 224, and in proportion for others.

    Returns:
        uint8 (3, size, size). The square is cut to whole pixels and then resized: the same picture for less work.
    """
    scale, y, x = place.tolist()
    low, high = (round(bound * size) for bound in JITTER)
    short = low + int(scale * (high - low + 1))
    height, width = image.shape[1:]
    side = max(1, round(size * min(height, width) / short))
    top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
    return resize(image[:, top : top + side, left : left + side], [size, size], antialias=True)


class TrainBatches(Dataset):
    """Iteration in, `PhotoBatch` out: the whole batch is one worker's.

    The photograph after an unreadable one, in the folder's order, takes its place.

    Args:
        photos: of the training folder.
        stream: the run's draws.
        size: of the crop.
        share: (rank, ranks): which of the processes that divide each batch among them this is.
    """

    def __init__(self, photos: Photos, stream: DrawStream, size: int, shard: tuple[int, int] = (0, 1)):
        self.photos, self.stream, self.size, self.shard = photos, stream, size, shard

    def __getitem__(self, iteration: int) -> PhotoBatch:
        own = shard_range(self.stream.batch_size, self.shard)
        index, place, flip, colour = (column[own.start : own.stop] for column in self.stream.batch(iteration))
        shape = (len(index), 3, self.size, self.size)
        pixels = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        labels, bad = torch.empty_like(index), []
        for row, first in enumerate(index.tolist()):
            for step in range(len(self.photos)):
                chosen = (first + step) % len(self.photos)
                try:
                    image = self.photos.read(chosen)
                except BadImage as error:
                    bad.append((self.photos.name(chosen), str(error)))
                else:
                    break
            else:
                raise UserError(f"{self.photos.folder}: none of its {len(self.photos):,} images can be read")
            pixels[row] = jittered_crop(image, place[row], self.size)
            labels[row] = self.photos.labels[chosen]
        return PhotoBatch(pixels, labels, flip, colour, tuple(bad))


class CenterBatches(Dataset):
    """Places of photographs in, their centre crops out; unreadable ones are left out."""

    def __init__(self, photos: Photos, size: int):
        self.photos, self.size = photos, size

    def __getitem__(self, rows: Sequence[int]) -> PhotoBatch:
        pixels, labels, bad = [], [], []
        for index in rows:
            try:
                pixels.append(center_view(self.photos.read(index), self.size))
                labels.append(self.photos.labels[index])
            except BadImage as error:
                bad.append((self.photos.name(index), str(error)))
        if not pixels:
            raise UserError(f"{self.photos.folder}: {len(bad)} images in a row cannot be read, {bad[0][0]} the first")
        n = len(pixels)
        return PhotoBatch(
            torch.stack(pixels), torch.stack(labels), torch.zeros(n, dtype=torch.bool), torch.zeros(n, 3), tuple(bad)
        )


def normalized(batch: PhotoBatch, mean: Tensor) -> Tensor:
    """Flip, colour and subtract the mean, for the whole batch at once on its device.

    Args:
        batch: on one device.
        mean: (3, 1, 1), between 0 and 1.

    Returns:
        float32 (B, 3, size, size) in channels_last layout, pixels / 255 + colour noise - mean.
    """
    pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
    pixels = torch.where(batch.flip[:, None, None, None], pixels.flip(3), pixels)
    components = torch.tensor(EIGENVECTORS, device=mean.device) * torch.tensor(EIGENVALUES, device=mean.device)
    # In place: on a CPU, fresh memory costs more than the sums.
    return pixels.float().div_(255).add_((batch.colour @ components.T)[:, :, None, None] - mean)


class BadImages:
    """Unreadable files met so far: each is named once, on stderr and in a log, until there are too many.

    Args:
        limit: how many different ones are let pass.
        log: file to name them in, which may have entries from an earlier sitting; None for stderr alone.
    """

    def __init__(self, limit: int, log: Path | None = None):
        self.limit, self.log = limit, log
        self.names: set[str] = set()
        if log is not None and log.exists():
            self.names = {line.split("\t")[0] for line in log.read_text().splitlines()}

    def add(self, folder: Path, bad: tuple[tuple[str, str], ...]) -> None:
        """Take note of (name, reason) pairs of files below `folder`.

        Raises:
            UserError: there are more than the limit.
        """
        for name, reason in bad:
            path = str(folder / name)
            if path in self.names:
                continue
            self.names.add(path)
            print(f"{path}: skipped ({reason})", file=sys.stderr)
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{path}\t{reason}\n")
        if len(self.names) > self.limit:
            where = f", listed in {self.log}" if self.log is not None else ""
            raise UserError(f"{len(self.names)} images cannot be read{where}; at most {self.limit} are let pass")
