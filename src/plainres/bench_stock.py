"""The stock Lightning loop for CIFAR-10, as in tutorials: the baseline of all speed measurements."""

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from plainres.training import RunConfig
from plainres.training.build import make_net

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class StockDataset(Dataset):
    """Images uint8 (N, 32, 32, 3) that torchvision's transforms augment one at a time, as with its CIFAR10."""

    def __init__(self, pixels: Tensor, labels: Tensor):
        self.pixels, self.labels = pixels.numpy(), labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def stock_loader(pixels: Tensor, labels: Tensor, batch_size: int, workers: int, pin: bool) -> DataLoader:
    """Return a loader of shuffled batches from worker processes."""
    images, keep = StockDataset(pixels, labels), workers > 0
    return DataLoader(images, batch_size, True, num_workers=workers, pin_memory=pin, persistent_workers=keep)


class StockModule(pl.LightningModule):
    """A LightningModule with automatic optimization, eager operations, fp32 and the memory format NCHW."""

    def __init__(self, config: RunConfig):
        super().__init__()
        self.config, self.net = config, make_net(config)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        c = self.config
        return torch.optim.SGD(self.net.parameters(), lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        logits = self.net(images)
        loss = cross_entropy(logits, labels)
        self.log_dict({"loss": loss, "error": (logits.argmax(1) != labels).float().mean()})
        return loss
