"""Loss and error of a net on a whole part of the data, single view."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn

from plainres.data import CifarData, ImageNetData
from plainres.training.device import autocast
from plainres.training.ranks import average_buffers, sum_over

BN_IMAGES = 10_000


class Tally:
    """Running sums of a loss and of wrong answers (also to five guesses, where those are counted)."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.loss = self.wrong = self.wrong_of_five = 0.0
        self.images = 0

    def add(self, loss: Tensor, wrong: Tensor, images: int) -> None:
        """Add batches of `images` each: their mean losses and numbers of wrong answers, 0-dim or (batches,)."""
        for one_loss, one_wrong in zip(loss.reshape(-1).tolist(), wrong.reshape(-1).tolist(), strict=True):
            self.loss += one_loss * images
            self.wrong += one_wrong
            self.images += images

    def sum_over_ranks(self) -> None:
        """Add what the run's other processes have counted."""
        own = (self.loss, self.wrong, self.wrong_of_five, self.images)
        self.loss, self.wrong, self.wrong_of_five, images = sum_over(torch.tensor(own, dtype=torch.float64)).tolist()
        self.images = int(images)

    @property
    def mean_loss(self) -> float:
        return self.loss / self.images

    @property
    def error(self) -> float:
        """Wrong answers, in percent."""
        return 100 * self.wrong / self.images

    @property
    def top5_error(self) -> float:
        """Images whose class is not among the five best guesses, in percent."""
        return 100 * self.wrong_of_five / self.images


def predict(net: nn.Module, images: Tensor, precision: str) -> Tensor:
    """Logits (B, classes) in fp32, or in fp64 at that precision."""
    if precision == "fp64":
        images = images.double()
    with autocast(images.device, precision):
        logits = net(images)
    return logits.float() if precision == "bf16" else logits


def score(net: nn.Module, images: Tensor, labels: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Mean cross entropy (fp32, or fp64 at that precision; differentiable) and number of wrong answers, both 0-dim."""
    logits = predict(net, images, precision)
    return cross_entropy(logits, labels), (logits.argmax(1) != labels).sum()


def count_wrong(scores: Tensor, labels: Tensor, top: int) -> int:
    """How many labels (N,) are not among the `top` highest of their scores (N, classes)."""
    best = scores.topk(min(top, scores.shape[1]), 1).indices
    return int((best != labels[:, None]).all(1).sum())


def tally_batch(net: nn.Module, images: Tensor, labels: Tensor, precision: str, tally: Tally) -> None:
    """Add a test batch to a tally, the five best guesses included."""
    logits = predict(net, images, precision)
    tally.add(cross_entropy(logits, labels), (logits.argmax(1) != labels).sum(), len(labels))
    tally.wrong_of_five += count_wrong(logits, labels, 5)


@torch.inference_mode()
def evaluate(net: nn.Module, data: CifarData | ImageNetData, part: str, precision: str) -> Tally:
    """Pass over every image of a part ("train", "test", "val") once, in evaluation mode; the net's mode is restored."""
    was_training = net.training
    net.eval()
    tally = Tally()
    for rows in data.views(part):
        tally_batch(net, *data.inputs(rows, part), precision, tally)
    tally.sum_over_ranks()
    net.train(was_training)
    return tally


@torch.no_grad()
def with_exact_bn(net: nn.Module, data: CifarData | ImageNetData, precision: str) -> nn.Module:
    """A copy of the net whose BN statistics are averages over 10,000 training images (all, where there are fewer).

    The authors' released nets hold averages over "a sufficiently large training batch"; training leaves moving ones.
    Batches of any size count alike, and several processes cut their shares into batches each, which is seen in the
    last digits.
    """
    exact = copy.deepcopy(net)
    parameter = next(net.parameters())
    views = data.sample(BN_IMAGES)
    with autocast(parameter.device, precision):
        update_bn((data.inputs(rows)[0].to(parameter.dtype) for rows in views), exact)
    average_buffers(exact, len(views))
    return exact.eval()
