"""The data module of small images that are kept in memory: CIFAR-10, CIFAR-100 and the demo set."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from plainres.catalog import DATASETS
from plainres.catalog.datasets import TRAIN_SETS
from plainres.data.base import BatchLoader, StudyData, shard_range
from plainres.data.cifar_files import SOURCES, load_cifar, require_cifar, validation_split
from plainres.data.demo import demo_set
from plainres.errors import UserError, require_one_of

PAD = 4
CENTER = (PAD, PAD, 0)  # offsets and flip that leave an image unchanged
TEST_BATCH = 500  # larger batches overflow the caches of a CPU
MEAN_CHUNK = 1_000  # images summed at a time in fp32: the sums stay integers below 2^24 and are therefore exact


def batch_table(seed: int, iterations: int, images: int, batch_size: int = 128) -> Tensor:
    """Return the training batches of a whole run: the image, crop and flip of every example (section 4.2).

    Permutations of all images follow one another and are cut into full batches. Each pass over the images therefore
    contains every image once, and no batch is smaller than the others. An example is a random 32x32 crop of the image
    padded by 4 pixels on each side (9 x 9 offsets), flipped horizontally with a probability of one half.

    The table depends only on the arguments. The table of a longer run begins with that of a shorter one.

    Returns:
        int32 (iterations, batch_size, 4): image index, vertical offset, horizontal offset, and flip (0 or 1).
    """
    generator = torch.Generator().manual_seed(seed)
    passes = []
    for _ in range(-(-iterations * batch_size // images)):
        index = torch.randperm(images, generator=generator, dtype=torch.int32)
        offsets = torch.randint(2 * PAD + 1, (images, 2), generator=generator, dtype=torch.int32)
        flip = torch.randint(2, (images, 1), generator=generator, dtype=torch.int32)
        passes.append(torch.cat((index[:, None], offsets, flip), dim=1))
    return torch.cat(passes)[: iterations * batch_size].view(iterations, batch_size, 4)


def unaugmented(images: int) -> Tensor:
    """Return examples as in `batch_table`, int32 (images, 4), that show every image once, unchanged, in order."""
    index = torch.arange(images, dtype=torch.int32)[:, None]
    return torch.cat((index, torch.tensor(CENTER, dtype=torch.int32).expand(images, 3)), dim=1)


class ImageSet:
    """Images, their labels and the mean to subtract, on the device of the last batch.

    Args:
        pixels: Images uint8 (N, H, W, 3). The attribute of this name holds them padded, (N, H + 8, W + 8, 3).
        labels: Labels int64 (N,).
        mean: Mean of the training images per pixel, float32 (H, W, 3), between 0 and 255. Padded in the same way.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, mean: Tensor):
        border = (0, 0, PAD, PAD, PAD, PAD)
        self.pixels = pad(pixels, border)
        # The mean is padded like the images, so the border is zero after subtraction, as if padded afterwards.
        self.mean = pad(mean, border)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, examples: Tensor) -> tuple[Tensor, Tensor]:
        """Crop, flip and normalize one batch of `batch_table`, int32 (B, 4), moving all images to its device once.

        Returns:
            Images float32 (B, 3, H, W) in channels_last layout, (pixel - mean) / 255, and labels int64 (B,).
        """
        device = examples.device
        if self.pixels.device != device:
            self.pixels, self.mean, self.labels = (t.to(device) for t in (self.pixels, self.mean, self.labels))
        size = len(self.mean) - 2 * PAD
        index, dy, dx, flip = (column[:, None] for column in examples.long().unbind(1))  # each (B, 1)
        step = torch.arange(size, device=device)
        y = (dy + step)[:, :, None]  # (B, H, 1)
        x = (dx + torch.where(flip.bool(), size - 1 - step, step))[:, None, :]  # (B, 1, W)
        images = (self.pixels[index[:, :, None], y, x] - self.mean[y, x]) / 255  # (B, H, W, 3)
        return images.permute(0, 3, 1, 2), self.labels[index[:, 0]]

    def md5(self) -> str:
        """Return the MD5 digest of padded pixels and labels, in hexadecimal."""
        digest = hashlib.md5(self.pixels.cpu().numpy().data, usedforsecurity=False)
        digest.update(self.labels.cpu().numpy().data)
        return digest.hexdigest()


class CifarData(StudyData):
    """The training, validation and test images of one run, all of them in memory.

    The loaders yield examples of `batch_table`, int32 (B, 4), from which `inputs` makes images with one gather on their
    device, so no worker process is needed. Test images, and the 5,000 validation images of the 45k split, are
    normalized with the mean of the training images. Images and batch table are kept for the next run of this process,
    which often shares them.

    Args:
        data_dir: Folder that holds, or will hold, the data set; this and what is missing here as for `StudyData`.
        dataset: `"cifar10"`, `"cifar100"` or `"demo"`.
        train_set: `"50k"` to train on all training images, or `"45k"` to hold out 5,000 for validation.

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
        super().__init__(data_dir, seed, iterations, batch_size, micro_batch)
        require_one_of("data set", dataset, [info.name for info in DATASETS.values() if info.family == "cifar"])
        require_one_of("training set", train_set, TRAIN_SETS)
        self.info = DATASETS[dataset]
        if train_set not in self.info.train_sets:
            raise UserError(f"the {self.info.title} has no validation split: use --train-set 50k")
        self.train_set = train_set

    def prepare_data(self) -> None:
        if self.info.name in SOURCES:
            require_cifar(self.info.name, self.data_dir)

    def setup(self, stage: str | None = None) -> None:
        if not self.parts:
            sizes = self.info.sizes[self.train_set]
            self.parts = dict(
                load_parts(self.info.name, self.data_dir.absolute(), self.train_set, sizes["train"], sizes["test"])
            )
        self.table = shared_batch_table(self.seed, self.iterations, len(self.parts["train"]), self.batch_size)

    @property
    def mean(self) -> Tensor:
        """Mean of the training images per pixel, (3, H, W), between 0 and 1."""
        return self.parts["train"].mean[PAD:-PAD, PAD:-PAD].permute(2, 0, 1).cpu() / 255

    def inputs(self, batch: Tensor, part: str = "train") -> tuple[Tensor, Tensor]:
        return self.parts[part].gather(batch)

    def train_items(self) -> tuple[Dataset, dict]:
        share = shard_range(self.batch_size, self.shard)
        items = self.table[:, share.start : share.stop].reshape(self.iterations * self.micro_batches, -1, 4)
        return cast(Dataset, items), {}  # a loader accepts whatever can be indexed

    def views(self, part: str) -> BatchLoader:
        share = shard_range(len(self.parts[part]), self.shard)
        return _loader(unaugmented(len(self.parts[part]))[share.start : share.stop])

    def first(self, images: int) -> BatchLoader:
        return _loader(unaugmented(min(images, len(self.parts["train"]))))


def _loader(examples: Tensor) -> BatchLoader:
    batches = examples.split(TEST_BATCH)
    return BatchLoader(cast(Dataset, batches), range(len(batches)))


# Runs that follow one another in a process often differ only in their nets. 64,000 iterations take 130 MB.
shared_batch_table = lru_cache(maxsize=1)(batch_table)


# CIFAR-10 takes 300 MB, so only the last data set is kept. `require_cifar` has checked that its files are the published
# ones. The sizes of the demo set are arguments so that another one is drawn anew.
@lru_cache(maxsize=1)
def load_parts(dataset: str, data_dir: Path, train_set: str, num_train: int, num_test: int) -> dict[str, ImageSet]:
    """Return the images of each part on the CPU, normalized with the mean of the training images. Do not modify it."""
    if dataset in SOURCES:
        train, test = (load_cifar(dataset, data_dir, train=train) for train in (True, False))
    else:
        train, test = demo_set(num_train, seed=0), demo_set(num_test, seed=1)
    parts = {"train": train, "test": test}
    if train_set == "45k":
        images, labels = train
        for name, chosen in zip(("train", "val"), validation_split(labels), strict=True):
            parts[name] = images[chosen], labels[chosen]
    pixels = parts["train"][0]
    mean = sum(chunk.float().sum(0) for chunk in pixels.split(MEAN_CHUNK)) / len(pixels)
    return {name: ImageSet(*part, mean) for name, part in parts.items()}
