"""The runs of a study as tasks of a Ray cluster, on this machine or on several (optional extra `cluster`)."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from plainres.errors import UserError, first_line
from plainres.extras import require_extra
from plainres.records.lock import Busy, is_being_trained
from plainres.study.context import StudyContext
from plainres.training import RunConfig
from plainres.training.device import choose_device
from plainres.training.signals import Stopped, StopRequest

MAX_RETRIES = 5  # restarts of a run whose process or machine has died
STOP_SECONDS = 60.0  # time for a cancelled run to write its checkpoint


def train_task(context: StudyContext, config: RunConfig) -> str:
    """Train one run on the machine that the cluster has chosen, and return why it failed, or an empty string.

    A run that was started on another machine is resumed from its last checkpoint.
    """
    try:
        # Ray makes only the GPU of the task visible to it.
        replace(context, device=choose_device(context.device.type)).train(config)
    except Busy:  # no failure: the study asks again
        return ""
    except (UserError, Stopped) as error:
        return str(error)
    return ""


def train_on_cluster(
    configs: Sequence[RunConfig], context: StudyContext, runs_per_device: int, address: str | None
) -> dict[RunConfig, str]:
    """Train every run as a separate Ray task, and return why runs have failed.

    A task reserves 1 / `runs_per_device` of a GPU, or of the CPU cores of the largest machine. If its process or
    machine dies, the task is restarted up to five times and resumes from its last checkpoint. Every machine must see
    the folders of the context under the same paths. Without an address, Ray starts a cluster on this machine.

    Raises:
        Stopped: If a signal arrived. Every run has written its checkpoint.
        UserError: If Ray is not installed, or there is no cluster at the address.
    """
    require_extra("cluster", "--launcher ray")
    import ray
    from ray.exceptions import RayError

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
    tasks: dict[RunConfig, Any] = {}

    def cancel(_signum: int) -> None:
        for ref in tasks.values():
            ray.cancel(ref)  # sends SIGINT to a task that runs, and drops one that waits

    failures = {}
    try:
        with StopRequest(cancel) as stop:
            tasks |= {config: task.remote(shared, config) for config in configs}
            if stop.signum is not None:  # it arrived before the tasks were known
                cancel(stop.signum)
            for config, ref in tasks.items():
                try:
                    reason = ray.get(ref)
                except RayError as error:
                    reason = f"{type(error).__name__}: {error}".strip().splitlines()[-1]
                if reason:
                    failures[config] = reason
            # Ray reports a task as cancelled before its process has ended.
            deadline = time.monotonic() + STOP_SECONDS
            while stop.signum is not None and time.monotonic() < deadline:
                if not any(is_being_trained(shared.results, config) for config in configs):
                    break
                time.sleep(0.5)
        stop.synchronize()
        stop.raise_if_stopped("the runs in progress have written their checkpoints")
        return failures
    finally:
        if start_cluster:
            ray.shutdown()
