"""From measurements to what is printed and kept: ratios to the stock loop, shares of a roofline, a projection."""

from statistics import linear_regression, median

import torch
from tabulate import tabulate
from torch import Tensor, nn

from plainres.bench.measure import Measurement, Way
from plainres.nets import cifar_net
from plainres.report.published import PAPER_ITERATIONS

PAPER_NETS = (20, 32, 44, 56, 20, 32, 44, 56, 110)  # plain and residual
# An iteration with library convolutions and fused BN and ReLU moves each convolution's output about 15 times; the
# bandwidth is that of a copy on an H200, which the share is stated for.
PASSES, BANDWIDTH = 15, 4.3e12


def convolution_outputs(depth: int) -> int:
    """Elements of the outputs of all convolutions of a net, for one image."""
    total = 0

    def add(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        nonlocal total
        total += output.numel()

    with torch.device("meta"):
        net = cifar_net(depth)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(add)
        net(torch.empty(1, 3, 32, 32))
    return total


def summarize(way: Way, depth: int, batch_size: int, found: list[Measurement], stock: list[Measurement]) -> dict:
    """One line of the report: medians over the rounds, and the ratios to the stock loop round by round."""
    seconds = median(one.seconds for one in found)
    ratios = [base.seconds / one.seconds for one, base in zip(found, stock, strict=True)]
    line = {
        "way": str(way),
        "net": f"resnet-{depth}",
        "batch_size": batch_size,
        "milliseconds": 1e3 * seconds,
        "milliseconds_of_rounds": [1e3 * one.seconds for one in found],
        "images_per_second": batch_size / seconds,
        "ratio_to_stock": median(ratios),
        "ratio_spread": [min(ratios), max(ratios)],
        "first_step_seconds": found[0].first_step,
    }
    if found[0].peak_memory is not None:
        element = 2 if way.precision == "bf16" else 4
        moved = PASSES * convolution_outputs(depth) * batch_size * element
        line |= {
            "dram_share": moved / BANDWIDTH / seconds,
            "peak_memory_gib": max(one.peak_memory for one in found) / 2**30,
        }
    return line


def project(lines: list[dict]) -> dict[str, dict]:
    """By way: how cost grows with depth, a straight line through the nets, and what nine nets would take by it."""
    projected = {}
    for way in dict.fromkeys(line["way"] for line in lines):
        points = [(int(line["net"][7:]), line["milliseconds"]) for line in lines if line["way"] == way]
        if len(points) < 2:
            continue
        slope, start = linear_regression(*zip(*points, strict=True))
        off = max(abs(ms - start - slope * depth) / ms for depth, ms in points)
        hours = PAPER_ITERATIONS * sum(start + slope * depth for depth in PAPER_NETS) / 3.6e6
        projected[way] = {
            "milliseconds_a_layer": slope,
            "milliseconds_besides": start,
            "largest_deviation_percent": 100 * off,
            "nine_nets_hours": hours,
        }
    return projected


def format_lines(lines: list[dict], projected: dict[str, dict]) -> str:
    """Tables of what was measured."""
    rows = []
    for line in lines:
        low, high = line["ratio_spread"]
        rows.append(
            {
                "net": line["net"],
                "batch": line["batch_size"],
                "way": line["way"],
                "ms": f"{line['milliseconds']:.3g}",
                "images/s": f"{line['images_per_second']:,.0f}",
                "times stock": f"{line['ratio_to_stock']:.2f} ({low:.2f} to {high:.2f})",
                "first step": f"{line['first_step_seconds']:.1f} s",
            }
        )
        if "dram_share" in line:
            rows[-1] |= {"DRAM": f"{100 * line['dram_share']:.0f}%", "memory": f"{line['peak_memory_gib']:.2f} GiB"}
    growth = [
        {
            "way": way,
            "ms a layer": f"{one['milliseconds_a_layer']:.3g}",
            "besides": f"{one['milliseconds_besides']:.3g}",
            "off the line": f"{one['largest_deviation_percent']:.0f}%",
            "nine nets x 64k": f"{one['nine_nets_hours']:.2f} h",
        }
        for way, one in projected.items()
    ]
    return "\n\n".join(tabulate(table, headers="keys", disable_numparse=True) for table in (rows, growth) if table)
