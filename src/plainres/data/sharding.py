"""Dividing images among the processes of a run, and choosing fixed samples of them."""

import torch
from torch import Tensor


def shard_range(n: int, shard: tuple[int, int]) -> range:
    """Return the indices among `n` that belong to one process.

    Args:
        n: Number of items to divide.
        shard: `(rank, size)` of the process. A single process, `(0, 1)`, gets all of them.
    """
    rank, size = shard
    return range(rank * n // size, (rank + 1) * n // size)


def fixed_sample(n: int, count: int) -> Tensor:
    """Return the indices of a fixed random sample of `n` images, the same in every call and on every machine.

    The first images of a folder of photographs would all belong to one class.

    Args:
        n: Number of images to choose from.
        count: Size of the sample. The sample holds all images if there are fewer.

    Returns:
        int64 (min(n, count),).
    """
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))[:count]
