"""The command line that the experiments share."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from plainres.data import default_data_dir
from plainres.errors import UserError
from plainres.training.config import PAPER_ITERATIONS
from plainres.training.device import choose_device, fast_precision
from plainres.training.stop import Stopped

LOCAL_RESULTS = Path("results/local")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What every experiment lets the user choose."""

    seeds: tuple[int, ...] = (0,)
    """One run per net and seed."""
    iterations: int | None = None
    """Budget N; the learning rate falls at N/2 and 3N/4. Default: 64,000 with a GPU, else what the experiment says."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware is fast at it."""
    engine: Literal["auto", "eager", "fast"] = "auto"
    """What computes the iterations. auto: fast on a CPU; eager is the reference that it is held against."""
    device: str = "auto"
    """auto, cpu, cuda (all GPUs) or cuda:<index>."""
    runs_per_device: int = 1
    """Runs at a time on each GPU, or on the CPU; each is a process of its own."""
    launcher: Literal["local", "ray"] = "local"
    """ray: the runs are tasks of a Ray cluster (needs the extra `cluster`)."""
    address: str | None = None
    """Of a running Ray cluster; without one a cluster is started on this machine."""
    train_set: Literal["50k", "45k"] = "50k"
    """45k holds 5,000 images out for validation."""
    results: Path = LOCAL_RESULTS
    """Folder for the records. The published ones are in results/ itself, and are left alone unless it is named."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder that holds CIFAR-10. Default: the environment's DATA_DIR, else ./data."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Mirror the runs to W&B. auto: online when logged in, else offline; off when wandb is not installed."""
    plan: bool = False
    """Print the plan, train nothing."""

    def resolve(self, cpu: int, cuda: int = PAPER_ITERATIONS) -> tuple[torch.device, dict]:
        """The device, and the fields of `RunConfig` that are the same for all runs.

        Args:
            cpu, cuda: the experiment's budget on either device, where the user gave none.

        Raises:
            UserError: no such device, or no run at a time.
        """
        if self.runs_per_device < 1:
            raise UserError(f"runs-per-device must be 1 or more, not {self.runs_per_device}")
        device = choose_device(self.device)
        default = cuda if device.type == "cuda" else cpu
        return device, {
            "iterations": default if self.iterations is None else self.iterations,
            "precision": fast_precision(device) if self.precision == "auto" else self.precision,
            "train_set": self.train_set,
        }


def run_command(main: Callable[[], int]) -> None:
    """Run a command's main function and exit with its status; a user's mistake is one line on stderr and status 2."""
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on from there", file=sys.stderr)
        sys.exit(stopped.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
