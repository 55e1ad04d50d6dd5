"""Activation checkpointing: memory of a fraction for a third more time."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def untracked(net: nn.Module) -> Iterator[None]:
    """Have BN in training mode leave its moving statistics alone."""
    norms = [module for module in net.modules() if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm))]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked -= 1


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Contexts of a checkpointed block's two forward passes; the second must not move BN statistics again."""
    return nullcontext(), untracked(block)


def recomputed(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Run blocks one after another, keeping only their inputs for the backward pass, which computes the rest again."""
    for block in blocks:
        if torch.is_grad_enabled():
            contexts = partial(_contexts, block)
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
        else:
            x = block(x)
    return x
