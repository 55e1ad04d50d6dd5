"""Table 1 and Figure 3 of the paper, from the recorded layers and costs of the nets (complexity/nets.json)."""

from itertools import groupby, pairwise
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyBboxPatch

from plainres.files import read_json
from plainres.report.drawing import make_panels
from plainres.report.figures import AxesLike
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
    """Read the nets that `experiments/complexity.py` wrote, one dictionary per net.

    Args:
        folder: Folder that holds `nets.json`.
    """
    return read_json(folder / "nets.json")


def table_1(nets: list[dict]) -> pd.DataFrame:
    """Return the exact parameters and multiply-adds of each net beside the paper's rounded multiply-adds.

    Args:
        nets: Nets from `read_nets`.
    """
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
    """Return Table 1 as Markdown, with a description of what is counted.

    Args:
        nets: Nets from `read_nets`.
    """
    table = markdown_table(table_1(nets))
    return (
        "**Table 1: parameters and multiply-adds for a 224x224 image.** Convolutions and linear layers, biases left "
        'out, as the paper counts; residual nets with option A are named without a letter. "Stride in" is the '
        f"convolution of a bottleneck that subsamples.\n\n{table}\n"
    )


def _label(layer: dict) -> str:
    half = ", /2" if layer["stride"] == 2 else ""
    match layer["op"]:
        case "conv":
            return f"{layer['kernel']}x{layer['kernel']} conv, {layer['channels']}{half}"
        case "fc":
            return f"fc {layer['channels']}"
        case "max pool":
            return f"max pool{half}"
    return "average pool"


def _rows(nets: list[dict]) -> tuple[list[list[int]], dict[int, tuple[int, int]]]:
    """Align the layers of nets by the size of their outputs.

    Within a size, a net that has fewer layers than another leaves the last rows free.

    Returns:
        The row of every layer of every net, and for each size its first row and the one after its last row.
    """
    by_size = [{size: list(g) for size, g in groupby(net["layers"], key=lambda layer: layer["size"])} for net in nets]
    bands, start = {}, 0
    for size in SIZES:
        most = max(len(sizes.get(size, ())) for sizes in by_size)
        bands[size] = (start, start + most)
        start += most
    return [[bands[size][0] + i for size in sizes for i in range(len(sizes[size]))] for sizes in by_size], bands


def _draw_net(axes: Axes, net: dict, rows: list[int], x: float) -> None:
    for above, below in pairwise(rows):
        arrow = {"arrowstyle": "-|>", "lw": 0.8, "color": "0.25", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}
        axes.annotate("", (x, below - HEIGHT / 2), (x, above + HEIGHT / 2), arrowprops=arrow)
    for layer, row in zip(net["layers"], rows, strict=True):
        colour = COLOURS.get(layer["channels"], "0.95") if layer["op"] == "conv" else "white"
        axes.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2, row - HEIGHT / 2),
                WIDTH,
                HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.12",
                fc=colour,
                ec="0.35",
                lw=0.7,
            )
        )
        axes.text(x, row, _label(layer), ha="center", va="center", fontsize=6.5)
    for shortcut in net["shortcuts"]:
        # From the arrow above the first layer that it bypasses to the arrow below the last.
        begin = (rows[shortcut["first"] - 1] + rows[shortcut["first"]]) / 2 + GAP
        end = (rows[shortcut["last"]] + rows[shortcut["last"] + 1]) / 2 - GAP
        style = "-" if shortcut["kind"] == "identity" else (0, (2, 1.2))
        edge = x + WIDTH / 2
        for row in (begin, end):
            axes.plot([x, edge], [row, row], color="0.2", lw=0.9, ls=style)
        arc = Arc((edge, (begin + end) / 2), 0.9, end - begin, theta1=-90, theta2=90, color="0.2", lw=0.9, ls=style)
        axes.add_patch(arc)


def figure_3(nets: list[dict], axes: AxesLike = None) -> Figure:
    """Draw Figure 3: VGG-19, plain-34 and ResNet-34 side by side, layer by layer, aligned by the size of their maps.

    Args:
        nets: Nets from `read_nets`.
        axes: One Axes to draw into, about 8 inches wide and 13.5 high. The title and the note are left out then.
    """
    by_name = {net["net"]: net for net in nets}
    chosen = [by_name[name] for name in FIGURE_3]
    rows, bands = _rows(chosen)
    last = max(end for _, end in bands.values())
    panels = make_panels(axes, 1, 1, figsize=(8, 13.5))
    figure, (axes,) = panels.figure, panels.axes
    left, right = -1.3 - WIDTH, COLUMN * (len(chosen) - 1) + WIDTH
    for size, (begin, _) in bands.items():
        axes.axhline(begin - 0.5, color="0.85", lw=0.8, zorder=0)
        axes.text(
            left, begin, f"output\nsize {size}" if begin == 0 else str(size), fontsize=8, color="0.3", va="center"
        )

    for i, (net, net_rows) in enumerate(zip(chosen, rows, strict=True)):
        x = i * COLUMN
        _draw_net(axes, net, net_rows, x)
        axes.text(x, -1.9, net["net"].replace("resnet", "ResNet"), ha="center", fontsize=11)
        cost = f"{net['multiply_adds'] / 1e9:.2f}e9 multiply-adds\n{net['parameters'] / 1e6:.1f}M parameters"
        axes.text(x, -1.0, cost, ha="center", va="center", fontsize=7, color="0.35")
    axes.set_xlim(left - 0.2, right)
    axes.set_ylim(last - 0.2, -2.6)
    axes.axis("off")
    if not panels.ours:
        return figure
    kinds = {s["kind"] for net in chosen for s in net["shortcuts"]}
    dotted = "zero padding (option A)" if "padding" in kinds else "projection (option B)"
    figure.set_layout_engine(None)  # the margins below are fixed
    figure.suptitle("VGG-19, a plain net, and the same net with shortcuts (Figure 3)", fontsize=11, y=0.985)
    note = f"Solid shortcuts: identity. Dotted: {dotted}, where dimensions grow. Drawn from the PyTorch modules."
    figure.text(0.5, 0.01, note, ha="center", va="bottom", fontsize=7, color="0.35")
    figure.subplots_adjust(left=0.02, right=0.98, top=0.97, bottom=0.025)
    return figure
