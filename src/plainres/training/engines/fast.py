"""The fast engine: a span of iterations without host synchronization, on CUDA as replays of one CUDA graph."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from plainres.errors import UserError
from plainres.training.config import RunConfig
from plainres.training.device import keep_freed_memory
from plainres.training.engines.capture import capture
from plainres.training.engines.eager import EagerEngine, Inputs, sgd_arguments
from plainres.training.engines.self_check import CHECK_SPAN, TrainingState, compare_with_eager
from plainres.training.loss import predict, score

# On CUDA a span must be long enough for Lightning's cost per step to vanish, and it divides the rows of a run of
# 64,000 iterations. On a CPU that cost is small, and Ctrl-C should not have to wait.
LONGEST_SPAN = {"cuda": 250, "cpu": 1}
GRAPH_DEVICES = ("cuda",)  # device types on which iterations are captured


class SpanSGD(torch.optim.SGD):
    """SGD whose `step` with a closure runs a whole span of iterations, and without one updates the parameters once.

    Lightning counts the calls of `step` with a closure, so a span is one step to it.
    """

    def step(self, closure: Callable[[], tuple[Tensor, Tensor]] | None = None) -> tuple[Tensor, Tensor] | None:
        if closure is None:
            return super().step()
        with torch.enable_grad():
            return closure()


class FastEngine(EagerEngine):
    """Computes a span of iterations without any communication between device and host.

    The rows of the batches, the position in the span, the learning rate, the losses and the errors are kept in
    buffers on the device, so every iteration is the same sequence of operations. On CUDA the gather of the images,
    the parts of the net and the loss are compiled, and the whole iteration (gather, forward and backward pass, SGD
    update, counters) is captured in a CUDA graph before the first span, after a checkpoint has been restored. A span
    is then that many replays of the graph. On a CPU the same iteration is called in a loop.

    The graph is used only if `compare_with_eager` finds that it agrees with the eager engine. If it does not, or if
    nothing can be compiled, a graph of PyTorch's own kernels is tried. `fallback` then says why.

    Args:
        net: As for `EagerEngine`.
        config: As for `EagerEngine`.
        inputs: As for `EagerEngine`.
        backward: Ignored. Gradients are always PyTorch's own.

    Raises:
        UserError: By `prepare`, if the iteration cannot be captured or the graph does not agree with the eager engine.
    """

    name = "fast"

    def __init__(self, net: nn.Module, config: RunConfig, inputs: Inputs, backward: Callable = Tensor.backward):
        super().__init__(net, config, inputs)
        self.device = next(net.parameters()).device
        self.longest_span = LONGEST_SPAN[self.device.type]
        self._iteration: Callable[[], None] | None = None
        self._addresses: list[int] = []  # of the tensors that the graph refers to, if there is a graph
        self.score = score
        # What `capture` replaces: the context of forward and backward pass, and the counters of BN layers, where the
        # iteration itself must advance them.
        self._weights: Callable[[nn.Module], AbstractContextManager] = nullcontext
        self._counters: list[Tensor] = []
        if self.device.type == "cpu":
            keep_freed_memory()

    def make_optimizer(self) -> SpanSGD:
        return SpanSGD(self.net.parameters(), fused=True, **sgd_arguments(self.config))

    def prepare(self, optimizer: SpanSGD, rows: Tensor) -> None:
        """Allocate the buffers and, on CUDA, compile, capture and check the iteration. Later calls do nothing."""
        if self._iteration is None:
            self._prepare(getattr(optimizer, "optimizer", optimizer), rows)

    def advance(self, optimizer: SpanSGD, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        self.prepare(optimizer, rows)
        return cast(tuple[Tensor, Tensor], optimizer.step(lambda: self._advance(rows, lr)))

    def _advance(self, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        if self._addresses and self._addresses != self._current_addresses():
            raise RuntimeError("the net or its optimizer was moved after its iteration had been captured")
        assert self._iteration is not None
        count = len(rows)
        self._rows[:count] = rows
        self._position.zero_()
        self._lr.fill_(lr)
        for _ in range(count):
            self._iteration()
        return self._losses[:count].clone(), self._wrong[:count].clone()

    def _prepare(self, optimizer: SpanSGD, rows: Tensor) -> None:
        """Allocate the buffers, put the state of the optimizer where it will stay, and on CUDA use a graph."""
        self.optimizer = optimizer
        dtype = torch.float64 if self.config.precision == "fp64" else torch.float32
        self._rows = rows.new_zeros(max(self.longest_span, len(rows), CHECK_SPAN), *rows.shape[1:])
        self._position = torch.zeros(1, dtype=torch.long, device=self.device)
        lr_dtype = torch.float32 if self.device.type == "cuda" else torch.float64  # as the fused kernels read it
        self._lr = torch.tensor(self.config.lr, dtype=lr_dtype, device=self.device)
        self._losses = torch.zeros(len(self._rows), dtype=dtype, device=self.device)
        self._wrong = torch.zeros(len(self._rows), dtype=torch.long, device=self.device)
        for group in optimizer.param_groups:
            group |= {"lr": self._lr, "fused": True}  # a checkpoint of another engine has other values
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
        self._iteration = self._iterate_in_place
        if self.device.type in GRAPH_DEVICES:
            self._use_graph(rows)

    def _iterate_in_place(self) -> None:
        """Compute the iteration at the current position: read its rows, write its loss and error, advance."""
        images, labels = self.inputs(self._rows.index_select(0, self._position)[0])
        with self._weights(self.net):
            loss, wrong = self.score(predict(self.net, images, self.config.precision), labels)
            self.optimizer.zero_grad()
            loss.backward()
        self._clip()
        self.optimizer.step()
        if self._counters:
            torch._foreach_add_(self._counters, 1)
        self._losses.index_copy_(0, self._position, loss.detach()[None])
        self._wrong.index_copy_(0, self._position, wrong[None])
        self._position += 1

    def _use_graph(self, rows: Tensor) -> None:
        """Capture the iteration and check the graph, with compiled kernels and, if that fails, with PyTorch's own.

        Net and optimizer keep their values in any case. If no graph can be used, the iteration stays uncaptured and
        `_give_up` is called.
        """
        state = TrainingState(self.net, self.optimizer)
        count = min(len(rows), CHECK_SPAN)
        self._rows[:count] = rows[:count]
        problems: list[str] = []
        # PyTorch compiles a block that runs twice for each backward pass in two ways, which save different tensors.
        attempts = (False,) if getattr(self.net, "checkpointing", False) else (True, False)
        for compiled in attempts:
            try:
                # torch.compile and the capture fail in many ways: no compiler, an unsupported GPU, too little memory.
                self._iteration = capture(self, compiled)
                problem = compare_with_eager(self, state, rows[:count])
            except Exception as error:
                problem = _describe(error)
            state.restore()
            if problem is None:
                break
            self._iteration = self._iterate_in_place  # frees the graph
            problems.append(problem)
        if problem is not None:
            self._give_up("; without torch.compile: ".join(dict.fromkeys(problems)))
            return
        self._addresses = self._current_addresses()
        if problems:
            self.fallback = f"its kernels are not compiled: {problems[0]}"
            print(f"{self.config.name}: the fast engine is slower than it should be ({self.fallback})", file=sys.stderr)

    def _give_up(self, problem: str) -> None:
        raise UserError(
            f"the fast engine cannot train {self.config.name} on {self.device} ({problem}): use --engine eager"
        )

    def _current_addresses(self) -> list[int]:
        tensors = [*self.net.parameters(), *self.net.buffers()]
        for group in self.optimizer.param_groups:
            tensors += [group["lr"]] if isinstance(group["lr"], Tensor) else []
            tensors += [self.optimizer.state[parameter]["momentum_buffer"] for parameter in group["params"]]
        return [tensor.data_ptr() for tensor in tensors]


def _describe(error: BaseException) -> str:
    """Return an error as one line, with the one that it followed: a failing capture hides what made it fail."""
    errors = [one for one in (error, error.__context__) if one is not None]
    return ", after ".join(
        f"{type(one).__name__}: {(str(one).strip() or 'no message').splitlines()[0]}" for one in errors
    )


class FastOrEagerEngine(FastEngine):
    """The fast engine that trains by the eager engine if the iteration cannot be captured or the graph is wrong.

    In that case `name` becomes `"eager"`, `fallback` says why, and a line on stderr tells the user. Spans stay as long
    as they are.
    """

    _eager: EagerEngine | None = None

    def _advance(self, rows: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        return super()._advance(rows, lr) if self._eager is None else self._eager.advance(self.optimizer, rows, lr)

    def _give_up(self, problem: str) -> None:
        self.name, self.fallback = EagerEngine.name, problem
        self._eager = EagerEngine(self.net, self.config, self.inputs)
        print(f"{self.config.name}: the eager engine trains it instead of the fast one ({problem})", file=sys.stderr)
