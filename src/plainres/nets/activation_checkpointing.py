"""Activation checkpointing: a fraction of the memory for a third more time."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def preserve_buffers(net: nn.Module) -> Iterator[None]:
    """Restore the buffers of a net, for example its BN statistics, on exit."""
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in net.named_buffers():
                buffer.copy_(before[name])


@contextmanager
def freeze_bn_statistics(net: nn.Module) -> Iterator[None]:
    """Keep batch normalization from updating its moving statistics in one forward pass."""
    norms = [module for module in net.modules() if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm))]
    momenta = [norm.momentum for norm in norms]
    counters = [norm.num_batches_tracked for norm in norms if norm.training and norm.num_batches_tracked is not None]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for counter in counters:
            counter -= 1  # in place


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Return the contexts of the two forward passes of a checkpointed block. Only the first updates BN statistics."""
    return nullcontext(), freeze_bn_statistics(block)


def run_checkpointed(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Run blocks in sequence and keep only their inputs for the backward pass, which computes the rest again."""
    for block in blocks:
        if torch.is_grad_enabled():
            contexts = partial(_contexts, block)
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
        else:
            x = block(x)
    return x
