"""Plain and residual nets for photographs (sections 3.3 and 4.1, Table 1)."""

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from plainres.catalog.shortcuts import shortcuts_of
from plainres.errors import require_one_of
from plainres.nets.activation_checkpointing import run_checkpointed
from plainres.nets.blocks import CLASSIFIER_INITS, STRIDES_IN, BasicBlock, Bottleneck, initialize

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BOTTLENECK_DEPTH = 50  # nets of at least this depth are built of bottlenecks
DOWNSAMPLING = 32  # pixels of the image, in each direction, per position of the last stage


class ImageNetNet(nn.Module):
    """A 7x7 conv and max pooling, four stages of blocks, global average pooling and a classifier.

    The stages have 64, 128, 256 and 512 channels (four times as many after bottlenecks) on 56x56, 28x28, 14x14 and
    7x7 maps of 224x224 images. `forward` maps images (B, 3, H, W) to logits (B, num_classes). State dicts have
    torchvision's names, so its weights can be loaded. Use `imagenet_net` to make one.

    Attributes:
        checkpointing: If True, only the inputs of the blocks are kept for the backward pass and everything else is
            computed again.
    """

    def __init__(self, depth: int, shortcut: str | None, num_classes: int, stride_in: str, classifier_init: str):
        super().__init__()
        self.checkpointing = False
        bottleneck = depth >= BOTTLENECK_DEPTH
        block = partial(Bottleneck, stride_in=stride_in) if bottleneck else BasicBlock
        width = Bottleneck.EXPANSION if bottleneck else 1
        numbers = BLOCKS_PER_STAGE[depth]

        def stage(number: int, in_channels: int, channels: int, stride: int) -> nn.Sequential:
            rest = (block(width * channels, channels, shortcut=shortcut) for _ in range(numbers[number] - 1))
            return nn.Sequential(block(in_channels, channels, stride, shortcut), *rest)

        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = stage(0, 64, 64, 1)
        self.layer2 = stage(1, width * 64, 128, 2)
        self.layer3 = stage(2, width * 128, 256, 2)
        self.layer4 = stage(3, width * 256, 512, 2)
        self.fc = nn.Linear(width * 512, num_classes)
        initialize(self, classifier_init=classifier_init)

    def features(self, x: Tensor) -> Tensor:
        """Return the output of the last stage for images of any size: (B, 512 or 2048, H / 32, W / 32)."""
        x = relu(self.bn1(self.conv1(x)))  # (B, 64, 112, 112)
        x = self.maxpool(x)  # (B, 64, 56, 56)
        if self.checkpointing:
            return run_checkpointed((*self.layer1, *self.layer2, *self.layer3, *self.layer4), x)
        x = self.layer1(x)  # (B, 64, 56, 56), after bottlenecks (B, 256, 56, 56)
        x = self.layer2(x)  # (B, 128, 28, 28)
        x = self.layer3(x)  # (B, 256, 14, 14)
        return self.layer4(x)  # (B, 512, 7, 7)

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, 224, 224)
        return self.fc(self.features(x).mean((2, 3)))  # (B, num_classes)


def check_imagenet(depth: int, shortcut: str | None = "B", stride_in: str = "1x1", classifier_init: str = "he") -> None:
    """Raise `UserError` for an argument that `imagenet_net` does not take."""
    require_one_of("depth of an ImageNet net", depth, BLOCKS_PER_STAGE)
    require_one_of("shortcut of an ImageNet net", shortcut, shortcuts_of("imagenet"))
    require_one_of("stride_in of an ImageNet net", stride_in, STRIDES_IN)
    require_one_of("classifier_init", classifier_init, CLASSIFIER_INITS)


def imagenet_net(
    depth: int,
    shortcut: str | None = "B",
    num_classes: int = 1000,
    stride_in: str = "1x1",
    classifier_init: str = "he",
) -> ImageNetNet:
    """Return the paper's ImageNet net of a given depth, initialized from PyTorch's global random state.

    Args:
        depth: 18 or 34 (blocks of two 3x3 convs), 50, 101 or 152 (bottlenecks).
        shortcut: None for the plain net; `"A"` (zero padding), `"B"` (projections where dimensions grow) or `"C"`
            (projections everywhere) for the residual net. Table 2 uses A; nets of 50 and more layers use B.
        num_classes: Number of outputs of the classifier.
        stride_in: Convolution of a bottleneck that has the stride: `"1x1"`, as the authors released it and as the
            paper counts, or `"3x3"` ("v1.5"), as torchvision's weights expect. Makes no difference to 18 and 34
            layers.
        classifier_init: Initial weights of the classifier: `"he"`, `"uniform"` or `"small"`, as for `cifar_net`.

    Raises:
        UserError: If an argument is unknown.
    """
    check_imagenet(depth, shortcut, stride_in, classifier_init)
    return ImageNetNet(depth, shortcut, num_classes, stride_in, classifier_init)
