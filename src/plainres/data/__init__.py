"""CIFAR-10, the offline demo set and ImageNet: nothing here knows of nets or training."""

from plainres.data.batches import batch_table
from plainres.data.cifar10 import DataMissing, default_data_dir
from plainres.data.cifar_data import DATASETS, TRAIN_SETS, CifarData, part_sizes
from plainres.data.demo import demo_set
from plainres.data.imagenet_data import ImageNetData
from plainres.data.images import ImageSet

__all__ = [
    "DATASETS",
    "TRAIN_SETS",
    "CifarData",
    "DataMissing",
    "ImageNetData",
    "ImageSet",
    "batch_table",
    "default_data_dir",
    "demo_set",
    "part_sizes",
]
