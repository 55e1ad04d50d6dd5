"""How many photographs per second does the data loader deliver?

    python experiments/imagenet_loading.py --data-dir /data/imagenet --workers 1

Decoding limits training on ImageNet when a GPU is fast. This script times our training batches (crop, flip, color noise
and mean subtraction, on the device) and those of torchvision's reference recipe (RandomResizedCrop, flip and Normalize,
one image at a time in the workers) in turn, on the same files and with the same number of workers. It
takes about a minute.

Expected: more images per second than the reference recipe. No measurement is committed.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from plainres.cli import parse_options, run_command
from plainres.data import BatchLoader, ImageNetData, default_data_dir
from plainres.data.augmentation import MEAN
from plainres.errors import UserError
from plainres.records.provenance import describe_hardware
from plainres.training.device import choose_device

REFERENCE_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Options:
    """Measure the images per second of our loader and of torchvision's reference recipe."""

    data_dir: Path = field(default_factory=default_data_dir)
    """Folder that contains train/<class>/* and val/<class>/*. Default: the environment variable DATA_DIR, or ./data."""
    workers: int = 1
    """Number of processes that decode photographs. 0: decode in the main process."""
    batches: int = 10
    """Number of timed batches per round. One more batch before them is not timed."""
    batch_size: int = 64
    """Number of photographs per batch."""
    rounds: int = 5
    """Number of rounds. Each round times both loaders."""
    device: str = "auto"
    """Device that receives the batches: auto, cpu, cuda or cuda:<index>."""


def rate(batches: Iterable, use: Callable, batch_size: int) -> float:
    """Return the images per second of a loader, not counting the first batch, which waits for the workers to start."""
    iterator = iter(batches)
    use(next(iterator))
    begin, count = time.perf_counter(), 0
    for batch in iterator:
        use(batch)
        count += batch_size
    return count / (time.perf_counter() - begin)


def plainres_rate(options: Options, device: torch.device) -> float:
    """Return the images per second of our loader."""
    n = options.batches + 1
    data = ImageNetData(options.data_dir, iterations=n, batch_size=options.batch_size, workers=options.workers)
    data.setup()
    items, arguments = data.train_items()
    batches = data.batches(BatchLoader(items, range(n), **arguments), "train", device)
    return rate(batches, lambda batch: batch[0][0, 0, 0, 0].item(), options.batch_size)


def reference_rate(options: Options, device: torch.device) -> float:
    """Return the images per second of torchvision's reference recipe."""
    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    steps += [transforms.ConvertImageDtype(torch.float), transforms.Normalize(MEAN, REFERENCE_STD)]
    images = ImageFolder(options.data_dir / "train", transforms.Compose(steps))
    order = [i % len(images) for i in range((options.batches + 1) * options.batch_size)]
    loader = DataLoader(images, options.batch_size, sampler=order, num_workers=options.workers)
    return rate(loader, lambda batch: batch[0].to(device)[0, 0, 0, 0].item(), options.batch_size)


def main() -> int:
    options = parse_options(Options, description=__doc__)
    for name, least in (("workers", 0), ("batches", 1), ("batch_size", 1), ("rounds", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name.replace('_', '-')} must be {least} or more, not {getattr(options, name)}")
    device = choose_device(options.device)
    torch.set_num_threads(1)
    loaders = {"plainres": plainres_rate, "torchvision reference": reference_rate}
    rates = [{name: measure(options, device) for name, measure in loaders.items()} for _ in range(options.rounds)]
    frame = pd.DataFrame(rates)
    ratio = frame["plainres"] / frame["torchvision reference"]
    hardware = describe_hardware(device)
    print(f"{hardware['cpu']}, {hardware['cpu_cores']} cores, {hardware.get('gpu', 'no GPU')}; {options}\n")
    print(frame.describe().loc[["min", "50%", "max"]].round(0).to_markdown(), "\n")
    print(f"plainres / reference in each round: median {ratio.median():.2f}, {ratio.min():.2f} to {ratio.max():.2f}")
    return 0


if __name__ == "__main__":
    run_command(main)
