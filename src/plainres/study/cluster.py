"""A study's runs as tasks of a Ray cluster, this machine's or a larger one (optional extra `cluster`)."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from plainres.errors import UserError
from plainres.study.context import StudyContext, from_task
from plainres.study.parallel import BUSY_SECONDS
from plainres.study.watch import Watch
from plainres.training import RunConfig
from plainres.training.device import choose_device
from plainres.training.lock import Busy, exclusive_writer
from plainres.training.signals import Stopped, StopRequest

RETRIES = 5  # of a run whose machine or process died
STOP_SECONDS = 60.0  # that a cancelled run has for its checkpoint


def train_task(task: str) -> tuple[str, str]:
    """Train a run where the cluster has put it; outcome and reason. A run begun elsewhere goes on from its checkpoint.

    Args:
        task: what `StudyContext.to_task` wrote; its results folder is on storage that all machines share.
    """
    context, config = from_task(task)
    while True:
        try:
            # Ray shows the task its own GPU alone.
            run = context.on(str(choose_device(context.device.type))).train(config)
        except Busy:
            time.sleep(BUSY_SECONDS)
        except UserError as error:
            return "failed", str(error)
        except Stopped as stopped:
            return "stopped", str(stopped)
        else:
            return run["outcome"], run.get("reason", "")


def on_cluster(
    configs: Sequence[RunConfig], context: StudyContext, runs_per_device: int, address: str | None, console: Console
) -> dict[RunConfig, tuple[str, str]]:
    """Train every run as a task of its own; outcome and reason of each.

    A task takes the `runs_per_device`-th part of a GPU, or of this machine's CPU cores. One whose process or machine
    dies is started again, up to five times, and goes on from its last checkpoint.

    Args:
        configs: the runs, in the order they are to be started.
        context: where and how; every machine must see its folders under the same names.
        runs_per_device: how many share a GPU, or this machine's CPU.
        address: of a running cluster ("auto" for the one this machine belongs to); None starts one here.
        console: where the runs are watched.

    Raises:
        Stopped: a signal came; every run has written its checkpoint.
        UserError: Ray is not installed, or no cluster is at the address.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise UserError("--launcher ray needs Ray: pip install 'plainres[cluster]'") from None
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray cluster at {address}: {str(error).splitlines()[0]}") from None
    share = {"num_gpus": 1 / runs_per_device} if context.device.type == "cuda" else {}
    cores = 1 if share else max(1, (os.cpu_count() or 1) // runs_per_device)
    environment = {"env_vars": {"OMP_NUM_THREADS": str(cores)}} if not share else {}
    task = ray.remote(train_task).options(max_retries=RETRIES, num_cpus=cores, runtime_env=environment, **share)
    shared = replace(context, data_dir=context.data_dir.absolute(), results=context.results.absolute())
    refs = {}

    def forward(_: int) -> None:
        for ref in refs.values():
            ray.cancel(ref)  # a SIGINT to it, or no start at all

    def outcome(ref: object) -> tuple[str, str]:
        try:
            return ray.get(ref)
        except RayError as error:
            return "failed", f"{type(error).__name__}: {error}".strip().splitlines()[-1]

    try:
        with StopRequest(forward) as stop, Watch(configs, context.results, console):
            refs = {config: task.remote(shared.to_task(config)) for config in configs}
            outcomes = {config: outcome(ref) for config, ref in refs.items()}
            if stop.signum is not None:
                for config in configs:
                    _wait_for_end(shared, config)
        stop.synchronize()
        stop.raise_if_stopped("every run with its checkpoint written")
        return outcomes
    finally:
        if started:
            ray.shutdown()


def _wait_for_end(context: StudyContext, config: RunConfig) -> None:
    """Wait until nobody trains a run any more: Ray calls a task cancelled before it has ended."""
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            with exclusive_writer(context.results, config):
                return
        except Busy:
            time.sleep(BUSY_SECONDS / 4)
