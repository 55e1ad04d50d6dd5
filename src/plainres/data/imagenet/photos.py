"""A folder of photographs, one folder a class: names, labels, and decoding."""

import hashlib
import os
import re
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms.v2.functional import center_crop, resize

from plainres.errors import UserError

# Published centre crops are 224 out of a shorter side of 256.
VIEW_RATIO = 256 / 224


class BadImage(Exception):
    """A file that is not a whole image."""


class Photos:
    """The photographs of one folder, `<class>/<file>` each, in the order of their names.

    Args:
        folder: `train` or `val` of ILSVRC-2012, or any like them.

    Attributes:
        classes: names of the class folders, sorted; a label is a place among them.
        labels: int64 (N,).

    Raises:
        UserError: there is no such folder, it is not sorted into classes, or a class has no image.
    """

    def __init__(self, folder: Path):
        self.folder, self.classes = folder, class_folders(folder)
        names, labels = [], []
        for label, name in enumerate(self.classes):
            found = [
                f"{path[len(str(folder)) + 1 :]}/{file}"
                for path, _, files in sorted(os.walk(folder / name, followlinks=True))
                for file in sorted(files)
                if _is_image(file)
            ]
            if not found:
                raise UserError(f"{folder / name}: no images in this class folder")
            names += found
            labels += [label] * len(found)
        # One block of bytes: a million Python strings would be copied into every worker as it counts references.
        self._names = np.array([os.fsencode(name) for name in names])
        self.labels = torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """A photograph's path below the folder."""
        return os.fsdecode(bytes(self._names[index]))

    def read(self, index: int) -> Tensor:
        """Decode a photograph: uint8 (3, H, W), whatever its format, colour space and depth.

        Raises:
            BadImage: the file is truncated, empty, unreadable or not an image.
        """
        return decode(self.folder / self.name(index))

    def md5(self) -> str:
        """Fingerprint of the photographs' names and sizes (their contents would all have to be read)."""
        digest = hashlib.md5(usedforsecurity=False)
        for index in range(len(self)):
            name = self.name(index)
            digest.update(f"{name} {(self.folder / name).stat().st_size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders of a folder of photographs, sorted.

    Raises:
        UserError: there is no such folder, or it is not sorted into classes.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it should hold one folder of images for each class")
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    classes = [entry.name for entry in entries if entry.is_dir()]
    if classes:
        return classes
    if any(_is_image(entry.name) for entry in entries):
        raise UserError(
            f"{folder}: images lie here unsorted, but one folder for each class is wanted. With ILSVRC2012_img_val.tar "
            "and ILSVRC2012_devkit_t12.tar.gz in DIR, this sorts them into DIR/val: "
            "python -c \"import torchvision; torchvision.datasets.ImageNet('DIR', 'val')\""
        )
    raise UserError(f"{folder}: no class folders there; it should hold one folder of images for each class")


def with_shorter_side(image: Tensor, short: int) -> Tensor:
    """The whole image (3, H, W) resized so that its shorter side is `short`, aspect kept."""
    return resize(image, [short], antialias=True)


def center_view(image: Tensor, size: int) -> Tensor:
    """The centre crop (3, size, size) of an image at a shorter side of 256 / 224 of `size`."""
    return center_crop(with_shorter_side(image, round(VIEW_RATIO * size)), [size, size])


def _is_image(name: str) -> bool:
    return has_file_allowed_extension(name, IMG_EXTENSIONS) and not name.startswith(".")


def decode(path: Path) -> Tensor:
    """Decode an image file of any kind to RGB: uint8 (3, H, W).

    Raises:
        BadImage: it is truncated, empty, unreadable or not an image.
    """
    try:
        with warnings.catch_warnings():
            # Since torchvision 0.29, in favour of torchcodec. PIL, which gives the same pixels, is a third slower.
            warnings.filterwarnings("ignore", "The image decoding and encoding capabilities of TorchVision")
            image = decode_image(read_file(str(path)), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        raise BadImage(re.sub(r"^.*\.cpp:\d+, ", "", str(error).splitlines()[0])) from None
    if image.dim() == 4:  # an animation: its first picture
        image = image[0]
    return (image.int() // 257).to(torch.uint8) if image.dtype == torch.uint16 else image


def require_same_classes(train: Photos, val: Photos) -> None:
    """Have two folders agree on what their labels mean.

    Raises:
        UserError: a class folder is in one of them alone.
    """
    for here, there in ((train, val), (val, train)):
        alone = sorted(set(here.classes) - set(there.classes))
        if alone:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            raise UserError(
                f"{there.folder} has no class folder {', '.join(alone[:3])}{more}, which {here.folder} has: "
                "training and validation must hold the same classes"
            )
