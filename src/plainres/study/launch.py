"""Training the runs of a study: one after another on one device, side by side on several GPUs."""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

import torch
from rich.console import Console
from rich.table import Table

from plainres.data import DataMissing
from plainres.errors import UserError
from plainres.study.plan import PlannedRun, calibrate, estimate_seconds, format_seconds, plan_study, print_plan
from plainres.training import RunConfig, train_run

FAILURES = ("diverged", "failed", "blocked")


def run_study(
    configs: Sequence[RunConfig], data_dir: Path, results: Path, device: torch.device, plan_only: bool = False
) -> int:
    """Print the plan, train what is missing, resume what is partial, skip what is finished, go on past failures.

    Args:
        configs: the runs, in the order they are to be trained; all of one data set.
        data_dir: folder that holds CIFAR-10.
        results: results folder.
        device: where to train; with several GPUs and device "cuda" (no index), one run per GPU side by side.
        plan_only: print the plan and train nothing.

    Returns:
        Exit status: 0, or 1 where a run diverged or failed; a table says which and why.

    Raises:
        DataMissing: the data set is neither on disk nor downloadable.
        UserError: the results folder cannot be written, or the data cannot be used.
    """
    console = Console()
    runs = plan_study(configs, results)
    to_do = [run.config for run in runs if run.to_do]
    expected = {}
    if to_do:
        speed = calibrate(to_do[0].precision, device)
        expected = {config: estimate_seconds(config, speed) for config in to_do}
    print_plan(runs, expected, console)
    gpus = _gpus(device)
    if to_do:
        total = sum(expected.values()) / len(gpus)
        where = f"{len(gpus)} GPUs side by side" if len(gpus) > 1 else str(device)
        console.print(f"{len(to_do)} of {len(runs)} runs to train on {where}: about {format_seconds(total)}")
    if plan_only:
        return 0
    _require_writable(results)
    if len(gpus) > 1:
        outcomes = _side_by_side(to_do, data_dir, results, gpus)
    else:
        outcomes = {config: _one(config, data_dir, results, device) for config in to_do}
    return _summarize(runs, outcomes, console)


def _gpus(device: torch.device) -> list[int | None]:
    """The GPUs to spread over; [None] for one run after another on `device`."""
    if device.type == "cuda" and device.index is None and torch.cuda.device_count() > 1:
        return list(range(torch.cuda.device_count()))
    return [None]


def _require_writable(results: Path) -> None:
    probe = results / ".writable"
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{results.absolute()}: results cannot be written there ({error.strerror})") from None


def _one(config: RunConfig, data_dir: Path, results: Path, device: torch.device) -> tuple[str, str]:
    """Train one run; outcome and reason."""
    try:
        run = train_run(config, data_dir, results, device)
    except DataMissing:
        raise
    except UserError as error:
        return "failed", str(error)
    except Exception as error:  # one run's failure must not take the study with it
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}"
    return run["outcome"], run.get("reason", "")


def _side_by_side(
    configs: Sequence[RunConfig], data_dir: Path, results: Path, gpus: list[int]
) -> dict[RunConfig, tuple[str, str]]:
    """One process per run, one run per GPU at a time."""
    free: SimpleQueue[int] = SimpleQueue()
    for gpu in gpus:
        free.put(gpu)

    def one(config: RunConfig) -> tuple[str, str]:
        gpu = free.get()
        try:
            command = [sys.executable, "-m", "plainres.study.worker"]
            command += [json.dumps(asdict(config)), str(data_dir), str(results)]
            environment = os.environ | {"CUDA_VISIBLE_DEVICES": _visible(gpu)}
            done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
        finally:
            free.put(gpu)
        sys.stderr.write(done.stderr)
        if done.returncode:
            last = done.stderr.strip().splitlines()
            return "failed", last[-1] if last else f"exit status {done.returncode}"
        return plan_study([config], results)[0].status, ""

    with ThreadPoolExecutor(len(gpus)) as pool:
        return dict(zip(configs, pool.map(one, configs), strict=True))


def _visible(gpu: int) -> str:
    """The name of one of the GPUs that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return allowed.split(",")[gpu] if allowed else str(gpu)


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
