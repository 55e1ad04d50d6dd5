"""Runs side by side on one machine, each in its own process or group of processes."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import torch
from rich.console import Console

from plainres.cores import cores_per_process
from plainres.study.context import StudyContext
from plainres.study.plan import plan_study
from plainres.training import RunConfig
from plainres.training.distributed import rank_environments
from plainres.training.lock import is_being_trained
from plainres.training.signals import StopRequest

BUSY_SECONDS = 2.0  # pause before asking again whether another process trains a run
# Exit statuses of a worker process, see `plainres.study.worker`.
BUSY_STATUS = os.EX_TEMPFAIL  # another process is training the run
LOST_STATUS = os.EX_UNAVAILABLE  # another process of the same run has died
GRACE_SECONDS = 10.0  # time for the other processes of a run to exit after one of them has failed


class WorkerFailed(Exception):
    """A worker process has exited with a non-zero status.

    Attributes:
        status: Exit status, negative if a signal killed the process.
        last_line: Last line that the process wrote to stderr.
    """

    def __init__(self, status: int, last_line: str):
        super().__init__(status, last_line)
        self.status, self.last_line = status, last_line


class ParallelTraining:
    """Trains several runs at a time in worker processes.

    Args:
        context: Where and how the runs are trained, except for the device.
        places: Devices of each run that is trained at the same time, one device per process: `("cpu",)`,
            `("cuda:0", "cuda:1")`, and so on. A device may belong to several places.
        console: Console that shows what the runs write to stderr.
    """

    def __init__(self, context: StudyContext, places: Sequence[tuple[str, ...]], console: Console):
        self.context, self.console = context, console
        self.places = places
        self.threads_per_process = cores_per_process(sum(map(len, places)))
        self.waiting: deque[RunConfig] = deque()
        self.busy: set[RunConfig] = set()  # runs that another process was training when they were started
        self.outcomes: dict[RunConfig, tuple[str, str]] = {}
        self.running: set[subprocess.Popen] = set()
        self.stop = StopRequest(self._forward)

    def train(self, configs: Sequence[RunConfig]) -> dict[RunConfig, tuple[str, str]]:
        """Train every run, and return the outcome and the reason of each.

        A signal is passed on to the runs in progress, which then write a checkpoint. No further run is started.

        Args:
            configs: Runs in the order in which they are started.

        Raises:
            Stopped: If a signal arrived.
        """
        self.waiting.extend(configs)
        with self.stop, ThreadPoolExecutor(len(self.places)) as pool:
            futures = [pool.submit(self._train_waiting, place) for place in self.places]
            try:
                for future in futures:
                    future.result()
            finally:
                self.waiting.clear()  # after an error, no further run is started
        self.stop.synchronize()
        self.stop.raise_if_stopped("the runs in progress have written their checkpoints")
        return self.outcomes

    def _forward(self, signum: int) -> None:
        """Pass a signal on to the runs in progress: the first SIGINT as SIGTERM, a second one as it is.

        Until a worker handles signals, SIGTERM ends it silently, while Python would print a traceback for SIGINT.
        """
        first = self.stop.signum is None
        self._send(signal.SIGTERM if first and signum == signal.SIGINT else signum)

    def _send(self, signum: int) -> None:
        for process in list(self.running):
            process.send_signal(signum)

    def _train_waiting(self, place: tuple[str, ...]) -> None:
        """Train one waiting run after another, postponing those that another process is training."""
        while self.stop.signum is None:
            try:
                config = self.waiting.popleft()
            except IndexError:
                return
            if config in self.busy and is_being_trained(self.context.results, config):
                time.sleep(BUSY_SECONDS)
                self.waiting.append(config)
                continue
            failure = self._run_workers(config, place)
            if failure is not None and failure.status == BUSY_STATUS:
                self.busy.add(config)
                self.waiting.append(config)
            else:
                self.outcomes[config] = self._outcome(config, failure)

    def _outcome(self, config: RunConfig, failure: WorkerFailed | None) -> tuple[str, str]:
        """Return the outcome and the reason of a run whose processes have ended."""
        if failure is None:
            (run,) = plan_study([config], self.context.results)
            return run.status, run.reason
        if failure.status < 0:
            return "failed", f"the process was killed by {signal.Signals(-failure.status).name}"
        return "failed", failure.last_line

    def _run_workers(self, config: RunConfig, place: tuple[str, ...]) -> WorkerFailed | None:
        """Start the processes of one run and wait for them; return the failure that caused the others, if any."""
        devices = [torch.device(name) for name in place]
        processes = [self._start(config, devices, variables) for variables in rank_environments(len(devices))]
        self.running.update(processes)
        if self.stop.signum is not None:  # it arrived before these processes were among the running ones
            self._send(signal.SIGTERM)
        with ThreadPoolExecutor(len(processes)) as pool:
            futures = [pool.submit(self._follow, config, process) for process in processes]
            wait(futures, return_when=FIRST_EXCEPTION)
            # A process that waits for a dead one may never be notified.
            done, _ = wait(futures, timeout=GRACE_SECONDS)
            for process in list(self.running.intersection(processes)):
                process.kill()
        failures = []
        for future in done:
            try:
                future.result()
            except WorkerFailed as failure:
                failures.append(failure)
        return min(failures, key=lambda failure: failure.status == LOST_STATUS, default=None)

    def _start(self, config: RunConfig, devices: list[torch.device], variables: dict[str, str]) -> subprocess.Popen:
        """Start one process of a run, with the environment variables of its rank."""
        command = [sys.executable, "-m", "plainres.study.worker", self.context.on(devices[0].type).to_task(config)]
        environment = {"OMP_NUM_THREADS": str(self.threads_per_process)} | os.environ | variables
        environment["PYTHONIOENCODING"] = "utf-8"  # of its stderr, whatever the locale
        if devices[0].type == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(_visible_name(device.index) for device in devices)
        # In a session of its own, a worker receives a terminal's Ctrl-C only from `_forward`, and only once.
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )

    def _follow(self, config: RunConfig, process: subprocess.Popen) -> None:
        """Print what a process writes to stderr until it exits.

        Raises:
            WorkerFailed: If its exit status is not 0.
        """
        last_line = ""
        assert process.stderr is not None
        with process:
            for line in process.stderr:
                self.console.print(f"{config.name}: {line.rstrip()}", markup=False, highlight=False)
                last_line = line.strip() or last_line
        self.running.discard(process)
        if process.returncode:
            raise WorkerFailed(process.returncode, last_line)


def side_by_side(
    configs: Sequence[RunConfig], context: StudyContext, places: Sequence[tuple[str, ...]], console: Console
) -> dict[RunConfig, tuple[str, str]]:
    """Train runs in worker processes, as many at a time as there are places; see `ParallelTraining`."""
    return ParallelTraining(context, places, console).train(configs)


def _visible_name(index: int) -> str:
    """Return the name that CUDA_VISIBLE_DEVICES has for one of the GPUs that this process can use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[index] if visible else str(index)
