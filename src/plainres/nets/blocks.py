"""The building block of the study: the same two layers with a shortcut (residual) or without (plain)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from plainres.errors import UserError

SHORTCUTS = (None, "A", "B", "C")


class PadShortcut(nn.Module):
    """Option A: subsample by slicing, new channels are zeros, half before and half after (section 3.3)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:  # (B, in, H, W) -> (B, out, H / stride, W / stride)
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Options B and C: a 1x1 convolution and its batch normalization (section 3.3)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def make_shortcut(option: str | None, in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The shortcut of one block: None for a plain net, else a module that maps the block's input to its output's shape.

    Raises:
        UserError: `option` is none of `SHORTCUTS`.
    """
    if option not in SHORTCUTS:
        raise UserError(f"shortcut must be one of {SHORTCUTS}, not {option!r}")
    if option is None:
        return None
    grows = stride != 1 or in_channels != out_channels
    if option == "C" or (option == "B" and grows):
        return projection(in_channels, out_channels, stride)
    return PadShortcut(in_channels, out_channels, stride) if grows else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each followed by batch normalization (figure 2).

    Args:
        in_channels: channels of the input (B, in_channels, H, W).
        channels: channels of both convolutions and of the output (B, channels, H / stride, W / stride).
        stride: of the first convolution.
        shortcut: None for the plain block, "A", "B" or "C" for the residual one.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, shortcut: str | None = "A"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        # torchvision's name for the shortcut, so that its weights load.
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            out = out + self.downsample(x)  # y = F(x) + x, equation 1: all that a plain block lacks
        return relu(out)


@torch.no_grad()
def he_initialize(net: nn.Module) -> None:
    """He initialization: weights from N(0, 2 / fan_in), biases zero (the paper's reference [13], section 2.2)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
