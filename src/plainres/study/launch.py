"""Training the runs of a study: one after another, side by side, or on a cluster."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from plainres.cores import available_cores
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.study.cluster import train_on_cluster
from plainres.study.context import StudyContext
from plainres.study.local import WorkerPool, train_in_turn
from plainres.study.plan import PlannedRun, calibrate, estimate_seconds, format_seconds, plan_study, print_plan
from plainres.study.watch import watch
from plainres.training import RunConfig
from plainres.training.build import make_data
from plainres.training.device import free_memory, has_bf16_kernels, limit_threads
from plainres.training.distributed import init_distributed, on_rank_zero
from plainres.training.lock import is_being_trained
from plainres.training.run import prepare_data

BUSY_SECONDS = 2.0  # pause before asking again whether another process trains a run
RUN_MEMORY = 3 * 2**30  # bytes per run on the CPU: PyTorch, CIFAR-10 and the activations of a 56-layer net


def run_study(
    configs: Sequence[RunConfig],
    context: StudyContext,
    *,
    plan_only: bool = False,
    runs_per_device: int = 0,
    devices_per_run: int = 1,
    launcher: str = "local",
    address: str | None = None,
) -> int:
    """Print the plan of a study, then train the missing runs and resume the partial ones.

    Finished runs are skipped. A run that fails does not stop the others. Runs that another process is training come
    last: they are trained here if that process ends before they do.

    Args:
        configs: Runs in the order in which they are trained, all on the same data set.
        context: Where and how the runs are trained. The device `"cuda"` without an index means all GPUs.
        plan_only: Whether to print the plan and train nothing.
        runs_per_device: See `StudyOptions`, and so are the following ones.

    Returns:
        Exit status: 0, or 1 if a run diverged or failed, in which case a table lists the reasons.

    Raises:
        DataMissing: If the data set is not on disk and cannot be downloaded.
        Stopped: If a signal arrived. The runs in progress have written checkpoints.
        UserError: If there are no runs, if the results folder cannot be written, or if the data cannot be used.
    """
    if not configs:
        raise UserError("no runs were chosen: give at least one value to each of --seeds, --depths and the like")
    ranks = init_distributed(context.device)
    console = Console(quiet=ranks.rank > 0)
    runs = on_rank_zero(lambda: plan_study(configs, context.results))
    to_do = [run.config for run in runs if run.to_do]
    alone = ranks.size > 1 or devices_per_run > 1 or launcher != "local" or context.device.type != "cpu"
    runs_per_device = runs_per_device or (1 if alone else runs_at_a_time(len(to_do)))
    if ranks.size > 1:  # processes that were started together train one run after another, on all their machines
        devices = [f"{context.device.type}:{rank}" for rank in range(ranks.size)]
        places = [tuple(devices)]
    else:
        all_gpus = context.device == torch.device("cuda")
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if all_gpus else [str(context.device)]
        places = run_places(devices, runs_per_device, devices_per_run)
    limit_threads(1 if context.device.type == "cuda" or ranks.size > 1 else sum(map(len, places)))
    expected = None
    if ranks.rank == 0:
        expected = print_expected(runs, context, len(devices), places, console)
    if plan_only:
        return 0
    on_rank_zero(lambda: require_writable(context.results))
    if to_do:
        prepare_data(make_data(to_do[0], context.data_dir), ranks)
    in_turn = ranks.size > 1 or (len(places) == 1 and devices_per_run == 1)
    failures: dict[RunConfig, str] = {}
    with watch(to_do, context.results, console, expected):
        free = to_do  # the first attempt names the processes that train some of them already
        while to_do:
            if not free:
                time.sleep(BUSY_SECONDS)
            elif launcher == "ray":
                failures |= train_on_cluster(free, context, runs_per_device, address)
            elif in_turn:
                failures |= train_in_turn(free, context)
            else:  # the longest runs first, so that no core is idle for long at the end
                longest_first = sorted(free, key=lambda config: -config.depth)
                failures |= WorkerPool(context, places, console).train(longest_first)
            runs = on_rank_zero(lambda: plan_study(configs, context.results))
            to_do = [run.config for run in runs if run.to_do and run.config not in failures]
            free = _not_being_trained(to_do, context.results)
    return _summarize(runs, failures, console)


def _not_being_trained(configs: Sequence[RunConfig], results: Path) -> list[RunConfig]:
    return on_rank_zero(lambda: [config for config in configs if not is_being_trained(results, config)])


def print_expected(
    runs: list[PlannedRun], context: StudyContext, num_devices: int, places: list[tuple[str, ...]], console: Console
) -> float | None:
    """Print the state of all runs, and return the expected time in seconds of those to be trained, if there are any."""
    to_do = [run for run in runs if run.to_do]
    if not to_do:
        print_plan(runs, {}, console)
        return None
    first = to_do[0].config
    if first.precision == "bf16" and not has_bf16_kernels(context.device):
        console.print(
            "[yellow]PyTorch has no bf16 kernels for this CPU, so bf16 takes many times as long as fp32: "
            "use --precision fp32 or auto[/]"
        )
    seconds_per_multiply_add = calibrate(first, context.device)
    sizes = first.info.sizes.get(first.train_set)
    if sizes is None:  # folders of photographs
        data = make_data(first, context.data_dir)
        data.setup()
        sizes = {name: len(part) for name, part in data.parts.items()}
    expected = {
        run.config: estimate_seconds(run.config, seconds_per_multiply_add, sizes, resumed_after=run.resumed_after)
        for run in to_do
    }
    print_plan(runs, expected, console)
    total = expected_total(list(expected.values()), num_devices, places, context.device)
    where = f"{num_devices} GPUs" if context.device.type == "cuda" and num_devices > 1 else str(context.device)
    at_once = f", {len(places)} at a time" if len(places) > 1 else ""
    processes = f", {len(places[0])} processes each" if len(places[0]) > 1 else ""
    about = "at most" if context.device.type == "cuda" and context.compile else "about"
    console.print(
        f"{len(to_do)} of {len(runs)} runs to train on {where}{at_once}{processes}: {about} {format_seconds(total)}"
    )
    return total


def runs_at_a_time(runs: int) -> int:
    """Return how many runs to train at the same time on the CPU: as many as there are cores, runs and memory for.

    Runs with one thread each lose only their share of a busy core, while the threads of a single run wait for each
    other at every operator.
    """
    return max(1, min(runs, available_cores(), free_memory(torch.device("cpu")) // RUN_MEMORY))


def expected_total(
    expected: list[float], num_devices: int, places: list[tuple[str, ...]], device: torch.device
) -> float:
    """Return the expected duration of a study in seconds: at least that of its longest run.

    Runs on the same GPU share its speed. On the CPU every process computes at the calibrated speed, as long as there
    are not more processes than cores.
    """
    processes = sum(map(len, places))
    at_once = num_devices if device.type == "cuda" else min(processes, max(available_cores(), len(places[0])))
    return max(max(expected) / len(places[0]), sum(expected) / at_once)


def run_places(devices: list[str], runs_per_device: int, devices_per_run: int) -> list[tuple[str, ...]]:
    """Return the devices of each run that is trained at the same time."""
    if devices_per_run == 1:
        return [(device,) for device in devices for _ in range(runs_per_device)]
    if devices == ["cpu"]:
        return [("cpu",) * devices_per_run]
    if devices_per_run > len(devices):
        raise UserError(
            f"--devices-per-run {devices_per_run} requires as many GPUs, but PyTorch can use {len(devices)}: "
            "use a smaller number"
        )
    firsts = range(0, len(devices) - devices_per_run + 1, devices_per_run)  # GPUs that are left over stay idle
    return [tuple(devices[first : first + devices_per_run]) for first in firsts]


def require_writable(results: Path) -> None:
    """Raise `UserError` if no file can be written into the results folder."""
    write_atomic(results / ".writable", "")
    (results / ".writable").unlink(missing_ok=True)


def _summarize(runs: list[PlannedRun], failures: dict[RunConfig, str], console: Console) -> int:
    """Print a table of the runs that did not finish, if there are any, and return the exit status."""
    ends = [(run.config, "failed" if run.config in failures else run.status, run.reason) for run in runs]
    unfinished = [end for end in ends if end[1] != "finished"]
    if not unfinished:
        return 0
    table = Table(title=f"{len(unfinished)} of {len(runs)} runs did not finish")
    for name in ("net", "seed", "outcome", "reason"):
        table.add_column(name, overflow="fold")
    for config, outcome, reason in unfinished:
        table.add_row(config.net, str(config.seed), outcome, failures.get(config, reason))
    console.print(table)
    return 1
