"""Figures 1 and 6 of the paper, and the final error against the budget, drawn from records.

Every function returns a matplotlib figure, or None if the study has no records for it.
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plainres.records.frames import overview_frame
from plainres.records.record import Record
from plainres.report.drawing import (
    TEST,
    TRAINING,
    by_depth,
    draw_net,
    draw_seeds,
    error_axes,
    in_our_style,
    make_panels,
    net_colours,
    thousands,
)
from plainres.report.records import ERRORS, Study

PREFIXES = {"plain": "plain", "residual": "resnet"}  # of the paper's nets, by kind
PAPER_TOP = 20.0  # percent, the upper end of the axes in the paper
PAPER_DEPTHS = (20, 56)  # of Figure 1
PAPER_COLOURS = ("#d9a514", "#c1272d")  # of the shallow and the deep net
VARIANTS = "^Dv<"  # markers of nets that depart from the paper


def paper_depths(runs: Sequence[Record], kind: str) -> list[int]:
    """Return the depths of the paper's nets of one kind among runs: plain, or residual with option A, at defaults."""
    return sorted({run.depth for run in runs if run.net == f"{PREFIXES[kind]}-{run.depth}"})


def paper_nets(study: Study, kind: str) -> list[str]:
    """Return the names of these nets in a study, shallow to deep, with those in progress."""
    return [f"{PREFIXES[kind]}-{depth}" for depth in paper_depths(study.shown, kind)]


def error_panels(study: Study) -> dict[str, list[str]]:
    """Return the nets of each panel of Figure 6, or of Figure 4 if the study is one on photographs, by its title.

    In Figure 6, as in the paper, plain-110, which hardly trains, is left out if there are other plain nets, and
    ResNet-1202 has a panel of its own beside ResNet-110. Figure 4 also has variants of its nets.
    """
    if study.is_imagenet:
        nets = {run.net: run.config["shortcut"] for run in study.shown}
        plain, residual = ([net for net, option in nets.items() if option == wanted] for wanted in (None, "A"))
    else:
        plain, residual = paper_nets(study, "plain"), paper_nets(study, "residual")
    deepest = ("resnet-110", "resnet-1202") if "resnet-1202" in residual else ()
    panels = {
        "plain nets": [net for net in plain if net != "plain-110"] or plain,
        "residual nets": [net for net in residual if net != "resnet-1202"],
        "110 and 1202 layers": [net for net in residual if net in deepest],
    }
    return {title: nets for title, nets in panels.items() if nets}


def error_top(study: Study, nets: Sequence[str]) -> float:
    """Return the upper end of the error axis: the paper's 20% if every net ends well below, else one that fits."""
    runs = [run for run in study.shown if run.net in nets]
    highest = np.nanmax([0.0, *(run.last(column) for run in runs for column in ERRORS)])
    return PAPER_TOP if highest < 0.8 * PAPER_TOP else min(100.0, 10 * math.ceil(highest / 10) + 20)


@in_our_style
def figure_1(study: Study) -> Figure | None:
    """Draw Figure 1: training error (left) and test error (right) of a shallow and a deep plain net.

    They are plain-20 and plain-56, or the shallowest and the deepest one if the study lacks these. As in the paper, the
    deep net is red and the shallow one yellow, and the axes end at 20% where both nets end below.
    """
    depths = paper_depths(study.runs, "plain")
    if len(depths) < 2:
        return None
    depths = list(PAPER_DEPTHS) if {*PAPER_DEPTHS} <= {*depths} else [depths[0], depths[-1]]
    nets = [f"plain-{depth}" for depth in depths]
    runs = [run for net in nets for run in study.of_net(net)]
    title = "Training and test error of plain nets (Figure 1)"
    figure, panels = make_panels(study, title, runs, 1, 2, figsize=(7.2, 3.3), sharey=True)
    for panel, (column, name) in zip(panels, ERRORS.items(), strict=True):
        for net, depth, colour in zip(nets, depths, PAPER_COLOURS, strict=True):
            draw_seeds(panel, study, net, column, 0.2, color=colour, lw=1.8, label=f"{depth}-layer")
        error_axes(panel, study, error_top(study, nets), f"{name} error (%)")
        panel.legend()
    return figure


@in_our_style
def figure_6(study: Study) -> Figure | None:
    """Draw Figure 6: training error (dashed) and test error (bold) of plain nets and of residual nets.

    Runs in progress are drawn in lighter colours. The panels are those of `error_panels`.
    """
    top = error_top(study, [net for kind in PREFIXES for net in paper_nets(study, kind)])
    return draw_errors(study, top, "test", "Training and test error during training (Figure 6)")


def draw_errors(study: Study, top: float, tested: str, title: str) -> Figure | None:
    """Draw Figure 6 or 4, with errors up to `top` percent and `tested` as the name of the test error in legends."""
    groups = error_panels(study)
    if not groups:
        return None
    colours = net_colours(study)
    runs = [run for run in study.shown if any(run.net in nets for nets in groups.values())]
    size = (max(5.2, 3.6 * len(groups)), 4.2)
    figure, panels = make_panels(study, title, runs, 1, len(groups), figsize=size, sharey=True)
    for panel, (name, nets) in zip(panels, groups.items(), strict=True):
        entries = [entry for net in nets for entry in draw_net(panel, study, net, colours[net])]
        entries += [Line2D([], [], color="0.3", label="training", **TRAINING)]
        entries += [Line2D([], [], color="0.3", label=tested, **TEST)]
        error_axes(panel, study, top, "error (%)")
        panel.set_title(name)
        # Below the axes, because curves may be anywhere in them. The pad is in font sizes, so that the label fits.
        panel.legend(handles=entries, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4)
    return figure


@in_our_style
def figure_budgets(studies: Sequence[Study]) -> Figure | None:
    """Draw the final training error (left) and test error (right) against the number of iterations.

    The studies are one series of `budget_series`, the nets those that have several budgets. Points are runs. A line
    joins the runs of one net and seed on the same hardware. Points of nets that depart from the paper, such as
    plain-56-clip1, are hollow.
    """
    runs = overview_frame([run for study in studies for run in study.runs])
    runs = runs[runs.groupby("net")["iterations"].transform("nunique") > 1]
    if runs.empty:
        return None
    colours = by_depth(runs["depth"])
    papers = {net for study in studies for kind in PREFIXES for net in paper_nets(study, kind)}
    variants = dict(zip(sorted({*runs["net"]} - papers), VARIANTS * len(runs), strict=False))
    shown = [run for study in studies for run in study.runs if run.net in set(runs["net"])]
    title, note = "Final error against the length of the training", "Lines join runs of one seed on the same hardware."
    figure, panels = make_panels(studies[0], title, shown, 1, 2, note, figsize=(9.4, 3.8), sharey=True)
    for panel, (column, name) in zip(panels, ERRORS.items(), strict=True):
        for (net, kind, depth), of_net in runs.groupby(["net", "kind", "depth"]):
            look: dict[str, Any] = {"color": colours[depth], "ls": "--" if kind == "plain" else "-", "lw": 1.2, "ms": 5}
            marker = variants.get(net, "o" if kind == "plain" else "s")
            look |= {"marker": marker, "mfc": "white" if net in variants else colours[depth]}
            for _, joined in of_net.groupby(["seed", "hardware"]):
                panel.plot(*joined.sort_values("iterations")[["iterations", column]].to_numpy().T, **look)
            panel.plot([], [], label=net, **look)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(plt.FixedLocator([1000 * 2.0**i for i in range(-4, 9)]))
        panel.xaxis.set_minor_locator(plt.NullLocator())
        panel.xaxis.set_major_formatter(thousands)
        panel.set_xlabel("number of iterations of the whole training")
        panel.set_ylabel(f"final {name} error (%)")
        panel.set_ylim(bottom=0)
        panel.tick_params(labelleft=True)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
