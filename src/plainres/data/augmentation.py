"""The training batches of photographs and their random augmentation, as a function of the seed (section 3.4)."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

COLOUR_STD = 0.1  # standard deviation of AlexNet's colour noise, in units of the eigenvalues
# Bounds of the shorter side that a photograph is resized to, relative to the size of the crop.
SHORTER_SIDE = (256 / 224, 480 / 224)
# Mean and principal components of the colours of the training images of ILSVRC-2012, between 0 and 1, as published
# with fb.resnet.torch. The columns of EIGENVECTORS are the components.
MEAN = (0.485, 0.456, 0.406)
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


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


@lru_cache(maxsize=2)  # a batch may lie in two passes
def _draw_pass(seed: int, images: int, number: int) -> Augmentations:
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
    return Augmentations(
        torch.randperm(images, generator=generator),
        torch.rand((images, 3), generator=generator),
        torch.rand(images, generator=generator) < 0.5,
        torch.randn((images, 3), generator=generator) * COLOUR_STD,
    )


@dataclass(frozen=True)
class AugmentationStream:
    """Permutations of all training images, one after another, cut into full batches.

    Each pass over the images has its own random generator, seeded with the seed of the run and the number of the pass.
    Any process can therefore compute any batch without the batches before it, and no batch depends on the length of
    the run.
    """

    seed: int
    images: int
    batch_size: int

    def batch(self, iteration: int) -> Augmentations:
        """Return the images and augmentations of one iteration, counted from 0."""
        begin, end = iteration * self.batch_size, (iteration + 1) * self.batch_size
        pieces = []
        while begin < end:
            number, offset = divmod(begin, self.images)
            stop = min(offset + end - begin, self.images)
            pieces.append([column[offset:stop] for column in _draw_pass(self.seed, self.images, number)])
            begin += stop - offset
        return Augmentations(*(torch.cat(columns) for columns in zip(*pieces, strict=True)))


def jittered_crop(image: Tensor, crop: Tensor, size: int) -> Tensor:
    """Return a square crop of a photograph whose shorter side has been resized to a random length.

    The square is cut from the original photograph and then resized, which gives the same picture, except that its
    position is rounded to whole pixels, at a lower cost.

    `image` is uint8 (3, H, W), the crop (3, size, size). `crop` is its scale and position, float32 (3,), see
    `Augmentations`. For a size of 224, the shorter side lies between 256 and 480 pixels.
    """
    scale, y, x = crop.tolist()
    low, high = (round(bound * size) for bound in SHORTER_SIDE)
    shorter = low + int(scale * (high - low + 1))
    height, width = image.shape[1:]
    side = max(1, round(size * min(height, width) / shorter))
    top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
    return resize(image[:, top : top + side, left : left + side], [size, size], antialias=True)


def normalize(pixels: Tensor, flip: Tensor, colour: Tensor) -> Tensor:
    """Flip crops uint8 (B, 3, H, W), add colour noise and subtract the mean, on their device; see `Augmentations`.

    Returns:
        float32 (B, 3, H, W) in channels_last layout, pixels / 255 + colour noise - mean.
    """
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    pixels = torch.where(flip[:, None, None, None], pixels.flip(3), pixels)
    vectors, values, mean = (torch.tensor(x, device=pixels.device) for x in (EIGENVECTORS, EIGENVALUES, MEAN))
    shift = (colour @ (vectors * values).T)[:, :, None, None] - mean[:, None, None]
    # In place: on a CPU, allocating memory costs more than the additions.
    return pixels.float().div_(255).add_(shift)
