"""Runs side by side on one machine, each in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import torch
from rich.console import Console

from plainres.study.plan import plan_study
from plainres.study.setting import Setting
from plainres.study.watch import Watch
from plainres.study.worker import BUSY_STATUS
from plainres.training import RunConfig
from plainres.training.stop import StopRequest

BUSY_SECONDS = 2.0


def side_by_side(
    configs: Sequence[RunConfig], setting: Setting, places: Sequence[str], console: Console
) -> dict[RunConfig, tuple[str, str]]:
    """Train every run, as many at a time as there are places; outcome and reason of each.

    A signal is passed on to the runs in progress, which write a checkpoint, and no further one is started.

    Args:
        configs: the runs, in the order they are to be started.
        setting: where and how, but for the device.
        places: a device for each run at a time: "cpu", "cuda:0", ...; a device may be named several times.
        console: where the runs are watched.

    Raises:
        Stopped: a signal came.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for place in places:
        free.put(place)
    running: set[subprocess.Popen] = set()
    threads = max(1, len(os.sched_getaffinity(0)) // len(places))

    def forward(signum: int) -> None:
        for process in list(running):
            process.send_signal(signum)

    def train(config: RunConfig, place: str) -> tuple[int, str]:
        device = torch.device(place)
        command = [sys.executable, "-m", "plainres.study.worker", setting.on(device.type).to_task(config)]
        environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
        if device.type == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = _visible(device.index)
        # In a session of its own a worker gets a terminal's Ctrl-C from us alone, and once.
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.add(process)
        last = ""
        with process:
            for line in process.stderr:
                console.print(f"{config.net} seed {config.seed}: {line.rstrip()}", markup=False, highlight=False)
                last = line.strip() or last
        running.discard(process)
        return process.returncode, last

    def one(config: RunConfig) -> tuple[str, str]:
        place = free.get()
        try:
            status = BUSY_STATUS
            while status == BUSY_STATUS:
                if stop.signum is not None:
                    return "stopped", ""
                status, last = train(config, place)
                if status == BUSY_STATUS:
                    time.sleep(BUSY_SECONDS)
        finally:
            free.put(place)
        if status < 0:
            return "failed", f"the process was killed by {signal.Signals(-status).name}"
        if status:
            return "failed", last
        (run,) = plan_study([config], setting.results)
        return run.status, run.reason

    watch = Watch(configs, setting.results, console)
    with StopRequest(forward) as stop, watch, ThreadPoolExecutor(len(places)) as pool:
        outcomes = dict(zip(configs, pool.map(one, configs), strict=True))
    stop.check("every run with its checkpoint written")
    return outcomes


def _visible(gpu: int) -> str:
    """The name of one of the GPUs that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return allowed.split(",")[gpu] if allowed else str(gpu)
