"""Figure 7 of the paper, and beside it gradients by layer, and training without BN or He initialization."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plainres.report.figures import caption, style_of
from plainres.report.records import Run, Study

PAPER_NETS = ("plain-20", "plain-56", "resnet-20", "resnet-56", "resnet-110")


def probed_runs(study: Study, *columns: str) -> dict[str, Run]:
    """The first seed with these probe columns of each net, or of the paper's five nets if four of them have records."""
    found = {run.net: run for run in reversed(study.runs) if len(run.probes) and {*columns} <= {*run.probes}}
    papers = [net for net in PAPER_NETS if net in found]
    names = papers if len(papers) >= 4 else [run.net for run in study.runs if run.net in found]
    return {net: found[net] for net in names}


def at_end(run: Run) -> pd.DataFrame:
    """The last probe of a run, in layer order."""
    return run.probes[run.probes["iteration"] == run.probes["iteration"].max()].sort_values("layer")


def figure_7(study: Study) -> Figure | None:
    """Standard deviation of every 3x3 layer's response at the end: in the order of the layers, and sorted by size."""
    runs = probed_runs(study, "response_std")
    if not runs:
        return None
    style = style_of(study, list(runs))
    figure, panels = plt.subplots(2, 1, figsize=(7, 5.6), sharey=True)
    for net, run in runs.items():
        std = at_end(run)["response_std"].to_numpy()
        line = {"color": style[net][0], "lw": 1.6, "ls": "--" if run.kind == "plain" else "-", "label": net}
        layers = range(1, len(std) + 1)
        panels[0].plot(layers, std, **line)
        panels[1].plot(layers, sorted(std, reverse=True), **line)
    panels[0].set_xlabel("layer, in order")
    panels[1].set_xlabel("layer, sorted by size")
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("std of response")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, ncol=2)
    caption(
        figure, Study(study.folder, list(runs.values())), "Layer responses after BN, before the nonlinearity (Figure 7)"
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return figure


def gradients(study: Study) -> Figure | None:
    """Gradient norm of every 3x3 layer's weight (top) and forward variance (bottom), at initialization and the end."""
    runs = probed_runs(study, "gradient_norm", "forward_variance")
    if not runs:
        return None
    style = style_of(study, list(runs))
    figure, panels = plt.subplots(2, 2, figsize=(9, 5.6), sharex=True)
    for row, (what, name) in enumerate((("gradient_norm", "gradient norm"), ("forward_variance", "forward variance"))):
        for column, (which, when) in enumerate((("min", "at initialization"), ("max", "at the end"))):
            axes = panels[row][column]
            for net, run in runs.items():
                iteration = getattr(run.probes["iteration"], which)()
                frame = run.probes[run.probes["iteration"] == iteration].sort_values("layer")
                ls = "--" if run.kind == "plain" else "-"
                axes.plot(frame["layer"], frame[what], color=style[net][0], ls=ls, lw=1.4, label=net)
            axes.set_yscale("log")
            axes.set_title(f"{name}, {when}", fontsize=9)
            axes.grid(axis="y", color="0.92")
            axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[1]:
        axes.set_xlabel("layer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0][0].legend(frameon=False, fontsize=7)
    caption(
        figure, Study(study.folder, list(runs.values())), "Gradients and forward signals, layer by layer (section 4.1)"
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return figure


def convergence_problem(study: Study) -> Figure | None:
    """Training loss of plain nets with and without BN and He initialization; runs that diverged end in a cross."""
    runs = [run for run in study.runs + study.diverged if run.kind == "plain"]
    variants = {(run.config.get("norm", "batch"), run.config.get("init", "he")) for run in runs}
    if len(variants) < 2:
        return None
    names = {
        ("none", "naive"): "no BN, naive initialization",
        ("none", "he"): "no BN, He initialization",
        ("batch", "naive"): "BN, naive initialization",
        ("batch", "he"): "BN, He initialization",
    }
    shown = [variant for variant in names if variant in variants]
    depths = sorted({run.config["depth"] for run in runs})
    figure, panels = plt.subplots(1, len(shown), figsize=(3 * len(shown), 3.4), sharey=True, squeeze=False)
    for axes, variant in zip(panels[0], shown, strict=True):
        for run in runs:
            if (run.config.get("norm", "batch"), run.config.get("init", "he")) != variant:
                continue
            place = depths.index(run.config["depth"]) / max(1, len(depths) - 1)
            colour = plt.get_cmap("viridis")(0.75 * (1 - place))
            curve = run.metrics[["iteration", "train_error"]]
            label = f"plain-{run.config['depth']}" + (" (diverged)" if run.outcome == "diverged" else "")
            axes.plot(curve["iteration"], curve["train_error"], color=colour, lw=1.5, label=label)
            if run.outcome == "diverged":
                axes.plot(curve["iteration"].iloc[-1], curve["train_error"].iloc[-1], "x", color=colour, ms=9, mew=2)
        axes.set_title(names[variant], fontsize=9)
        axes.set_xlabel("iteration")
        axes.axhline(90, color="0.7", lw=1, ls=":")
        axes.legend(frameon=False, fontsize=7, loc="lower left")
        axes.set_ylim(0, 100)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("training error (%); dotted: chance")
    caption(figure, study, "The convergence problem is another one: BN and initialization solve it, degradation stays")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    return figure
