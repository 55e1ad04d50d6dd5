"""The forest plot: the effects behind the verdicts with their intervals, and the published figures."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plainres.report.claims_tables import claims_frame
from plainres.report.drawing import in_our_style
from plainres.report.verdicts import CONTRADICTED, DIRECTION, OPEN, REPRODUCED, Verdict

COLOURS = {REPRODUCED: "#1a7f37", DIRECTION: "#20608f", OPEN: "0.55", CONTRADICTED: "#d1495b"}
ROW = 0.26  # height of a row in inches
UNITS = ("points", "factors of ten")  # of trained nets; counts are exact


def _draw(axes: Axes, rows: pd.DataFrame, unit: str) -> None:
    """Draw one row per comparison, the first on top, with its budget and number of seeds to the right."""
    for y, row in zip(range(0, -len(rows), -1), rows.itertuples(), strict=True):
        colour = COLOURS[row.level]
        if row.n == 1:
            axes.plot(row.effect, y, "o", mfc="white", color=colour, ms=6)
        else:
            axes.errorbar(row.effect, y, xerr=row.effect - row.low, fmt="o", color=colour, ms=6, lw=1.6, capsize=3)
        if pd.notna(row.published):
            axes.plot(row.published, y, "D", mfc="white", color="0.2", ms=5, zorder=3)
        text = f"{row.iterations / 1000:g}k, n = {row.n:.0f}"
        axes.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.axvline(0, color="0.3", lw=1, zorder=0)
    axes.set_yticks(range(0, -len(rows), -1), labels=rows["comparison"], fontsize=8)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xlabel(f"effect in {unit}, positive as claimed")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="0.93")
    axes.spines["left"].set_visible(False)


@in_our_style
def figure_claims(verdicts: Mapping[str, Verdict]) -> Figure | None:
    """Draw the effect of every comparison of trained nets with its 95% interval, beside the published figure.

    Effects of a single run per net have no interval and are open. Returns None if no comparison has an effect.
    """
    frame = claims_frame(verdicts).dropna(subset="effect")
    panels = {unit: rows for unit in UNITS if len(rows := frame[(frame["unit"] == unit) & (frame["iterations"] > 0)])}
    if not panels:
        return None
    heights = [len(rows) + 2.2 for rows in panels.values()]
    size = (9.5, ROW * sum(heights) + 0.6)
    figure, axes = plt.subplots(len(panels), figsize=size, height_ratios=heights, squeeze=False, layout="none")
    for panel, (unit, rows) in zip(axes[:, 0], panels.items(), strict=True):
        _draw(panel, rows, unit)
    levels = [level for level in COLOURS if level in set(frame["level"])]
    handles = [Line2D([], [], color=COLOURS[level], marker="o", label=level) for level in levels]
    handles += [
        Line2D([], [], color="0.4", marker="o", mfc="white", ls="none", label="one run per net"),
        Line2D([], [], color="0.2", marker="D", mfc="white", ls="none", label="published"),
    ]
    figure.legend(handles=handles, loc="upper center", ncol=len(handles), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    return figure
