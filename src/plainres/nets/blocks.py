"""The building blocks of the study: the same layers with a shortcut connection (residual) or without one (plain)."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from plainres.catalog import SHORTCUTS
from plainres.errors import require_one_of

NORMS = ("batch", "none")
INITS = ("he", "naive")
CLASSIFIER_INITS = ("he", "uniform", "small")
STRIDES_IN = ("1x1", "3x3")

NAIVE_STD = 0.01
SMALL_STD = 0.01
# Highway gates start nearly closed and almost independent of their input, as Srivastava et al. (2015) advise.
GATE_BIAS = -2.0
GATE_STD = 0.01


class PadShortcut(nn.Module):
    """Option A: subsample by slicing and pad the new channels with zeros, half before and half after (section 3.3).

    Args:
        in_channels: Number of channels of the input.
        out_channels: Number of channels of the output.
        stride: Subsampling of height and width.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W) -> (B, out, H / stride, W / stride)
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def make_norm(norm: str, channels: int) -> nn.Module:
    """Return a batch normalization layer for `"batch"`, or an identity for `"none"`."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


def make_shortcut(option: str | None, in_channels: int, out_channels: int, stride: int, norm: str) -> nn.Module | None:
    """Return the shortcut connection of one block.

    Options A, B (projections where dimensions grow) and C (projections everywhere) are those of section 3.3. Highway
    and pre-activation blocks carry their input as option A does.

    Returns:
        None for a plain block, otherwise a module that maps the input of the block to the shape of its output.

    Raises:
        UserError: If `option` is unknown.
    """
    require_one_of("shortcut", option, SHORTCUTS)
    if option is None:
        return None
    grows = stride != 1 or in_channels != out_channels
    if option == "C" or (option == "B" and grows):
        conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=norm == "none")
        return nn.Sequential(conv, make_norm(norm, out_channels))
    return PadShortcut(in_channels, out_channels, stride) if grows else nn.Identity()


class Block(nn.Module):
    """Base class of the blocks. `downsample`, which is torchvision's name, is the shortcut, None in a plain block."""

    downsample: nn.Module | None


class BasicBlock(Block):
    """Two 3x3 convolutions, each followed by batch normalization (Figure 2; Figure 5, left).

    Args:
        in_channels: Number of channels of the input (B, in_channels, H, W).
        channels: Number of channels of both convolutions and of the output (B, channels, H / stride, W / stride).
        stride: Stride of the first convolution.
        shortcut: None for the plain block; `"A"`, `"B"` or `"C"` for the residual block; `"highway"` for a gated
            block, T(x) F(x) + (1 - T(x)) x, where T is the sigmoid of a 3x3 convolution.
        norm: `"batch"`, or `"none"` to leave out batch normalization, in which case the convolutions have biases.

    Raises:
        UserError: If `shortcut` is unknown.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, shortcut: str | None = "A", norm: str = "batch"
    ):
        super().__init__()
        bias = norm == "none"
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=bias)
        self.bn1 = make_norm(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.bn2 = make_norm(norm, channels)
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, norm)
        gated = shortcut == "highway"
        self.gate = nn.Conv2d(in_channels, channels, 3, stride, padding=1) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None and self.gate is not None:
            out = torch.lerp(self.downsample(x), out, torch.sigmoid(self.gate(x)))
        elif self.downsample is not None:
            out = out + self.downsample(x)  # y = F(x) + x, equation 1: the one line that a plain block lacks
        return relu(out)


class PreActivationBlock(Block):
    """Two 3x3 convolutions, each preceded by batch normalization and ReLU, and a shortcut that nothing interrupts.

    He et al., "Identity Mappings in Deep Residual Networks" (2016), Figure 1(b). The last block of a net must be
    followed by batch normalization and ReLU. The arguments are those of `BasicBlock` except
    `shortcut`, which is option A's.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, norm: str = "batch"):
        super().__init__()
        bias = norm == "none"
        self.pre_bn1 = make_norm(norm, in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=bias)
        self.pre_bn2 = make_norm(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.downsample = make_shortcut("preact", in_channels, channels, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(relu(self.pre_bn1(x)))
        out = self.conv2(relu(self.pre_bn2(out)))
        return out + cast(nn.Module, self.downsample)(x)


class Bottleneck(Block):
    """A 1x1, a 3x3 and a 1x1 convolution, each followed by batch normalization (Figure 5, right).

    Args:
        in_channels: Number of channels of the input (B, in_channels, H, W).
        channels: Number of channels of the first two convolutions. The output is (B, 4 * channels, H / stride,
            W / stride).
        stride: Stride of the block.
        shortcut: None for the plain block; `"A"`, `"B"` or `"C"` for the residual block.
        stride_in: Convolution that has the stride: `"1x1"`, the first one, as in the nets that the authors released,
            or `"3x3"`, the second one, as in later code ("v1.5").
    """

    EXPANSION = 4  # number of output channels per channel of the block

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, shortcut: str | None = "B", stride_in: str = "1x1"
    ):
        super().__init__()
        out_channels = self.EXPANSION * channels
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = make_shortcut(shortcut, in_channels, out_channels, stride, "batch")

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            out = out + self.downsample(x)
        return relu(out)


@torch.no_grad()
def initialize(net: nn.Module, init: str = "he", classifier_init: str = "he") -> None:
    """Initialize the weights of all convolutions and of the classifier in place. Biases become zero.

    Args:
        net: Net to initialize. Its classifier is the attribute `fc`.
        init: `"he"` for N(0, 2 / fan_in) (the paper's reference [13], section 2.2), or `"naive"` for N(0, 0.01^2).
            The gates of highway blocks are always drawn from N(0, 0.01^2) and get a bias of -2.
        classifier_init: `"he"` to draw the classifier as the other layers, `"uniform"` for
            U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), PyTorch's default, or `"small"` for N(0, 0.01^2). The paper does
            not say which: no ReLU follows the classifier, and [13] derives its initialization for layers before a ReLU.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            is_gate = name.endswith("gate")
            if is_gate or init == "naive":
                nn.init.normal_(module.weight, std=GATE_STD if is_gate else NAIVE_STD)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.constant_(module.bias, GATE_BIAS if is_gate else 0.0)
    classifier = cast(nn.Linear, net.get_submodule("fc"))
    if classifier_init == "uniform":
        bound = classifier.in_features**-0.5
        nn.init.uniform_(classifier.weight, -bound, bound)
    elif classifier_init == "small":
        nn.init.normal_(classifier.weight, std=SMALL_STD)
