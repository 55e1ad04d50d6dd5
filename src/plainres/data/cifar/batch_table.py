"""What every iteration of a run trains on, decided before the first one."""

import torch
from torch import Tensor

PAD = 4
IDENTITY = (PAD, PAD, 0)  # the crop that gives the original image back


def batch_table(seed: int, iterations: int, images: int, batch_size: int = 128) -> Tensor:
    """The run's whole training stream: which image, crop and flip each place of each batch holds.

    Permutations of all images follow one another and are cut into full batches, so every window of `images`
    draws that starts at a multiple of `images` holds each image once and no batch is short. Each draw has its
    own crop out of the image padded by 4 (9 x 9 offsets) and is flipped half of the time (section 4.2).
    The table depends on its arguments alone, and a longer run's table begins with a shorter one's.

    Returns:
        int32 (iterations, batch_size, 4): index, vertical offset, horizontal offset, flip (0 or 1).
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
    """Every image once, in order, as it is: int32 (images, 4), the rows of `batch_table` for testing."""
    index = torch.arange(images, dtype=torch.int32)[:, None]
    return torch.cat((index, torch.tensor(IDENTITY, dtype=torch.int32).expand(images, 3)), dim=1)
