"""Figures 1 and 6 of the paper, and the final error against the budget, drawn from records.

Every function returns a matplotlib figure, or None if the study has no records for it. With `axes=` it draws into
existing axes, leaves out the figure's title and caption, and returns the figure of these axes.
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plainres.records.frames import overview_frame
from plainres.report.drawing import (
    TEST,
    TRAINING,
    AxesLike,
    about_bands,
    add_titles,
    by_depth,
    curves,
    draw_curve,
    draw_net,
    in_our_style,
    iteration_axis,
    make_panels,
    net_colours,
    thousands,
)
from plainres.report.records import Study

PAPER_TOP = 20.0  # percent, the upper end of the axes in the paper
PAPER_PAIR = ("plain-20", "plain-56")
PAPER_COLOURS = ("#d9a514", "#c1272d")  # of the shallow and the deep net
VARIANTS = "^Dv<"  # markers of nets that depart from the paper


@in_our_style
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
    runs = [run for net in nets for run in study.of_net(net)]
    figure, panels = make_panels(axes, 1, 2, figsize=(7.2, 3.3), sharey=True)
    for panel, part in zip(panels, ("train", "test"), strict=True):
        for net, colour in zip(nets, PAPER_COLOURS, strict=True):
            curve = curves(study, net, f"{part}_error")
            panel.fill_between(curve.index, curve["min"], curve["max"], color=colour, alpha=0.2, lw=0)
            draw_curve(panel, curve["mean"], color=colour, lw=1.8, label=f"{study.of_net(net)[0].depth}-layer")
        iteration_axis(panel, study)
        panel.set_ylim(0, error_top(study, nets))
        panel.set_ylabel("training error (%)" if part == "train" else "test error (%)")
        panel.tick_params(labelleft=True)
        panel.legend()
    if axes is None:
        add_titles(figure, "Training and test error of plain nets (Figure 1)", runs, about_bands(runs))
    return figure


@in_our_style
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
    top = error_top(study, plain + residual)
    return draw_panels(study, groups, top, "test", "Training and test error during training (Figure 6)", axes)


def draw_panels(
    study: Study, groups: dict[str, list[str]], top: float, tested: str, title: str, axes: AxesLike = None
) -> Figure | None:
    """Draw training error (dashed) and test error (bold) of groups of nets against iterations, one panel per group.

    Args:
        study: Study that has the nets.
        groups: Names of nets by title of their panel. Groups without nets get no panel.
        top: Upper end of the error axis, in percent.
        tested: What nets are tested on, for the legend: `"test"` or `"validation"`.
        title: Title of the figure.
        axes: Axes to draw into, one per group.

    Returns:
        None if no group has nets.
    """
    groups = {name: nets for name, nets in groups.items() if nets}
    if not groups:
        return None
    colours = net_colours(study)
    figure, panels = make_panels(axes, 1, len(groups), figsize=(max(5.2, 3.6 * len(groups)), 4.2), sharey=True)
    for panel, (name, nets) in zip(panels, groups.items(), strict=True):
        entries = [entry for net in nets for entry in draw_net(panel, study, net, colours[net])]
        entries += [Line2D([], [], color="0.3", label="training", **TRAINING)]
        entries += [Line2D([], [], color="0.3", label=tested, **TEST)]
        iteration_axis(panel, study)
        panel.set_title(name)
        panel.set_ylim(0, top)
        panel.set_ylabel("error (%)")
        panel.tick_params(labelleft=True)
        # Below the axes, because curves may be anywhere in them. The pad is in font sizes, so that the label fits.
        panel.legend(handles=entries, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4)
    if axes is None:
        shown = {net for nets in groups.values() for net in nets}
        runs = [run for run in (*study.runs, *study.partial) if run.net in shown]
        add_titles(figure, title, runs, about_bands(runs))
    return figure


@in_our_style
def figure_budgets(studies: Sequence[Study], axes: AxesLike = None) -> Figure | None:
    """Draw the final training error (left) and test error (right) against the number of iterations.

    Points are runs. A line joins the runs of one net and seed on the same hardware. Points of nets that depart from
    the paper, such as plain-56-clip1, are hollow.

    Args:
        studies: Studies on one data set and training set, in one precision, with different budgets.
        axes: Two axes to draw into.

    Returns:
        None if no net was trained at several budgets.
    """
    runs = overview_frame([run for study in studies for run in study.runs])
    runs = runs[runs.groupby("net")["iterations"].transform("nunique") > 1]
    if runs.empty:
        return None
    colours = by_depth(runs["depth"])
    papers = {net for study in studies for kind in ("plain", "residual") for net in paper_nets(study, kind)}
    variants = dict(zip(sorted({*runs["net"]} - papers), VARIANTS * len(runs), strict=False))
    figure, panels = make_panels(axes, 1, 2, figsize=(9.4, 3.8), sharey=True)
    for panel, part in zip(panels, ("train", "test"), strict=True):
        for (net, kind, depth), of_net in runs.groupby(["net", "kind", "depth"]):
            look: dict[str, Any] = {"color": colours[depth], "ls": "--" if kind == "plain" else "-", "lw": 1.2, "ms": 5}
            marker = variants.get(net, "o" if kind == "plain" else "s")
            look |= {"marker": marker, "mfc": "white" if net in variants else colours[depth]}
            for _, joined in of_net.groupby(["seed", "hardware"]):
                panel.plot(*joined.sort_values("iterations")[["iterations", f"{part}_error"]].to_numpy().T, **look)
            panel.plot([], [], label=net, **look)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(plt.FixedLocator([1000 * 2.0**i for i in range(-4, 9)]))
        panel.xaxis.set_minor_locator(plt.NullLocator())
        panel.xaxis.set_major_formatter(thousands)
        panel.set_xlabel("number of iterations of the whole training")
        panel.set_ylabel("final training error (%)" if part == "train" else "final test error (%)")
        panel.set_ylim(bottom=0)
        panel.tick_params(labelleft=True)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    if axes is None:
        shown = [run for study in studies for run in study.runs if run.net in set(runs["net"])]
        note = "Lines join runs of one seed on the same hardware."
        add_titles(figure, "Final error against the length of the training", shown, note)
    return figure


def paper_nets(study: Study, kind: str) -> list[str]:
    """Return the paper's nets of one kind, shallow to deep: plain, or residual with option A, at default settings."""
    prefix = {"plain": "plain", "residual": "resnet"}[kind]
    depths = sorted({run.depth for run in (*study.runs, *study.partial) if run.net == f"{prefix}-{run.depth}"})
    return [f"{prefix}-{depth}" for depth in depths]


def error_top(study: Study, nets: list[str]) -> float:
    """Return the upper end of the error axis: the paper's 20% if every net ends well below, else one that fits."""
    runs = [run for run in (*study.runs, *study.partial) if run.net in nets]
    highest = np.nanmax([0.0, *(run.last(column) for run in runs for column in ("train_error", "test_error"))])
    return PAPER_TOP if highest < 0.8 * PAPER_TOP else min(100.0, 10 * math.ceil(highest / 10) + 20)
