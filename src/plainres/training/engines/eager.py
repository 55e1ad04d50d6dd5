"""What computes the iterations of a run: eager, the reference, or fast. A run's configuration does not name it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from plainres.nets.activation_checkpointing import freeze_bn_statistics
from plainres.training.config import RunConfig
from plainres.training.loss import loss_and_errors

Inputs = Callable[..., tuple[Tensor, Tensor]]


class EagerEngine:
    """One iteration at a time, written as one would write it by hand: what every other engine must agree with.

    Args:
        net: maps images to logits, on the device it is to be trained on.
        config: the run.
        inputs: turns a batch as the loader has it (rows of the batch table, (B, 4)) into images and labels.
        backward: computes gradients from a loss; Lightning's where its strategy has a say in them.

    Attributes:
        longest_span: Largest number of iterations per call of `advance`.
    """

    name = "eager"
    longest_span = 1

    def __init__(self, net: nn.Module, config: RunConfig, inputs: Inputs, backward: Callable = Tensor.backward):
        self.net, self.config, self.inputs, self.backward = net, config, inputs, backward

    def make_optimizer(self) -> torch.optim.Optimizer:
        """SGD over the net's parameters, as `advance` wants it."""
        return torch.optim.SGD(self.net.parameters(), **sgd_arguments(self.config))

    def prepare(self, optimizer: torch.optim.Optimizer, batches: Sequence) -> None:
        """Do what comes once, before the first `advance` with these arguments: nothing here."""

    def advance(self, optimizer: torch.optim.Optimizer, batches: Sequence, lr: float) -> tuple[Tensor, Tensor]:
        """Train on consecutive batches.

        Args:
            optimizer: from `make_optimizer`, or Lightning's wrapper of it.
            batches: each as `inputs` wants it; the fast engine wants rows on the device, int32 (iterations, B, 4).
            lr: learning rate of all these iterations.

        Returns:
            mean loss and number of wrong answers of each batch, before its update: two tensors (iterations,).
        """
        for group in optimizer.param_groups:
            group |= {"lr": lr, "fused": None}  # a checkpoint of another engine brings its own
        losses, wrong = zip(*(self._iterate(optimizer, batch) for batch in batches), strict=True)
        return torch.stack(losses), torch.stack(wrong)

    def _clip(self) -> None:
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)

    def _iterate(self, optimizer: torch.optim.Optimizer, batch: object) -> tuple[Tensor, Tensor]:
        images, labels = self.inputs(batch)
        size = self.config.micro_batch or len(labels)
        optimizer.zero_grad()
        # Moving statistics are of a batch's first part, so that it does not matter how many devices share the parts.
        losses, wrong = [], []
        for part, of_part in zip(images.split(size), labels.split(size), strict=True):
            with freeze_bn_statistics(self.net) if losses else nullcontext():
                loss, wrong_in_part = loss_and_errors(self.net, part, of_part, self.config.precision)
            share = loss * (len(of_part) / len(labels))
            self.backward(share)
            losses.append(share.detach())
            wrong.append(wrong_in_part)
        self._clip()
        optimizer.step()
        return torch.stack(losses).sum(), torch.stack(wrong).sum()


def sgd_arguments(config: RunConfig) -> dict:
    """The arguments of SGD for a run (section 4.2)."""
    return {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
