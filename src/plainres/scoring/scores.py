"""Top-1 and top-5 errors of one net or of an ensemble."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from plainres.data.imagenet import BadImages
from plainres.data.photos import BadImage, Photos
from plainres.errors import UserError
from plainres.nets.imagenet import ImageNetNet
from plainres.nets.weights import Normalized
from plainres.scoring.views import VIEWS, dense_logits
from plainres.training.evaluation import autocast, count_wrong

BATCH_SIZE = 16  # photographs per batch, each with up to ten views
TOP_K = 5


@dataclass(frozen=True)
class Scores:
    """The errors on a folder of photographs.

    Attributes:
        images: Number of scored images, without the unreadable ones.
        skipped: Number of unreadable images.
        top1_error: Percentage of images whose class does not have the highest score.
        top5_error: Percentage of images whose class is not among the five with the highest scores.
    """

    images: int
    skipped: int
    top1_error: float
    top5_error: float


class ViewDataset(Dataset):
    """A data set that maps a range of indices to the indices and views of the readable photographs among them.

    Each item also lists the unreadable photographs as (name, reason). Arguments as for `score`.
    """

    def __init__(self, photos: Photos, view: str, size: int):
        self.photos, self.view, self.size = photos, view, size

    def __getitem__(self, rows: range) -> tuple[list[int], list[list[Tensor]], list[tuple[str, str]]]:
        indices, views, unreadable = [], [], []
        for index in rows:
            try:
                views.append(VIEWS[self.view](self.photos.read(index), self.size))
                indices.append(index)
            except BadImage as error:
                unreadable.append((self.photos.name(index), str(error)))
        return indices, views, unreadable


def _by_shape(views: list[list[Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all views of one shape, stacked, with the index of the photograph of each."""
    groups: dict[torch.Size, list[tuple[int, Tensor]]] = {}
    for owner, photo_views in enumerate(views):
        for view in photo_views:
            groups.setdefault(view.shape, []).append((owner, view))
    for group in groups.values():
        yield torch.tensor([owner for owner, _ in group]), torch.stack([view for _, view in group])


def probabilities(
    models: Sequence[Normalized], views: list[list[Tensor]], size: int, device: torch.device, precision: str
) -> Tensor:
    """Return softmax probabilities (photographs, classes) that are averaged over all views and all models.

    They are on the CPU, in double precision. The models are in evaluation mode and on `device`, the views of each
    photograph are uint8 (3, h, w).
    """
    total = torch.zeros(len(views), cast(ImageNetNet, models[0].net).fc.out_features, dtype=torch.float64)
    for owners, stacked in _by_shape(views):
        pixels = stacked.to(device, non_blocking=True) / 255
        for model in models:
            with autocast(precision, device):
                logits = dense_logits(cast(ImageNetNet, model.net), model.normalize(pixels), size)
            total.index_add_(0, owners, logits.float().softmax(1).double().cpu())
    counts = torch.tensor([len(photo_views) for photo_views in views])
    return total / (counts[:, None] * len(models))


@torch.inference_mode()
def score(
    models: Sequence[Normalized],
    photos: Photos,
    labels: Tensor,
    view: str,
    size: int,
    device: torch.device,
    *,
    precision: str = "fp32",
    workers: int = 0,
    bad: BadImages | None = None,
) -> Scores:
    """Return the errors of one model, or of an ensemble that averages its models' probabilities.

    Args:
        models: Models with the same classes, in evaluation mode. They are moved to `device`.
        photos: Folder of photographs.
        labels: Index of the correct output for each photograph, int64 (N,).
        view: Key of `VIEWS`.
        size: Size of the crops that the models were trained on, in pixels.
        device: Device to compute on.
        precision: `"fp32"` or `"bf16"`.
        workers: Number of processes that decode photographs.
        bad: Log of unreadable images, which raises if there are too many.

    Raises:
        UserError: If no image can be read, or too many are unreadable.
    """
    for model in models:
        # PyTorch's stub of `to` has no memory format beside a device.
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ranges = [range(begin, min(begin + BATCH_SIZE, len(photos))) for begin in range(0, len(photos), BATCH_SIZE)]
    loader = DataLoader(ViewDataset(photos, view, size), batch_size=None, sampler=ranges, num_workers=workers)
    images = skipped = wrong1 = wrong5 = 0
    for indices, views, unreadable in loader:
        if bad is not None:
            bad.add(photos.folder, tuple(map(tuple, unreadable)))
        skipped += len(unreadable)
        if indices:
            scores = probabilities(models, views, size, device, precision)
            true_labels = labels[torch.tensor(indices)]
            images += len(indices)
            wrong1 += int(count_wrong(scores, true_labels, 1))
            wrong5 += int(count_wrong(scores, true_labels, TOP_K))
    if not images:
        raise UserError(f"{photos.folder}: none of its {len(photos):,} images can be read")
    return Scores(images, skipped, 100 * wrong1 / images, 100 * wrong5 / images)
