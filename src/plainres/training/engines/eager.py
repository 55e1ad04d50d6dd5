"""What computes the iterations of a run, and the reference implementation of it. No configuration names an engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from plainres.data.protocol import Batches
from plainres.nets.activation_checkpointing import freeze_bn_statistics
from plainres.training.config import RunConfig
from plainres.training.loss import loss_and_errors

Inputs = Callable[..., tuple[Tensor, Tensor]]


class EagerEngine:
    """The reference: computes one iteration at a time, written as one would write it by hand.

    Every other engine must agree with this one.

    Args:
        net: Net that maps images (B, 3, H, W) to logits (B, num_classes), on the device it is trained on.
        config: Configuration of the run.
        inputs: Function that turns a batch of the loader (for images in memory, rows of the batch table, int32
            (B, 4)) into images float32 (B, 3, H, W) and labels int64 (B,).
        backward: Function that computes gradients from a loss, Lightning's own where its strategy takes part in them.

    Attributes:
        name: Engine that computes the iterations, as the record of a run names it.
        fallback: Why the iterations are not computed in the way that was chosen, or None.
        longest_span: Largest number of iterations per call of `advance`.
    """

    name = "eager"
    fallback: str | None = None
    longest_span = 1

    def __init__(self, net: nn.Module, config: RunConfig, inputs: Inputs, backward: Callable = Tensor.backward):
        self.net, self.config, self.inputs, self.backward = net, config, inputs, backward

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return the SGD optimizer of the net's parameters that `advance` expects."""
        return torch.optim.SGD(self.net.parameters(), **sgd_arguments(self.config))

    def prepare(self, optimizer: torch.optim.Optimizer, batches: Batches) -> None:
        """Do what must be done once, before the first `advance` with these arguments. Here this is nothing."""

    def advance(self, optimizer: torch.optim.Optimizer, batches: Batches, lr: float) -> tuple[Tensor, Tensor]:
        """Train on consecutive batches.

        Args:
            optimizer: Optimizer from `make_optimizer`, or Lightning's wrapper of it.
            batches: Batches as `inputs` expects them. The fast engine expects rows on the device, int32
                (iterations, B, 4).
            lr: Learning rate of all these iterations.

        Returns:
            The mean loss and the number of wrong answers of each batch before its update, both (iterations,).
        """
        for group in optimizer.param_groups:
            group |= {"lr": lr, "fused": None}  # a checkpoint of another engine has other values
        losses, wrong = zip(*(self._iterate(optimizer, batch) for batch in batches), strict=True)
        return torch.stack(losses), torch.stack(wrong)

    def _clip(self) -> None:
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)

    def _iterate(self, optimizer: torch.optim.Optimizer, batch: object) -> tuple[Tensor, Tensor]:
        images, labels = self.inputs(batch)
        size = self.config.micro_batch or len(labels)
        optimizer.zero_grad()
        # Only the first part updates the moving statistics, so that it does not matter how many devices share the
        # parts.
        losses: list[Tensor] = []
        wrong: list[Tensor] = []
        for part, part_labels in zip(images.split(size), labels.split(size), strict=True):
            with freeze_bn_statistics(self.net) if losses else nullcontext():
                loss, wrong_in_part = loss_and_errors(self.net, part, part_labels, self.config.precision)
            share = loss * (len(part_labels) / len(labels))
            self.backward(share)
            losses.append(share.detach())
            wrong.append(wrong_in_part)
        self._clip()
        optimizer.step()
        return torch.stack(losses).sum(), torch.stack(wrong).sum()


def sgd_arguments(config: RunConfig) -> dict:
    """Return the arguments of SGD for a run (section 4.2)."""
    return {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
