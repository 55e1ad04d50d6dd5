"""The training batches of photographs and their random augmentation, as a function of the seed (section 3.4)."""

import hashlib
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

COLOUR_STD = 0.1  # standard deviation of AlexNet's colour noise, in units of the eigenvalues


class Augmentations(NamedTuple):
    """The random choices for a batch of B images.

    Attributes:
        index: Index of the photograph, int64 (B,).
        crop: Scale, vertical position and horizontal position of the crop, float32 (B, 3) in [0, 1). The scale goes
            from the smallest to the largest shorter side that the photograph is resized to, the positions from its
            top left to its bottom right.
        flip: Whether to flip the crop horizontally, bool (B,).
        colour: Coefficient of each principal component of the colours, drawn from N(0, 0.1^2), float32 (B, 3).
    """

    index: Tensor  # type: ignore[assignment]  # hides the method of tuple, which nobody calls
    crop: Tensor
    flip: Tensor
    colour: Tensor


class AugmentationStream:
    """Permutations of all training images, one after another, cut into full batches.

    Each pass over the images has its own random generator, seeded with the seed of the run and the number of the pass.
    Any process can therefore compute any batch without the batches before it, and no batch depends on the length of
    the run.

    Args:
        seed: Seed of the permutations and augmentations.
        images: Number of training images.
        batch_size: Number of images per batch.
    """

    def __init__(self, seed: int, images: int, batch_size: int):
        self.seed, self.images, self.batch_size = seed, images, batch_size
        self._pass = lru_cache(maxsize=2)(self._draw_pass)

    def _draw_pass(self, number: int) -> Augmentations:
        digest = hashlib.sha256(f"{self.seed}/{number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
        return Augmentations(
            torch.randperm(self.images, generator=generator),
            torch.rand((self.images, 3), generator=generator),
            torch.rand(self.images, generator=generator) < 0.5,
            torch.randn((self.images, 3), generator=generator) * COLOUR_STD,
        )

    def batch(self, iteration: int) -> Augmentations:
        """Return the images and augmentations of one iteration, counted from 0."""
        begin, end = iteration * self.batch_size, (iteration + 1) * self.batch_size
        pieces = []
        while begin < end:
            number, offset = divmod(begin, self.images)
            stop = min(offset + end - begin, self.images)
            pieces.append([column[offset:stop] for column in self._pass(number)])
            begin += stop - offset
        return Augmentations(*(torch.cat(columns) for columns in zip(*pieces, strict=True)))

    # The cached passes are not sent to worker processes.

    def __getstate__(self) -> dict:
        return {name: getattr(self, name) for name in ("seed", "images", "batch_size")}

    def __setstate__(self, state: dict) -> None:
        AugmentationStream.__init__(self, **state)
