"""The batches of a run, drawn before its first iteration (section 4.2)."""

import torch
from torch import Tensor

PAD = 4
CENTER = (PAD, PAD, 0)  # offsets and flip that leave an image unchanged


def batch_table(seed: int, iterations: int, images: int, batch_size: int = 128) -> Tensor:
    """Return the training batches of a whole run: the image, crop and flip of every example.

    Permutations of all images follow one another and are cut into full batches. Each pass over the images therefore
    contains every image once, and no batch is smaller than the others. An example is a random 32x32 crop of the image
    padded by 4 pixels on each side (9 x 9 offsets), flipped horizontally with a probability of one half.

    The table depends only on the arguments. The table of a longer run begins with that of a shorter one.

    Args:
        seed: Seed of the permutations, crops and flips.
        iterations: Number of batches.
        images: Number of training images.
        batch_size: Number of images per batch.

    Returns:
        int32 (iterations, batch_size, 4): image index, vertical offset, horizontal offset, and flip (0 or 1).
    """
    generator = torch.Generator().manual_seed(seed)
    passes = []
    for _ in range(-(-iterations * batch_size // images)):
        index = torch.randperm(images, generator=generator, dtype=torch.int32)
        offsets = torch.randint(2 * PAD + 1, (images, 2), generator=generator, dtype=torch.int32)
        flip = torch.randint(2, (images, 1), generator=generator, dtype=torch.int32)
        passes.append(torch.cat((index[:, None], offsets, flip), dim=1))
    return torch.cat(passes)[: iterations * batch_size].view(iterations, batch_size, 4)


def unaugmented_rows(images: int) -> Tensor:
    """Return rows like those of `batch_table` that show every image once, in order and without augmentation.

    Args:
        images: Number of images.

    Returns:
        int32 (images, 4).
    """
    index = torch.arange(images, dtype=torch.int32)[:, None]
    return torch.cat((index, torch.tensor(CENTER, dtype=torch.int32).expand(images, 3)), dim=1)
