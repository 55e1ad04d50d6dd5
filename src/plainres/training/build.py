"""The data and the net of a run, as its configuration describes them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from plainres.data import CifarData, ImageNetData, StudyData
from plainres.errors import UserError
from plainres.nets.activation_checkpointing import preserve_buffers
from plainres.nets.cifar import CifarNet
from plainres.nets.imagenet import ImageNetNet
from plainres.nets.weights import ARCHITECTURES, Normalized, load_net
from plainres.records.config import RunConfig
from plainres.records.record import Record
from plainres.training.device import free_memory
from plainres.training.evaluation import predict

PROBE_BATCH = 4
MEMORY_SHARE = 0.6
UNREADABLE = "unreadable.tsv"  # lists the images that were skipped, in the folder of a record


def make_data(config: RunConfig, data_dir: Path, folder: Path | None = None) -> StudyData:
    """Return the data module of a run, which lists unreadable images in the folder of its record, if there is one."""
    c = config
    batches: dict[str, int] = {name: getattr(c, name) for name in ("seed", "iterations", "batch_size", "micro_batch")}
    if c.family == "imagenet":
        log = folder and folder / UNREADABLE
        return ImageNetData(data_dir, size=c.image_size, num_classes=c.num_classes, bad_log=log, **batches)
    return CifarData(data_dir, dataset=c.dataset, train_set=c.train_set, **batches)


def make_net(config: RunConfig) -> CifarNet | ImageNetNet:
    """Return the net of a run with its initial weights, which follow from the seed.

    They are the weights that `torch.manual_seed(config.seed)` would give. The random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return ARCHITECTURES[config.family](**config.architecture())


def load_recorded(folder: Path) -> tuple[Normalized, RunConfig]:
    """Load the net of a record from its folder, and the configuration that it was trained with.

    Raises:
        UserError: If there are no weights, or if they were not trained by this project.
    """
    path = Record(folder).weights
    loaded = load_net(path)
    if "config" not in loaded.recipe:
        raise UserError(f"{path}: the weights come from elsewhere, and have no configuration of a run")
    return loaded, RunConfig(**loaded.recipe["config"])


def image_shape(config: RunConfig) -> tuple[int, int, int]:
    """Return (channels, height, width) of one image as the net receives it."""
    return 3, config.image_size, config.image_size


def activation_bytes(net: nn.Module, images: Tensor, precision: str) -> int:
    """Return how many bytes a forward pass of images (B, C, H, W) in training mode keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with preserve_buffers(net), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        predict(net, images, precision)
    return sum(kept.values())


def needs_activation_checkpointing(net: nn.Module, config: RunConfig, device: torch.device, processes: int = 1) -> bool:
    """Return whether the activations of a training step would take most of the free memory of the device."""
    at_once = config.micro_batch or config.batch_size // processes
    images = torch.zeros(PROBE_BATCH, *image_shape(config), dtype=next(net.parameters()).dtype)
    needed = activation_bytes(net, images, config.precision) * at_once / PROBE_BATCH
    return needed > MEMORY_SHARE * free_memory(device)
