"""The command-line options that the experiments share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from plainres.data import default_data_dir
from plainres.errors import UserError
from plainres.records.config import PAPER_ITERATIONS, RunConfig
from plainres.training.device import choose_device, fast_precision
from plainres.training.distributed import get_rank_info

LOCAL_RESULTS = Path("results/local")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options of every experiment that trains runs."""

    seeds: tuple[int, ...] = (0,)
    """Seeds. Every net is trained once per seed."""
    iterations: int | None = None
    """Number of iterations N. The learning rate is divided by 10 at N/2 and 3N/4, on ImageNet as the schedule says.
    Default: that of the experiment, which its description gives; for most of them the paper's with a GPU."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the forward and backward pass. auto: bf16 if the hardware computes it faster than fp32."""
    compile: bool = True
    """On a single GPU, compile the nets and train with CUDA graphs, where the images are in memory."""
    device: str = "auto"
    """Device: auto, cpu, cuda (all GPUs) or cuda:<index>."""
    runs_per_device: int = 0
    """Number of runs that are trained at the same time on each GPU, or on the CPU. Each has its own process and an
    equal share of the CPU cores. 0: one per GPU; on the CPU as many as cores and memory allow."""
    devices_per_run: int = 1
    """Number of GPUs, or of processes on the CPU, that share each batch of a run (Lightning's DDP). Not needed with
    torchrun and srun, which determine it themselves."""
    micro_batch: int = 0
    """Number of images that BN normalizes over. Gradients are summed over the micro-batches of a batch. 0: the whole
    batch on one device, or each device's share of it on several."""
    launcher: Literal["local", "ray"] = "local"
    """ray: train the runs as tasks of a Ray cluster (requires the extra `cluster`)."""
    address: str | None = None
    """Address of a running Ray cluster. Default: start a cluster on this machine."""
    train_set: Literal["50k", "45k"] = "50k"
    """Training set. 45k: hold out 5,000 images for validation."""
    results: Path = LOCAL_RESULTS
    """Folder for the records. The published records are in results/, which is used only if it is given here."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder that holds the data set. Default: the environment variable DATA_DIR, or ./data."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Whether runs are tracked with W&B. auto: online if logged in, offline if not, off if wandb is not installed."""
    plan: bool = False
    """Print the planned runs with their expected times, and train nothing."""

    def resolve(
        self, cpu: int, cuda: int = PAPER_ITERATIONS, batch_size: int = RunConfig.batch_size
    ) -> tuple[torch.device, dict]:
        """Return the device, and the fields of `RunConfig` that are the same for all runs.

        `cpu` and `cuda` are the numbers of iterations that a run has by default on such a device.

        Raises:
            UserError: If the device does not exist, a number is too small, or options exclude each other.
        """
        for name, least in (("runs_per_device", 0), ("devices_per_run", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name.replace('_', '-')} must be {least} or more, not {getattr(self, name)}")
        if self.devices_per_run > 1 and self.runs_per_device > 1:
            raise UserError("--devices-per-run and --runs-per-device exclude each other: leave out one of them")
        if self.devices_per_run > 1 and self.launcher == "ray":
            raise UserError("a Ray task trains on one device: use --launcher local with --devices-per-run")
        device = choose_device(self.device)
        default = cuda if device.type == "cuda" else cpu
        return device, {
            "iterations": default if self.iterations is None else self.iterations,
            "precision": fast_precision(device) if self.precision == "auto" else self.precision,
            "train_set": self.train_set,
            "micro_batch": self._micro_batch(batch_size),
        }

    def _micro_batch(self, batch_size: int) -> int:
        """Return the number of images that BN normalizes over: by default a device's share if several share a batch."""
        ranks = get_rank_info().size
        processes = ranks if ranks > 1 else self.devices_per_run
        if self.micro_batch or processes == 1:
            return self.micro_batch
        if batch_size % processes:
            raise UserError(f"batch size {batch_size} cannot be divided among {processes} processes")
        return batch_size // processes
