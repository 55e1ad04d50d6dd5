"""The data sets of the study, as Lightning data modules. Nothing here depends on nets or on training."""

from plainres.data.base import BatchLoader, StudyData, default_data_dir
from plainres.data.cifar import CifarData, ImageSet, batch_table
from plainres.data.cifar_files import DataMissing
from plainres.data.demo import demo_set
from plainres.data.imagenet import ImageNetData

__all__ = [
    "BatchLoader",
    "CifarData",
    "DataMissing",
    "ImageNetData",
    "ImageSet",
    "StudyData",
    "batch_table",
    "default_data_dir",
    "demo_set",
]
