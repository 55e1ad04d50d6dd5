"""Capture of one training iteration in a CUDA graph."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from plainres.nets.cifar import CifarNet

if TYPE_CHECKING:
    from plainres.training.engines.fast import FastEngine

# Kernels that do not depend on each other run as one: most kernels of a block are shorter than their launch.
COMPILE_ARGUMENTS: dict[str, Any] = {"dynamic": False, "options": {"combo_kernels": True}}
WARM_UPS = 3  # iterations before the capture, which compile, choose convolution algorithms and fill caches


def capture(engine: FastEngine, compiled: bool) -> Callable[[], None]:
    """Capture an engine's iteration in a CUDA graph, and return the function that replays it.

    The iterations before the capture change net and optimizer. The caller restores their values.

    Args:
        engine: Engine whose buffers are allocated and hold the rows of at least one batch.
        compiled: Whether `torch.compile` makes the kernels. Otherwise they are PyTorch's own.
    """
    benchmark = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    if engine.config.precision == "bf16":
        engine._weights = weights_in_bf16
    try:
        with (
            compiled_parts(engine) if compiled else nullcontext(),
            without_bn_counters(engine.net) as engine._counters,
        ):
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
        torch.backends.cudnn.benchmark = benchmark
        engine._counters, engine._weights = [], nullcontext
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
def compiled_parts(engine: FastEngine) -> Iterator[None]:
    """Compile the parts of an iteration within this context: gather, stem, blocks, head and loss.

    Blocks of the same shape share one compiled function. Outside of the context, compiled parts would neither run the
    hooks of probes nor evaluate to the last bit as others do.
    """
    torch.compiler.reset()  # PyTorch compiles a function for only a few kinds of net
    net = cast(CifarNet, engine.net)  # no other net is trained on images in memory
    blocks = [block for stage in (net.layer1, net.layer2, net.layer3) for block in stage]
    inputs, score = engine.inputs, engine.score
    try:
        for block in blocks:
            block.compile(**COMPILE_ARGUMENTS)
        # Attributes of the net hide its methods of the same names.
        for owner, name in ((engine, "inputs"), (engine, "score"), (net, "stem"), (net, "head")):
            setattr(owner, name, torch.compile(getattr(owner, name), **COMPILE_ARGUMENTS))
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None  # set by `compile`, which has no inverse
        engine.inputs, engine.score = inputs, score
        for name in ("stem", "head"):
            vars(net).pop(name, None)


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


@contextmanager
def weights_in_bf16(net: nn.Module) -> Iterator[None]:
    """Give convolutions and linear layers copies of their weights in bf16 within this context.

    Autocast makes the same copies, but one by one, and converts their gradients one by one. Here one operation makes
    all copies, and another one converts all gradients on exit. Forward and backward pass belong inside. All tensors
    are new, so those of a captured iteration lie in the memory of its graph.
    """
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    weights = [(layer, *named) for layer in layers for named in layer.named_parameters(recurse=False)]
    originals: list[Tensor] = [weight for _, _, weight in weights]
    copies = [nn.Parameter(torch.empty_like(weight, dtype=torch.bfloat16)) for weight in originals]
    with torch.no_grad():
        torch._foreach_copy_(cast(list[Tensor], copies), originals)
    for (layer, name, _), copy in zip(weights, copies, strict=True):
        setattr(layer, name, copy)
    try:
        yield
    finally:
        for layer, name, weight in weights:
            setattr(layer, name, weight)
    gradients = [torch.empty_like(weight) for weight in originals]
    torch._foreach_copy_(gradients, [cast(Tensor, copy.grad) for copy in copies])
    for original, gradient in zip(originals, gradients, strict=True):
        original.grad = gradient
