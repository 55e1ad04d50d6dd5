"""The data sets of the study, as Lightning data modules. Nothing here depends on nets or on training."""

from plainres.data.base import BatchLoader, StudyData
from plainres.data.cifar.batch_table import batch_table
from plainres.data.cifar.demo import demo_set
from plainres.data.cifar.files import DataMissing
from plainres.data.cifar.image_set import ImageSet
from plainres.data.cifar.module import CifarData, default_data_dir
from plainres.data.imagenet.module import ImageNetData

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
