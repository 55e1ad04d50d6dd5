"""Options that the experiments on ImageNet share."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from plainres.catalog.datasets import IMAGENET
from plainres.data.photos import class_folders
from plainres.errors import UserError
from plainres.study.options import StudyOptions

# A check of the pipeline on a sample of photographs: small crops, a few minutes per net on one CPU core.
CHECK: dict[str, Any] = {"image_size": 64, "batch_size": 16, "lr": 0.02}
CHECK_ITERATIONS = 256


@dataclass(frozen=True, kw_only=True)
class ImageNetOptions(StudyOptions):
    """Options of every experiment on ImageNet, or on any folder of photographs with the same layout."""

    schedule: Literal["plateau", "thirds", "halves"] = "plateau"
    """When the learning rate is divided by 10. plateau: when the training error stops decreasing (the paper); thirds:
    at N/3 and 2N/3, which is epochs 30 and 60 of 90 with --iterations 450000; halves: at N/2 and 3N/4."""
    stride_in: Literal["1x1", "3x3"] = "1x1"
    """Convolution of a bottleneck that has the stride. The nets that the authors released use 1x1."""
    check: bool = False
    """Test the pipeline instead of running the study: 256 iterations with a batch size of 16 and crops of 64 pixels."""

    def resolve_imagenet(self) -> tuple[torch.device, dict]:
        """Return the device, and the fields of `RunConfig` that are the same for all runs.

        Raises:
            UserError: If there are no photographs, or if there is no GPU and no smaller budget was chosen.
        """
        sizes = CHECK if self.check else {"image_size": IMAGENET.image_size, "batch_size": IMAGENET.batch_size}
        budget = CHECK_ITERATIONS if self.check else IMAGENET.paper_iterations
        device, common = self.resolve(budget, budget, sizes["batch_size"])
        if device.type == "cpu" and not (self.check or self.iterations or self.plan):
            raise UserError(
                f"{IMAGENET.paper_iterations:,} iterations would take years without a GPU: use --check for a test of "
                "the pipeline in a few minutes, --plan for an estimate, or --iterations"
            )
        classes = len(class_folders(self.data_dir / "train"))
        common |= {
            "dataset": IMAGENET.name,
            "num_classes": classes,
            "schedule": self.schedule,
            "stride_in": self.stride_in,
        }
        return device, common | sizes
