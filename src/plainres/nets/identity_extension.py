"""The solution by construction: a deeper net that computes exactly what a shallower one does (section 1)."""

import torch
from torch import nn

from plainres.errors import UserError
from plainres.nets.blocks import BasicBlock
from plainres.nets.cifar import CifarNet, cifar_net


@torch.no_grad()
def _make_identity(block: BasicBlock) -> None:
    """Make a plain block return its (non-negative) input unchanged in evaluation mode."""
    for conv, bn in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
        assert isinstance(bn, nn.BatchNorm2d) and bn.running_mean is not None and bn.running_var is not None
        nn.init.dirac_(conv.weight)
        nn.init.ones_(bn.weight)
        nn.init.zeros_(bn.bias)
        bn.running_mean.zero_()
        bn.running_var.fill_(1 - bn.eps)  # so that (x - 0) / sqrt(var + eps) is x


def extend_with_identity(net: CifarNet, depth: int) -> CifarNet:
    """Return a deeper plain net whose additional layers are identities, so that it equals `net` in evaluation mode.

    Args:
        net: Plain net with batch normalization, in evaluation mode. The new net has its device and dtype.
        depth: Depth of the new net, 6n+2 and greater than that of `net`.

    Raises:
        UserError: If `depth` is not that of a deeper net, or if `net` is not a plain CIFAR net or has no batch
            normalization.
    """
    if not isinstance(net, CifarNet):
        raise UserError(
            f"only a CIFAR net can be extended by identity layers, not {type(net).__name__}; of a net from load_net, "
            "pass the attribute `net`"
        )
    stages = ("layer1", "layer2", "layer3")
    if not isinstance(net.bn1, nn.BatchNorm2d):
        raise UserError("only a net with batch normalization can be extended by identity layers")
    if any(block.downsample is not None for stage in stages for block in getattr(net, stage)):
        raise UserError("only a plain net can be extended by identity layers, and this one has shortcuts")
    with torch.random.fork_rng(devices=[]):
        deeper = cifar_net(depth, None, net.fc.out_features).to(net.fc.weight)
    blocks = len(net.layer1)
    if len(deeper.layer1) <= blocks:
        raise UserError(f"depth must be greater than {6 * blocks + 2}, not {depth}")
    deeper.load_state_dict(net.state_dict(), strict=False)
    for stage in stages:
        for block in getattr(deeper, stage)[blocks:]:
            _make_identity(block)
    return deeper.train(net.training)
