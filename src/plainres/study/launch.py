"""Training the runs of a study: one after another on one device, side by side on several GPUs."""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

import torch
from rich.console import Console
from rich.table import Table

from plainres.errors import UserError
from plainres.study.plan import PlannedRun, calibrate, estimate_seconds, format_seconds, plan_study, print_plan
from plainres.training import RunConfig, train_run
from plainres.training.lock import Busy
from plainres.training.run import make_data
from plainres.training.stop import Stopped, StopRequest

FAILURES = ("diverged", "failed", "blocked")
BUSY_SECONDS = 2.0
BUSY_STATUS = os.EX_TEMPFAIL  # a worker's, when another process is training its run


def run_study(
    configs: Sequence[RunConfig],
    data_dir: Path,
    results: Path,
    device: torch.device,
    plan_only: bool = False,
    wandb_mode: str = "off",
) -> int:
    """Print the plan, train what is missing, resume what is partial, skip what is finished, go on past failures.

    Args:
        configs: the runs, in the order they are to be trained; all of one data set.
        data_dir: folder that holds CIFAR-10.
        results: results folder.
        device: where to train; with several GPUs and device "cuda" (no index), one run per GPU side by side.
        plan_only: print the plan and train nothing.
        wandb_mode: "online", "offline" or "off".

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
    if to_do:
        make_data(to_do[0], data_dir).prepare_data()
    if len(gpus) > 1:
        outcomes = _side_by_side(to_do, data_dir, results, gpus, wandb_mode)
    else:
        outcomes = _one_after_another(to_do, data_dir, results, device, wandb_mode)
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


def _one_after_another(
    configs: Sequence[RunConfig], data_dir: Path, results: Path, device: torch.device, wandb_mode: str
) -> dict[RunConfig, tuple[str, str]]:
    """Train the runs in turn; one that another process is training is looked at again after the others."""
    outcomes: dict[RunConfig, tuple[str, str]] = {}
    waiting, told = list(configs), set()
    while waiting:
        busy = []
        for config in waiting:
            try:
                outcomes[config] = _one(config, data_dir, results, device, wandb_mode)
            except Busy as error:
                busy.append(config)
                if config not in told:
                    print(f"{error}: leaving it alone until that ends", flush=True)
                    told.add(config)
        if len(busy) == len(waiting):
            time.sleep(BUSY_SECONDS)
        waiting = busy
    return outcomes


def _one(config: RunConfig, data_dir: Path, results: Path, device: torch.device, wandb_mode: str) -> tuple[str, str]:
    """Train one run; outcome and reason."""
    try:
        run = train_run(config, data_dir, results, device, wandb_mode=wandb_mode)
    except (Busy, Stopped):
        raise
    except UserError as error:
        return "failed", str(error)
    except Exception as error:  # one run's failure must not take the study with it
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}"
    return run["outcome"], run.get("reason", "")


def _side_by_side(
    configs: Sequence[RunConfig], data_dir: Path, results: Path, gpus: list[int], wandb_mode: str = "off"
) -> dict[RunConfig, tuple[str, str]]:
    """One process per run, one run per GPU at a time. A signal is passed on, and no further run is started."""
    free: SimpleQueue[int] = SimpleQueue()
    for gpu in gpus:
        free.put(gpu)
    running: set[subprocess.Popen] = set()

    def forward(signum: int) -> None:
        for process in list(running):
            process.send_signal(signum)

    def train(config: RunConfig, gpu: int) -> tuple[int, str]:
        command = [sys.executable, "-m", "plainres.study.worker"]
        command += [json.dumps(asdict(config)), str(data_dir), str(results), wandb_mode]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": _visible(gpu)}
        # In a session of its own a worker gets a terminal's Ctrl-C from us alone, and once.
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        running.add(process)
        last = ""
        with process:
            for line in process.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
        running.discard(process)
        return process.returncode, last

    def one(config: RunConfig) -> tuple[str, str]:
        gpu = free.get()
        try:
            status = BUSY_STATUS
            while status == BUSY_STATUS:
                if stop.signum is not None:
                    return "stopped", ""
                status, last = train(config, gpu)
                if status == BUSY_STATUS:
                    time.sleep(BUSY_SECONDS)
        finally:
            free.put(gpu)
        if status < 0:
            return "failed", f"the process was killed by {signal.Signals(-status).name}"
        return ("failed", last) if status else (plan_study([config], results)[0].status, "")

    with StopRequest(forward) as stop, ThreadPoolExecutor(len(gpus)) as pool:
        outcomes = dict(zip(configs, pool.map(one, configs), strict=True))
    stop.check("every run with its checkpoint written")
    return outcomes


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
