"""Training the runs of a study: one after another, side by side, or on a cluster."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from plainres.cores import available_cores, available_memory
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.records.lock import is_being_trained
from plainres.study.cluster import train_on_cluster
from plainres.study.context import StudyContext
from plainres.study.local import Place, WorkerPool, train_in_turn
from plainres.study.options import StudyOptions
from plainres.study.plan import PlannedRun, calibrate, estimate_seconds, format_seconds, plan_study, print_plan
from plainres.study.watch import watch
from plainres.training import RunConfig
from plainres.training.build import make_data
from plainres.training.device import has_bf16_kernels, limit_threads
from plainres.training.distributed import init_distributed, on_rank_zero
from plainres.training.run import prepare_data

BUSY_SECONDS = 2.0  # pause before asking again whether another process trains a run
RUN_MEMORY = 3 * 2**30  # bytes per run on the CPU: PyTorch, CIFAR-10 and the activations of a 56-layer net


def run_study(configs: Sequence[RunConfig], context: StudyContext, options: StudyOptions) -> int:
    """Print the plan of a study, then train the missing runs and resume the partial ones.

    Finished runs are skipped. A run that fails does not stop the others. Runs that another process is training come
    last: they are trained here if that process ends before they do.

    Args:
        configs: Runs in the order in which they are trained, all on the same data set.
        context: Where and how the runs are trained. The device `"cuda"` without an index means all GPUs.
        options: How the runs are divided among devices, processes and machines, or whether only to print the plan.

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
    places = run_places(len(to_do), context.device, options, ranks.size)
    limit_threads(1 if context.device.type == "cuda" or ranks.size > 1 else sum(map(len, places)))
    expected = print_expected(runs, context, places, console) if ranks.rank == 0 else None
    if options.plan:
        return 0
    on_rank_zero(lambda: require_writable(context.results))
    if to_do:
        prepare_data(make_data(to_do[0], context.data_dir))
    in_turn = ranks.size > 1 or (len(places) == 1 and options.devices_per_run == 1)
    failures: dict[RunConfig, str] = {}
    with watch(to_do, context.results, console, expected):
        free = to_do  # the first attempt names the processes that train some of them already
        while to_do:
            if not free:
                time.sleep(BUSY_SECONDS)
            elif options.launcher == "ray":
                failures |= train_on_cluster(free, context, options.runs_per_device or 1, options.address)
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
    runs: list[PlannedRun], context: StudyContext, places: list[Place], console: Console
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
    expected = {run.config: estimate_seconds(run, seconds_per_multiply_add, sizes) for run in to_do}
    print_plan(runs, expected, console)
    total, on_gpus = expected_total(list(expected.values()), places), context.device.type == "cuda"
    devices = {device for place in places for device in place}
    where = f"{len(devices)} GPUs" if on_gpus and len(devices) > 1 else str(context.device)
    at_once = f", {len(places)} at a time" if len(places) > 1 else ""
    processes = f", {len(places[0])} processes each" if len(places[0]) > 1 else ""
    about = "at most" if on_gpus and context.compile else "about"
    console.print(
        f"{len(to_do)} of {len(runs)} runs to train on {where}{at_once}{processes}: {about} {format_seconds(total)}"
    )
    return total


def expected_total(expected: list[float], places: list[Place]) -> float:
    """Return the expected duration of a study in seconds: at least that of its longest run.

    Runs on the same GPU share its speed. On the CPU every process computes at the calibrated speed, as long as there
    are not more processes than cores.
    """
    devices = [device for place in places for device in place]
    if devices[0].startswith("cuda"):
        at_once = len(set(devices))
    else:
        at_once = min(len(devices), max(available_cores(), len(places[0])))
    return max(max(expected) / len(places[0]), sum(expected) / at_once)


def run_places(runs: int, device: torch.device, options: StudyOptions, ranks: int = 1) -> list[Place]:
    """Return the places of the runs that are trained at the same time, of `runs` altogether."""
    if ranks > 1:  # processes that were started together train one run after another, on all their machines
        return [tuple(f"{device.type}:{rank}" for rank in range(ranks))]
    all_gpus = device == torch.device("cuda")
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if all_gpus else [str(device)]
    share = options.devices_per_run
    if share == 1:
        side_by_side = device.type == "cpu" and options.launcher == "local"
        at_once = options.runs_per_device or (runs_at_a_time(runs) if side_by_side else 1)
        return [(name,) for name in devices for _ in range(at_once)]
    if device.type == "cpu":
        return [("cpu",) * share]
    if share > len(devices):
        raise UserError(
            f"--devices-per-run {share} requires as many GPUs, but PyTorch can use {len(devices)}: use a smaller number"
        )
    # GPUs that are left over stay idle.
    return [tuple(devices[first : first + share]) for first in range(0, len(devices) - share + 1, share)]


def runs_at_a_time(runs: int) -> int:
    """Return how many runs to train at the same time on the CPU: as many as there are cores, runs and memory for.

    Runs with one thread each lose only their share of a busy core, while the threads of a single run wait for each
    other at every operator.
    """
    return max(1, min(runs, available_cores(), available_memory() // RUN_MEMORY))


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
