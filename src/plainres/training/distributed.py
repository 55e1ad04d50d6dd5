"""One run on several processes: which of them this is, and what they tell each other.

Each process computes its share of every batch, and Lightning's DDP averages the gradients. They are started by our own
launcher, by torchrun or by srun. Alone, a process is rank 0 of 1 and everything here gives back what it gets.
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
from torch import Tensor, distributed, nn

from plainres.errors import UserError
from plainres.training.config import RunConfig

Value = TypeVar("Value")


@dataclass(frozen=True)
class RankInfo:
    """The processes of one run, as this one sees them.

    Attributes:
        rank: of this process; 0 leads: it alone holds the run's lock and writes its record.
        size: how many processes there are.
        local_rank, local_size: the same among those on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def shard(self) -> tuple[int, int]:
        """(rank, size): what a data module divides by."""
        return self.rank, self.size

    def device(self, device: torch.device) -> torch.device:
        """Where this process trains: a GPU of its own, or the CPU that all share."""
        return torch.device("cuda", self.local_rank) if self.size > 1 and device.type == "cuda" else device


def cluster_environment() -> ClusterEnvironment:
    """How this process was started, in Lightning's terms."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    # Only srun sets this; a batch script has the other variables too, and would wait for ranks that nobody starts.
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


@cache
def get_rank_info() -> RankInfo:
    """Which of a run's processes this is.

    Raises:
        UserError: SLURM was asked for tasks in a way that Lightning does not support.
    """
    try:
        environment = cluster_environment()
    except RuntimeError as error:
        raise UserError(str(error)) from None
    if isinstance(environment, LightningEnvironment):
        return RankInfo()
    size, nodes = environment.world_size(), int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size // nodes))
    return RankInfo(environment.global_rank(), size, environment.local_rank(), local_size)


def rank_environments(size: int) -> list[dict[str, str]]:
    """The environment of each process of a run on this machine, as torchrun would set it; nothing for one alone."""
    if size == 1:
        return [{}]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "False"}
    shared |= {"TORCHELASTIC_RUN_ID": "plainres", "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def check_batch_divides(config: RunConfig, device: torch.device, ranks: RankInfo) -> None:
    """Refuse a run whose batches its processes cannot divide as its configuration says.

    Raises:
        UserError: that is so.
    """
    if ranks.size == 1:
        return
    own, rest = divmod(config.batch_size, ranks.size)
    if rest:
        raise UserError(f"batch size {config.batch_size} cannot be divided among {ranks.size} processes")
    if config.micro_batch and own % config.micro_batch:
        raise UserError(
            f"micro-batch {config.micro_batch} does not divide the {own} images that each of {ranks.size} processes "
            f"has of a batch: use --micro-batch {own}, or fewer devices"
        )
    if not config.micro_batch and device.type == "cpu":
        raise UserError("BN over a batch that several processes share (--sync-bn) needs GPUs: leave it out")


def init_distributed(device: torch.device) -> RankInfo:
    """Meet the other processes, if there are any and it was not done before; waits until all have come."""
    ranks = get_rank_info()
    if ranks.size > 1 and not distributed.is_initialized():
        environment = cluster_environment()
        os.environ |= {"MASTER_ADDR": environment.main_address, "MASTER_PORT": str(environment.main_port)}
        if device.type == "cuda":
            if ranks.local_rank >= torch.cuda.device_count():
                raise UserError(
                    f"rank {ranks.rank} sees {torch.cuda.device_count()} GPUs and wants number {ranks.local_rank}: "
                    "have every process of a machine see all its GPUs (on SLURM --gpus-per-node, not --gpus-per-task)"
                )
            torch.cuda.set_device(ranks.device(device))
        # What lies in the host's memory is told without waiting for the GPU.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, rank=ranks.rank, world_size=ranks.size)
    return ranks


def on_rank_zero(work: Callable[[], Value]) -> Value:
    """Have rank 0 do something, and all get what it returns.

    Raises:
        UserError: on every rank, if it was raised on rank 0.
    """
    if get_rank_info().size == 1:
        return work()
    told: list = [None, None]
    if get_rank_info().rank == 0:
        try:
            told[0] = work()
        except UserError as error:
            told[1] = error
    distributed.broadcast_object_list(told)
    if told[1] is not None:
        raise told[1]
    return told[0]


def all_reduce_max(*values: int) -> list[int]:
    """The largest of each value over all processes."""
    return _reduced(torch.tensor(values), distributed.ReduceOp.MAX).tolist()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes."""
    return _reduced(tensor, distributed.ReduceOp.SUM)


def _reduced(tensor: Tensor, operation: distributed.ReduceOp) -> Tensor:
    if get_rank_info().size > 1:
        tensor = tensor.detach().cpu().clone()
        distributed.all_reduce(tensor, operation)
    return tensor


def broadcast_buffers(net: nn.Module) -> None:
    """Have every process evaluate with the same BN statistics, those that are recorded."""
    if get_rank_info().size > 1:
        for buffer in net.buffers():
            distributed.broadcast(buffer, 0)


def average_buffers(net: nn.Module, weight: int) -> None:
    """Replace BN statistics by their averages over all processes, each with its weight."""
    if get_rank_info().size > 1:
        total = all_reduce_sum(torch.tensor(weight)).item()
        for buffer in net.buffers():
            if buffer.is_floating_point():
                buffer.copy_(all_reduce_sum(buffer * (weight / total)))


class RankLost(UserError):
    """The run's processes can no longer speak to each other: most often, one has ended."""


@contextmanager
def report_lost_rank() -> Iterator[None]:
    """Say it in one line when a process that this one waited for is gone.

    Raises:
        RankLost: it is, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, distributed.DistError) or "gloo" in str(error)
        if get_rank_info().size == 1 or not lost:
            raise
        others, why = get_rank_info().size - 1, shorten(str(error), 100, placeholder=" ...")
        raise RankLost(f"one of the run's {others} other processes is lost, and so this one ends ({why})") from None


def exit_process(status: int) -> NoReturn:
    """End the process. After a failure the group is left as it is: closing it could wait for those that are gone."""
    if distributed.is_initialized():
        if status:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        distributed.destroy_process_group()
    sys.exit(status)
