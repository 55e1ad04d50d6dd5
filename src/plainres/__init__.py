"""Reproduction of Deep Residual Learning for Image Recognition: plain against residual nets."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plainres.data import CifarData, ImageNetData
    from plainres.training import ClassificationModule

__all__ = ["CifarData", "ClassificationModule", "ImageNetData"]
__version__ = "0.1.0"

_MODULES = {"CifarData": "plainres.data", "ImageNetData": "plainres.data", "ClassificationModule": "plainres.training"}


def __getattr__(name: str) -> Any:
    # The report and `--help` import this package too, and need no PyTorch.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
