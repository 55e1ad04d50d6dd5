"""Plain and residual nets for 32x32 images (section 4.2)."""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from plainres.errors import UserError
from plainres.nets.blocks import INITS, NORMS, BasicBlock, initialize, normalization
from plainres.nets.recompute import recomputed


class CifarNet(nn.Module):
    """6n+2 layers: a 3x3 conv, three stages of n blocks of two 3x3 convs, global average pooling, a classifier.

    Stages have 16, 32, 64 channels on 32x32, 16x16, 8x8 maps. `forward` maps images (B, 3, 32, 32) to
    logits (B, num_classes). Made by `cifar_net`.

    Attributes:
        checkpointing: keep only the blocks' inputs for the backward pass and compute the rest again: a fraction of the
            memory for a third more time, and the same gradients and BN statistics.
    """

    def __init__(self, blocks_per_stage: int, shortcut: str | None, num_classes: int, norm: str, init: str):
        super().__init__()
        self.checkpointing = False
        block = partial(BasicBlock, shortcut=shortcut, norm=norm)

        def stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
            rest = (block(channels, channels) for _ in range(blocks_per_stage - 1))
            return nn.Sequential(block(in_channels, channels, stride), *rest)

        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=norm == "none")
        self.bn1 = normalization(norm, 16)
        self.layer1 = stage(16, 16, 1)
        self.layer2 = stage(16, 32, 2)
        self.layer3 = stage(32, 64, 2)
        self.fc = nn.Linear(64, num_classes)
        initialize(self, init)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, 32, 32)
        x = relu(self.bn1(self.conv1(x)))  # (B, 16, 32, 32)
        if self.checkpointing:
            x = recomputed((*self.layer1, *self.layer2, *self.layer3), x)
        else:
            x = self.layer1(x)  # (B, 16, 32, 32)
            x = self.layer2(x)  # (B, 32, 16, 16)
            x = self.layer3(x)  # (B, 64, 8, 8)
        return self.fc(x.mean((2, 3)))  # (B, num_classes)


def cifar_net(
    depth: int, shortcut: str | None = "A", num_classes: int = 10, *, norm: str = "batch", init: str = "he"
) -> CifarNet:
    """The paper's CIFAR net of `depth` layers, initialized from PyTorch's global random state.

    Args:
        depth: number of conv and fully connected layers, 6n+2 with n >= 1 (8, 14, 20, ..., 110, 1202).
        shortcut: None for the plain net; "A" (zero padding, the paper's choice on CIFAR), "B" (projection where
            dimensions grow) or "C" (projections everywhere) for the residual net; "highway" for gated shortcuts.
            Plain and A have the same parameters, and from the same random state the same initial weights.
        num_classes: outputs of the classifier.
        norm: "batch", or "none" to leave batch normalization out.
        init: "he", or "naive" for weights from N(0, 0.01^2).

    Raises:
        UserError: `depth` is not 6n+2, or another argument is unknown.
    """
    if depth < 8 or (depth - 2) % 6:
        raise UserError(f"depth must be 6n+2 (8, 14, 20, 26, 32, ...), not {depth}")
    if norm not in NORMS or init not in INITS:
        raise UserError(f"norm must be one of {', '.join(NORMS)} and init one of {', '.join(INITS)}")
    return CifarNet((depth - 2) // 6, shortcut, num_classes, norm, init)
