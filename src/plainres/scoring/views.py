"""The views of a photograph that the paper tests on: center crop, 10-crop and several scales (section 3.4)."""

from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchvision.transforms.v2.functional import ten_crop

from plainres.data.photos import VIEW_RATIO, center_view, with_shorter_side
from plainres.nets.imagenet import DOWNSAMPLING, ImageNetNet

SCALES = (224, 256, 384, 480, 640)  # shorter sides of the images, for nets trained on crops of 224 pixels


def center(image: Tensor, size: int) -> list[Tensor]:
    """Return the center crop of the image, resized to a shorter side of 256 / 224 of the crop size (Figure 4)."""
    return [center_view(image, size)]


def ten_crops(image: Tensor, size: int) -> list[Tensor]:
    """Return the four corners and the center of the resized image, and their mirror images (Tables 2 and 3)."""
    return list(ten_crop(with_shorter_side(image, round(VIEW_RATIO * size)), [size, size]))


def multi_scale(image: Tensor, size: int) -> list[Tensor]:
    """Return the whole image at five scales (Tables 4 and 5), which are proportional to the crop size."""
    return [with_shorter_side(image, round(scale * size / 224)) for scale in SCALES]


# Functions from an image, uint8 (3, H, W), and the crop size of training, to the views of the image, uint8 (3, h, w).
VIEWS = {"center": center, "10-crop": ten_crops, "multi-scale": multi_scale}


def dense_logits(net: ImageNetNet, images: Tensor, size: int) -> Tensor:
    """Return the logits of the fully convolutional form of a net, averaged over all positions (section 3.4).

    The average pooling of training, size / 32 positions wide, slides over the last feature maps with a stride of 1,
    and the classifier becomes a 1x1 convolution. Because the classifier is linear, it is applied after the average
    over positions. An image of the training size has one position, for which the result is that of the net itself.

    Args:
        net: Net in evaluation mode.
        images: Normalized images (B, 3, H, W), where H and W are at least `size`.
        size: Size of the crops that the net was trained on, in pixels.

    Returns:
        Logits (B, classes).
    """
    pooled = avg_pool2d(net.features(images), -(-size // DOWNSAMPLING), stride=1)  # (B, C, positions, positions)
    return net.fc(pooled.mean((2, 3)))
