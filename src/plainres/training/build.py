"""Data and net of a run, as its configuration asks for them."""

from pathlib import Path

import torch
from torch import nn

from plainres.data import CifarData, ImageNetData
from plainres.nets.weights import ARCHITECTURES
from plainres.training.config import RunConfig
from plainres.training.device import activation_bytes, free_memory

PROBE_BATCH = 4
MEMORY_SHARE = 0.6
UNREADABLE = "unreadable.tsv"  # names the images that were skipped, in a record's folder


def make_data(
    config: RunConfig, data_dir: Path, folder: Path | None = None, share: tuple[int, int] = (0, 1)
) -> CifarData | ImageNetData:
    """The data module that a run's configuration asks for; unreadable images are named in the record's `folder`."""
    c = config
    if c.family == "imagenet":
        log = folder and folder / UNREADABLE
        sizes = (c.image_size, c.seed, c.iterations, c.batch_size)
        return ImageNetData(data_dir, *sizes, num_classes=c.num_classes, share=share, bad_log=log)
    return CifarData(c.dataset, data_dir, c.train_set, c.seed, c.iterations, c.batch_size, share)


def make_net(config: RunConfig) -> nn.Module:
    """The net of a run with its initial weights, a function of the seed; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ARCHITECTURES[config.family](**architecture(config))


def architecture(config: RunConfig) -> dict:
    """The arguments of `cifar_net`, or of `imagenet_net`, for a run."""
    own = ("stride_in",) if config.family == "imagenet" else ("norm", "init")
    return {name: getattr(config, name) for name in ("depth", "shortcut", "num_classes", *own)}


def image_shape(config: RunConfig) -> tuple[int, int, int]:
    """(channels, height, width) of one image as the net sees it."""
    return 3, config.image_size, config.image_size


def must_checkpoint(net: nn.Module, config: RunConfig, device: torch.device, processes: int = 1) -> bool:
    """Whether the activations of a training step would take most of the device's free memory."""
    at_once = config.micro_batch or config.batch_size // processes
    images = torch.zeros(PROBE_BATCH, *image_shape(config), dtype=next(net.parameters()).dtype)
    needed = activation_bytes(net, images, config.precision) * at_once / PROBE_BATCH
    return needed > MEMORY_SHARE * free_memory(device)
