"""CIFAR-10 and the offline demo set: nothing here knows of nets or training."""

from plainres.data.batches import batch_table
from plainres.data.cifar10 import DataMissing, default_data_dir
from plainres.data.cifar_data import DATASETS, TRAIN_SETS, CifarData, part_sizes
from plainres.data.demo import demo_set
from plainres.data.images import ImageSet

__all__ = [
    "DATASETS",
    "TRAIN_SETS",
    "CifarData",
    "DataMissing",
    "ImageSet",
    "batch_table",
    "default_data_dir",
    "demo_set",
    "part_sizes",
]
