"""Faster training on a CUDA GPU: compiled blocks, whose forward and backward passes are replayed as CUDA graphs.

At a batch size of 128, launching kernels takes longer than computing them.
"""

import copy
import sys
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from plainres.errors import first_line
from plainres.nets.activation_checkpointing import preserve_buffers
from plainres.nets.blocks import Block


def twin_of(net: nn.Module) -> nn.Module:
    """Return a copy of a net that has the same parameters and buffers, not only equal ones."""
    twin = copy.deepcopy(net)
    twin.load_state_dict(net.state_dict(keep_vars=True), assign=True)
    return twin


def compile_blocks(net: nn.Module) -> None:
    """Compile the blocks of a net when they are first called. Blocks of equal shapes share their code."""
    for module in net.modules():
        if isinstance(module, Block):
            module.compile()


def graphed(net: nn.Module, images: Tensor) -> nn.Module:
    """Return a twin of a net in training mode, whose passes are replays of CUDA graphs for batches like `images`."""
    twin = twin_of(net)
    compile_blocks(twin)
    with preserve_buffers(net):  # warming up and capturing update BN statistics
        return cast(nn.Module, torch.cuda.make_graphed_callables(twin, (images,)))


class CudaGraphs(pl.Callback):
    """Trains with CUDA graphs. If they cannot be captured, training goes on without them and one line says why.

    Validation is not affected. The batches must all have the same shape.
    """

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        c = module.config
        images = torch.zeros(c.batch_size, 3, c.image_size, c.image_size, dtype=module.dtype, device=module.device)
        try:
            # torch.compile and the capture fail in many ways: no compiler, an unsupported GPU, too little memory.
            with module.outside_rows(), trainer.precision_plugin.forward_context():
                module.train_forward = graphed(module.net, images.to(memory_format=torch.channels_last)).__call__
        except Exception as error:
            print(
                f"{c.name}: trained without CUDA graphs ({type(error).__name__}: {first_line(error)})", file=sys.stderr
            )
