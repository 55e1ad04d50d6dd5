"""Numbers of parameters and multiply-adds, counted as the paper counts them."""

import copy
from dataclasses import dataclass

import torch
from torch import nn


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


def count_complexity(net: nn.Module, input_shape: tuple[int, int, int]) -> Complexity:
    """Count the parameters of a net and the multiply-adds of one forward pass.

    Args:
        net: Net of convolutions and linear layers. It is neither run on its own device nor changed.
        input_shape: (channels, height, width) of one image.
    """
    shadow = copy.deepcopy(net).to("meta").eval()
    multiply_adds = 0

    def add(module: nn.Conv2d | nn.Linear, _inputs: tuple, output: torch.Tensor) -> None:
        nonlocal multiply_adds
        # Every element of the output is the dot product of an input window and one row of the weight.
        multiply_adds += output.numel() * module.weight[0].numel()

    for module in shadow.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        shadow(torch.empty(1, *input_shape, device="meta"))
    return Complexity(sum(p.numel() for p in net.parameters()), multiply_adds)
