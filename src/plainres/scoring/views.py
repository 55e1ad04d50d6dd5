"""Centre crop, 10-crop and the fully convolutional form at several scales (sections 3.4 and 4.1)."""

from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchvision.transforms.v2.functional import ten_crop

from plainres.data.imagenet.photos import VIEW_RATIO, center_view, with_shorter_side
from plainres.nets.imagenet import DOWNSAMPLING, ImageNetNet

SCALES = (224, 256, 384, 480, 640)  # shorter sides of Table 4, for a net trained on 224


def center(image: Tensor, size: int) -> list[Tensor]:
    """The one view of Figure 4: the centre crop of an image whose shorter side is 256 (for 224)."""
    return [center_view(image, size)]


def ten_crops(image: Tensor, size: int) -> list[Tensor]:
    """The views of Tables 2 and 3: the four corners and the centre of an image as above, and their mirror images."""
    return list(ten_crop(with_shorter_side(image, round(VIEW_RATIO * size)), [size, size]))


def multi_scale(image: Tensor, size: int) -> list[Tensor]:
    """The views of Table 4: the whole image at five shorter sides, in proportion where nets were not trained on 224."""
    return [with_shorter_side(image, round(scale * size / 224)) for scale in SCALES]


# From an image uint8 (3, H, W) and the size of the crops that nets were trained on to its views, uint8 (3, h, w) each.
VIEWS = {"center": center, "10-crop": ten_crops, "multi-scale": multi_scale}


def dense_logits(net: ImageNetNet, images: Tensor, size: int) -> Tensor:
    """The fully convolutional form: the classifier at every place of the image, its scores averaged over them.

    The pooling that training saw, size / 32 positions wide, slides over the last maps one position at a time, and the
    classifier becomes a 1x1 convolution. Being linear it may be applied after the average over places. Of images of
    the training size there is one place, and this is the net itself.

    Args:
        net: in evaluation mode.
        images: normalized (B, 3, H, W), H and W at least `size`.
        size: of the crops that the net was trained on.

    Returns:
        (B, classes).
    """
    pooled = avg_pool2d(net.features(images), -(-size // DOWNSAMPLING), stride=1)  # (B, C, places, places)
    return net.fc(pooled.mean((2, 3)))
