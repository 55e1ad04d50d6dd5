"""Time a training iteration of nets of several depths: `python -m plainres.bench`, or `make bench`."""

import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from tabulate import tabulate

from plainres.bench.measure import Measurement, Method, convolution_outputs, default_timed_iterations, measure
from plainres.bench.side_by_side import compare_arrangements
from plainres.catalog.datasets import CIFAR10
from plainres.cli import parse_options, run_command
from plainres.data import default_data_dir
from plainres.data.cifar_files import require_cifar
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.study.options import LOCAL_RESULTS
from plainres.training.device import choose_device, describe_hardware, describe_software, fast_precision

STOCK = Method("stock")
BATCH_SIZE = 128
# An iteration with library convolutions and fused BN and ReLU transfers the output of each convolution about 15 times.
# Shares refer to the bandwidth of a copy on an H200, in bytes per second.
PASSES, BANDWIDTH = 15, 4.3e12


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time a training iteration of residual nets, and that of a stock Lightning loop, in turn."""

    depths: tuple[int, ...] = (20, 56, 110)
    """Depths of the residual nets, each 6n+2."""
    rounds: int = 3
    """Number of rounds. Every method is timed once per round."""
    timed: int | None = None
    """Number of timed iterations. Default: 500 on a GPU; 200 / depth on a CPU, at least 2; 30 with --side-by-side."""
    side_by_side: bool = False
    """Instead, compare runs side by side on the CPU, one thread each, with runs in turn that have all threads.
    --depths and --device have no effect then."""
    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:<index>."""
    results: Path = LOCAL_RESULTS
    """Results folder. The measurements are written to bench/ below it, as JSON."""


def main() -> int:
    """Run the benchmark with the options of the command line."""
    options = parse_options(Options, prog="python -m plainres.bench")
    for name in ("rounds", "timed"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be 1 or more, not {value}")
    device = choose_device("cpu" if options.side_by_side else options.device)
    data_dir = _cifar_dir()
    compare = compare_side_by_side if options.side_by_side else compare_methods
    content, rows = compare(options, device, data_dir)
    print(tabulate(rows, headers="keys", disable_numparse=True))
    hardware = describe_hardware(device)
    suffix = "-side-by-side" if options.side_by_side else ""
    path = options.results / "bench" / f"{file_stem(hardware)}{suffix}.json"
    facts = {
        "hardware": hardware,
        "software": describe_software(),
        "data": CIFAR10.title if data_dir else "drawn images",
    }
    write_atomic(path, json.dumps(facts | content, indent=2) + "\n")
    print(f"\n{path}")
    return 0


def compare_methods(options: Options, device: torch.device, data_dir: Path | None) -> tuple[dict, list[dict]]:
    """Time all methods in turn, and return the contents of the JSON file and the rows of the printed table."""
    names = ("eager", "plainres") if device.type == "cuda" else ("plainres",)
    precisions = dict.fromkeys(("fp32", fast_precision(device)))
    methods = [STOCK, *(Method(name, precision) for precision in precisions for name in names)]
    lines = []
    with ExitStack() as stack:
        # In separate processes, the memory, threads and compilation of one method cannot affect another.
        pools = {method: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for method in methods}
        for depth in options.depths:
            timed = options.timed or default_timed_iterations(depth, device)
            measurements: dict[Method, list[Measurement]] = {method: [] for method in methods}
            for _ in range(options.rounds):
                for method in methods:
                    future = pools[method].submit(measure, method, depth, BATCH_SIZE, timed, data_dir, device)
                    measurements[method].append(future.result())
                    ms = f"{1e3 * measurements[method][-1].seconds:.3g} ms"
                    print(f"resnet-{depth} {method}: {ms}", file=sys.stderr, flush=True)
            lines += [summarize(method, depth, measurements[method], measurements[STOCK]) for method in methods]
    rows = []
    for line in lines:
        low, high = line["ratio_spread"]
        ratio = f"{line['ratio_to_stock']:.2f} ({low:.2f} to {high:.2f})"
        rows.append({name: line[name] for name in ("net", "way")} | {"ms": f"{line['milliseconds']:.3g}"})
        rows[-1] |= {"images/s": f"{line['images_per_second']:,.0f}", "speed / stock": ratio}
        if "dram_share" in line:
            rows[-1] |= {"DRAM": f"{100 * line['dram_share']:.0f}%", "memory": f"{line['peak_memory_gib']:.2f} GiB"}
    return {"lines": lines}, rows


def summarize(method: Method, depth: int, rounds: list[Measurement], stock: list[Measurement]) -> dict:
    """Return medians over the rounds, and the speed relative to the stock loop, round by round.

    Args:
        method: Method of training.
        depth: Depth of the net.
        rounds: Measurements of the method, one per round.
        stock: Measurements of the stock loop in the same rounds.
    """
    seconds = median(measurement.seconds for measurement in rounds)
    ratios = [base.seconds / measurement.seconds for measurement, base in zip(rounds, stock, strict=True)]
    line = {
        "way": str(method),
        "net": f"resnet-{depth}",
        "batch_size": BATCH_SIZE,
        "milliseconds": 1e3 * seconds,
        "milliseconds_of_rounds": [1e3 * measurement.seconds for measurement in rounds],
        "images_per_second": BATCH_SIZE / seconds,
        "ratio_to_stock": median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
    }
    peaks = [measurement.peak_memory for measurement in rounds if measurement.peak_memory is not None]
    if peaks:
        element = 2 if method.precision == "bf16" else 4
        bytes_moved = PASSES * convolution_outputs(depth) * BATCH_SIZE * element
        line |= {"dram_share": bytes_moved / BANDWIDTH / seconds, "peak_memory_gib": max(peaks) / 2**30}
    return line


def compare_side_by_side(options: Options, device: torch.device, data_dir: Path | None) -> tuple[dict, list[dict]]:
    """Compare runs side by side with runs in turn; return what `compare_methods` returns."""
    method = Method("plainres", fast_precision(device))
    lines, start_seconds = compare_arrangements(method, options.rounds, options.timed, data_dir)
    rows = []
    for line in lines:
        low, high = line["ratio_spread"]
        rows.append({"condition": line["condition"], "ratio": f"{line['ratio']:.2f} ({low:.2f} to {high:.2f})"})
        rows[-1] |= {f"{name}, images/s": f"{median(line[name]):.0f}" for name in ("in_turn", "side_by_side")}
    print(f"A new process takes {start_seconds:.1f} s to its first iteration.\n")
    return {"method": str(method), "start_seconds": start_seconds, "lines": lines}, rows


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
