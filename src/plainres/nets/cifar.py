"""Plain and residual nets for 32x32 images (section 4.2)."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from plainres.catalog.shortcuts import shortcuts_of
from plainres.errors import UserError, require_one_of
from plainres.nets.activation_checkpointing import run_checkpointed
from plainres.nets.blocks import (
    CLASSIFIER_INITS,
    INITS,
    NORMS,
    BasicBlock,
    Block,
    PreActivationBlock,
    initialize,
    make_norm,
)


class CifarNet(nn.Module):
    """6n+2 layers: a 3x3 conv, three stages of n blocks of two 3x3 convs, global average pooling and a classifier.

    The stages have 16, 32 and 64 channels on 32x32, 16x16 and 8x8 maps. `forward` maps images (B, 3, 32, 32) to
    logits (B, num_classes). Use `cifar_net` to make one.

    Attributes:
        checkpointing: If True, only the inputs of the blocks are kept for the backward pass and everything else is
            computed again. This takes a fraction of the memory and a third more time, and gives the same gradients
            and BN statistics.
    """

    def __init__(
        self, blocks_per_stage: int, shortcut: str | None, num_classes: int, norm: str, init: str, classifier_init: str
    ):
        super().__init__()
        self.checkpointing = False
        preact = shortcut == "preact"
        block: Callable[..., Block] = partial(PreActivationBlock if preact else BasicBlock, norm=norm)
        if not preact:
            block = partial(block, shortcut=shortcut)

        def stage(in_channels: int, channels: int, stride: int) -> nn.Sequential:
            rest = (block(channels, channels) for _ in range(blocks_per_stage - 1))
            return nn.Sequential(block(in_channels, channels, stride), *rest)

        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=norm == "none")
        self.bn1 = make_norm(norm, 16)
        self.layer1 = stage(16, 16, 1)
        self.layer2 = stage(16, 32, 2)
        self.layer3 = stage(32, 64, 2)
        if preact:
            # conv1 is activated before the first block splits into two paths, so the block itself need not do it.
            self.layer1[0].pre_bn1 = nn.Identity()
        self.last_bn = make_norm(norm, 64) if preact else None
        self.fc = nn.Linear(64, num_classes)
        initialize(self, init, classifier_init)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, 32, 32)
        x = relu(self.bn1(self.conv1(x)))  # (B, 16, 32, 32)
        if self.checkpointing:
            x = run_checkpointed((*self.layer1, *self.layer2, *self.layer3), x)
        else:
            x = self.layer1(x)  # (B, 16, 32, 32)
            x = self.layer2(x)  # (B, 32, 16, 16)
            x = self.layer3(x)  # (B, 64, 8, 8)
        if self.last_bn is not None:
            x = relu(self.last_bn(x))
        return self.fc(x.mean((2, 3)))  # (B, num_classes)


def check_cifar(
    depth: int, shortcut: str | None = "A", norm: str = "batch", init: str = "he", classifier_init: str = "he"
) -> None:
    """Raise `UserError` for an argument that `cifar_net` does not take."""
    if depth < 8 or (depth - 2) % 6:
        raise UserError(f"depth must be 6n+2 (8, 14, 20, 26, 32, ...), not {depth}")
    require_one_of("shortcut", shortcut, shortcuts_of("cifar"))
    require_one_of("norm", norm, NORMS)
    require_one_of("init", init, INITS)
    require_one_of("classifier_init", classifier_init, CLASSIFIER_INITS)


def cifar_net(
    depth: int,
    shortcut: str | None = "A",
    num_classes: int = 10,
    *,
    norm: str = "batch",
    init: str = "he",
    classifier_init: str = "he",
) -> CifarNet:
    """Return the paper's CIFAR net of a given depth, initialized from PyTorch's global random state.

    A plain net and a residual net with option A have the same parameters and, from the same random state, the same
    initial weights.

    Args:
        depth: Number of convolutional and fully connected layers, 6n+2 with n >= 1 (8, 14, 20, ..., 110, 1202).
        shortcut: None for the plain net; `"A"` (zero padding, the paper's choice on CIFAR-10), `"B"` (projections
            where dimensions grow) or `"C"` (projections everywhere) for the residual net; `"highway"` for gated
            shortcuts; `"preact"` for the pre-activation blocks of the authors' follow-up.
        num_classes: Number of outputs of the classifier.
        norm: `"batch"`, or `"none"` to leave out batch normalization.
        init: `"he"`, or `"naive"` for weights drawn from N(0, 0.01^2).
        classifier_init: Initial weights of the classifier: `"he"` as the other layers, `"uniform"` for PyTorch's
            default U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), or `"small"` for N(0, 0.01^2). Its bias is zero.

    Raises:
        UserError: If `depth` is not 6n+2, or another argument is unknown.
    """
    check_cifar(depth, shortcut, norm, init, classifier_init)
    return CifarNet((depth - 2) // 6, shortcut, num_classes, norm, init, classifier_init)
