"""The loss of a net and its numbers of wrong answers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from plainres.training.device import autocast
from plainres.training.distributed import all_reduce_sum


def predict(net: nn.Module, images: Tensor, precision: str) -> Tensor:
    """Return logits (B, num_classes) in fp32, or in fp64 at that precision.

    Args:
        net: Net to evaluate.
        images: Normalized images float32 (B, 3, H, W).
        precision: `"fp64"`, `"fp32"` or `"bf16"`.
    """
    if precision == "fp64":
        images = images.double()
    with autocast(images.device, precision):
        logits = net(images)
    return logits.float() if precision == "bf16" else logits


def loss_and_errors(net: nn.Module, images: Tensor, labels: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Return the mean cross entropy and the number of wrong answers of a batch.

    Args:
        net: Net to evaluate.
        images: Normalized images float32 (B, 3, H, W).
        labels: int64 (B,).
        precision: `"fp64"`, `"fp32"` or `"bf16"`.

    Returns:
        The differentiable loss in fp32 (fp64 at that precision), and the number of wrong answers, both 0-dim.
    """
    return score(predict(net, images, precision), labels)


def score(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross entropy of logits (B, num_classes) and the number of wrong answers, both 0-dim."""
    return cross_entropy(logits, labels), (logits.argmax(1) != labels).sum()


def count_wrong(scores: Tensor, labels: Tensor, top: int) -> int:
    """Return how many labels (N,) are not among the `top` highest scores (N, num_classes) of their rows."""
    best = scores.topk(min(top, scores.shape[1]), 1).indices
    return int((best != labels[:, None]).all(1).sum())


class Tally:
    """Running sums of a loss and of wrong answers, the latter also for the five best guesses where they are counted.

    Attributes:
        loss: Sum of the losses of all images.
        wrong: Number of wrong answers.
        wrong_of_five: Number of images whose class is not among the five best guesses.
        images: Number of images.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Set all sums to zero."""
        self.loss = self.wrong = self.wrong_of_five = 0.0
        self.images = 0

    def add(self, loss: Tensor, wrong: Tensor, images: int) -> None:
        """Add batches of equal size.

        Args:
            loss: Mean loss of each batch, 0-dim or (batches,).
            wrong: Number of wrong answers of each batch, 0-dim or (batches,).
            images: Number of images per batch.
        """
        for one_loss, one_wrong in zip(loss.reshape(-1).tolist(), wrong.reshape(-1).tolist(), strict=True):
            self.loss += one_loss * images
            self.wrong += one_wrong
            self.images += images

    def add_logits(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (B, num_classes) with its labels (B,), including the five best guesses."""
        self.add(*score(logits, labels), len(labels))
        self.wrong_of_five += count_wrong(logits, labels, 5)

    @property
    def mean_loss(self) -> float:
        """Mean loss per image."""
        return self.loss / self.images

    @property
    def error(self) -> float:
        """Share of wrong answers, in percent."""
        return 100 * self.wrong / self.images

    @property
    def top5_error(self) -> float:
        """Share of images whose class is not among the five best guesses, in percent."""
        return 100 * self.wrong_of_five / self.images

    def errors(self, prefix: str, top5: bool = False) -> dict[str, float]:
        """Return `<prefix>_loss`, `<prefix>_error` and, if `top5` is True, `<prefix>_top5_error`."""
        figures = {f"{prefix}_loss": self.mean_loss, f"{prefix}_error": self.error}
        return figures | ({f"{prefix}_top5_error": self.top5_error} if top5 else {})

    def all_reduce(self) -> None:
        """Add the sums of the other processes of the run."""
        own = torch.tensor((self.loss, self.wrong, self.wrong_of_five, self.images), dtype=torch.float64)
        self.loss, self.wrong, self.wrong_of_five, images = all_reduce_sum(own).tolist()
        self.images = int(images)
