"""Runs side by side on one machine, each in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from queue import SimpleQueue

import torch
from rich.console import Console

from plainres.study.context import StudyContext
from plainres.study.plan import plan_study
from plainres.study.watch import Watch
from plainres.training import RunConfig
from plainres.training.distributed import rank_environments
from plainres.training.signals import StopRequest

BUSY_SECONDS = 2.0
# What a worker exits with:
BUSY_STATUS = os.EX_TEMPFAIL  # another process is training the run
LOST_STATUS = os.EX_UNAVAILABLE  # one of those that train it together has ended
GRACE_SECONDS = 10.0  # that a run's other processes have to end, once one has failed


def side_by_side(
    configs: Sequence[RunConfig], context: StudyContext, places: Sequence[tuple[str, ...]], console: Console
) -> dict[RunConfig, tuple[str, str]]:
    """Train every run, as many at a time as there are places; outcome and reason of each.

    A signal is passed on to the runs in progress, which write a checkpoint, and no further one is started.

    Args:
        configs: the runs, in the order they are to be started.
        context: where and how, but for the device.
        places: for each run at a time its devices, one a process: ("cpu",), ("cuda:0", "cuda:1"), ...; a device may be
            in several places.
        console: where the runs are watched.

    Raises:
        Stopped: a signal came.
    """
    free: SimpleQueue[tuple[str, ...]] = SimpleQueue()
    for place in places:
        free.put(place)
    running: set[subprocess.Popen] = set()
    threads = max(1, len(os.sched_getaffinity(0)) // sum(map(len, places)))

    def forward(signum: int) -> None:
        for process in list(running):
            process.send_signal(signum)

    def start(config: RunConfig, devices: list[torch.device], own: dict[str, str]) -> subprocess.Popen:
        command = [sys.executable, "-m", "plainres.study.worker", context.on(devices[0].type).to_task(config)]
        environment = {"OMP_NUM_THREADS": str(threads)} | os.environ | own
        if devices[0].type == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(_visible(device.index) for device in devices)
        # In a session of its own a worker gets a terminal's Ctrl-C from us alone, and once.
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def follow(config: RunConfig, process: subprocess.Popen) -> None:
        """Show what a process says until it ends."""
        last = ""
        with process:
            for line in process.stderr:
                console.print(f"{config.name}: {line.rstrip()}", markup=False, highlight=False)
                last = line.strip() or last
        running.discard(process)
        if process.returncode:
            raise _Ended(process.returncode, last)

    def train(config: RunConfig, place: tuple[str, ...]) -> tuple[int, str]:
        devices = [torch.device(name) for name in place]
        processes = [start(config, devices, own) for own in rank_environments(len(devices))]
        running.update(processes)
        with ThreadPoolExecutor(len(processes)) as pool:
            ends = [pool.submit(follow, config, process) for process in processes]
            wait(ends, return_when=FIRST_EXCEPTION)
            # Those that wait for a dead one may never hear of it.
            done, _ = wait(ends, timeout=GRACE_SECONDS)
            for process in list(running.intersection(processes)):
                process.kill()
        failures = [end.exception() for end in done if end.exception()]
        cause = min(failures, key=lambda failed: failed.status == LOST_STATUS, default=_Ended(0, ""))
        return cause.status, cause.last

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
        (run,) = plan_study([config], context.results)
        return run.status, run.reason

    watch = Watch(configs, context.results, console)
    with StopRequest(forward) as stop, watch, ThreadPoolExecutor(len(places)) as pool:
        outcomes = dict(zip(configs, pool.map(one, configs), strict=True))
    stop.synchronize()
    stop.raise_if_stopped("every run with its checkpoint written")
    return outcomes


class _Ended(Exception):
    """A process ended with another status than 0, and said this last."""

    def __init__(self, status: int, last: str):
        super().__init__(status, last)
        self.status, self.last = status, last


def _visible(gpu: int) -> str:
    """The name of one of the GPUs that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return allowed.split(",")[gpu] if allowed else str(gpu)
