"""Runs on this machine: one after another in this process, or side by side in processes of their own."""

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from queue import SimpleQueue
from tempfile import TemporaryFile
from typing import TypeAlias

import torch
from rich.console import Console

from plainres.cores import cores_per_process
from plainres.errors import UserError
from plainres.records.lock import Busy
from plainres.study.context import StudyContext
from plainres.training import RunConfig
from plainres.training.distributed import get_rank_info, rank_environments
from plainres.training.signals import Stopped, StopRequest

# The devices of a run, one per process: `("cpu",)`, `("cuda:0", "cuda:1")` and so on. Runs may share them.
Place: TypeAlias = tuple[str, ...]
GRACE_SECONDS = 10.0  # time for the other processes of a run to exit after one of them has failed


def train_in_turn(configs: Sequence[RunConfig], context: StudyContext) -> dict[RunConfig, str]:
    """Train runs one after another in this process, and return why runs have failed."""
    failures = {}
    for config in configs:
        try:
            context.train(config)
        except Busy as error:
            print(f"{error}: trying again after the other runs", flush=True)
        except Stopped:
            raise
        except Exception as error:  # the failure of one run must not stop the study
            if get_rank_info().size > 1:  # the other ranks may be waiting for this one inside the run
                raise
            failures[config] = str(error)
            if not isinstance(error, UserError):
                traceback.print_exc()
                failures[config] = f"{type(error).__name__}: {error}"
    return failures


class WorkerPool:
    """Trains as many runs at a time as there are places, in worker processes, and shows what they write to stderr."""

    def __init__(self, context: StudyContext, places: Sequence[Place], console: Console):
        self.context, self.places, self.console = context, places, console
        self.running: set[subprocess.Popen] = set()
        self.stop = StopRequest(self._forward)

    def train(self, configs: Sequence[RunConfig]) -> dict[RunConfig, str]:
        """Train runs in this order, and return why runs have failed.

        A signal is passed on to the runs in progress, which then write a checkpoint. No further run is started.

        Raises:
            Stopped: If a signal arrived.
        """
        free: SimpleQueue[Place] = SimpleQueue()
        for place in self.places:
            free.put(place)

        def train_one(config: RunConfig) -> str:
            place = free.get()
            try:
                return self._train(config, place) if self.stop.signum is None else ""
            finally:
                free.put(place)

        with self.stop, ThreadPoolExecutor(len(self.places)) as pool:
            reasons = list(pool.map(train_one, configs))
        self.stop.synchronize()
        self.stop.raise_if_stopped("the runs in progress have written their checkpoints")
        return {config: reason for config, reason in zip(configs, reasons, strict=True) if reason}

    def _forward(self, signum: int) -> None:
        """Pass a signal on to the runs in progress: the first SIGINT as SIGTERM, a second one as it is.

        Until a worker handles signals, SIGTERM ends it silently, while Python would print a traceback for SIGINT.
        """
        first = self.stop.signum is None
        for process in list(self.running):
            process.send_signal(signal.SIGTERM if first and signum == signal.SIGINT else signum)

    def _train(self, config: RunConfig, place: Place) -> str:
        """Start the processes of a run and wait for them; return why the first of them failed, or an empty string."""
        processes = [self._start(config, place, variables) for variables in rank_environments(len(place))]
        self.running.update(processes)
        if self.stop.signum is not None:  # it arrived before these processes were among the running ones
            self._forward(signal.SIGTERM)
        with ThreadPoolExecutor(len(processes)) as pool:
            futures = [pool.submit(self._follow, config, process) for process in processes]
            ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
            wait(futures, timeout=GRACE_SECONDS)
            for process in processes:
                process.kill()  # one that waits for a dead one may never be notified
        self.running.difference_update(processes)
        return next((str(error) for future in ended if (error := future.exception())), "")

    def _start(self, config: RunConfig, place: Place, variables: dict[str, str]) -> subprocess.Popen:
        """Start one process of a run, with the environment variables of its rank."""
        devices = [torch.device(name) for name in place]
        threads = cores_per_process(sum(map(len, self.places)))
        environment = {"OMP_NUM_THREADS": str(threads)} | os.environ | variables
        environment["PYTHONIOENCODING"] = "utf-8"  # of its stderr, whatever the locale
        if devices[0].type == "cuda":
            # Of the GPUs that this process can use, the worker sees only its own.
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[device.index] for device in devices)
        with TemporaryFile() as task:
            pickle.dump((replace(self.context, device=torch.device(devices[0].type)), config), task)
            task.seek(0)
            # In a session of its own, a worker receives a terminal's Ctrl-C only from `_forward`, and only once.
            return subprocess.Popen(
                [sys.executable, "-m", "plainres.study.worker", config.name],  # the name is for readers of `ps`
                env=environment,
                stdin=task,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )

    def _follow(self, config: RunConfig, process: subprocess.Popen) -> None:
        """Print what a process writes to stderr until it exits, and raise an error if its status is not 0."""
        last_line = ""
        assert process.stderr is not None
        with process:
            for line in process.stderr:
                self.console.print(f"{config.name}: {line.rstrip()}", markup=False, highlight=False, soft_wrap=True)
                last_line = line.strip() or last_line
        if process.returncode < 0:
            raise ChildProcessError(f"the process was killed by {signal.Signals(-process.returncode).name}")
        if process.returncode:
            raise ChildProcessError(last_line.removeprefix("error: ") or f"exit status {process.returncode}")
