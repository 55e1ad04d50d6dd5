"""Loss and error of a net on a whole part of the data, single view."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn

from plainres.data import CifarData
from plainres.training.device import autocast


class Tally:
    """Running sums of a loss and of wrong answers."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.loss = self.wrong = 0.0
        self.images = 0

    def add(self, loss: Tensor, wrong: Tensor, images: int) -> None:
        """Add a batch: its mean loss, its number of wrong answers, its size."""
        self.loss += loss.item() * images
        self.wrong += wrong.item()
        self.images += images

    @property
    def mean_loss(self) -> float:
        return self.loss / self.images

    @property
    def error(self) -> float:
        """Wrong answers, in percent."""
        return 100 * self.wrong / self.images


def score(net: nn.Module, images: Tensor, labels: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Mean cross entropy (fp32, or fp64 at that precision; differentiable) and number of wrong answers, both 0-dim."""
    if precision == "fp64":
        images = images.double()
    with autocast(images.device, precision):
        logits = net(images)
    if precision == "bf16":
        logits = logits.float()
    return cross_entropy(logits, labels), (logits.argmax(1) != labels).sum()


@torch.inference_mode()
def evaluate(net: nn.Module, data: CifarData, part: str, precision: str) -> Tally:
    """Pass over every image of a part ("train", "test", "val") once, in evaluation mode; the net's mode is restored."""
    was_training = net.training
    net.eval()
    tally = Tally()
    for rows in data.views(part):
        images, labels = data.inputs(rows, part)
        tally.add(*score(net, images, labels, precision), len(labels))
    net.train(was_training)
    return tally


@torch.no_grad()
def with_exact_bn(net: nn.Module, data: CifarData, precision: str) -> nn.Module:
    """A copy of the net whose BN statistics are averages over the whole clean training set.

    The authors' released nets hold such averages; training leaves moving ones (footnote to their release).
    """
    exact = copy.deepcopy(net)
    parameter = next(net.parameters())
    batches = (data.inputs(rows)[0].to(parameter.dtype) for rows in data.views("train"))
    with autocast(parameter.device, precision):
        update_bn(batches, exact)
    return exact.eval()
