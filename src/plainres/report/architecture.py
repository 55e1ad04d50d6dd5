"""Table 1 and Figure 3 of the paper, from the recorded layers and costs of the nets (complexity/nets.json)."""

from collections import Counter
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyBboxPatch

from plainres.files import read_json
from plainres.report.drawing import in_our_style
from plainres.report.published import TABLE_1
from plainres.report.tables import markdown_table

FOLDER = "complexity"
FIGURE_3 = ("VGG-19", "plain-34", "resnet-34")
SIZES = (224, 112, 56, 28, 14, 7, 1)
COLOURS = {64: "#e3d4ec", 128: "#d2e4c9", 256: "#f5cfd0", 512: "#c9def0"}
# In units of the distance between two rows.
WIDTH, HEIGHT = 2.1, 0.62  # of the box of a layer
COLUMN = 4.2  # distance between two nets
GAP = 0.06  # between the end of a shortcut and the beginning of the next one


def read_nets(folder: Path) -> list[dict]:
    """Read the nets that `experiments/complexity.py` wrote into a folder, one dictionary each, if it did."""
    path = folder / "nets.json"
    return read_json(path) if path.exists() else []


def table_1(nets: list[dict]) -> pd.DataFrame:
    """Return the exact parameters and multiply-adds of each net beside the paper's rounded multiply-adds."""
    rows = []
    for net in nets:
        paper = TABLE_1[str(net.get("depth", net["net"]))]
        exact = net["multiply_adds"]
        rows.append(
            {
                "net": net["net"],
                "blocks per stage": ", ".join(map(str, net["blocks"])) if "blocks" in net else "-",
                "stride in": net.get("stride_in", "-"),
                "parameters": f"{net['parameters']:,}",
                "multiply-adds": f"{exact:,}",
                "in 1e9": f"{exact / 1e9:.2f}",
                "paper, in 1e9": f"{paper / 1e9:.1f}",
                "difference": f"{100 * (exact / paper - 1):+.1f}%",
            }
        )
    return pd.DataFrame(rows)


def table_1_markdown(nets: list[dict]) -> str:
    """Return Table 1 as Markdown, with a description of what is counted."""
    return (
        "**Table 1: parameters and multiply-adds for a 224x224 image.** Convolutions and linear layers, biases left "
        'out, as the paper counts; residual nets with option A are named without a letter. "Stride in" is the '
        f"convolution of a bottleneck that subsamples.\n\n{markdown_table(table_1(nets))}\n"
    )


def _label(layer: dict) -> str:
    half = ", /2" if layer["stride"] == 2 else ""
    match layer["op"]:
        case "conv":
            return f"{layer['kernel']}x{layer['kernel']} conv, {layer['channels']}{half}"
        case "fc":
            return f"fc {layer['channels']}"
    return f"{layer['op']}{half}"


def _first_rows(nets: list[dict]) -> dict[int, int]:
    """Return the row in which each size of maps begins: as many rows per size as the net with most layers needs."""
    most = {size: max(sum(layer["size"] == size for layer in net["layers"]) for net in nets) for size in SIZES}
    return dict(zip(SIZES, accumulate(most.values(), initial=0), strict=False))


def _draw_net(axes: Axes, net: dict, first_rows: dict[int, int], x: float) -> None:
    """Draw the layers of a net as a column of boxes, with arrows between them and its shortcuts on the right."""
    of_size: Counter = Counter()
    rows = []
    for layer in net["layers"]:
        row = first_rows[layer["size"]] + of_size[layer["size"]]
        of_size[layer["size"]] += 1
        rows.append(row)
        colour = COLOURS[layer["channels"]] if layer["op"] == "conv" else "white"
        corner = (x - WIDTH / 2, row - HEIGHT / 2)
        rounded = "round,pad=0,rounding_size=0.12"
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=rounded, fc=colour, ec="0.35", lw=0.7))
        axes.text(x, row, _label(layer), ha="center", va="center", fontsize=6.5)
    for above, below in pairwise(rows):
        arrow = {"arrowstyle": "-|>", "lw": 0.8, "color": "0.25", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}
        axes.annotate("", (x, below - HEIGHT / 2), (x, above + HEIGHT / 2), arrowprops=arrow)
    edge = x + WIDTH / 2
    for shortcut in net["shortcuts"]:
        # From the arrow above the first layer that it bypasses to the arrow below the last.
        begin = (rows[shortcut["first"] - 1] + rows[shortcut["first"]]) / 2 + GAP
        end = (rows[shortcut["last"]] + rows[shortcut["last"] + 1]) / 2 - GAP
        line: dict[str, Any] = {"color": "0.2", "lw": 0.9, "ls": "-" if shortcut["kind"] == "identity" else ":"}
        axes.hlines([begin, end], x, edge, **line)
        axes.add_patch(Arc((edge, (begin + end) / 2), 0.9, end - begin, theta1=-90, theta2=90, **line))


@in_our_style
def figure_3(nets: list[dict]) -> Figure:
    """Draw Figure 3: VGG-19, plain-34 and ResNet-34 side by side, layer by layer, aligned by the size of their maps."""
    chosen = [net for name in FIGURE_3 for net in nets if net["net"] == name]
    first_rows = _first_rows(chosen)
    figure, panel = plt.subplots(figsize=(8, 13.5))
    figure.suptitle("VGG-19, a plain net, and the same net with shortcuts (Figure 3)")
    figure.supxlabel("Dotted shortcuts: zero padding (option A).", fontsize=8, color="0.35")
    left = -1.3 - WIDTH
    for size, row in first_rows.items():
        panel.axhline(row - 0.5, color="0.85", lw=0.8, zorder=0)
        panel.text(left, row, f"output {size}", fontsize=8, color="0.3", va="center")
    for i, net in enumerate(chosen):
        _draw_net(panel, net, first_rows, i * COLUMN)
        panel.text(i * COLUMN, -1.9, net["net"].replace("resnet", "ResNet"), ha="center", fontsize=11)
        cost = f"{net['multiply_adds'] / 1e9:.2f}e9 multiply-adds\n{net['parameters'] / 1e6:.1f}M parameters"
        panel.text(i * COLUMN, -1.0, cost, ha="center", va="center", fontsize=7, color="0.35")
    panel.set_xlim(left - 0.2, COLUMN * (len(chosen) - 1) + WIDTH)
    panel.set_ylim(max(first_rows.values()) + 2.8, -2.6)
    panel.axis("off")
    return figure
