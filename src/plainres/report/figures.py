"""Figures 1 and 6 of the paper, and the final error against the budget, drawn from records.

Every function returns a matplotlib figure, or None if the study has no records for it. With `axes=` it draws into
existing axes, leaves out the figure's title and caption, and returns the figure of these axes.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plainres.report.drawing import (
    FEW,
    TEST,
    TRAINING,
    Style,
    by_depth,
    curves,
    draw_net,
    finish,
    iteration_axis,
    make_panels,
    style_of,
    thousands,
    tidy,
)
from plainres.report.records import Run, Study

PAPER_TOP = 20.0  # percent, the upper end of the axes in the paper
PAPER_PAIR = ("plain-20", "plain-56")
PAPER_COLOURS = ("#d9a514", "#c1272d")  # of the shallow and the deep net
LABEL_HEIGHT = 0.15  # of a label and its distance from a curve, relative to the axes
DROPS = "Grey lines: the learning rate is divided by 10."
FILLS: tuple[Any, ...] = ("full", "none", "left", "right", "top", "bottom")  # of the markers of nets of one depth
SEEDS = "Lines are means over seeds; bands reach from the lowest to the highest seed."
AxesLike = Axes | np.ndarray | Sequence[Axes] | None


def note_on(study: Study, runs: Sequence[Run], top: float) -> str:
    """Return what the lines of a figure are, for its caption.

    Args:
        study: Study of the runs.
        runs: Runs that the figure shows.
        top: Upper end of the error axis, in percent.
    """
    columns = ("train_error", "test_error")
    cut = any(run.metrics[column].max() > top for run in runs for column in columns if column in run.metrics)
    parts = [
        DROPS if study.drops else "",
        SEEDS if any(len(study.of_net(run.net)) > 1 for run in runs) else "",
        f"Errors above {top:g}% are cut off{', as in the paper' if top == PAPER_TOP else ''}." if cut else "",
    ]
    return " ".join(filter(None, parts))


def figure_1(study: Study, axes: AxesLike = None) -> Figure | None:
    """Draw Figure 1: training error (left) and test error (right) of a shallow and a deep plain net.

    As in the paper, the deep net is red and the shallow one yellow, and the axes end at 20% where both nets end below.

    Args:
        study: Study with finished plain nets of two depths. The nets are plain-20 and plain-56, or the shallowest and
            the deepest one if the study lacks these.
        axes: Two axes to draw into.

    Returns:
        None if the study has finished plain nets of fewer than two depths.
    """
    nets = [net for net in paper_nets(study, "plain") if study.of_net(net)]
    if len(nets) < 2:
        return None
    nets = list(PAPER_PAIR) if set(PAPER_PAIR) <= set(nets) else [nets[0], nets[-1]]
    panels = make_panels(axes, 1, 2, figsize=(7.2, 3.2), sharey=True)
    top = error_top(study, nets)
    for panel, column, name in zip(panels.axes, ("train_error", "test_error"), ("training", "test"), strict=True):
        ends = {net: curves(study, net, column)["mean"] for net in nets}
        last = {net: float(curve.iloc[-1]) for net, curve in ends.items()}
        lowest = min(last, key=last.__getitem__)
        for net, colour in zip(nets, PAPER_COLOURS, strict=True):
            few = len(ends[net]) <= FEW
            panel.plot(ends[net].index, ends[net], color=colour, lw=1.8, marker="o" if few else None)
            band = curves(study, net, column)
            panel.fill_between(band.index, band["min"], band["max"], color=colour, alpha=0.2, lw=0)
            # Above the upper curve and below the lower one, where nothing is in the way but the axis.
            late = ends[net].loc[ends[net].index >= 0.6 * study.iterations]
            below = net == lowest and late.min() > LABEL_HEIGHT * top
            y, va, shift = (late.min(), "top", -6) if below else (late.max(), "bottom", 6)
            depth = net.split("-")[1]
            panel.annotate(
                f"{depth}-layer", (0.97 * study.iterations, y), (0, shift), textcoords="offset points",
                ha="right", va=va, color=colour, fontsize=12, fontweight="bold",
            )  # fmt: skip
        iteration_axis(panel, study)
        panel.set_ylim(0, top)
        panel.set_ylabel(f"{name} error (%)", fontsize=11)
        panel.tick_params(labelleft=True)
    shown = [run for net in nets for run in study.of_net(net)]
    return finish(panels, shown, "Training and test error of plain nets (Figure 1)", note_on(study, shown, top))


def figure_6(study: Study, axes: AxesLike = None) -> Figure | None:
    """Draw Figure 6: training error (dashed) and test error (bold) of plain nets and of residual nets.

    As in the paper, plain-110, which hardly trains, is left out if there are other plain nets, and ResNet-1202 has a
    panel of its own beside ResNet-110. Runs in progress are drawn in lighter colours.

    Args:
        study: Study with plain nets, residual nets with option A, or both, at the default settings.
        axes: Axes to draw into: one per group of nets (plain, residual, 110 and 1202 layers) that the study has.

    Returns:
        None if the study has no such nets.
    """
    plain, residual = paper_nets(study, "plain"), paper_nets(study, "residual")
    groups = {
        "plain nets": [net for net in plain if net != "plain-110"] or plain,
        "residual nets": [net for net in residual if net != "resnet-1202"],
        "110 and 1202 layers": [net for net in residual if net in ("resnet-110", "resnet-1202")],
    }
    if "resnet-1202" not in residual:
        del groups["110 and 1202 layers"]
    groups = {title: nets for title, nets in groups.items() if nets}
    if not groups:
        return None
    top = error_top(study, [net for nets in groups.values() for net in nets])
    return draw_panels(study, groups, top, "test", "Training and test error during training (Figure 6)", axes)


def draw_panels(
    study: Study, groups: dict[str, list[str]], top: float, tested: str, title: str, axes: AxesLike = None
) -> Figure:
    """Draw training error (dashed) and test error (bold) of groups of nets against iterations, one panel per group.

    Args:
        study: Study that has the nets.
        groups: Names of nets by title of their panel.
        top: Upper end of the error axis, in percent.
        tested: What nets are tested on, for the legend: `"test"` or `"validation"`.
        title: Title of the figure.
        axes: Axes to draw into, one per group.
    """
    nets = [net for group in groups.values() for net in group]
    style = style_of(study, nets)
    panels = make_panels(axes, 1, len(groups), figsize=(3.5 * len(groups), 4.2), sharey=True)
    for panel, (group, members) in zip(panels.axes, groups.items(), strict=True):
        entries = [
            entry for net in members for entry in draw_net(panel, study, net, style[net], ("train_error", "test_error"))
        ]
        finished = [net for net in members if study.of_net(net)]
        few = bool(finished) and all(len(curves(study, net, "test_error")) <= FEW for net in finished)
        test: dict[str, Any] = {"ls": "none", "marker": "o"} if few else TEST
        entries += [Line2D([], [], color="0.3", label="training", **TRAINING)]
        entries += [Line2D([], [], color="0.3", label=tested, **test)]
        iteration_axis(panel, study)
        panel.set_title(group, fontsize=12)
        panel.set_ylim(0, top)
        panel.set_ylabel("error (%)", fontsize=11)
        panel.tick_params(labelleft=True, labelsize=11)
        # Below the axes, because curves may be anywhere in them.
        columns = 1 if study.partial else 2
        panel.legend(
            handles=entries, frameon=False, ncols=columns, fontsize=10, columnspacing=1.2, handlelength=1.8,
            loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4,  # in font sizes, so that the label fits
        )  # fmt: skip
    shown = [run for run in (*study.runs, *study.partial) if run.net in nets]
    return finish(panels, shown or study.readable, title, note_on(study, shown, top))


def figure_budgets(studies: Sequence[Study], axes: AxesLike = None) -> Figure | None:
    """Draw the final training error (left) and test error (right) against the number of iterations.

    Lines join the means over seeds. Where a net has several seeds, a bar reaches from the lowest to the highest.
    Nets of one kind and depth, such as plain-56 and plain-56-clip1, differ in how their markers are filled.

    Args:
        studies: Studies on one data set and training set, in one precision, with different budgets.
        axes: Two axes to draw into.

    Returns:
        None if no two nets were trained at several budgets that they share.
    """
    keys, errors = ["net", "kind", "depth", "iterations"], ["train_error", "test_error"]
    finished = [study.overview.loc[study.overview["outcome"] == "finished", keys + errors] for study in studies]
    finished = [rows for rows in finished if len(rows)]
    if not finished:
        return None
    several = pd.concat(finished)
    rows = len(several) + 1
    while len(several) < rows:
        rows = len(several)
        several = several[several.groupby("net")["iterations"].transform("nunique") > 1]
        # One net alone at its budget compares nothing, and without this budget some net may have a single one.
        several = several[several.groupby("iterations")["net"].transform("nunique") > 1]
    if several.empty:
        return None
    styles = by_depth(several["depth"])
    panels = make_panels(axes, 1, 2, figsize=(9.4, 3.8), sharey=True)
    for net, points in several.groupby("net"):
        kind, depth = points[["kind", "depth"]].iloc[0]
        style: Style = styles[depth]
        ls = "--" if kind == "plain" else "-"
        alike = sorted(several.loc[(several["kind"] == kind) & (several["depth"] == depth), "net"].unique())
        place = alike.index(net) % len(FILLS)
        # Small white markers remain visible on the filled ones that they may coincide with.
        look: dict[str, Any] = {"ms": 7, "lw": 1.6} if place == 0 else {"ms": 4, "lw": 0.9, "mfc": "white", "zorder": 3}
        for panel, column in zip(panels.axes, ("train_error", "test_error"), strict=True):
            seeds = points.groupby("iterations")[column].agg(["mean", "min", "max"])
            panel.vlines(seeds.index, seeds["min"], seeds["max"], color=style.colour)
            look |= {"color": style.colour, "ls": ls, "marker": style.marker, "fillstyle": FILLS[place], "label": net}
            panel.plot(seeds["mean"], **look)
    budgets = sorted(several["iterations"].unique())
    labels: dict[int, str] = {}
    for n in budgets:  # labels of close budgets would overlap
        labels[n] = thousands(n) if all(n >= 1.7 * other for other in labels if labels[other]) else ""
    for panel, name in zip(panels.axes, ("training", "test"), strict=True):
        panel.set_xscale("log", base=2)
        panel.set_xticks([*labels], [*labels.values()], fontsize=9)
        panel.set_xticks([], minor=True)
        panel.set_xlabel("number of iterations of the whole training")
        panel.set_ylabel(f"final {name} error (%)")
        panel.set_ylim(bottom=0)
        panel.tick_params(labelleft=True)
        tidy(panel)
    panels.axes[1].legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    points = set(zip(several["net"], several["iterations"], strict=True))
    shown = [run for study in studies for run in study.runs if (run.net, study.iterations) in points]
    several_seeds = len({run.seed for run in shown}) > 1
    note = "Points are means over seeds; bars reach from the lowest to the highest seed." if several_seeds else ""
    return finish(panels, shown, "Final error against the length of the training", note)


def paper_nets(study: Study, kind: str) -> list[str]:
    """Return the paper's nets of one kind, shallow to deep: plain, or residual with option A, at default settings."""
    prefix = {"plain": "plain", "residual": "resnet"}[kind]
    runs = [*study.runs, *study.partial]
    depths = sorted({run.depth for run in runs if run.net == f"{prefix}-{run.depth}"})
    return [f"{prefix}-{depth}" for depth in depths]


def error_top(study: Study, nets: list[str]) -> float:
    """Return the upper end of the error axis: the paper's 20% if every net ends well below, else one that fits."""
    runs = [run for run in (*study.runs, *study.partial) if run.net in nets]
    ends = [run.last(column) for run in runs for column in ("train_error", "test_error")]
    highest = np.nanmax([*ends, 0.0])
    return PAPER_TOP if highest < 0.8 * PAPER_TOP else min(100.0, 10 * math.ceil(highest / 10) + 20)
