"""Losses and errors over whole parts of the data, with a single view of each image."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn
from torchmetrics import Metric

from plainres.data import BatchLoader, StudyData
from plainres.records.config import RunConfig

BN_IMAGES = 10_000
# Sums of a row are exact in double precision. MPS, which a Trainer of your own may use, has none.
SUM_DTYPE = torch.float32 if torch.backends.mps.is_available() else torch.float64


def count_wrong(scores: Tensor, labels: Tensor, top: int) -> Tensor:
    """Return how many labels (N,) are not among the `top` highest scores (N, num_classes) of their rows, 0-dim."""
    best = scores.topk(min(top, scores.shape[1]), 1).indices
    return (best != labels[:, None]).all(1).sum()


class Errors(Metric):
    """The mean loss per image and the share of wrong answers in percent, summed on the device and over all processes.

    `compute` returns `<part>_loss`, `<part>_error` and, if `top5` is True, `<part>_top5_error`, the share of images
    whose class is not among the five best guesses, as Python numbers.
    """

    full_state_update = False
    loss: Tensor
    wrong: Tensor
    wrong_of_five: Tensor
    images: Tensor

    def __init__(self, part: str = "test", top5: bool = False):
        super().__init__()
        self.part, self.top5 = part, top5
        self.add_state("loss", torch.zeros((), dtype=SUM_DTYPE), dist_reduce_fx="sum")
        for name in ("wrong", "wrong_of_five", "images"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss (0-dim), its logits (B, num_classes) and its labels int64 (B,)."""
        # Not in place: `Trainer.validate` leaves inference tensors, and "bf16-true" has converted the sum of losses.
        self.loss = self.loss.to(SUM_DTYPE) + loss.detach().to(SUM_DTYPE) * len(labels)
        self.wrong = self.wrong + (logits.argmax(1) != labels).sum()
        self.images = self.images + len(labels)
        if self.top5:
            self.wrong_of_five = self.wrong_of_five + count_wrong(logits, labels, 5)

    def compute(self) -> dict[str, float]:
        images = self.images.item()
        errors = {
            f"{self.part}_loss": self.loss.item() / images,
            f"{self.part}_error": 100 * self.wrong.item() / images,
        }
        return errors | ({f"{self.part}_top5_error": 100 * self.wrong_of_five.item() / images} if self.top5 else {})


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which Lightning computes, too: bf16 autocast, or none for fp32 and fp64."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def predict(net: nn.Module, images: Tensor, precision: str) -> Tensor:
    """Return logits (B, num_classes) of normalized images (B, 3, H, W), in fp32, or in fp64 from a net in fp64."""
    with autocast(precision, images.device):
        logits = net(images.to(next(net.parameters()).dtype))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@torch.inference_mode()
def evaluate(net: nn.Module, data: StudyData, part: str, precision: str) -> dict[str, float]:
    """Return `<part>_loss`, and `<part>_error` in percent, of a net in evaluation mode on every image of a part.

    The mode of the net is restored. The images are moved to its device. Several processes divide them.
    """
    was_training, device = net.training, next(net.parameters()).device
    net.eval()
    errors = Errors(part).to(device)
    for images, labels in data.batches(data.views(part), part, device):
        logits = predict(net, images, precision)
        errors.update(cross_entropy(logits, labels), logits, labels)
    net.train(was_training)
    return errors.compute()


@torch.no_grad()
def with_averaged_bn(net: nn.Module, data: StudyData, config: RunConfig) -> tuple[nn.Module, int]:
    """Return a copy of a net whose BN statistics are averages over training images, and the number of images.

    The nets that the authors released hold averages over "a sufficiently large training batch", while training leaves
    moving averages. The averages are taken over the first batches of the run, about 10,000 images, augmented as in
    training, because images without augmentation are not what the weights were trained on. Several processes average
    over their shares of each batch, which changes the last digits.
    """
    averaged = copy.deepcopy(net)
    parameter = next(net.parameters())
    count = min(-(-BN_IMAGES // config.batch_size), config.iterations)
    items, options = data.train_items()
    loader = BatchLoader(items, range(count * data.micro_batches), **options)
    batches = (images.to(parameter.dtype) for images, _ in data.batches(loader, "train", parameter.device))
    with autocast(config.precision, parameter.device):
        update_bn(batches, averaged)
    if data.shard[1] > 1:
        for buffer in averaged.buffers():
            if buffer.is_floating_point():
                torch.distributed.all_reduce(buffer)
                buffer /= data.shard[1]
    return averaged.eval(), count * config.batch_size
