"""Capture of one training iteration in a CUDA graph."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from plainres.training.engines.fast import FastEngine

# Kernels that do not depend on each other run as one: most kernels of a block are shorter than their launch.
COMPILE_OPTIONS = {"combo_kernels": True}
WARM_UPS = 3  # iterations before the capture, which compile, choose convolution algorithms and fill caches


def capture(engine: FastEngine) -> Callable[[], None]:
    """Capture an engine's iteration in a CUDA graph, and return the function that replays it.

    The iterations before the capture change net and optimizer. The caller restores their values.

    Args:
        engine: Engine whose buffers are allocated and hold the rows of at least one batch.
    """
    inputs, benchmark = engine.inputs, torch.backends.cudnn.benchmark
    torch.compiler.reset()  # PyTorch compiles a function for only a few kinds of net
    torch.backends.cudnn.benchmark = True
    try:
        engine.inputs = torch.compile(inputs, dynamic=False)
        with compiled_blocks(engine.net), without_bn_counters(engine.net) as engine._counters:
            warm_up = torch.cuda.Stream(engine.device)
            warm_up.wait_stream(torch.cuda.current_stream(engine.device))
            with torch.cuda.stream(warm_up):
                for _ in range(WARM_UPS):
                    engine._position.zero_()
                    engine._iterate_in_place()
            torch.cuda.current_stream(engine.device).wait_stream(warm_up)
            graph = torch.cuda.CUDAGraph()
            # A stream that nothing ran on before: its cuBLAS workspace is then allocated within the capture, in
            # memory that belongs to the graph and that Lightning's teardown cannot free.
            stream = torch.cuda.Stream(engine.device)
            with (
                torch.cuda.device(engine.device),
                without_garbage_collection(),
                torch.cuda.graph(graph, stream=stream),
            ):
                engine._iterate_in_place()
    finally:
        engine.inputs, torch.backends.cudnn.benchmark = inputs, benchmark
        engine._counters = []
    return graph.replay


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect garbage now and not within this context: freeing another graph's memory would break a capture."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def compiled_blocks(net: nn.Module) -> Iterator[None]:
    """Compile the blocks of a net within this context. Blocks of the same shape share one compiled function.

    Outside of it, compiled blocks would neither run the hooks of probes nor evaluate to the last bit as others do.
    """
    blocks = [block for stage in net.children() if isinstance(stage, nn.Sequential) for block in stage]
    for block in blocks:
        block.compile(dynamic=False, options=COMPILE_OPTIONS)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None  # set by `compile`, which has no inverse


@contextmanager
def without_bn_counters(net: nn.Module) -> Iterator[list[Tensor]]:
    """Keep BN layers from counting their batches within this context, which takes one kernel per layer.

    Yields:
        The counters, for the caller to advance all at once.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m.num_batches_tracked is not None]
    counters = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    for norm in norms:
        norm.num_batches_tracked = None
    try:
        yield counters
    finally:
        for norm, counter in zip(norms, counters, strict=True):
            norm.num_batches_tracked = counter
