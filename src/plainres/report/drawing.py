"""What the figures have in common: style, panels, colours, curves, titles and captions."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plainres.records.record import Record
from plainres.report.records import Study

STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 11,
    "grid.color": "0.92",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.dpi": 150,
}
# Decorator of what draws or saves: matplotlib's defaults and our style, and afterwards the user's settings again.
in_our_style = plt.style.context(["default", STYLE])

TRAINING: dict[str, Any] = {"ls": "--", "lw": 1.2}
TEST: dict[str, Any] = {"ls": "-", "lw": 2.2}
FEW = 4  # so many values get markers, because a line through them would be short or invisible


def make_panels(
    study: Study, title: str, runs: Iterable[Record], rows: int, columns: int, note: str = "", **options
) -> tuple[Figure, list[Axes]]:
    """Return a new figure and its axes, row by row, from `matplotlib.pyplot.subplots`.

    The caption says what the shown runs are, and ends with the note: by default, what bands are, if any net has several
    finished seeds. The study is that of the runs, or one of several on the same data, whose warning the title has.
    """
    runs = [*runs]
    finished = [run.net for run in runs if run.outcome == "finished"]
    if not note and len(set(finished)) < len(finished):
        note = "Bands: lowest to highest seed."
    figure, axes = plt.subplots(rows, columns, squeeze=False, **options)
    figure.suptitle(f"{title}\n{study.info.warning}".strip())
    figure.supxlabel(f"{study.describe(runs)}. {note}".strip(), fontsize=8, color="0.35", wrap=True)
    return figure, [*axes.flat]


def thousands(x: float, _: float = 0) -> str:
    """Format a number of iterations as an axis label, for example 500 or 1.5k."""
    return f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"


def by_depth(depths: Sequence[int]) -> dict[int, tuple]:
    """Return one colour per depth: dark is deep, which is distinct in grey and to the colour-blind."""
    ordered = sorted(set(depths))
    colours = plt.get_cmap("viridis")(np.linspace(0.75, 0, len(ordered)))
    return dict(zip(ordered, map(tuple, colours), strict=True))


def net_colours(study: Study) -> dict[str, tuple]:
    """Return the colour of each net: one per depth of the study, the same for plain and residual nets."""
    colours = by_depth([run.depth for run in study.shown])
    return {run.net: colours[run.depth] for run in study.shown}


def curves(study: Study, net: str, column: str) -> pd.DataFrame:
    """Return mean, minimum and maximum of one column of the metrics over the finished seeds of a net, by iteration."""
    frame = study.metrics
    rows = frame[(frame["net"] == net) & (frame["outcome"] == "finished")].dropna(subset=column)
    return rows.groupby("iteration")[column].agg(["mean", "min", "max"])


def draw_seeds(axes: Axes, study: Study, net: str, column: str, band: float, **look) -> None:
    """Draw one column of the metrics of a net: the mean over the finished seeds, and their range as a pale band."""
    curve = curves(study, net, column)
    axes.fill_between(curve.index, curve["min"], curve["max"], color=look["color"], alpha=band, lw=0)
    _draw_curve(axes, curve["mean"], **look)


def draw_net(axes: Axes, study: Study, net: str, colour: tuple) -> list[Line2D]:
    """Draw training error (thin, dashed) and test error (bold) of a net against iterations.

    Lines are means over the finished seeds and bands the range over them. Runs in progress are lighter.

    Returns:
        Entries of a legend: one for the finished seeds, if there are any, and one for each run in progress.
    """
    looks = {"train_error": TRAINING, "test_error": TEST}
    entries = []
    if study.of_net(net):
        for column, look in looks.items():
            draw_seeds(axes, study, net, column, 0.15, color=colour, **look)
        entries.append(Line2D([], [], color=colour, label=net, **TEST))
    for run in (run for run in study.partial if run.net == net):
        for column, look in looks.items():
            if column in run.metrics:
                values = run.metrics.set_index("iteration")[column].dropna()
                _draw_curve(axes, values, color=colour, alpha=0.5, **look)
        done, total = (thousands(n) for n in (run.iterations_done, run.config["iterations"]))
        label = f"{net}, seed {run.seed} ({done} of {total})"
        entries.append(Line2D([], [], color=colour, alpha=0.5, label=label, **TEST))
    return entries


def _draw_curve(axes: Axes, values: pd.Series, **look) -> None:
    """Draw values against their index, with markers if they are few."""
    axes.plot(values.index, values, marker="o" if len(values) <= FEW else "None", **look)


def error_axes(axes: Axes, study: Study, top: float, label: str) -> None:
    """Label errors against the iterations of a study, and mark the iterations at which the learning rate falls."""
    for drop in study.drops:
        axes.axvline(drop, color="0.85", lw=1, zorder=0)
    axes.set_xlim(0, 1.03 * study.iterations)
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_formatter(thousands)
    axes.set_ylim(0, top)
    axes.set_ylabel(label)
    axes.tick_params(labelleft=True)
