"""Throughput of runs side by side on a CPU, one thread each, relative to runs in turn with all threads."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch

from plainres.bench.measure import Method, cifar_data, measure
from plainres.cores import available_cores

DEPTH, BATCH_SIZE = 20, 128
TIMED = 30  # iterations: long enough that the processes overlap for most of the time
CONDITIONS = {"quiet": 0, "beside one busy process": 1}
# A process whose parent has been killed gets another one: it must not go on for ever.
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` other processes computing, each of them on one core."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def load_data(data_dir: Path | None) -> None:
    """Read CIFAR-10, or draw images. A new process takes as long for this as before the first iteration of a run."""
    cifar_data(1, BATCH_SIZE, data_dir).setup()


def throughput(pools: list[ProcessPoolExecutor], method: Method, timed: int, data_dir: Path | None) -> float:
    """Train one net in each of the processes at the same time, and return their images per second together."""
    device = torch.device("cpu")
    futures = [pool.submit(measure, method, DEPTH, BATCH_SIZE, timed, data_dir, device) for pool in pools]
    return sum(BATCH_SIZE / future.result().seconds for future in futures)


def compare_arrangements(
    method: Method, rounds: int, timed: int | None, data_dir: Path | None
) -> tuple[list[dict], float]:
    """Time both arrangements in turn under each condition.

    Args:
        method: Method of training.
        rounds: Number of times that each arrangement is timed per condition.
        timed: Number of timed iterations. None means 30.
        data_dir: Folder that holds CIFAR-10. None means drawn images.

    Returns:
        One dict per condition: images per second of both arrangements in each round, and the median of their ratios
        with its range. Then the seconds that a new process takes to import this package and to read its data, which
        every run side by side does.
    """
    cores, lines = available_cores(), []
    with ExitStack() as stack:

        def start(threads: int) -> ProcessPoolExecutor:
            context = get_context("spawn")
            pool = ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=(threads,))
            return stack.enter_context(pool)

        in_turn, side_by_side = [start(cores)], [start(1) for _ in range(cores)]
        begin = time.perf_counter()
        in_turn[0].submit(load_data, data_dir).result()
        start_seconds = time.perf_counter() - begin
        for condition, busy in CONDITIONS.items():
            with busy_processes(busy):
                pairs = []
                for _ in range(rounds):
                    pair = [throughput(pools, method, timed or TIMED, data_dir) for pools in (in_turn, side_by_side)]
                    pairs.append(pair)
                    print(f"{condition}: {pair[0]:.0f} and {pair[1]:.0f} images/s", file=sys.stderr, flush=True)
            ratios = [after / before for before, after in pairs]
            lines.append(
                {
                    "condition": condition,
                    "cores": cores,
                    "in_turn": [before for before, _ in pairs],
                    "side_by_side": [after for _, after in pairs],
                    "ratio": median(ratios),
                    "ratio_spread": [min(ratios), max(ratios)],
                }
            )
    return lines, start_seconds
