"""What the figures have in common: panels, styles of nets, curves, captions."""

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plainres.report.records import Run, Study, describe_runs

COLOURS = plt.get_cmap("viridis")
MARKERS = ("o", "s", "^", "D", "v", "P")
FEW = 4  # up to so many passes over the test set are drawn as points, because they are not a curve
TITLE_SIZE, CAPTION_SIZE = 11, 7
TRAINING: dict[str, Any] = {"ls": "--", "lw": 1.2}
TEST: dict[str, Any] = {"ls": "-", "lw": 2.2}


class Style(NamedTuple):
    """Colour and marker of a net."""

    colour: tuple
    marker: str


class Panels(NamedTuple):
    """The axes that a figure draws into.

    Attributes:
        figure: Figure of the axes.
        axes: The axes, row by row.
        ours: Whether the figure was made here. Titles of the figure and captions belong to such figures only.
    """

    figure: Figure
    axes: list[Axes]
    ours: bool


def make_panels(axes: Axes | np.ndarray | Sequence[Axes] | None, rows: int, columns: int, **options) -> Panels:
    """Return the axes to draw into: those that are given, or those of a new figure.

    Args:
        axes: One Axes or an array of them, or None for a new figure.
        rows: Number of rows of the new figure.
        columns: Number of columns of the new figure.
        options: Further arguments of `matplotlib.pyplot.subplots`.

    Raises:
        ValueError: If the number of axes is not `rows * columns`.
    """
    if axes is None:
        figure, panels = plt.subplots(rows, columns, squeeze=False, layout="constrained", **options)
        return Panels(figure, list(panels.flat), True)
    given = list(np.asarray(axes, dtype=object).flat)
    if len(given) != rows * columns:
        raise ValueError(f"this figure has {rows * columns} panels, but `axes` holds {len(given)}")
    return Panels(given[0].figure, given, False)


def finish(panels: Panels, runs: Sequence[Run], title: str, note: str = "") -> Figure:
    """Add the title, and what the runs were trained on, to a figure that was made here, and return the figure.

    Args:
        panels: Panels of the figure.
        runs: Runs that the figure shows.
        title: Title of the figure.
        note: Sentence that follows the description of the runs.
    """
    figure = panels.figure
    if panels.ours:
        warning = Study(runs[0].folder.parents[1], list(runs)).info.warning
        lines = [*title.splitlines(), *warning.splitlines()]
        figure.suptitle("\n".join(_wrap(line, figure, TITLE_SIZE) for line in lines), fontsize=TITLE_SIZE)
        text = f"{describe_runs(runs)}. {note}".strip()
        figure.supxlabel(_wrap(text, figure, CAPTION_SIZE), fontsize=CAPTION_SIZE, color="0.35")
    return figure


def _wrap(text: str, figure: Figure, size: float) -> str:
    """Break a text of a font size, in points, into lines that fit into the width of a figure."""
    return textwrap.fill(text, int(figure.get_figwidth() * 72 / (0.62 * size)))  # characters of average width


def tidy(axes: Axes) -> None:
    """Give axes the look of all figures: horizontal grid lines, no frame at the top and on the right."""
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def thousands(x: float, _: float = 0) -> str:
    """Format a number of iterations as an axis label, for example 500 or 1.5k."""
    return f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"


def by_depth(depths: Sequence[int]) -> dict[int, Style]:
    """Return one style per depth: dark is deep, which is distinct in grey and to the colour-blind."""
    ordered = sorted(set(depths))
    last = max(1, len(ordered) - 1)
    return {depth: Style(COLOURS(0.75 * (1 - i / last)), MARKERS[i % len(MARKERS)]) for i, depth in enumerate(ordered)}


def style_of(study: Study, nets: Sequence[str]) -> dict[str, Style]:
    """Return the style of each net: one per depth of the study, the same for plain and residual nets."""
    runs = [*study.runs, *study.partial]
    styles = by_depth([run.depth for run in runs])
    return {run.net: styles[run.depth] for run in runs if run.net in nets}


def lighter(colour: tuple) -> tuple:
    """Return a colour halfway to white, for runs in progress."""
    return tuple((1 + part) / 2 for part in to_rgb(colour))


def curves(study: Study, net: str, column: str) -> pd.DataFrame:
    """Return mean, minimum and maximum of one column of the metrics over the finished seeds of a net, by iteration."""
    frame = study.metrics
    rows = frame[(frame["net"] == net) & (frame["outcome"] == "finished")].dropna(subset=column)
    return rows.groupby("iteration")[column].agg(["mean", "min", "max"])


def draw_net(axes: Axes, study: Study, net: str, style: Style, columns: Sequence[str]) -> list[Line2D]:
    """Draw columns of the metrics of a net against iteration: training error thin and dashed, test error bold.

    The lines are means over the finished seeds, and a band or a bar is the range over them.

    Returns:
        Entries of a legend that look like the lines: one for the finished seeds, if there are any, and one for each
        run in progress.
    """
    entries = []
    if study.of_net(net):
        few = False
        for column in columns:
            curve = curves(study, net, column)
            if len(curve) <= FEW:
                few = True
                axes.vlines(curve.index, curve["min"], curve["max"], color=style.colour, lw=1.6)
            else:
                axes.fill_between(curve.index, curve["min"], curve["max"], color=style.colour, alpha=0.15, lw=0)
            axes.plot(curve.index, curve["mean"], color=style.colour, **_look(column, len(curve), style))
        look = TRAINING | {"marker": style.marker, "ms": 6} if few else TEST
        entries.append(Line2D([], [], color=style.colour, label=net, **look))
    running = [run for run in study.partial if run.net == net]
    for run in running:
        colour = lighter(style.colour)
        for column in columns:
            curve = run.metrics[["iteration", column]].dropna() if column in run.metrics else pd.DataFrame()
            if len(curve):
                axes.plot(curve["iteration"], curve[column], color=colour, **_look(column, len(curve), style))
        done, total = (thousands(n) for n in (run.iterations_done, run.config["iterations"]))
        seed = f" seed {run.seed}" if entries or len(running) > 1 else ""
        entries.append(Line2D([], [], color=colour, label=f"{net}{seed} (partial, {done} of {total})", **TEST))
    return entries


def _look(column: str, count: int, style: Style) -> dict[str, Any]:
    """Return how to draw `count` values of a column: as a line, or as points if they are few test errors.

    Training errors are always a line, because the legend explains points as test errors.
    """
    if column == "train_error":
        return TRAINING
    if count <= FEW:
        return {"ls": "none", "marker": style.marker, "ms": 7, "clip_on": False, "zorder": 3}
    return TEST


def iteration_axis(axes: Axes, study: Study) -> None:
    """Label the iterations of a study, and mark those at which the learning rate falls."""
    for drop in study.drops:
        axes.axvline(drop, color="0.85", lw=1, zorder=0)
    axes.set_xlim(0, study.iterations)
    axes.set_xlabel("iteration", fontsize=11)
    axes.xaxis.set_major_formatter(thousands)
    tidy(axes)
