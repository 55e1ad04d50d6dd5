"""What every iteration of an ImageNet run trains on, as a function of the seed: `batch_table` for a million images."""

import hashlib
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

COLOUR_STD = 0.1  # of AlexNet's colour noise, in eigenvalues


class Draws(NamedTuple):
    """Draws of a batch of B.

    Attributes:
        index: of the photograph, int64 (B,).
        place: float32 (B, 3) in [0, 1): the resized shorter side between its bounds, and the crop's vertical and
            horizontal place between the photograph's edges.
        flip: bool (B,).
        colour: float32 (B, 3), N(0, 0.1^2) each: how much of each principal component of colour is added.
    """

    index: Tensor
    place: Tensor
    flip: Tensor
    colour: Tensor


class DrawStream:
    """The training stream: permutations of all images one after another, cut into full batches.

    Each pass over the images has its own generator, seeded by the run's seed and the pass's number, so any batch can
    be had without those before it, in any process, and none depends on the length of the run.
    """

    def __init__(self, seed: int, images: int, batch_size: int):
        self.seed, self.images, self.batch_size = seed, images, batch_size
        self._pass = lru_cache(maxsize=2)(self._draw_pass)

    def _draw_pass(self, number: int) -> Draws:
        digest = hashlib.sha256(f"{self.seed}/{number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
        return Draws(
            torch.randperm(self.images, generator=generator),
            torch.rand((self.images, 3), generator=generator),
            torch.rand(self.images, generator=generator) < 0.5,
            torch.randn((self.images, 3), generator=generator) * COLOUR_STD,
        )

    def batch(self, iteration: int) -> Draws:
        """The draws of one iteration, counted from 0."""
        begin, end = iteration * self.batch_size, (iteration + 1) * self.batch_size
        pieces = []
        while begin < end:
            number, offset = divmod(begin, self.images)
            stop = min(offset + end - begin, self.images)
            pieces.append([column[offset:stop] for column in self._pass(number)])
            begin += stop - offset
        return Draws(*(torch.cat(columns) for columns in zip(*pieces, strict=True)))

    def __getstate__(self) -> dict:
        return {name: getattr(self, name) for name in ("seed", "images", "batch_size")}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)
