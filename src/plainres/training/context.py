"""Where and how a run is computed."""

from dataclasses import dataclass
from pathlib import Path

import torch

CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Where and how runs are computed. Nothing here changes their results.

    Attributes:
        data_dir: Folder that holds the data sets.
        results: Results folder. The record of a run goes to `results / config.folder`.
        device: Device to train on.
        compile: Whether to compile nets and train them with CUDA graphs where that is possible.
        checkpoint_seconds: Shortest time between two checkpoints, in seconds.
    """

    data_dir: Path
    results: Path
    device: torch.device
    compile: bool = True
    checkpoint_seconds: float = CHECKPOINT_SECONDS
