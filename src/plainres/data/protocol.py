"""The interface between data modules and training."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader


class Part(Protocol):
    """One part of a data set, for example its test images."""

    def __len__(self) -> int: ...

    def md5(self) -> str: ...


class Batches(Protocol):
    """Consecutive batches: a list of them, or a tensor whose first dimension is the iteration."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class RunData(Protocol):
    """The data of one run. `CifarData` and `ImageNetData` implement this protocol.

    Loaders yield batches in a format that depends on the data module, and `inputs` turns such a batch into images
    and labels on the device.

    Attributes:
        parts: Parts by name: `"train"`, `"test"` and, if images are held out, `"val"`. Filled by `setup`.
    """

    @property
    def parts(self) -> Mapping[str, Part]: ...

    @property
    def mean(self) -> Tensor:
        """Mean that `inputs` subtracts, per pixel (3, H, W) or per channel (3, 1, 1), between 0 and 1."""

    @property
    def evaluated(self) -> list[str]:
        """Names of the parts that a pass over the test set covers."""

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes in the order of the labels, if the files name them."""

    def prepare_data(self) -> None:
        """Check the files, and download them if necessary."""

    def setup(self, stage: str | None = None) -> None:
        """Fill `parts`."""

    def to(self, device: torch.device) -> None:
        """Move everything that `inputs` needs to `device`."""

    def train_batches(self, spans: Sequence[slice]) -> Iterable[Any]:
        """Return a loader of consecutive training batches.

        Args:
            spans: Consecutive ranges of iterations. A data module that keeps its images in memory yields one item
                per span. Others yield one item per iteration.
        """

    def iterations_of(self, loaded: Any) -> Batches:
        """Split an item of `train_batches` into its iterations, each of which `inputs` accepts."""

    def inputs(self, batch: Any, part: str = "train") -> tuple[Tensor, Tensor]:
        """Return images float32 (B, 3, H, W), with the mean subtracted, and labels int64 (B,), on the device."""

    def views(self, part: str) -> DataLoader:
        """Return a loader that yields every image of a part once, without augmentation."""

    def first(self, images: int) -> Iterable[Any]:
        """Return batches of a fixed sample of training images, without augmentation, the same in every process."""
