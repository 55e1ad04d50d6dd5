"""`make bench`: what an iteration costs, in turn the stock way and ours, for nets of three depths."""

import argparse
import json
import re
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import torch

from plainres.bench.measure import Measurement, Way, measure, timed_iterations
from plainres.bench.report import format_lines, project, summarize
from plainres.catalog.datasets import CIFAR10, DEMO
from plainres.data import default_data_dir
from plainres.data.cifar.files import require_cifar
from plainres.errors import UserError
from plainres.study.options import LOCAL_RESULTS
from plainres.training.device import choose_device, describe_hardware, describe_software, fast_precision
from plainres.training.record import write_atomic

STOCK = Way("stock")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m plainres.bench", description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56, 110])
    parser.add_argument("--rounds", type=int, help="every way is measured once a round (default 3; 7 with --full)")
    parser.add_argument("--timed", type=int, help="iterations timed (default: 400 on a GPU, 200 / depth on a CPU)")
    parser.add_argument("--full", action="store_true", help="more rounds, and the net of least depth at other batches")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<index>")
    parser.add_argument("--results", type=Path, default=LOCAL_RESULTS, help="the JSON goes to bench/ below it")
    options = parser.parse_args()
    try:
        path = run(options, choose_device(options.device))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"\n{path}")
    return 0


def run(options: argparse.Namespace, device: torch.device) -> Path:
    """Measure, print, and keep as JSON; the file's path."""
    data_dir = default_data_dir()
    if (data_dir / "cifar-10-batches-py").exists():
        require_cifar(CIFAR10.name, data_dir)
    else:
        data_dir = None
    precisions = dict.fromkeys(("fp32", fast_precision(device)))
    ways = [STOCK, *(Way(engine, precision) for precision in precisions for engine in ("eager", "fast"))]
    sizes = [(depth, 128) for depth in options.depths]
    if options.full:
        sizes += [(min(options.depths), batch) for batch in (32, 64, 256, 512)]
    lines = []
    with ExitStack() as stack:
        # A process each: how one way sets up memory, threads or compilation must not touch another.
        own = {way: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for way in ways}
        for depth, batch_size in sizes:
            found: dict[Way, list[Measurement]] = defaultdict(list)
            for _ in range(options.rounds or (7 if options.full else 3)):
                for way in ways:
                    timed = options.timed or timed_iterations(depth, device)
                    one = own[way].submit(measure, way, depth, batch_size, timed, data_dir, device).result()
                    found[way].append(one)
                    ms = f"{1e3 * one.seconds:.3g} ms"
                    print(f"resnet-{depth} batch {batch_size} {way}: {ms}", file=sys.stderr, flush=True)
            lines += [summarize(way, depth, batch_size, found[way], found[STOCK]) for way in ways]
    projected = project([line for line in lines if line["batch_size"] == 128])
    print(format_lines(lines, projected))
    hardware = describe_hardware(device)
    content = {
        "hardware": hardware,
        "software": describe_software(),
        "data": (CIFAR10 if data_dir else DEMO).title,
        "lines": lines,
        "projection": projected,
    }
    name = re.sub(r"[^a-z0-9]+", "-", str(hardware.get("gpu", hardware["cpu"])).lower()).strip("-")
    threads = "" if device.type == "cuda" else f"-{hardware['threads']}-threads"
    path = options.results / "bench" / f"{name}{threads}.json"
    write_atomic(path, json.dumps(content, indent=2) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
