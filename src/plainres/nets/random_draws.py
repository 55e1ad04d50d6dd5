"""Random initial weights without PyTorch's global random state."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class draw_from(TorchFunctionMode):  # noqa: N801 (used like a function, as torch.no_grad is)
    """Within this context, the initializers of PyTorch's layers draw from a generator instead of the global one.

    The context holds for its own thread only, so several threads may initialize nets at the same time. A generator
    with the seed s gives the same weights as `torch.manual_seed(s)` gives without this context, including those that
    PyTorch draws when it makes a layer and that the net's own initialization replaces.

    Tensors on the meta device have no values, and nothing is drawn for them.

    Args:
        generator: Generator on the device on which the net is made.
    """

    METHODS = (Tensor.uniform_, Tensor.normal_)

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        kwargs = kwargs or {}
        # The functions of torch.nn.init pass a generator of None on; the methods of a tensor may lack it.
        draws = func in self.METHODS or "generator" in kwargs
        if draws and kwargs.get("generator") is None:
            tensor = kwargs["tensor"] if "tensor" in kwargs else args[0]
            if not tensor.is_meta:
                kwargs = kwargs | {"generator": self.generator}
        return func(*args, **kwargs)
