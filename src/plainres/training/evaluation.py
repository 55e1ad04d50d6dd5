"""Passes over whole parts of the data, with a single view of each image."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from plainres.data import RunData
from plainres.training.config import RunConfig
from plainres.training.device import autocast
from plainres.training.distributed import average_buffers
from plainres.training.loss import Tally, predict

BN_IMAGES = 10_000


@torch.inference_mode()
def evaluate(net: nn.Module, data: RunData, part: str, precision: str) -> Tally:
    """Evaluate a net once on every image of a part, in evaluation mode.

    Args:
        net: Net on the device of the data. Its mode is restored.
        data: Data module after `setup`.
        part: `"train"`, `"test"` or `"val"`.
        precision: `"fp64"`, `"fp32"` or `"bf16"`.
    """
    was_training = net.training
    net.eval()
    tally = Tally()
    for batch in data.views(part):
        images, labels = data.inputs(batch, part)
        tally.add_logits(predict(net, images, precision), labels)
    tally.all_reduce()
    net.train(was_training)
    return tally


@torch.no_grad()
def with_averaged_bn(net: nn.Module, data: RunData, config: RunConfig) -> tuple[nn.Module, int]:
    """Return a copy of a net whose BN statistics are averages over training images, and the number of images.

    The nets that the authors released hold averages over "a sufficiently large training batch", while training leaves
    moving averages. The averages are taken over the first batches of the run, about 10,000 images, augmented as in
    training, because images without augmentation are not what the weights were trained on.
    Several processes average over their shares of each batch, which changes the last digits.

    Args:
        net: Net on the device of the data.
        data: Data module of the run after `setup`.
        config: Configuration of the run.
    """
    averaged = copy.deepcopy(net)
    parameter = next(net.parameters())
    count = min(-(-BN_IMAGES // config.batch_size), config.iterations)
    loaded = data.train_batches([slice(i, i + 1) for i in range(count)])
    batches = (batch for item in loaded for batch in data.iterations_of(item))
    with autocast(parameter.device, config.precision):
        update_bn((data.inputs(batch)[0].to(parameter.dtype) for batch in batches), averaged)
    average_buffers(averaged, count)
    return averaged.eval(), count * config.batch_size
