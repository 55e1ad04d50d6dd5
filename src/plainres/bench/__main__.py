"""Time a training iteration of nets of several depths: `python -m plainres.bench`, or `make bench`."""

import json
import re
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
import tyro

from plainres.bench.measure import Measurement, Method, default_timed_iterations, measure
from plainres.bench.report import format_tables, project, summarize
from plainres.bench.side_by_side import compare_arrangements, format_table
from plainres.catalog.datasets import CIFAR10
from plainres.cli import run_command
from plainres.data import default_data_dir
from plainres.data.cifar.files import require_cifar
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.study.options import LOCAL_RESULTS
from plainres.training.device import choose_device, describe_hardware, describe_software, fast_precision

STOCK = Method("stock")
BATCH_SIZE = 128
OTHER_BATCH_SIZES = (32, 64, 256, 512)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time a training iteration of residual nets, and that of a stock Lightning loop, in turn."""

    depths: tuple[int, ...] = (20, 56, 110)
    """Depths of the residual nets, each 6n+2."""
    rounds: int | None = None
    """Number of rounds. Every method is timed once per round. Default: 3, or 7 with --full."""
    timed: int | None = None
    """Number of timed iterations. Default: 500 on a GPU; 200 / depth on a CPU, at least 2; 30 with --side-by-side."""
    full: bool = False
    """More rounds, and the shallowest net with other batch sizes."""
    side_by_side: bool = False
    """Instead, compare runs side by side on the CPU, one thread each, with runs in turn that have all threads.
    --depths and --device have no effect then."""
    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:<index>."""
    results: Path = LOCAL_RESULTS
    """Results folder. The measurements are written to bench/ below it, as JSON."""


def main() -> int:
    """Run the benchmark with the options of the command line."""
    options = tyro.cli(Options, prog="python -m plainres.bench")
    for name in ("rounds", "timed"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be 1 or more, not {value}")
    device = choose_device("cpu" if options.side_by_side else options.device)
    path = (run_side_by_side if options.side_by_side else run)(options, device)
    print(f"\n{path}")
    return 0


def run(options: Options, device: torch.device) -> Path:
    """Time all methods, print tables, and write the measurements; return the path of the JSON file."""
    data_dir = _cifar_dir()
    names = ("eager", "plainres") if device.type == "cuda" else ("plainres",)
    precisions = dict.fromkeys(("fp32", fast_precision(device)))
    methods = [STOCK, *(Method(name, precision) for precision in precisions for name in names)]
    sizes = [(depth, BATCH_SIZE) for depth in options.depths]
    if options.full:
        sizes += [(min(options.depths), batch_size) for batch_size in OTHER_BATCH_SIZES]
    lines = []
    with ExitStack() as stack:
        # In separate processes, the memory, threads and compilation of one method cannot affect another.
        pools = {method: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for method in methods}
        for depth, batch_size in sizes:
            timed = options.timed or default_timed_iterations(depth, device)
            measurements: dict[Method, list[Measurement]] = defaultdict(list)
            for _ in range(options.rounds or (7 if options.full else 3)):
                for method in methods:
                    future = pools[method].submit(measure, method, depth, batch_size, timed, data_dir, device)
                    measurements[method].append(future.result())
                    ms = f"{1e3 * measurements[method][-1].seconds:.3g} ms"
                    print(f"resnet-{depth} batch {batch_size} {method}: {ms}", file=sys.stderr, flush=True)
            lines += [
                summarize(method, depth, batch_size, measurements[method], measurements[STOCK]) for method in methods
            ]
    projection = project([line for line in lines if line["batch_size"] == BATCH_SIZE])
    print(format_tables(lines, projection))
    hardware = describe_hardware(device)
    content = {
        "hardware": hardware,
        "software": describe_software(),
        "data": CIFAR10.title if data_dir else "drawn images",
        "lines": lines,
        "projection": projection,
    }
    path = options.results / "bench" / f"{file_stem(hardware)}.json"
    write_atomic(path, json.dumps(content, indent=2) + "\n")
    return path


def run_side_by_side(options: Options, device: torch.device) -> Path:
    """Compare runs side by side with runs in turn; return the path of the JSON file."""
    data_dir = _cifar_dir()
    method = Method("plainres", fast_precision(device))
    rounds = options.rounds or (7 if options.full else 3)
    lines, start_seconds = compare_arrangements(method, rounds, options.timed, data_dir)
    print(f"{format_table(lines)}\n\nA new process takes {start_seconds:.1f} s to its first iteration.")
    hardware = describe_hardware(device)
    content = {
        "hardware": hardware,
        "software": describe_software(),
        "method": str(method),
        "start_seconds": start_seconds,
        "lines": lines,
    }
    path = options.results / "bench" / f"{file_stem(hardware)}-side-by-side.json"
    write_atomic(path, json.dumps(content, indent=2) + "\n")
    return path


def file_stem(hardware: dict) -> str:
    """Return the name of the JSON file for some hardware, for example `amd-epyc-2-threads` or `nvidia-h200`."""
    name = hardware.get("gpu", hardware["cpu"])
    if "gpu" not in hardware:
        name += " one thread" if hardware["threads"] == 1 else f" {hardware['threads']} threads"
    return re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")


def _cifar_dir() -> Path | None:
    """Return the folder that holds CIFAR-10 after checking its files, or None if it is not there."""
    data_dir = default_data_dir()
    if not (data_dir / "cifar-10-batches-py").exists():
        return None
    require_cifar(CIFAR10.name, data_dir)
    return data_dir


if __name__ == "__main__":
    run_command(main)
