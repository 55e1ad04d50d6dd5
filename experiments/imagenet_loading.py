"""How fast are photographs loaded? (decoding is what starves a GPU on ImageNet)

    python experiments/imagenet_loading.py --data-dir /data/imagenet
    python experiments/imagenet_loading.py --data-dir /data/imagenet --workers 1 --enlarge 500 375

Times our training batches (crop, flip, colour noise, mean, on the device) against torchvision's reference recipe
(RandomResizedCrop, flip, Normalize, image by image in the workers) on the same files with the same workers, in turns,
in one run; and the ways of decoding in one thread. A minute. Expected: about twice the reference per core.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pandas as pd
import torch
import tyro
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from plainres.cli import run_command
from plainres.data import ImageNetData, default_data_dir
from plainres.data.imagenet.batches import MEAN, jittered_crop
from plainres.data.imagenet.photos import Photos, decode
from plainres.training.device import choose_device, describe_hardware

STD = (0.229, 0.224, 0.225)  # of the reference recipe
JPEG_QUALITY = 93


@dataclass(frozen=True)
class Options:
    """Images per second of our loader and of torchvision's reference recipe."""

    data_dir: Path = field(default_factory=default_data_dir)
    """Folder with train/<class>/* and val/<class>/*. Default: the environment's DATA_DIR."""
    workers: int = 1
    """Processes that decode; 0: this one."""
    batches: int = 10
    """To time in each turn; the first of a turn is not counted."""
    batch_size: int = 64
    turns: int = 5
    device: str = "auto"
    """Where batches end up."""
    enlarge: tuple[int, int] | None = None
    """Width and height to save copies of the files at, in a temporary folder: small samples then cost what ImageNet's
    files do (500 x 375 is its commonest size)."""


def enlarged(folder: Path, size: tuple[int, int], into: Path) -> Path:
    """Copies of all images at another size."""
    for part in ("train", "val"):
        photos = Photos(folder / part)
        for index in range(len(photos)):
            path = (into / part / photos.name(index)).with_suffix(".jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(photos.read(index).permute(1, 2, 0).numpy())
            image.resize(size, Image.Resampling.BICUBIC).save(path, quality=JPEG_QUALITY)
    return into


def rate(batches: Iterable, use: Callable, batch_size: int) -> float:
    """Images per second once the first batch, and with it the workers, is there."""
    iterator = iter(batches)
    use(next(iterator))
    begin, count = time.perf_counter(), 0
    for batch in iterator:
        use(batch)
        count += batch_size
    return count / (time.perf_counter() - begin)


def ours(options: Options, folder: Path, device: torch.device) -> float:
    n = options.batches + 1
    data = ImageNetData(folder, iterations=n, batch_size=options.batch_size, workers=options.workers)
    data.setup()
    data.to(device)
    return rate(data.train_dataloader(), lambda batch: data.inputs(batch)[0][0, 0, 0, 0].item(), options.batch_size)


def reference(options: Options, folder: Path, device: torch.device) -> float:
    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    steps += [transforms.ConvertImageDtype(torch.float), transforms.Normalize(MEAN, STD)]
    images = ImageFolder(folder / "train", transforms.Compose(steps))
    order = [i % len(images) for i in range((options.batches + 1) * options.batch_size)]
    loader = DataLoader(images, options.batch_size, sampler=order, num_workers=options.workers)
    return rate(loader, lambda batch: batch[0].to(device)[0, 0, 0, 0].item(), options.batch_size)


def decoders(folder: Path, images: int = 100) -> dict[str, float]:
    """Images per second of one thread that decodes, crops and resizes to 224."""
    photos = Photos(folder / "train")
    paths = [folder / "train" / photos.name(i % len(photos)) for i in range(images)]
    place = torch.full((3,), 0.5)
    transform = transforms.RandomResizedCrop(224)

    def pil(path: Path) -> None:
        image = Image.open(path).convert("RGB")
        side = min(image.size) * 224 / 368
        image.resize((224, 224), Image.Resampling.BILINEAR, box=(0, 0, side, side))

    ways = {
        "torchvision.io, torch resize (ours)": lambda path: jittered_crop(decode(path), place, 224),
        "PIL, resize of a box": pil,
        "PIL, RandomResizedCrop (reference)": lambda path: transform(Image.open(path).convert("RGB")),
    }
    rates = {}
    for name, way in ways.items():
        times = []
        for path in paths:
            begin = time.perf_counter()
            way(path)
            times.append(time.perf_counter() - begin)
        rates[name] = 1 / median(times)
    return rates


def main() -> int:
    options = tyro.cli(Options)
    device = choose_device(options.device)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.data_dir
        if options.enlarge:
            folder = enlarged(folder, options.enlarge, Path(temporary))
        loaders = {"plainres": ours, "torchvision reference": reference}
        rates = [{name: way(options, folder, device) for name, way in loaders.items()} for _ in range(options.turns)]
        single = decoders(folder)
    turns = pd.DataFrame(rates)
    ratio = turns["plainres"] / turns["torchvision reference"]
    hardware = describe_hardware(device)
    print(f"{hardware['cpu']}, {hardware['cpu_cores']} cores, {hardware.get('gpu', 'no GPU')}; {options}\n")
    print(turns.describe().loc[["min", "50%", "max"]].round(0).to_markdown(), "\n")
    print(f"plainres / reference, turn by turn: median {ratio.median():.2f}, {ratio.min():.2f} to {ratio.max():.2f}\n")
    for name, images in single.items():
        print(f"{images:6.0f} images/s in one thread: {name}")
    return 0


if __name__ == "__main__":
    run_command(main)
