"""Distributed training of one run on several processes.

Each process computes its share of every batch, and Lightning's DDP averages the gradients. The launcher of
`plainres.study`, torchrun or srun starts the processes. A single process is rank 0 of 1, and the collective functions
return its own values.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from textwrap import shorten
from typing import NoReturn, TypeVar

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch import distributed

from plainres.errors import UserError
from plainres.records.config import RunConfig

Value = TypeVar("Value")


@dataclass(frozen=True)
class RankInfo:
    """The position of this process among the processes of a run, and among those on the same machine.

    Only rank 0 holds the lock of the run and writes its record.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    def device(self, device: torch.device) -> torch.device:
        """Return the device on which this process trains: of several processes on GPUs, each has one of its own."""
        return torch.device("cuda", self.local_rank) if self.size > 1 and device.type == "cuda" else device


@cache
def cluster_environment() -> ClusterEnvironment:
    """Return Lightning's description of how this process was started: by torchrun, by srun, or on its own.

    Raises:
        UserError: If the options of a SLURM job are not supported by Lightning.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    # Only srun sets this variable. A batch script without srun has SLURM's other variables too, but no other ranks.
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise UserError(str(error)) from None
    return LightningEnvironment()


@cache
def get_rank_info() -> RankInfo:
    """Return the rank of this process and the number of processes."""
    environment = cluster_environment()
    if isinstance(environment, LightningEnvironment):
        return RankInfo()
    size, nodes = environment.world_size(), int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size // nodes))
    return RankInfo(environment.global_rank(), size, environment.local_rank(), local_size)


def rank_environments(size: int) -> list[dict[str, str]]:
    """Return the environment variables of each of `size` processes of a run on this machine, as torchrun sets them."""
    if size == 1:
        return [{}]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
    shared |= {"TORCHELASTIC_RUN_ID": "plainres", "TORCHELASTIC_USE_AGENT_STORE": "False"}
    shared |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def check_batch_divides(config: RunConfig, ranks: RankInfo) -> None:
    """Raise `UserError` if the processes cannot divide each batch in the way that the configuration requires."""
    per_process, remainder = divmod(config.batch_size, ranks.size)
    if remainder:
        raise UserError(f"batch size {config.batch_size} cannot be divided among {ranks.size} processes")
    if ranks.size > 1 and (not config.micro_batch or per_process % config.micro_batch):
        raise UserError(
            f"BN normalizes over {config.micro_batch or config.batch_size} images, which do not divide the "
            f"{per_process} of each of {ranks.size} processes: use --micro-batch {per_process}, or fewer devices"
        )


def init_distributed(device: torch.device) -> RankInfo:
    """Join the process group of the run, unless this process has done so or is the only one, and wait for the others.

    Raises:
        UserError: If there is no GPU for this process.
    """
    ranks = get_rank_info()
    if ranks.size > 1 and not distributed.is_initialized():
        environment = cluster_environment()
        os.environ |= {"MASTER_ADDR": environment.main_address, "MASTER_PORT": str(environment.main_port)}
        if device.type == "cuda":
            if ranks.local_rank >= torch.cuda.device_count():
                raise UserError(
                    f"rank {ranks.rank} needs GPU {ranks.local_rank}, but sees only {torch.cuda.device_count()} GPUs: "
                    "let every process see all GPUs of its machine (with SLURM, --gpus-per-node, not --gpus-per-task)"
                )
            torch.cuda.set_device(ranks.device(device))
        # With gloo, tensors in host memory are exchanged without waiting for the GPU.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, rank=ranks.rank, world_size=ranks.size)
    return ranks


def on_rank_zero(work: Callable[[], Value]) -> Value:
    """Call a function on rank 0, and return its result on all ranks.

    Raises:
        UserError: On every rank, if the function raised it on rank 0.
    """
    if get_rank_info().size == 1:
        return work()
    message: list = [None, None]
    if get_rank_info().rank == 0:
        try:
            message[0] = work()
        except UserError as error:
            message[1] = error
    distributed.broadcast_object_list(message)
    result, problem = message
    if problem is not None:
        raise problem
    return result


def all_reduce_max(*values: int) -> list[int]:
    """Return the maximum of each value over all processes."""
    maxima = torch.tensor(values)
    if get_rank_info().size > 1:
        distributed.all_reduce(maxima, distributed.ReduceOp.MAX)
    return maxima.tolist()


@contextmanager
def report_lost_rank() -> Iterator[None]:
    """Replace the error of a collective operation by a `UserError` if another process has ended."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, distributed.DistError) or "gloo" in str(error)
        if get_rank_info().size == 1 or not lost:
            raise
        others, reason = get_rank_info().size - 1, shorten(str(error), 100, placeholder=" ...")
        raise UserError(f"one of the run's {others} other processes is lost, so this one ends too ({reason})") from None


def exit_process(status: int) -> NoReturn:
    """End the process. After a failure, do not destroy the process group, which could wait for ended processes."""
    if distributed.is_initialized():
        if status:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        distributed.destroy_process_group()
    sys.exit(status)
