"""What a run can be made of: the data sets and the kinds of shortcut, each described in one place, without PyTorch."""

from plainres.catalog.datasets import DATASETS, DatasetInfo
from plainres.catalog.shortcuts import SHORTCUTS, ShortcutInfo

__all__ = ["DATASETS", "SHORTCUTS", "DatasetInfo", "ShortcutInfo"]
