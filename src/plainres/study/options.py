"""The command line that the experiments share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from plainres.data import default_data_dir
from plainres.errors import UserError
from plainres.training.config import PAPER_ITERATIONS, RunConfig
from plainres.training.device import choose_device, fast_precision
from plainres.training.distributed import get_rank_info

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
    devices_per_run: int = 1
    """GPUs, or processes on the CPU, that divide each batch of a run among them (Lightning's DDP). torchrun and srun
    say it themselves."""
    micro_batch: int = 0
    """Images that BN sees at once, gradients of a batch being summed over as many parts. 0: the whole batch on one
    device, a device's share of it on several."""
    sync_bn: bool = False
    """On several GPUs, have BN see the whole batch."""
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

    def resolve(
        self, cpu: int, cuda: int = PAPER_ITERATIONS, batch_size: int = RunConfig.batch_size
    ) -> tuple[torch.device, dict]:
        """The device, and the fields of `RunConfig` that are the same for all runs.

        Args:
            cpu, cuda: the experiment's budget on either device, where the user gave none.
            batch_size: of the runs.

        Raises:
            UserError: no such device, no run at a time, or options that exclude one another.
        """
        for name in ("runs_per_device", "devices_per_run"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', '-')} must be 1 or more, not {getattr(self, name)}")
        if self.devices_per_run > 1 and self.runs_per_device > 1:
            raise UserError("--devices-per-run and --runs-per-device exclude one another: leave one at 1")
        if self.devices_per_run > 1 and self.launcher == "ray":
            raise UserError("a Ray task trains on one device: for a run on several, leave --launcher at local")
        if self.sync_bn and self.micro_batch:
            raise UserError("--sync-bn has BN see the whole batch, --micro-batch a part of it: leave one out")
        device = choose_device(self.device)
        default = cuda if device.type == "cuda" else cpu
        return device, {
            "iterations": default if self.iterations is None else self.iterations,
            "precision": fast_precision(device) if self.precision == "auto" else self.precision,
            "train_set": self.train_set,
            "micro_batch": self._micro_batch(batch_size),
        }

    def _micro_batch(self, batch_size: int) -> int:
        ranks = get_rank_info().size
        processes = ranks if ranks > 1 else self.devices_per_run
        if self.micro_batch or self.sync_bn or processes == 1:
            return self.micro_batch
        if batch_size % processes:
            raise UserError(f"batch size {batch_size} cannot be divided among {processes} processes")
        return batch_size // processes
