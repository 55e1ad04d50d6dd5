"""The data and the net of a run, as its configuration describes them."""

from pathlib import Path

import torch
from torch import nn

from plainres.data import CifarData, ImageNetData, RunData
from plainres.errors import UserError
from plainres.nets.random_draws import draw_from
from plainres.nets.weights import ARCHITECTURES, Normalized, load_net
from plainres.training.config import RunConfig
from plainres.training.device import activation_bytes, free_memory

PROBE_BATCH = 4
MEMORY_SHARE = 0.6
UNREADABLE = "unreadable.tsv"  # lists the images that were skipped, in the folder of a record


def make_data(
    config: RunConfig, data_dir: Path, folder: Path | None = None, shard: tuple[int, int] = (0, 1)
) -> RunData:
    """Return the data module of a run.

    Args:
        config: Configuration of the run.
        data_dir: Folder that holds the data sets.
        folder: Folder of the record, in which unreadable images are listed.
        shard: `(rank, size)` of this process, if several processes divide each batch among them.
    """
    c = config
    if c.family == "imagenet":
        log = folder and folder / UNREADABLE
        sizes = (c.image_size, c.seed, c.iterations, c.batch_size)
        return ImageNetData(data_dir, *sizes, num_classes=c.num_classes, shard=shard, bad_log=log)
    return CifarData(c.dataset, data_dir, c.train_set, c.seed, c.iterations, c.batch_size, shard)


def make_net(config: RunConfig) -> nn.Module:
    """Return the net of a run with its initial weights, which follow from the seed.

    The weights are drawn from a generator of their own. The global random state is neither read nor changed, so
    several threads may make nets at the same time. They are the weights that `torch.manual_seed(config.seed)` would
    give.
    """
    with draw_from(torch.Generator().manual_seed(config.seed)):
        return ARCHITECTURES[config.family](**config.architecture())


def load_recorded(folder: Path) -> tuple[Normalized, RunConfig]:
    """Load the net of a record, and the configuration that it was trained with.

    Args:
        folder: Folder of the record of a run, with its weights.

    Raises:
        UserError: If there are no weights, or if they were not trained by this project.
    """
    path = folder / "weights.safetensors"
    loaded = load_net(path)
    if "config" not in loaded.recipe:
        raise UserError(f"{path}: the weights come from elsewhere, and have no configuration of a run")
    return loaded, RunConfig(**loaded.recipe["config"])


def image_shape(config: RunConfig) -> tuple[int, int, int]:
    """Return (channels, height, width) of one image as the net receives it."""
    return 3, config.image_size, config.image_size


def needs_activation_checkpointing(net: nn.Module, config: RunConfig, device: torch.device, processes: int = 1) -> bool:
    """Return whether the activations of a training step would take most of the free memory of the device."""
    at_once = config.micro_batch or config.batch_size // processes
    images = torch.zeros(PROBE_BATCH, *image_shape(config), dtype=next(net.parameters()).dtype)
    needed = activation_bytes(net, images, config.precision) * at_once / PROBE_BATCH
    return needed > MEMORY_SHARE * free_memory(device)
