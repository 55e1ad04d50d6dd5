"""The published nets for PyTorch Hub: `torch.hub.load(REPOSITORY, "resnet_56", pretrained=True)`.

Each entry returns a net that maps pixels (B, 3, 32, 32) between 0 and 1 to the logits (B, 10) of CIFAR-10. Without
`pretrained`, its weights are initial ones, and it is in training mode.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "src"))

from plainres.nets import cifar_net as _cifar_net
from plainres.nets import load_net as _load_net
from plainres.nets.weights import Normalized as _Normalized

dependencies = ["torch", "safetensors"]


def _make(name: str, pretrained: bool) -> _Normalized:
    model = _load_net(name)
    if not pretrained:
        model.net = _cifar_net(**model.architecture)
        model.train()
    return model


def plain_20(pretrained: bool = False) -> _Normalized:
    """20 layers without shortcuts."""
    return _make("plain-20", pretrained)


def plain_56(pretrained: bool = False) -> _Normalized:
    """56 layers without shortcuts."""
    return _make("plain-56", pretrained)


def resnet_20(pretrained: bool = False) -> _Normalized:
    """20 layers with shortcuts."""
    return _make("resnet-20", pretrained)


def resnet_56(pretrained: bool = False) -> _Normalized:
    """56 layers with shortcuts."""
    return _make("resnet-56", pretrained)
