"""The runs of a study as tasks of a Ray cluster, on this machine or on several (optional extra `cluster`)."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from plainres.errors import UserError, first_line
from plainres.study.context import StudyContext, from_task
from plainres.study.parallel import BUSY_SECONDS
from plainres.training import RunConfig
from plainres.training.device import choose_device
from plainres.training.lock import Busy, is_being_trained
from plainres.training.signals import Stopped, StopRequest

MAX_RETRIES = 5  # restarts of a run whose process or machine has died
STOP_SECONDS = 60.0  # time for a cancelled run to write its checkpoint


def train_task(task: str) -> tuple[str, str]:
    """Train one run on the machine that the cluster has chosen, and return its outcome and reason.

    A run that was started on another machine is resumed from its last checkpoint.

    Args:
        task: Output of `StudyContext.to_task`. Its results folder must be on storage that all machines share.
    """
    context, config = from_task(task)
    while True:
        try:
            # Ray makes only the GPU of the task visible to it.
            run = context.on(str(choose_device(context.device.type))).train(config)
        except Busy:
            time.sleep(BUSY_SECONDS)
        except UserError as error:
            return "failed", str(error)
        except Stopped as stopped:
            return "stopped", str(stopped)
        else:
            return run["outcome"], run.get("reason", "")


def train_on_cluster(
    configs: Sequence[RunConfig], context: StudyContext, runs_per_device: int, address: str | None
) -> dict[RunConfig, tuple[str, str]]:
    """Train every run as a separate Ray task, and return the outcome and the reason of each.

    A task reserves 1 / `runs_per_device` of a GPU, or of the CPU cores of this machine. If its process or machine
    dies, the task is restarted up to five times and resumes from its last checkpoint.

    Args:
        configs: Runs in the order in which they are started.
        context: Where and how the runs are trained. Every machine must see its folders under the same paths.
        runs_per_device: Number of runs that share a GPU, or the CPU of the machine with the most cores.
        address: Address of a running cluster, or `"auto"` for the cluster that this machine belongs to. None starts
            a cluster on this machine.

    Raises:
        Stopped: If a signal arrived. Every run has written its checkpoint.
        UserError: If Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise UserError(
            "--launcher ray requires Ray: pip install --constraint constraints.txt --editable '.[cluster]'"
        ) from None
    start_cluster = not ray.is_initialized()
    if start_cluster:
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray cluster can be used at {address or 'this machine'}: {first_line(error)}") from None
    gpu = {"num_gpus": 1 / runs_per_device} if context.device.type == "cuda" else {}
    largest = max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    cores = 1 if gpu else max(1, int(largest) // runs_per_device)
    environment = {} if gpu else {"env_vars": {"OMP_NUM_THREADS": str(cores)}}
    task = ray.remote(train_task).options(max_retries=MAX_RETRIES, num_cpus=cores, runtime_env=environment, **gpu)
    shared = replace(context, data_dir=context.data_dir.absolute(), results=context.results.absolute())
    refs: dict[RunConfig, Any] = {}

    def cancel(_signum: int) -> None:
        for ref in refs.values():
            ray.cancel(ref)  # sends SIGINT to a task that runs, and drops one that waits

    def outcome(ref: object) -> tuple[str, str]:
        try:
            return ray.get(ref)
        except RayError as error:
            return "failed", f"{type(error).__name__}: {error}".strip().splitlines()[-1]

    try:
        with StopRequest(cancel) as stop:
            refs = {config: task.remote(shared.to_task(config)) for config in configs}
            outcomes = {config: outcome(ref) for config, ref in refs.items()}
            if stop.signum is not None:
                for config in configs:
                    _wait_until_unlocked(shared, config)
        stop.synchronize()
        stop.raise_if_stopped("the runs in progress have written their checkpoints")
        return outcomes
    finally:
        if start_cluster:
            ray.shutdown()


def _wait_until_unlocked(context: StudyContext, config: RunConfig) -> None:
    """Wait until no process trains a run. Ray reports a task as cancelled before its process has ended."""
    deadline = time.monotonic() + STOP_SECONDS
    while is_being_trained(context.results, config) and time.monotonic() < deadline:
        time.sleep(BUSY_SECONDS / 4)
