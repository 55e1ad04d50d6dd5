"""Training the runs of a study: one after another, side by side, or on a cluster."""

import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from plainres.errors import UserError
from plainres.study.cluster import on_cluster
from plainres.study.context import StudyContext
from plainres.study.parallel import BUSY_SECONDS, side_by_side
from plainres.study.plan import PlannedRun, calibrate, estimate_seconds, format_seconds, plan_study, print_plan
from plainres.training import RunConfig
from plainres.training.build import make_data
from plainres.training.distributed import get_rank_info, init_distributed, on_rank_zero
from plainres.training.lock import Busy
from plainres.training.run import prepare_data
from plainres.training.signals import Stopped

FAILURES = ("diverged", "failed", "blocked")


def run_study(
    configs: Sequence[RunConfig],
    context: StudyContext,
    plan_only: bool = False,
    runs_per_device: int = 1,
    devices_per_run: int = 1,
    launcher: str = "local",
    address: str | None = None,
) -> int:
    """Print the plan, train what is missing, resume what is partial, skip what is finished, go on past failures.

    Args:
        configs: the runs, in the order they are to be trained; all of one data set.
        context: where and how they are trained; device "cuda" without an index spreads them over all GPUs.
        plan_only: print the plan and train nothing.
        runs_per_device: how many share a GPU, or the CPU.
        devices_per_run: how many GPUs, or processes on the CPU, divide the batches of one run among them.
        launcher: "local" for this machine, "ray" for a cluster.
        address: of the Ray cluster; None starts one on this machine.

    Returns:
        Exit status: 0, or 1 where a run diverged or failed; a table says which and why.

    Raises:
        DataMissing: the data set is neither on disk nor downloadable.
        UserError: the results folder cannot be written, or the data cannot be used.
    """
    ranks = init_distributed(context.device)
    console = Console(quiet=ranks.rank > 0)
    runs = on_rank_zero(lambda: plan_study(configs, context.results))
    to_do = [run.config for run in runs if run.to_do]
    devices = _devices(context.device)
    places = _places(devices, runs_per_device, devices_per_run)
    if ranks.rank == 0:
        _tell_plan(runs, to_do, context, ranks.size if ranks.size > 1 else len(devices), places, console)
    if plan_only:
        return 0
    on_rank_zero(lambda: _require_writable(context.results))
    if to_do:
        prepare_data(make_data(to_do[0], context.data_dir), ranks)
    if ranks.size > 1:
        outcomes = _one_after_another(to_do, context)
    elif launcher == "ray":
        outcomes = on_cluster(to_do, context, runs_per_device, address, console)
    elif len(places) > 1 or devices_per_run > 1:
        outcomes = side_by_side(to_do, context, places, console)
    else:
        outcomes = _one_after_another(to_do, context)
    return _summarize(runs, outcomes, console)


def _tell_plan(
    runs: list[PlannedRun],
    to_do: list[RunConfig],
    context: StudyContext,
    devices: int,
    places: list[tuple[str, ...]],
    console: Console,
) -> None:
    expected = {}
    if to_do:
        speed = calibrate(to_do[0], context.device, context.engine)
        sizes = _photographs(to_do[0], context.data_dir)
        expected = {config: estimate_seconds(config, speed, sizes) for config in to_do}
    print_plan(runs, expected, console)
    if to_do:
        # Runs that share a device share its speed; processes on one CPU do so, too.
        total = sum(expected.values()) / (devices if context.device.type == "cuda" else 1)
        where = f"{devices} GPUs" if context.device.type == "cuda" and devices > 1 else str(context.device)
        at_once = f", {len(places)} at a time" if len(places) > 1 else ""
        each = f", {len(places[0])} processes each" if len(places[0]) > 1 else ""
        console.print(
            f"{len(to_do)} of {len(runs)} runs to train on {where}{at_once}{each}: about {format_seconds(total)}"
        )


def _places(devices: list[str], runs_per_device: int, devices_per_run: int) -> list[tuple[str, ...]]:
    """The devices of each run at a time.

    Raises:
        UserError: there are fewer GPUs than one run wants.
    """
    if devices_per_run == 1:
        return [(device,) for device in devices for _ in range(runs_per_device)]
    if devices == ["cpu"]:
        return [("cpu",) * devices_per_run]
    groups = [tuple(devices[first : first + devices_per_run]) for first in range(0, len(devices), devices_per_run)]
    whole = [group for group in groups if len(group) == devices_per_run]
    if not whole:
        raise UserError(f"--devices-per-run {devices_per_run} was asked for, but there are {len(devices)} GPUs to use")
    return whole


def _devices(device: torch.device) -> list[str]:
    """The devices to spread over: all GPUs for "cuda", else `device` itself."""
    if device.type == "cuda" and device.index is None:
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [str(device)]


def _photographs(config: RunConfig, data_dir: Path) -> dict[str, int] | None:
    """How many photographs each part of a run has; None where its data set's name says so."""
    if config.info.sizes:
        return None
    data = make_data(config, data_dir)
    data.setup()
    return {name: len(part) for name, part in data.parts.items()}


def _require_writable(results: Path) -> None:
    probe = results / ".writable"
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{results.absolute()}: results cannot be written there ({error.strerror})") from None


def _one_after_another(configs: Sequence[RunConfig], context: StudyContext) -> dict[RunConfig, tuple[str, str]]:
    """Train the runs in turn; one that another process is training is looked at again after the others."""
    outcomes: dict[RunConfig, tuple[str, str]] = {}
    waiting, told = list(configs), set()
    while waiting:
        busy = []
        for config in waiting:
            try:
                outcomes[config] = _one(config, context)
            except Busy as error:
                busy.append(config)
                if config not in told:
                    print(f"{error}: leaving it alone until that ends", flush=True)
                    told.add(config)
        if len(busy) == len(waiting):
            time.sleep(BUSY_SECONDS)
        waiting = busy
    return outcomes


def _one(config: RunConfig, context: StudyContext) -> tuple[str, str]:
    """Train one run; outcome and reason."""
    try:
        run = context.train(config)
    except (Busy, Stopped):
        raise
    except UserError as error:
        if get_rank_info().size > 1:  # the others may be waiting for this one inside the run
            raise
        return "failed", str(error)
    except Exception as error:  # one run's failure must not take the study with it
        if get_rank_info().size > 1:
            raise
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}"
    return run["outcome"], run.get("reason", "")


def _summarize(runs: list[PlannedRun], outcomes: dict[RunConfig, tuple[str, str]], console: Console) -> int:
    ended = {run.config: (run.status, run.reason) for run in runs} | outcomes
    failed = {config: end for config, end in ended.items() if end[0] in FAILURES}
    if not failed:
        return 0
    table = Table(title=f"{len(failed)} of {len(ended)} runs did not finish")
    for name in ("net", "seed", "outcome", "why"):
        table.add_column(name, overflow="fold")
    for config, (outcome, reason) in failed.items():
        table.add_row(config.net, str(config.seed), outcome, reason)
    console.print(table)
    return 1
