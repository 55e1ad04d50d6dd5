"""The parts of a data set in memory, kept from one run of a process to the next."""

from functools import lru_cache
from pathlib import Path

from plainres.catalog import DATASETS
from plainres.data.cifar.demo import demo_set
from plainres.data.cifar.files import SOURCES, FileState, cifar_files, load_cifar, validation_split
from plainres.data.cifar.image_set import ImageSet

MEAN_CHUNK = 1_000  # images summed at a time in fp32: the sums stay integers below 2^24 and are therefore exact


def load_parts(dataset: str, data_dir: Path, train_set: str) -> dict[str, ImageSet]:
    """Return the images of each part of a data set on the CPU, normalized with the mean of the training images.

    The last result is kept in memory, and returned again as long as no file has changed. Do not modify it.

    Args:
        dataset: `"cifar10"`, `"cifar100"` or `"demo"`.
        data_dir: Folder that holds the data set, whose files `require_cifar` has checked.
        train_set: `"50k"` to train on all training images, or `"45k"` to hold out 5,000 for validation.

    Returns:
        `ImageSet` of `"train"`, `"test"` and, with the 45k split, `"val"`.
    """
    files = cifar_files(dataset, data_dir) if dataset in SOURCES else ()
    sizes = DATASETS[dataset].sizes[train_set]
    return dict(_load_parts(dataset, data_dir.absolute(), train_set, sizes["train"], sizes["test"], files))


# Only the last data set is kept: the runs of a study share one, and CIFAR-10 takes 300 MB. The states of the files and
# the sizes of the demo set are arguments so that other ones are loaded anew.
@lru_cache(maxsize=1)
def _load_parts(
    dataset: str, data_dir: Path, train_set: str, num_train: int, num_test: int, _files: tuple[FileState, ...]
) -> dict[str, ImageSet]:
    if dataset in SOURCES:
        train, test = (load_cifar(dataset, data_dir, train=train) for train in (True, False))
    else:
        train, test = demo_set(num_train, seed=0), demo_set(num_test, seed=1)
    parts = {"train": train, "test": test}
    if train_set == "45k":
        images, labels = train
        training, validation = validation_split(labels)
        parts["train"] = images[training], labels[training]
        parts["val"] = images[validation], labels[validation]
    pixels = parts["train"][0]
    mean = sum(chunk.float().sum(0) for chunk in pixels.split(MEAN_CHUNK)) / len(pixels)
    return {name: ImageSet(*part, mean) for name, part in parts.items()}
