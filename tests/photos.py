"""Small folders of synthetic photographs for the tests."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n01", "n02", "n03")


def draw_photo(label: int, number: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Return a smooth random image that is brightest in the colour channel with the number of its class."""
    generator = np.random.default_rng(100 * label + number)
    coarse = generator.integers(0, 120, (4, 5, 3), dtype=np.uint8)
    coarse[..., label] += 130
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def make_photos(root: Path, train: int = 6, val: int = 4, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write `train` and `val` JPEG files per class below `root`, and return `root`."""
    for part, count in (("train", train), ("val", val)):
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                photo = draw_photo(label, number + (1000 if part == "val" else 0))
                photo.save(root / part / name / f"{number}.JPEG", quality=95)
    return root
