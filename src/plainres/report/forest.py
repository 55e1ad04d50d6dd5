"""The forest plot: the effects behind the verdicts, with their intervals and the published figures."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from plainres.report.drawing import in_our_style
from plainres.report.layer_claims import FACTORS
from plainres.report.parts import Part
from plainres.report.verdicts import Verdict, budget

OURS, GREY, PUBLISHED, BAND = "#20608f", "0.6", "#d1495b", "0.93"
UNITS = ("points", FACTORS)
LINEAR = 1.0  # the scale is linear up to here and logarithmic beyond
TICKS = (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)
ROW = 0.27  # height of a row in inches
NOTE = (
    "Each row has the budget, precision and number of seeds that its claim is judged on, and the level of the claim; "
    "REPORT.md names the studies with\ntheir seeds and hardware. Claims 4b and 5a are about early errors, which mean "
    "the same at every budget. Levels do not rest on the small marks."
)
Row = tuple[str, Verdict, Part]


def _rows(verdicts: dict[str, Verdict], unit: str) -> list[Row]:
    return [(id, verdict, part) for id, verdict in verdicts.items() for part in verdict.parts if part.unit == unit]


def _draw_row(axes: Axes, y: int, part: Part) -> None:
    colour = OURS if part.comparable else GREY
    effect = part.effect
    if part.bound is not None:
        axes.barh(y, 2 * part.bound, left=-part.bound, height=0.8, color=BAND, zorder=0)
    if effect.n == 1:
        axes.plot(effect.mean, y, "o", mfc="white", mec=colour, ms=6, mew=1.4, zorder=3)
    else:
        axes.errorbar(effect.mean, y, xerr=effect.half_width, fmt="o", color=colour, ms=6, lw=1.6, capsize=3)
    if part.several_seeds:
        other, seeds = part.several_seeds
        colour = OURS if other.iterations >= other.info.paper_iterations else GREY
        axes.errorbar(seeds.mean, y, xerr=seeds.half_width, fmt="o", color=colour, ms=4, lw=1.2, capsize=2)
    if part.reference is not None and part.comparable:
        reference = part.reference
        axes.errorbar(
            reference.value,
            y,
            xerr=reference.half_width or None,
            fmt="D",
            mfc="white",
            color=PUBLISHED,
            ms=5,
            lw=1.2,
            zorder=3,
        )


def _draw(axes: Axes, rows: Sequence[Row], unit: str) -> None:
    """Draw one row per part, the first on top, with its level and records to the right."""
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.6)
    for place, (_, verdict, part) in enumerate(rows):
        y = -place
        _draw_row(axes, y, part)
        seeds = f"{part.effect.n} seed{'s' if part.effect.n > 1 else ''}"
        text = f"{part.judged.iterations:,} iterations, {part.judged.config['precision']}, {seeds}: {verdict.level}"
        axes.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, color="0.35")
        if place and rows[place - 1][0] != rows[place][0]:
            axes.axhline(y + 0.5, color="0.88", lw=0.8, zorder=0)
    axes.axvline(0, color="0.3", lw=1, zorder=0)
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in TICKS if low <= tick <= high])
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+g}" if x else "0")
    axes.minorticks_off()
    axes.set_yticks([-place for place in range(len(rows))])
    axes.set_yticklabels([f"{id}   {part.name}" for id, _, part in rows], fontsize=8)
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    scale = f", linear up to {LINEAR:g} and logarithmic beyond" if max(abs(low), abs(high)) > 2 * LINEAR else ""
    axes.set_xlabel(f"effect in {unit}, positive as claimed{scale}", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="0.93")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


@in_our_style
def figure_claims(verdicts: dict[str, Verdict]) -> Figure | None:
    """Draw the effect of every part of every claim with its 95% interval, beside the published figure.

    Effects are grey where the budget is below the paper's, and the published figure is then left out. Early errors
    (claims 4b and 5a) mean the same at every budget. Effects are open where a single seed gives no interval; the same
    effect over several seeds of another budget is then drawn smaller beside it. Claims without records are left out.

    Args:
        verdicts: Verdicts by id of the claim.

    Returns:
        The figure, or None if no claim has an effect.
    """
    panels = {unit: rows for unit in UNITS if (rows := _rows(verdicts, unit))}
    if not panels:
        return None
    heights = [len(rows) + 2.2 for rows in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(12, ROW * sum(heights) + 0.9), height_ratios=heights, squeeze=False, layout="none"
    )
    for panel, (unit, rows) in zip(axes[:, 0], panels.items(), strict=True):
        _draw(panel, rows, unit)
    others = dict.fromkeys(
        f"{budget(part.several_seeds[0])}, {part.several_seeds[0].config['precision']}"
        for rows in panels.values()
        for _, _, part in rows
        if part.several_seeds
    )
    handles = [
        Line2D([], [], color=OURS, marker="o", lw=1.6, label="ours, with 95% interval"),
        Line2D([], [], color=GREY, marker="o", lw=1.6, label="ours, budget below the paper's"),
        Line2D([], [], color="0.4", marker="o", mfc="white", ls="none", label="one seed, no interval"),
        *(Line2D([], [], color=GREY, marker="o", ms=4, lw=1.2, label=f"several seeds at {other}") for other in others),
        Line2D([], [], color=PUBLISHED, marker="D", mfc="white", ls="none", label="published (2: other reproductions)"),
        Patch(color=BAND, label="claimed to lie within"),
    ]
    figure.legend(handles=handles, loc="upper center", ncol=3, frameon=False, fontsize=8)
    datasets = dict.fromkeys(part.judged.info.title for rows in panels.values() for _, _, part in rows)
    note = f"{' and '.join(datasets)}. {NOTE}"
    figure.text(0.01, 0.05 / figure.get_figheight(), note, fontsize=7.5, color="0.35", va="bottom")
    height = figure.get_figheight()
    figure.tight_layout(rect=(0, 0.35 / height, 0.985, 1 - 0.5 / height))
    return figure
