"""Summaries of the benchmark: ratios to the stock loop, the share of the memory bandwidth, and a projection."""

from statistics import linear_regression, median

import torch
from tabulate import tabulate
from torch import nn

from plainres.bench.measure import Measurement, Method
from plainres.catalog.datasets import CIFAR10
from plainres.nets import cifar_net
from plainres.nets.complexity import trace_layers

PAPER_NETS = (20, 32, 44, 56, 20, 32, 44, 56, 110)  # plain and residual
# An iteration with library convolutions and fused BN and ReLU transfers the output of each convolution about 15 times.
# Shares refer to the bandwidth of a copy on an H200, in bytes per second.
PASSES, BANDWIDTH = 15, 4.3e12


def convolution_outputs(depth: int) -> int:
    """Return the number of elements in the outputs of all convolutions of a residual net, for one image."""
    with torch.device("meta"):
        net = cifar_net(depth)
    return sum(call.output.numel() for call in trace_layers(net, (3, 32, 32), (nn.Conv2d,)))


def summarize(method: Method, depth: int, batch_size: int, rounds: list[Measurement], stock: list[Measurement]) -> dict:
    """Return one line of the report: medians over the rounds, and the speed relative to the stock loop.

    Args:
        method: Method of training.
        depth: Depth of the net.
        batch_size: Number of images per iteration.
        rounds: Measurements of the method, one per round.
        stock: Measurements of the stock loop in the same rounds.
    """
    seconds = median(measurement.seconds for measurement in rounds)
    ratios = [base.seconds / measurement.seconds for measurement, base in zip(rounds, stock, strict=True)]
    line = {
        "way": str(method),
        "net": f"resnet-{depth}",
        "batch_size": batch_size,
        "milliseconds": 1e3 * seconds,
        "milliseconds_of_rounds": [1e3 * measurement.seconds for measurement in rounds],
        "images_per_second": batch_size / seconds,
        "ratio_to_stock": median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "first_step_seconds": rounds[0].first_step,
    }
    peaks = [measurement.peak_memory for measurement in rounds if measurement.peak_memory is not None]
    if peaks:
        element = 2 if method.precision == "bf16" else 4
        bytes_moved = PASSES * convolution_outputs(depth) * batch_size * element
        line |= {
            "dram_share": bytes_moved / BANDWIDTH / seconds,
            "peak_memory_gib": max(peaks) / 2**30,
        }
    return line


def project(lines: list[dict]) -> dict[str, dict]:
    """Return, for each method, a straight line through time against depth, and the time of the paper's nine nets."""
    projection = {}
    for method in dict.fromkeys(line["way"] for line in lines):
        points = [(int(line["net"][7:]), line["milliseconds"]) for line in lines if line["way"] == method]
        if len(points) < 2:
            continue
        slope, intercept = linear_regression(*zip(*points, strict=True))
        deviation = max(abs(ms - intercept - slope * depth) / ms for depth, ms in points)
        hours = CIFAR10.paper_iterations * sum(intercept + slope * depth for depth in PAPER_NETS) / 3.6e6
        projection[method] = {
            "milliseconds_a_layer": slope,
            "milliseconds_besides": intercept,
            "largest_deviation_percent": 100 * deviation,
            "nine_nets_hours": hours,
        }
    return projection


def format_tables(lines: list[dict], projection: dict[str, dict]) -> str:
    """Return the measurements and the projection as tables."""
    rows = []
    for line in lines:
        low, high = line["ratio_spread"]
        rows.append(
            {
                "net": line["net"],
                "batch": line["batch_size"],
                "method": line["way"],
                "ms": f"{line['milliseconds']:.3g}",
                "images/s": f"{line['images_per_second']:,.0f}",
                "speed / stock": f"{line['ratio_to_stock']:.2f} ({low:.2f} to {high:.2f})",
                "first step": f"{line['first_step_seconds']:.1f} s",
            }
        )
        if "dram_share" in line:
            rows[-1] |= {"DRAM": f"{100 * line['dram_share']:.0f}%", "memory": f"{line['peak_memory_gib']:.2f} GiB"}
    growth = [
        {
            "method": method,
            "ms per layer": f"{line['milliseconds_a_layer']:.3g}",
            "constant ms": f"{line['milliseconds_besides']:.3g}",
            "largest deviation": f"{line['largest_deviation_percent']:.0f}%",
            "nine nets x 64k": f"{line['nine_nets_hours']:.2f} h",
        }
        for method, line in projection.items()
    ]
    return "\n\n".join(tabulate(table, headers="keys", disable_numparse=True) for table in (rows, growth) if table)
