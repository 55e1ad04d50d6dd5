"""A folder of photographs with one subfolder per class: names, labels and decoding."""

import hashlib
import os
import re
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension, make_dataset
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms.v2.functional import center_crop, pil_to_tensor, resize

from plainres.errors import UserError, first_line

# Published center crops are 224 pixels wide, of a shorter side of 256.
VIEW_RATIO = 256 / 224
FAST_EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".webp")  # of the formats of torchvision's decoder


class BadImage(Exception):
    """A file is not a complete image."""


class Photos:
    """The photographs of one folder, `<class>/<file>`, in the order of their names.

    The folder is `train` or `val` of ILSVRC-2012, or any other with one subfolder of images per class. `classes` are
    the sorted names of these, and `labels`, int64 (N,), are positions in this list.

    Raises:
        UserError: If the folder does not exist or has no class folders, or if a class has no images.
    """

    def __init__(self, folder: Path):
        self.folder, self.classes = folder, class_folders(folder)
        prefix = len(str(folder)) + 1
        files = make_dataset(
            str(folder),
            {name: label for label, name in enumerate(self.classes)},
            is_valid_file=lambda path: all(map(_is_shown, path[prefix:].split(os.sep))) and _is_image(path),
            allow_empty=True,
        )
        self.labels = torch.tensor([label for _, label in files], dtype=torch.long)
        for name, count in zip(self.classes, self.labels.bincount(minlength=len(self.classes)), strict=True):
            if not count:
                raise UserError(f"{folder / name}: this class folder contains no images")
        # A single block of bytes: counting references to a million strings would copy them into every worker process.
        self._names = np.array([os.fsencode(path[prefix:]) for path, _ in files])

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Return the path of a photograph relative to the folder."""
        return os.fsdecode(bytes(self._names[index]))

    def read(self, index: int) -> Tensor:
        """Decode a photograph: uint8 (3, H, W). Raises `BadImage` as `decode` does."""
        return decode(self.folder / self.name(index))

    def md5(self) -> str:
        """Return the MD5 digest of all names and file sizes, in hexadecimal. Digesting the contents would take long.

        A file without a size, such as a symbolic link to a missing file, counts as empty. `read` reports it.
        """
        digest = hashlib.md5(usedforsecurity=False)
        for index in range(len(self)):
            name = self.name(index)
            try:
                size = (self.folder / name).stat().st_size
            except OSError:
                size = 0
            digest.update(f"{name} {size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the class folders in a folder of photographs.

    Raises:
        UserError: If the folder does not exist, cannot be read or has no class folders.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it must contain one folder of images per class")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be read ({error.strerror or error})") from None
    folders = [entry.name for entry in entries if entry.is_dir()]
    classes = list(filter(_is_shown, folders))
    if len(classes) < len(folders):
        _report_hidden(folder, len(folders) - len(classes))
    if classes:
        return classes
    if any(map(_is_image, (entry.name for entry in entries))):
        raise UserError(
            f"{folder}: the images are not sorted into one folder per class. With ILSVRC2012_img_val.tar and "
            "ILSVRC2012_devkit_t12.tar.gz in DIR, and without DIR/val, this command sorts the validation images into "
            "DIR/val: "
            "python -c \"import torchvision; torchvision.datasets.ImageNet('DIR', 'val')\""
        )
    raise UserError(f"{folder}: no class folders; it must contain one folder of images per class")


def with_shorter_side(image: Tensor, short: int) -> Tensor:
    """Resize an image (3, H, W) so that its shorter side has `short` pixels. The aspect ratio is kept."""
    return resize(image, [short], antialias=True)


def center_view(image: Tensor, size: int) -> Tensor:
    """Return the center crop (3, size, size) of an image whose shorter side is resized to 256 / 224 of `size`."""
    return center_crop(with_shorter_side(image, round(VIEW_RATIO * size)), [size, size])


def _is_image(name: str) -> bool:
    return has_file_allowed_extension(name, IMG_EXTENSIONS)


def _is_shown(name: str) -> bool:
    """Return whether a file or folder is neither hidden nor made by a system, such as .ipynb_checkpoints."""
    system = ("lost+found", "$RECYCLE.BIN", "System Volume Information")
    return not (name.startswith((".", "__", "@")) or name in system)


@cache
def _report_hidden(folder: Path, count: int) -> None:
    print(f"{folder}: {count} hidden or system folders are not classes", file=sys.stderr)


def decode(path: Path) -> Tensor:
    """Decode an image file to RGB: uint8 (3, H, W). Of an animation, the first frame is returned.

    Raises:
        BadImage: If the file is truncated, empty, unreadable or not an image.
    """
    if not has_file_allowed_extension(path.name, FAST_EXTENSIONS):
        return _decode_slowly(path)
    try:
        with warnings.catch_warnings():
            # torchvision 0.29 deprecates its decoder in favour of torchcodec. PIL gives the same pixels, but takes
            # a third longer.
            warnings.filterwarnings("ignore", "The image decoding and encoding capabilities of TorchVision")
            image = decode_image(read_file(str(path)), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        raise BadImage(re.sub(r"^.*\.cpp:\d+, ", "", first_line(error))) from None
    if image.dim() == 4:
        image = image[0]
    return (image.int() // 257).to(torch.uint8) if image.dtype == torch.uint16 else image


def _decode_slowly(path: Path) -> Tensor:
    """Decode a file with 8 bits per value in a format that torchvision's decoder does not have, such as BMP or TIFF."""
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # PIL would clip these values
                raise BadImage(f"only 8 bits per value can be decoded in this format, not PIL's mode {image.mode}")
            return pil_to_tensor(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:  # of some damaged files
        raise BadImage(first_line(error)) from None
