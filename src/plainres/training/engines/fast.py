"""The fast engine: a chunk of iterations in one go, on CUDA as replays of one graph that waits for nobody."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from plainres.training.config import RunConfig
from plainres.training.device import keep_freed_memory
from plainres.training.engines.eager import EagerEngine, Inputs, sgd_arguments
from plainres.training.loss import loss_and_errors

# On CUDA long enough for Lightning's cost a step to vanish; on a CPU, where it is small, Ctrl-C should not wait.
LONGEST_SPAN = {"cuda": 50, "cpu": 1}
WARM_UPS = 3  # iterations before a capture: compiling, choosing convolution algorithms, filling caches


class ChunkSGD(torch.optim.SGD):
    """SGD whose `step` is a whole chunk of iterations, each of which calls `update`.

    Lightning counts calls of `step`: for it, a chunk is one step.
    """

    def step(self, closure: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            return closure()

    def update(self) -> None:
        """One update of the parameters from their gradients."""
        super().step()


class FastEngine(EagerEngine):
    """A chunk of iterations without a word between device and host.

    Batch rows, position in the chunk, learning rate, losses and errors lie in buffers on the device, so an iteration
    is the same work whichever it is. On CUDA the net's blocks and the gather are compiled and the whole iteration
    (gather, forward, backward, SGD, counters) is captured in a CUDA graph at the first chunk, after any checkpoint was
    restored; a chunk is as many replays of it. On a CPU the same iteration is called in a loop.

    Arguments as of `EagerEngine`, except that gradients are always PyTorch's own.
    """

    name = "fast"

    def __init__(self, net: nn.Module, config: RunConfig, inputs: Inputs, backward: Callable = Tensor.backward):
        super().__init__(net, config, inputs)
        self.device = next(net.parameters()).device
        self.longest_span = LONGEST_SPAN[self.device.type]
        self._iteration: Callable[[], None] | None = None
        if self.device.type == "cpu":
            keep_freed_memory()

    def make_optimizer(self) -> ChunkSGD:
        return ChunkSGD(self.net.parameters(), fused=True, **sgd_arguments(self.config))

    def prepare(self, optimizer: ChunkSGD, rows: Tensor) -> None:
        """Lay the buffers out and, on CUDA, compile and capture, unless that is done."""
        if self._iteration is None:
            self._prepare(getattr(optimizer, "optimizer", optimizer), rows)

    def advance(self, optimizer: ChunkSGD, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        self.prepare(optimizer, rows)
        return optimizer.step(lambda: self._advance(rows, lr))

    def _advance(self, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        count = len(rows)
        self._rows[:count] = rows
        self._position.zero_()
        self._lr.fill_(lr)
        for _ in range(count):
            self._iteration()
        return self._losses[:count].clone(), self._wrong[:count].clone()

    def _prepare(self, optimizer: ChunkSGD, rows: Tensor) -> None:
        """Lay the buffers out, put the optimizer's state where it will stay, and on CUDA capture the graph."""
        self.optimizer = optimizer
        dtype = torch.float64 if self.config.precision == "fp64" else torch.float32
        self._rows = rows.new_zeros(max(self.longest_span, len(rows)), *rows.shape[1:])
        self._position = torch.zeros(1, dtype=torch.long, device=self.device)
        lr_dtype = torch.float32 if self.device.type == "cuda" else torch.float64  # as the fused kernels read it
        self._lr = torch.tensor(self.config.lr, dtype=lr_dtype, device=self.device)
        self._losses = torch.zeros(len(self._rows), dtype=dtype, device=self.device)
        self._wrong = torch.zeros(len(self._rows), dtype=torch.long, device=self.device)
        for group in optimizer.param_groups:
            group |= {"lr": self._lr, "fused": True}  # a checkpoint of another engine brings its own
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
        self._iteration = self._iterate_in_place
        if self.device.type == "cuda":
            self._rows[: len(rows)] = rows
            self._iteration = self._capture().replay

    def _iterate_in_place(self) -> None:
        """One iteration: its rows are those at the position, its loss and error go there, and the position moves on."""
        images, labels = self.inputs(self._rows.index_select(0, self._position)[0])
        loss, wrong = loss_and_errors(self.net, images, labels, self.config.precision)
        self.optimizer.zero_grad()
        loss.backward()
        self._clip()
        self.optimizer.update()
        self._losses.index_copy_(0, self._position, loss.detach()[None])
        self._wrong.index_copy_(0, self._position, wrong[None])
        self._position += 1

    def _capture(self) -> torch.cuda.CUDAGraph:
        """The iteration as a CUDA graph; net and optimizer are left as they were."""
        inputs, benchmark = self.inputs, torch.backends.cudnn.benchmark
        kept = [*self.net.parameters(), *self.net.buffers()]
        kept += [self.optimizer.state[parameter]["momentum_buffer"] for parameter in self.net.parameters()]
        before = [tensor.detach().clone() for tensor in kept]
        torch.compiler.reset()  # PyTorch compiles a function for few kinds of net only
        gc.collect()  # a graph of an earlier net, lest it be freed inside this capture
        torch.backends.cudnn.benchmark = True
        try:
            self.inputs = torch.compile(inputs, dynamic=False)
            with _compiled(self.net):
                side = torch.cuda.Stream(self.device)
                side.wait_stream(torch.cuda.current_stream(self.device))
                with torch.cuda.stream(side):
                    for _ in range(WARM_UPS):
                        self._position.zero_()
                        self._iterate_in_place()
                torch.cuda.current_stream(self.device).wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.device(self.device), torch.cuda.graph(graph):
                    self._iterate_in_place()
        finally:
            self.inputs, torch.backends.cudnn.benchmark = inputs, benchmark
        with torch.no_grad():
            for tensor, value in zip(kept, before, strict=True):
                tensor.copy_(value)
        return graph


@contextmanager
def _compiled(net: nn.Module) -> Iterator[None]:
    """Have the net's blocks run compiled, all blocks of one shape by the same code.

    Only while entered: compiled blocks would not run the hooks of probes, nor evaluate to the last bit as others do.
    """
    blocks = [block for stage in net.children() if isinstance(stage, nn.Sequential) for block in stage]
    for block in blocks:
        block.compile(dynamic=False)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None  # what `compile` sets; it has no inverse
