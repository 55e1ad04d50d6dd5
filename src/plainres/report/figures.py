"""Figures 1 and 6 of the paper, drawn from records."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from plainres.report.records import Study

# Dark to light by depth: distinct in grey and to the colour-blind, with a marker apiece for the few test passes.
COLOURS = plt.get_cmap("viridis")
MARKERS = ("o", "s", "^", "D", "v", "P")
PAPER_TOP = 20.0
FEW = 4
RANGE = "; means, lowest to highest seed"
MEANS = "; means"


def curves(study: Study, net: str, column: str) -> pd.DataFrame:
    """One column of a net's metrics against iteration: mean, min and max over its seeds."""
    frames = [run.metrics[["iteration", column]].dropna() for run in study.runs if run.net == net]
    return pd.concat(frames).groupby("iteration")[column].agg(["mean", "min", "max"])


def _top(study: Study, nets: list[str]) -> float:
    """The upper end of the error axis: the paper's 20% where every net ends well below it, else what holds the ends."""
    ends = [
        max(curves(study, net, column)["mean"].iloc[-1] for column in ("train_error", "test_error")) for net in nets
    ]
    return PAPER_TOP if max(ends) < 0.8 * PAPER_TOP else min(100.0, 10 * math.ceil(max(ends) / 10) + 20)


def draw_curves(axes: Axes, study: Study, nets: list[str], style: dict[str, tuple], columns: tuple[str, ...]) -> None:
    """Draw columns of the nets' metrics against iteration: training error thin and dashed, test error bold."""
    for net in nets:
        colour, marker = style[net]
        for column in columns:
            curve = curves(study, net, column)
            line = {"ls": "--", "lw": 1.1} if column == "train_error" else {"ls": "-", "lw": 2.2}
            if len(curve) <= FEW:  # two passes over the test set are two points, not a curve
                line |= {"ls": "none", "marker": marker, "ms": 7, "clip_on": False, "zorder": 3}
                axes.vlines(curve.index, curve["min"], curve["max"], color=colour, lw=1.6)
            else:
                axes.fill_between(curve.index, curve["min"], curve["max"], color=colour, alpha=0.15, lw=0)
            axes.plot(curve.index, curve["mean"], color=colour, **line)
    n = study.iterations
    for drop in study.drops:
        axes.axvline(drop, color="0.85", lw=1, zorder=0)
    axes.set_xlim(0, n)
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x else "0")
    axes.grid(axis="y", color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def style_of(study: Study, nets: list[str]) -> dict[str, tuple]:
    """Colour and marker of each net: one per depth, the same for plain and residual."""
    depths = sorted({run.config["depth"] for run in study.runs})
    places = {depth: i / max(1, len(depths) - 1) for i, depth in enumerate(depths)}
    by_net = {run.net: run.config["depth"] for run in study.runs}
    return {net: (COLOURS(0.75 * (1 - places[by_net[net]])), MARKERS[depths.index(by_net[net]) % 6]) for net in nets}


def _nets(study: Study, kind: str) -> list[str]:
    """The paper's own nets of one kind, shallow to deep: plain, or residual with option A at the default settings."""
    prefix = {"plain": "plain", "residual": "resnet"}[kind]
    own = {run.net for run in study.runs if run.net == f"{prefix}-{run.config['depth']}"}
    return sorted(own, key=lambda net: int(net.split("-")[1]))


def caption(figure: Figure, study: Study, title: str, note: str = "") -> None:
    note_on_data = f" — {study.info.warning}" if study.info.warning else ""
    figure.suptitle(title + note_on_data, fontsize=11)
    text = study.describe() + (note if len(study.seeds) > 1 else "")
    figure.text(0.5, 0.01, text, ha="center", va="bottom", fontsize=7, color="0.35")


def figure_1(study: Study) -> Figure | None:
    """Training error (left) and test error (right) of the shallowest and the deepest plain net; None without two."""
    nets = _nets(study, "plain")
    if len(nets) < 2:
        return None
    nets = [nets[0], nets[-1]]
    style = style_of(study, nets)
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    for axes, column, name in zip(panels, ("train_error", "test_error"), ("training", "test"), strict=True):
        draw_curves(axes, study, nets, style, (column,))
        axes.set_ylabel(f"{name} error (%)")
        axes.set_ylim(0, _top(study, nets))
        axes.tick_params(labelleft=True)
    handles = [Line2D([], [], color=style[net][0], marker=style[net][1], lw=2, label=net) for net in nets]
    panels[1].legend(handles=handles, frameon=False, loc="lower left")
    caption(figure, study, "Degradation (Figure 1): plain nets, shallow against deep", RANGE)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return figure


def figure_6(study: Study) -> Figure | None:
    """Training error (dashed) and test error (bold): plain nets, residual nets, and ResNet-110 against ResNet-1202.

    The panels that the study has records for, on one scale. As in the paper, plain-110, which hardly trains, is left
    out of a study that has other plain nets, and ResNet-1202 has a panel of its own.
    """
    plain, residual = _nets(study, "plain"), _nets(study, "residual")
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
    top = _top(study, [net for nets in groups.values() for net in nets])
    return draw_panels(study, groups, top, "test", "Training and test error against iterations (Figure 6)")


def draw_panels(study: Study, groups: dict[str, list[str]], top: float, tested: str, title: str) -> Figure:
    """Training error (dashed) and tested error (bold) of groups of nets, a panel each, up to `top` percent."""
    style = style_of(study, [net for nets in groups.values() for net in nets])
    figure, panels = plt.subplots(1, len(groups), figsize=(4.6 * len(groups), 4), sharey=True, squeeze=False)
    for axes, (group, nets) in zip(panels[0], groups.items(), strict=True):
        draw_curves(axes, study, nets, style, ("train_error", "test_error"))
        axes.set_title(group, fontsize=10)
        axes.set_ylim(0, top)
        axes.set_ylabel("error (%)")
        axes.tick_params(labelleft=True)
        handles = [Line2D([], [], color=style[net][0], marker=style[net][1], lw=2, label=net) for net in nets]
        few = all(len(curves(study, net, "test_error")) <= FEW for net in nets)
        test = {"ls": "none", "marker": "o"} if few else {"lw": 2.2}
        handles += [Line2D([], [], color="0.3", ls="--", lw=1.1, label="training")]
        handles += [Line2D([], [], color="0.3", label=tested, **test)]
        axes.legend(handles=handles, frameon=False, loc="lower left", fontsize=8)
    caption(figure, study, title, RANGE)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return figure


def figure_budgets(studies: Sequence[Study]) -> Figure | None:
    """Final training error (left) and test error (right) against the budget, for nets trained at several budgets.

    Args:
        studies: on one data set and split, at one precision.
    """
    finals = pd.concat([study.finals().assign(iterations=study.iterations) for study in studies])
    finals = finals.groupby(["net", "kind", "depth", "iterations"])[["train_error", "test_error"]].mean().reset_index()
    several = finals[finals.groupby("net")["iterations"].transform("nunique") > 1]
    # One net alone at its budget compares nothing.
    several = several[several.groupby("iterations")["net"].transform("nunique") > 1]
    if several.empty:
        return None
    depths = sorted(several["depth"].unique())
    figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.8), sharey=True)
    for net, rows in several.groupby("net"):
        place = depths.index(rows["depth"].iloc[0])
        colour = COLOURS(0.75 * (1 - place / max(1, len(depths) - 1)))
        ls = "--" if rows["kind"].iloc[0] == "plain" else "-"
        for axes, column in zip(panels, ("train_error", "test_error"), strict=True):
            axes.plot(rows["iterations"], rows[column], color=colour, ls=ls, marker=MARKERS[place % 6], label=net)
    for axes, name in zip(panels, ("training", "test"), strict=True):
        axes.set_xscale("log", base=2)
        budgets = sorted(several["iterations"].unique())
        axes.set_xticks(budgets, [f"{n / 1000:g}k" for n in budgets])
        axes.set_xlabel("budget (iterations)")
        axes.set_ylabel(f"{name} error at the end (%)")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].legend(frameon=False, fontsize=8)
    points = set(zip(several["net"], several["iterations"], strict=True))
    shown = [run for study in studies for run in study.runs if (run.net, study.iterations) in points]
    caption(figure, Study(studies[0].folder.parent, shown), "Is it only slow? Final error against the budget", MEANS)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    return figure
