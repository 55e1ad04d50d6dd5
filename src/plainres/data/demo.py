"""The embedded demo set: synthetic images of ten shapes, generated when they are needed, without any download.

The images of the demo set itself have 16 x 16 pixels, a quarter of CIFAR-10's, so that nets learn them in minutes.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from plainres.catalog.datasets import DEMO

CLASSES = ("disc", "ring", "square", "frame", "triangle", "cross", "tee", "bars", "crescent", "star")
DRAWN_SIZE = 32  # smaller images are averaged from drawings of this size, so that their edges are smooth


def _inside(label: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return which pixels are inside the shapes of classes (N,), bool (N, 32, 32).

    `u` and `v` are the horizontal and vertical coordinates of each pixel, in which shapes span about [-1, 1].
    """
    radius = torch.hypot(u, v)
    square = torch.maximum(u.abs(), v.abs())
    angle = torch.atan2(v, u)
    shapes = torch.stack(
        (
            radius < 0.9,
            (radius < 1) & (radius > 0.6),
            square < 0.8,
            (square < 0.9) & (square > 0.55),
            (v < 0.7) & (v > 2 * u.abs() - 1),
            (torch.minimum(u.abs(), v.abs()) < 0.25) & (square < 1),
            ((u.abs() < 0.9) & (v > 0.4) & (v < 0.9)) | ((u.abs() < 0.25) & (v > -0.9) & (v < 0.9)),
            (u.abs() < 0.9) & (v.abs() > 0.25) & (v.abs() < 0.75),
            (radius < 1) & (torch.hypot(u - 0.45, v) > 0.75),
            radius < 0.6 + 0.4 * torch.cos(5 * angle),
        )
    )  # (10, N, 32, 32)
    return shapes[label, torch.arange(len(label))]


def demo_set(images: int, seed: int, size: int = DEMO.image_size) -> tuple[Tensor, Tensor]:
    """Draw shapes of random position, size, rotation and colour on uneven, noisy backgrounds.

    The images follow from the seed. Their classes alternate. The size is 32 or a divisor of it.

    Returns:
        Pixels uint8 (images, size, size, 3) and labels int64 (images,).
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    labels = torch.arange(images) % len(CLASSES)
    axis = torch.linspace(-1, 1, DRAWN_SIZE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    centre = uniform(images, 2, low=-0.35, high=0.35)
    scale = uniform(images, low=0.4, high=0.65)[:, None, None]
    rotation = uniform(images, low=0, high=2 * math.pi)[:, None, None]
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    u = (dx * rotation.cos() + dy * rotation.sin()) / scale
    v = (dy * rotation.cos() - dx * rotation.sin()) / scale
    mask = _inside(labels, u, v)[..., None]  # (N, 32, 32, 1)

    # The background covers half the range of the foreground's colours: most shapes stand out, and a few hardly do.
    coarse = uniform(images, 3, 4, 4, low=0.25, high=0.75)
    background = interpolate(coarse, size=(DRAWN_SIZE, DRAWN_SIZE), mode="bilinear", align_corners=True)
    background = background.permute(0, 2, 3, 1)  # (N, 32, 32, 3)
    foreground = uniform(images, 1, 1, 3)
    noise = torch.randn((images, DRAWN_SIZE, DRAWN_SIZE, 3), generator=generator) * 0.05
    pixels = (torch.where(mask, foreground, background) + noise).clamp(0, 1)
    pixels = avg_pool2d(pixels.permute(0, 3, 1, 2), DRAWN_SIZE // size).permute(0, 2, 3, 1).contiguous()
    return (pixels * 255).round().to(torch.uint8), labels
