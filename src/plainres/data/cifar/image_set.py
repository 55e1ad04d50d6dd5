"""A whole set of small images in memory, from which a batch is one gather."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn.functional import pad

from plainres.data.cifar.batch_table import PAD


class ImageSet:
    """Padded images, their labels and the mean to subtract, all on one device.

    Args:
        pixels: uint8 (N, H, W, 3).
        labels: int64 (N,).
        mean: per-pixel mean of the training images, float32 (H, W, 3), between 0 and 255.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, mean: Tensor):
        frame = (0, 0, PAD, PAD, PAD, PAD)
        self.size = pixels.shape[1]
        self.pixels = pad(pixels, frame)  # (N, H + 8, W + 8, 3)
        # The mean is padded like the images: their difference in the border is zero, as if padded after subtracting.
        self.mean = pad(mean, frame)  # (H + 8, W + 8, 3)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> ImageSet:
        """Move everything to `device`, in place."""
        self.pixels, self.mean, self.labels = (t.to(device) for t in (self.pixels, self.mean, self.labels))
        return self

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Crop, flip and normalize one batch.

        Args:
            rows: int32 (B, 4) on the set's device: index, vertical and horizontal offset, flip.

        Returns:
            images float32 (B, 3, H, W) in channels_last layout, (pixel - mean) / 255; labels int64 (B,).
        """
        index, dy, dx, flip = (column[:, None] for column in rows.long().unbind(1))  # each (B, 1)
        step = torch.arange(self.size, device=rows.device)
        y = (dy + step)[:, :, None]  # (B, H, 1)
        x = (dx + torch.where(flip.bool(), self.size - 1 - step, step))[:, None, :]  # (B, 1, W)
        images = (self.pixels[index[:, :, None], y, x] - self.mean[y, x]) / 255  # (B, H, W, 3)
        return images.permute(0, 3, 1, 2), self.labels[index[:, 0]]

    def md5(self) -> str:
        """Fingerprint of pixels and labels."""
        digest = hashlib.md5(self.pixels.cpu().numpy(), usedforsecurity=False)
        digest.update(self.labels.cpu().numpy())
        return digest.hexdigest()
