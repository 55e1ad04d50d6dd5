"""CIFAR-10 and CIFAR-100, read with torchvision. Errors name the file that is missing or damaged."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError

import torch
from filelock import FileLock
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import calculate_md5

from plainres.catalog import DATASETS
from plainres.errors import UserError

SOURCES = {"cifar10": CIFAR10, "cifar100": CIFAR100}
VALIDATION_IMAGES = 5_000
DOWNLOAD_TIMEOUT = 30  # seconds without an answer


class DataMissing(UserError):
    """The data set is neither on disk nor can it be downloaded."""


def require_cifar(dataset: str, data_dir: Path) -> None:
    """Check the files of CIFAR-10 or CIFAR-100 below `data_dir`, and download them if the folder is absent.

    While one process downloads, others wait for it.

    Raises:
        DataMissing: If the files are absent and cannot be downloaded.
        UserError: If a file is missing, truncated, altered or unreadable.
    """
    source = SOURCES[dataset]
    folder = data_dir / source.base_folder
    problem = _find_problem(dataset, folder)
    if problem:
        with _one_at_a_time(data_dir):
            if not folder.exists():
                _download(dataset, data_dir)
        problem = _find_problem(dataset, folder)
    if problem:
        raise UserError(
            f"{problem}; remove {folder} to download the data set again, or extract {source.url} into {data_dir}"
        )


def _find_problem(dataset: str, folder: Path) -> str:
    """Return which file of a data set is not as expected, and why, or an empty string if every file is."""
    source = SOURCES[dataset]
    for name, expected in (*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])):
        path = (folder / name).absolute()
        try:
            md5 = calculate_md5(path)
        except FileNotFoundError:
            return f"{path}: expected md5 {expected}, but there is no such file"
        except OSError as error:
            raise UserError(f"{path}: the file cannot be read ({error.strerror or error})") from None
        if md5 != expected:
            return f"{path}: expected md5 {expected}, but the file has {md5}"
    return ""


@contextmanager
def _one_at_a_time(data_dir: Path) -> Iterator[None]:
    """Wait for another process that downloads into the folder. Where nothing can be written, do not wait.

    Afterwards, the file of the lock is removed, and so is the folder if nothing is in it.
    """
    lock = FileLock(data_dir / ".download.lock")
    with suppress(OSError):
        data_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):
            Path(lock.lock_file).unlink()
            data_dir.rmdir()
        lock.release()


def _download(dataset: str, data_dir: Path) -> None:
    source, title = SOURCES[dataset], DATASETS[dataset].title
    default_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        source(data_dir, download=True)
    except (URLError, OSError, RuntimeError) as error:
        raise DataMissing(
            f"{title} is not in {data_dir.absolute()} (there is no {source.base_folder}/) and could not be downloaded "
            f"({error}). Download {source.url} (md5 {source.tgz_md5}) and extract it there, or name the folder that "
            "contains it with DATA_DIR=<folder>"
        ) from None
    finally:
        socket.setdefaulttimeout(default_timeout)


def load_cifar(dataset: str, data_dir: Path, train: bool) -> tuple[Tensor, Tensor]:
    """Return pixels uint8 (N, 32, 32, 3) and labels int64 (N,) from files that `require_cifar` has checked."""
    part = SOURCES[dataset](data_dir, train=train)
    # torchvision returns a view of the planes in the files, whose strides would slow down every later access.
    return torch.from_numpy(part.data).contiguous(), torch.tensor(part.targets)


def validation_split(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices (45000,) to train on and (5000,) to validate on, both ascending (section 4.2).

    The same number of images of each class is held out, drawn with a seed that does not depend on that of a run.
    """
    generator = torch.Generator().manual_seed(0)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    classes = int(labels.max()) + 1
    for label in range(classes):
        members = (labels == label).nonzero()[:, 0]
        held_out[members[torch.randperm(len(members), generator=generator)[: VALIDATION_IMAGES // classes]]] = True
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]
