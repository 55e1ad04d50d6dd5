"""CIFAR-10 through torchvision, with errors that say which file is missing or altered."""

import os
import socket
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5

from plainres.errors import UserError

VALIDATION_PER_CLASS = 500
DOWNLOAD_TIMEOUT = 30  # seconds without an answer


class DataMissing(UserError):
    """The data set is neither on disk nor downloadable."""


def default_data_dir() -> Path:
    """Where data sets are looked for: the environment's DATA_DIR, else ./data."""
    return Path(os.environ.get("DATA_DIR") or "data")


def require_cifar10(data_dir: Path) -> None:
    """Make sure that CIFAR-10 lies whole below `data_dir`, downloading it where nothing is there yet.

    Raises:
        DataMissing: it is not there and cannot be downloaded.
        UserError: a file is missing, truncated or altered.
    """
    folder = data_dir / CIFAR10.base_folder
    if not folder.exists():
        _download(data_dir)
    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    for name, expected in (*CIFAR10.train_list, *CIFAR10.test_list, meta):
        path = folder / name
        found = calculate_md5(path) if path.is_file() else "no such file"
        if found != expected:
            raise UserError(
                f"{path}: expected md5 {expected}, found {found}; "
                f"remove {folder} to download it again, or unpack {CIFAR10.url} there"
            )


def _download(data_dir: Path) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        CIFAR10(data_dir, download=True)
    except (URLError, OSError, RuntimeError) as error:
        raise DataMissing(
            f"CIFAR-10 is not in {data_dir.absolute()} (looked for {CIFAR10.base_folder}/) and could not be downloaded "
            f"({error}). Fetch {CIFAR10.url} (md5 {CIFAR10.tgz_md5}), unpack it there, "
            "or name the folder that holds it with DATA_DIR="
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def load_cifar10(data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
    """One part of CIFAR-10, which `require_cifar10` has seen: pixels uint8 (N, 32, 32, 3) and labels int64 (N,)."""
    part = CIFAR10(data_dir, train=train)
    # torchvision gives a view of the files' planes, which everything after would stride through.
    return torch.from_numpy(part.data).contiguous(), torch.tensor(part.targets)


def validation_split(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The fixed 45k/5k split: indices (N - 5000,) to train on and (5000,) to validate on, both ascending.

    500 images of each class, drawn once with a fixed seed, whatever the run's seed (section 4.2 uses 45k/5k).
    """
    generator = torch.Generator().manual_seed(0)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        members = (labels == label).nonzero()[:, 0]
        held_out[members[torch.randperm(len(members), generator=generator)[:VALIDATION_PER_CLASS]]] = True
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]
