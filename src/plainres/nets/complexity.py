"""Numbers of parameters and multiply-adds, counted as the paper counts them."""

import copy
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Complexity:
    """Cost of one net.

    Attributes:
        parameters: Number of trained values, including those of batch normalization.
        multiply_adds: Number of multiply-adds of all convolutions and linear layers for one image (the paper's
            "FLOPs").
    """

    parameters: int
    multiply_adds: int


class LayerCall(NamedTuple):
    """One layer as it ran in a forward pass, with its input and output on the meta device."""

    name: str
    module: nn.Module
    input: Tensor
    output: Tensor


def trace_layers(
    net: nn.Module, input_shape: tuple[int, int, int], kinds: tuple[type[nn.Module], ...]
) -> list[LayerCall]:
    """Return the layers of some kinds in the order in which they run for one image (channels, height, width).

    Only a copy on the meta device is run, so nothing is computed and the net is not changed.
    """
    shadow = copy.deepcopy(net).to("meta").eval()
    names = {module: name for name, module in shadow.named_modules()}
    calls: list[LayerCall] = []

    def add(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        calls.append(LayerCall(names[module], module, inputs[0], output))

    for module in names:
        if isinstance(module, kinds):
            module.register_forward_hook(add)
    with torch.no_grad():
        shadow(torch.empty(1, *input_shape, device="meta"))
    return calls


def count_complexity(net: nn.Module, input_shape: tuple[int, int, int]) -> Complexity:
    """Count the parameters of a net of convolutions and linear layers, and the multiply-adds of one forward pass.

    `input_shape` is (channels, height, width) of one image. The net is neither run on its own device nor changed.
    """
    # Every element of the output is the dot product of an input window and one row of the weight.
    calls = trace_layers(net, input_shape, (nn.Conv2d, nn.Linear))
    multiply_adds = sum(call.output.numel() * cast(Tensor, call.module.weight)[0].numel() for call in calls)
    return Complexity(sum(p.numel() for p in net.parameters()), multiply_adds)
