"""A set of small images in memory, from which a batch is gathered in one indexing operation."""

import hashlib

import torch
from torch import Tensor
from torch.nn.functional import pad

from plainres.data.cifar.batch_table import PAD


class ImageSet:
    """Padded images, their labels and the mean to subtract, on the device of the last batch.

    Args:
        pixels: Images uint8 (N, H, W, 3).
        labels: Labels int64 (N,).
        mean: Per-pixel mean of the training images, float32 (H, W, 3), between 0 and 255.

    Attributes:
        pixels: Padded images uint8 (N, H + 8, W + 8, 3).
        mean: Padded mean, float32 (H + 8, W + 8, 3).
        labels: Labels int64 (N,).
        size: Height and width of the images without padding.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, mean: Tensor):
        border = (0, 0, PAD, PAD, PAD, PAD)
        self.size = pixels.shape[1]
        self.pixels = pad(pixels, border)
        # The mean is padded like the images, so the border is zero after subtraction, as if padded afterwards.
        self.mean = pad(mean, border)
        self.labels = labels
        self._md5: str | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Crop, flip and normalize one batch, after moving the whole set to the device of its rows.

        Args:
            rows: int32 (B, 4): index, vertical offset, horizontal offset, flip.

        Returns:
            Images float32 (B, 3, H, W) in channels_last layout, (pixel - mean) / 255, and labels int64 (B,).
        """
        if self.pixels.device != rows.device:
            self.pixels, self.mean, self.labels = (t.to(rows.device) for t in (self.pixels, self.mean, self.labels))
        index, dy, dx, flip = (column[:, None] for column in rows.long().unbind(1))  # each (B, 1)
        step = torch.arange(self.size, device=rows.device)
        y = (dy + step)[:, :, None]  # (B, H, 1)
        x = (dx + torch.where(flip.bool(), self.size - 1 - step, step))[:, None, :]  # (B, 1, W)
        images = (self.pixels[index[:, :, None], y, x] - self.mean[y, x]) / 255  # (B, H, W, 3)
        return images.permute(0, 3, 1, 2), self.labels[index[:, 0]]

    def md5(self) -> str:
        """Return the MD5 digest of pixels and labels, in hexadecimal. It is computed once."""
        if self._md5 is None:
            digest = hashlib.md5(self.pixels.cpu().numpy().data, usedforsecurity=False)
            digest.update(self.labels.cpu().numpy().data)
            self._md5 = digest.hexdigest()
        return self._md5
