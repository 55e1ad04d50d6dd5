"""What the experiments on photographs share."""

from dataclasses import dataclass
from typing import Literal

import torch

from plainres.catalog.datasets import IMAGENET
from plainres.data.imagenet.photos import class_folders
from plainres.errors import UserError
from plainres.study.options import StudyOptions

PAPER_ITERATIONS = IMAGENET.paper_iterations
# A check of the pipeline: a small sample of photographs, small crops, a few minutes a net on a CPU core.
CHECK = {"image_size": 64, "batch_size": 16, "lr": 0.02}
CHECK_ITERATIONS = 256


@dataclass(frozen=True, kw_only=True)
class ImageNetOptions(StudyOptions):
    """What experiments on photographs let the user choose."""

    schedule: Literal["plateau", "thirds", "halves"] = "plateau"
    """plateau: a tenth of the rate where the training error no longer falls (the paper); thirds: after a third and two
    thirds of the iterations (30 and 60 of 90 epochs are --iterations 450000)."""
    stride_in: Literal["1x1", "3x3"] = "1x1"
    """Where a bottleneck's stride stands; the authors' nets have it in the 1x1."""
    check: bool = False
    """Not the study: 256 iterations of 16 at 64 pixels, to see the pipeline work on a sample of photographs."""

    def resolve_imagenet(self) -> tuple[torch.device, dict]:
        """The device, and the fields of `RunConfig` that are the same for all runs.

        Raises:
            UserError: there are no photographs, or the paper's budget was not lowered for a machine without a GPU.
        """
        own = CHECK if self.check else {"image_size": IMAGENET.image_size, "batch_size": IMAGENET.batch_size}
        budget = CHECK_ITERATIONS if self.check else PAPER_ITERATIONS
        device, common = self.resolve(CHECK_ITERATIONS, budget, own["batch_size"])
        if device.type == "cpu" and not (self.check or self.iterations or self.plan):
            raise UserError(
                f"no GPU: {PAPER_ITERATIONS:,} iterations would take years here. Say --iterations, --plan, or --check "
                "for a few minutes that show the pipeline work"
            )
        if self.iterations is None and not self.check:
            common["iterations"] = PAPER_ITERATIONS
        classes = len(class_folders(self.data_dir / "train"))
        common |= {
            "dataset": IMAGENET.name,
            "num_classes": classes,
            "schedule": self.schedule,
            "stride_in": self.stride_in,
        }
        return device, common | own
