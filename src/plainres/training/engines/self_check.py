"""The self-check of a captured iteration: a few replays of the graph against the eager engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from plainres.training.engines.eager import EagerEngine, sgd_arguments

if TYPE_CHECKING:
    from plainres.training.engines.fast import FastEngine

CHECK_SPAN = 5  # iterations of each of the two spans of the check
CHECK_RATES = (2.0**-10, 2.0**-13)  # learning rates of the two spans, which 32 bits represent exactly
CHECK_SHIFT = 2.0  # bias of all BN layers during the check

# Largest relative difference from the eager engine, of losses and of everything else.
#
# Compiled blocks round at other places than eager ones do, and their convolutions may use other algorithms. In fp32
# they multiply in TF32 by default, which rounds to 10 bits, so the bounds are those of bf16. On a CPU, a few eager
# iterations in bf16 with the BN layers shifted differ from those in fp64 by up to 0.009 in losses and 0.01 in
# everything else (plain nets of 20 and 56 layers and ResNet-56; higher learning rates). Wrong rows, a wrong learning
# rate or lost momentum change weights and momentum by a large part of themselves. In fp64 only the order of sums
# differs.
TOLERANCES = {"fp64": (1e-6, 1e-6), "fp32": (0.03, 0.05), "bf16": (0.03, 0.05)}


class TrainingState:
    """A copy of the values of a net and of its optimizer's momentum.

    Args:
        net: Net to copy the parameters and buffers of.
        optimizer: Its SGD optimizer, with a momentum buffer for each parameter.
    """

    def __init__(self, net: nn.Module, optimizer: torch.optim.Optimizer):
        self.net, self.optimizer = net, optimizer
        self.tensors = {
            "weights": list(net.parameters()),
            "momentum": [optimizer.state[parameter]["momentum_buffer"] for parameter in net.parameters()],
            "BN statistics": [buffer for buffer in net.buffers() if buffer.is_floating_point()],
            "BN counters": [buffer for buffer in net.buffers() if not buffer.is_floating_point()],
        }
        self.values = self.read()

    def read(self) -> dict[str, list[Tensor]]:
        """Return copies of the current values."""
        return {kind: [tensor.detach().clone() for tensor in tensors] for kind, tensors in self.tensors.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Write the copied values back, into the same memory, and clear the gradients."""
        for kind, tensors in self.tensors.items():
            for tensor, value in zip(tensors, self.values[kind], strict=True):
                tensor.copy_(value)
                tensor.grad = None
        for parameter, buffer in zip(self.net.parameters(), self.tensors["momentum"], strict=True):
            self.optimizer.state[parameter]["momentum_buffer"] = buffer


def compare_with_eager(engine: FastEngine, state: TrainingState, rows: Tensor) -> str | None:
    """Train for ten iterations by an engine and by the eager one from the same state, and compare the results.

    Both start from the run's own state, except that the BN layers get a bias of 2. Most units are then active, and the
    net is nearly linear. Without that, a deep plain net amplifies every rounding error by a factor of 1.2 per layer
    (Yang et al., 2019), and after a few iterations in bf16 two correct implementations of a plain net of 20 layers have
    hardly anything in common.

    The learning rate and the rows change after five iterations, so that a graph that kept those of its capture is
    noticed.

    Args:
        engine: Engine that has captured its iteration.
        state: State of net and optimizer to start from. The caller restores it afterwards.
        rows: Rows of at least one batch, int32 (iterations, B, 4).

    Returns:
        None if losses, errors, weights, momentum and BN statistics agree within `TOLERANCES`, otherwise what differs.
    """
    first = rows[torch.arange(CHECK_SPAN, device=rows.device) % len(rows)]
    second = first[:, torch.arange(first.shape[1], device=rows.device) // 2]  # other batches even if there is only one
    spans = list(zip((first, second), CHECK_RATES, strict=True))

    reference = EagerEngine(engine.net, engine.config, engine.inputs)
    sgd = torch.optim.SGD(engine.net.parameters(), **sgd_arguments(engine.config))
    for parameter in engine.net.parameters():
        sgd.state[parameter] = engine.optimizer.state[parameter]  # updated in place

    _start_from(state, engine.net)
    start = state.read()
    replayed = [engine._advance(*span) for span in spans]
    replayed_state = state.read()
    _start_from(state, engine.net)
    expected = [reference.advance(sgd, *span) for span in spans]
    expected_state = state.read()

    loss_bound, bound = TOLERANCES[engine.config.precision]
    losses, expected_losses = (torch.cat([loss for loss, _ in results]).double() for results in (replayed, expected))
    wrong, expected_wrong = (torch.cat([wrong for _, wrong in results]).double() for results in (replayed, expected))
    differences = {
        "losses": (((losses - expected_losses) / expected_losses).abs().max().item(), loss_bound),
        "errors": ((wrong - expected_wrong).abs().mean().item() / first.shape[1], bound),
    }
    for kind, values in expected_state.items():
        differences[kind] = (_relative_difference(replayed_state[kind], values, start[kind]), bound)
    exceeded = [
        f"{kind} differ by {difference:.2g}, more than {limit:g}"
        for kind, (difference, limit) in differences.items()
        if not difference <= limit  # not a number is no agreement
    ]
    return f"its graph disagrees with the eager engine: {'; '.join(exceeded)}" if exceeded else None


@torch.no_grad()
def _start_from(state: TrainingState, net: nn.Module) -> None:
    state.restore()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.fill_(CHECK_SHIFT)


def _relative_difference(values: list[Tensor], expected: list[Tensor], start: list[Tensor]) -> float:
    """Return the norm of the difference of two results, relative to the norm of the change since the start."""

    def square_distance(one: list[Tensor], other: list[Tensor]) -> float:
        return float(sum((a.double() - b.double()).square().sum() for a, b in zip(one, other, strict=True)))

    change = square_distance(expected, start)
    return (square_distance(values, expected) / change) ** 0.5 if change else square_distance(values, expected)
