"""Top-1 and top-5 errors of one net or of several together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from plainres.data.imagenet.batches import BadImages
from plainres.data.imagenet.photos import BadImage, Photos
from plainres.errors import UserError
from plainres.nets.weights import Normalized
from plainres.scoring.views import VIEWS, dense_logits
from plainres.training.device import autocast
from plainres.training.loss import count_wrong

BATCH = 16  # photographs a batch; each has up to ten views
TOP = 5


@dataclass(frozen=True)
class Scores:
    """What was got wrong.

    Attributes:
        images: how many were looked at; unreadable ones are not among them.
        skipped: how many could not be read.
        top1_error: percent of the images whose class is not the one with the highest score.
        top5_error: percent of the images whose class is not among the five with the highest scores.
    """

    images: int
    skipped: int
    top1_error: float
    top5_error: float


class Views(Dataset):
    """A range of photographs in; out: their places, their views, and the unreadable ones."""

    def __init__(self, photos: Photos, way: str, size: int):
        self.photos, self.way, self.size = photos, way, size

    def __getitem__(self, rows: range) -> tuple[list[int], list[list[Tensor]], list[tuple[str, str]]]:
        places, views, bad = [], [], []
        for index in rows:
            try:
                views.append(VIEWS[self.way](self.photos.read(index), self.size))
                places.append(index)
            except BadImage as error:
                bad.append((self.photos.name(index), str(error)))
        return places, views, bad


def _by_shape(views: list[list[Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """All views of one shape stacked, with the number of the photograph of each."""
    groups: dict[torch.Size, list[tuple[int, Tensor]]] = {}
    for owner, of_photo in enumerate(views):
        for view in of_photo:
            groups.setdefault(view.shape, []).append((owner, view))
    for group in groups.values():
        yield torch.tensor([owner for owner, _ in group]), torch.stack([view for _, view in group])


def probabilities(
    models: Sequence[Normalized], views: list[list[Tensor]], size: int, device: torch.device, precision: str
) -> Tensor:
    """Softmax probabilities averaged over every view and every model: (photographs, classes), on the CPU.

    Args:
        models: in evaluation mode, on `device`.
        views: uint8 (3, h, w) of each photograph.
        size: of the crops that the models were trained on.
        device: where to compute.
        precision: "fp32" or "bf16".
    """
    total = torch.zeros(len(views), models[0].net.fc.out_features, dtype=torch.float64)
    for owners, stacked in _by_shape(views):
        pixels = stacked.to(device, non_blocking=True) / 255
        for model in models:
            with autocast(device, precision):
                logits = dense_logits(model.net, model.normalize(pixels), size)
            total.index_add_(0, owners, logits.float().softmax(1).double().cpu())
    counts = torch.tensor([len(of_photo) for of_photo in views])
    return total / (counts[:, None] * len(models))


@torch.inference_mode()
def score(
    models: Sequence[Normalized],
    photos: Photos,
    labels: Tensor,
    way: str,
    size: int,
    device: torch.device,
    *,
    precision: str = "fp32",
    workers: int = 0,
    bad: BadImages | None = None,
) -> Scores:
    """Test models on every photograph; several models vote as an ensemble, by their average probabilities.

    Args:
        models: of the same classes, in evaluation mode; they are moved to `device`.
        photos: the folder.
        labels: the classifier's output that is right for each of them, int64 (N,).
        way: a key of `VIEWS`.
        size: of the crops that the models were trained on.
        device: where to compute.
        precision: "fp32" or "bf16".
        workers: processes that decode.
        bad: what is told of unreadable images, and raises when there are too many.

    Raises:
        UserError: too many images are unreadable.
    """
    for model in models:
        model.to(device, memory_format=torch.channels_last)
    ranges = [range(begin, min(begin + BATCH, len(photos))) for begin in range(0, len(photos), BATCH)]
    loader = DataLoader(Views(photos, way, size), batch_size=None, sampler=ranges, num_workers=workers)
    images = skipped = wrong1 = wrong5 = 0
    for places, views, unreadable in loader:
        if bad is not None:
            bad.add(photos.folder, tuple(map(tuple, unreadable)))
        skipped += len(unreadable)
        if places:
            scores = probabilities(models, views, size, device, precision)
            right = labels[torch.tensor(places)]
            images += len(places)
            wrong1 += count_wrong(scores, right, 1)
            wrong5 += count_wrong(scores, right, TOP)
    if not images:
        raise UserError(f"{photos.folder}: none of its {len(photos):,} images can be read")
    return Scores(images, skipped, 100 * wrong1 / images, 100 * wrong5 / images)
