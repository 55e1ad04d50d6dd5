"""The building blocks of the study: the same layers with a shortcut (residual) or without (plain)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from plainres.errors import UserError

SHORTCUTS = (None, "A", "B", "C", "highway")
NORMS = ("batch", "none")
INITS = ("he", "naive")
STRIDES_IN = ("1x1", "3x3")

GATE_BIAS = -2.0  # transform gates begin nearly closed, as Srivastava et al. (2015) advise
NAIVE_STD = 0.01


class PadShortcut(nn.Module):
    """Option A: subsample by slicing, new channels are zeros, half before and half after (section 3.3)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W) -> (B, out, H / stride, W / stride)
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def normalization(norm: str, channels: int) -> nn.Module:
    """Batch normalization, or nothing in its place."""
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


def make_shortcut(option: str | None, in_channels: int, out_channels: int, stride: int, norm: str) -> nn.Module | None:
    """The shortcut of one block: None for a plain net, else a module that maps the block's input to its output's shape.

    Options A, B (projection where dimensions grow) and C (projections everywhere) are of section 3.3; a highway
    block carries its input as A does.

    Raises:
        UserError: `option` is none of `SHORTCUTS`.
    """
    if option not in SHORTCUTS:
        raise UserError(f"shortcut must be one of {', '.join(map(str, SHORTCUTS))}, not {option}")
    if option is None:
        return None
    grows = stride != 1 or in_channels != out_channels
    if option == "C" or (option == "B" and grows):
        conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=norm == "none")
        return nn.Sequential(conv, normalization(norm, out_channels))
    return PadShortcut(in_channels, out_channels, stride) if grows else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each followed by batch normalization (figure 2; figure 5, left).

    Args:
        in_channels: channels of the input (B, in_channels, H, W).
        channels: channels of both convolutions and of the output (B, channels, H / stride, W / stride).
        stride: of the first convolution.
        shortcut: None for the plain block; "A", "B" or "C" for the residual one; "highway" for a gated one,
            T(x) F(x) + (1 - T(x)) x with T the sigmoid of a 3x3 convolution.
        norm: "batch", or "none" (convolutions then have biases).
    """

    EXPANSION = 1  # output channels for each of `channels`

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, shortcut: str | None = "A", norm: str = "batch"
    ):
        super().__init__()
        bias = norm == "none"
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=bias)
        self.bn1 = normalization(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.bn2 = normalization(norm, channels)
        # torchvision's name for the shortcut, so that its weights load.
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, norm)
        gated = shortcut == "highway"
        self.gate = nn.Conv2d(in_channels, channels, 3, stride, padding=1) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.gate is not None:
            out = torch.lerp(self.downsample(x), out, torch.sigmoid(self.gate(x)))
        elif self.downsample is not None:
            out = out + self.downsample(x)  # y = F(x) + x, equation 1: all that a plain block lacks
        return relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each followed by batch normalization (figure 5, right).

    Args:
        in_channels: channels of the input (B, in_channels, H, W).
        channels: channels of the first two convolutions; the output is (B, 4 * channels, H / stride, W / stride).
        stride: of the block.
        shortcut: None for the plain block; "A", "B" or "C" for the residual one.
        stride_in: the convolution that the stride stands in: "1x1", the first, as in the authors' released nets, or
            "3x3", the second, as in later code ("v1.5").
    """

    EXPANSION = 4

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
def initialize(net: nn.Module, init: str = "he") -> None:
    """Weights from N(0, 2 / fan_in) (He, the paper's reference [13], section 2.2) or from N(0, 0.01^2); biases zero.

    Gates of highway blocks get a negative bias.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if init == "he":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.normal_(module.weight, std=NAIVE_STD)
            if module.bias is not None:
                nn.init.constant_(module.bias, GATE_BIAS if name.endswith("gate") else 0.0)
