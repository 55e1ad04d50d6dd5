"""The loss and the errors of a net over many batches, as a torchmetrics metric."""

import torch
from torch import Tensor
from torchmetrics import Metric

# Sums of a row are exact in double precision. MPS has none.
SUM_DTYPE = torch.float32 if torch.backends.mps.is_available() else torch.float64


def count_wrong(scores: Tensor, labels: Tensor, top: int) -> Tensor:
    """Return how many labels (N,) are not among the `top` highest scores (N, num_classes) of their rows, 0-dim."""
    best = scores.topk(min(top, scores.shape[1]), 1).indices
    return (best != labels[:, None]).all(1).sum()


class Errors(Metric):
    """The mean loss per image and the share of wrong answers in percent, summed on the device and over all processes.

    `compute` returns `<part>_loss`, `<part>_error` and, if `top5` is True, `<part>_top5_error` as Python numbers.

    Args:
        part: Prefix of the names.
        top5: Whether to count images whose class is not among the five best guesses, too.
    """

    full_state_update = False
    loss: Tensor
    wrong: Tensor
    wrong_of_five: Tensor
    images: Tensor

    def __init__(self, part: str = "test", top5: bool = False):
        super().__init__()
        self.part, self.top5 = part, top5
        self.add_state("loss", torch.zeros((), dtype=SUM_DTYPE), dist_reduce_fx="sum")
        for name in ("wrong", "wrong_of_five", "images"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            loss: Its mean loss, 0-dim.
            logits: Its logits (B, num_classes).
            labels: Its labels int64 (B,).
        """
        self.loss += loss.detach().to(SUM_DTYPE) * len(labels)
        self.wrong += (logits.argmax(1) != labels).sum()
        self.images += len(labels)
        if self.top5:
            self.wrong_of_five += count_wrong(logits, labels, 5)

    def compute(self) -> dict[str, float]:
        loss, wrong, wrong_of_five, images = (
            state.item() for state in (self.loss, self.wrong, self.wrong_of_five, self.images)
        )
        errors = {f"{self.part}_loss": loss / images, f"{self.part}_error": 100 * wrong / images}
        return errors | ({f"{self.part}_top5_error": 100 * wrong_of_five / images} if self.top5 else {})
