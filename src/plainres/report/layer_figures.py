"""Figure 7 of the paper, and beside it gradients and weights by layer, and training without BN or He initialization.

Every function returns a matplotlib figure, or None if the study has no records for it. With `axes=` it draws into
existing axes, leaves out the figure's title and caption, and returns the figure of these axes.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from plainres.report.drawing import by_depth, finish, make_panels, style_of, thousands, tidy
from plainres.report.figures import AxesLike, paper_nets
from plainres.report.records import Run, Study

PAPER_NETS = ("plain-20", "plain-56", "resnet-20", "resnet-56", "resnet-110")
LINE_STYLES = ("-", "--", ":", "-.")
VARIANTS = {
    ("none", "naive"): "no BN, naive initialization",
    ("none", "he"): "no BN, He initialization",
    ("batch", "naive"): "BN, naive initialization",
    ("batch", "he"): "BN, He initialization",
}


def probed_runs(study: Study, *columns: str) -> dict[str, Run]:
    """Return the first seed of each net whose probes have some columns, by name of the net.

    If the study has the paper's four nets of 20 and 56 layers, the nets are these and ResNet-110. Otherwise they are
    those that follow the paper, such as plain-20, because variants of a net would look like it. If there are none,
    they are all nets.
    """
    probed = {run.net: run for run in reversed(study.runs) if len(run.probes) and {*columns} <= {*run.probes}}
    papers = [net for net in PAPER_NETS if net in probed]
    if len(papers) < 4:
        papers = [net for kind in ("plain", "residual") for net in paper_nets(study, kind) if net in probed]
    return {net: probed[net] for net in papers or dict.fromkeys(run.net for run in study.runs if run.net in probed)}


def at_end(run: Run) -> pd.DataFrame:
    """Return the last probe of a run, in the order of the layers."""
    return run.probes[run.probes["iteration"] == run.probes["iteration"].max()].sort_values("layer")


def _probe_of(study: Study, run: Run, which: str) -> pd.DataFrame:
    """Return the first (`"min"`) or last (`"max"`) probe of a run from the study's frame, in the order of layers."""
    frame = study.probes
    rows = frame[(frame["net"] == run.net) & (frame["seed"] == run.seed) & (frame["outcome"] == "finished")]
    return rows[rows["iteration"] == getattr(rows["iteration"], which)()].sort_values("layer")


def _log_axis(axes: Axes, values: pd.Series) -> None:
    """Make the y axis logarithmic, with several labels, such as 0.5, 1, 2, 5, where the values span few decades."""
    axes.set_yscale("log")
    positive = values[values > 0]
    if len(positive) and positive.max() / positive.min() < 300:
        narrow = positive.max() / positive.min() < 6
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)) if narrow else plt.LogLocator(subs=(1, 2, 5)))
        if narrow:
            axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def figure_7(study: Study, axes: AxesLike = None) -> Figure | None:
    """Draw Figure 7: standard deviation of the response of every 3x3 layer at the end of the training.

    The layers are in the order of the net in the first panel, and sorted by magnitude in the second one. The paper's
    axis is linear. This one is logarithmic, because the first layers of a deep plain net may exceed all others by far.

    Args:
        study: Study with probes.
        axes: Two axes to draw into.

    Returns:
        None if the study has no probes.
    """
    runs = probed_runs(study, "response_std")
    if not runs:
        return None
    style = style_of(study, list(runs))
    panels = make_panels(axes, 2, 1, figsize=(7, 6.4), sharey=True)
    stds = {net: _probe_of(study, run, "max")["response_std"] for net, run in runs.items()}
    for net, run in runs.items():
        std = stds[net].to_numpy()
        ls = "--" if run.kind == "plain" else "-"
        line: dict[str, Any] = {"color": style[net].colour, "lw": 1.6, "ls": ls, "label": net}
        layers = range(1, len(std) + 1)
        panels.axes[0].plot(layers, std, **line)
        panels.axes[1].plot(layers, sorted(std, reverse=True), **line)
    panels.axes[0].set_xlabel("layer, from the input to the output")
    panels.axes[1].set_xlabel("layer, from the largest to the smallest response")
    for panel in panels.axes:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_ylabel("standard deviation (log scale)")
        _log_axis(panel, pd.concat(stds))
        tidy(panel)
        panel.legend(frameon=False, fontsize=9, ncols=2)
    return finish(panels, list(runs.values()), "Layer responses, after BN and before ReLU or addition (Figure 7)")


def gradients(study: Study, axes: AxesLike = None) -> Figure | None:
    """Draw gradient norms and the variance of the output of every 3x3 layer (section 4.1).

    The gradients are those with respect to the weights, and also those with respect to the output of batch
    normalization if all shown nets have them recorded. Claims 3b and 3c are judged on the latter.

    Args:
        study: Study with probes.
        axes: Axes to draw into, two for each quantity: at initialization and at the end. The quantities are the
            gradients of weights, those behind batch normalization if they are recorded, and the variance.

    Returns:
        None if the study has no probes.
    """
    runs = probed_runs(study, "gradient_norm", "forward_variance")
    if not runs:
        return None
    style = style_of(study, list(runs))
    quantities = {"gradient_norm": "gradient norm of weights"}
    if all("response_gradient_norm" in run.probes for run in runs.values()):
        quantities["response_gradient_norm"] = "gradient norm behind BN"
    quantities["forward_variance"] = "output variance"
    shown = [
        (column, label, which, when)
        for column, label in quantities.items()
        for which, when in (("min", "at initialization"), ("max", "at the end"))
    ]
    panels = make_panels(axes, len(quantities), 2, figsize=(9, 3 * len(quantities)))
    for panel, (column, label, which, when) in zip(panels.axes, shown, strict=True):
        probes = {net: _probe_of(study, run, which) for net, run in runs.items()}
        for net, rows in probes.items():
            ls = "--" if runs[net].kind == "plain" else "-"
            panel.plot(rows["layer"], rows[column], color=style[net].colour, ls=ls, lw=1.4, label=net)
        _log_axis(panel, pd.concat(probes)[column])
        panel.set_title(f"{label}, {when}", fontsize=10)
        panel.set_xlabel("layer")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(panel)
    panels.axes[0].legend(frameon=False, fontsize=8)
    note = (
        "The gradient of weights falls as weights grow, because BN rescales the output; claims 3b and 3c are about the "
        "gradient behind BN. Output variance is that of the convolution, before BN."
    )
    return finish(panels, list(runs.values()), "Gradients and signals, layer by layer (section 4.1)", note)


def weights(study: Study, axes: AxesLike = None) -> Figure | None:
    """Draw the norm of every 3x3 layer's weights relative to the initial norm, and their angle to the initial weights.

    Args:
        study: Study whose probes have the columns `relative_weight_norm` and `weight_angle`.
        axes: Two axes per probed net to draw into: the norms of all nets, then the angles.

    Returns:
        None if no record has these columns.
    """
    columns = ("relative_weight_norm", "weight_angle")
    runs = probed_runs(study, *columns)
    if not runs:
        return None
    panels = make_panels(axes, 2, len(runs), figsize=(2.6 * len(runs) + 1.6, 5.4), sharex="col", sharey="row")
    grid = np.reshape(np.asarray(panels.axes, dtype=object), (2, len(runs)))
    every = pd.concat([run.probes for run in runs.values()])
    iterations = sorted(i for i in every["iteration"].unique() if i > 0)
    colours = plt.get_cmap("plasma")(np.linspace(0.85, 0.0, len(iterations)))
    for (net, run), (norm_panel, angle_panel) in zip(runs.items(), grid.T, strict=True):
        for iteration, colour in zip(iterations, colours, strict=True):
            rows = run.probes[run.probes["iteration"] == iteration].sort_values("layer")
            for panel, column in zip((norm_panel, angle_panel), columns, strict=True):
                panel.plot(rows["layer"], rows[column], color=colour, lw=1.4, label=thousands(iteration))
        norm_panel.set_title(net, fontsize=10)
        _log_axis(norm_panel, every["relative_weight_norm"])
        angle_panel.set_xlabel("layer")
        for panel in (norm_panel, angle_panel):
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            tidy(panel)
    grid[1, 0].set_ylim(0, 1.05 * every["weight_angle"].max())
    grid[0, 0].set_ylabel("relative norm")
    grid[1, 0].set_ylabel("angle (degrees)")
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
    grid[0, -1].legend(title="iteration", frameon=False, fontsize=8, title_fontsize=8, **beside)
    return finish(panels, list(runs.values()), "Norm and angle of the weights, relative to initialization")


def convergence_problem(study: Study, axes: AxesLike = None) -> Figure | None:
    """Draw the training error of plain nets with and without BN and He initialization (section 1).

    Lines differ by initial learning rate. The curve of a run that diverged ends in a cross.

    Args:
        study: Study with plain nets of at least two combinations of normalization and initialization.
        axes: Axes to draw into, one per combination.

    Returns:
        None if the study has fewer than two combinations.
    """
    overview = study.overview
    overview = overview[(overview["kind"] == "plain") & (overview["outcome"] != "running")]
    combinations = set(zip(overview["norm"], overview["init"], strict=True))
    shown = [variant for variant in VARIANTS if variant in combinations]
    if len(shown) < 2:
        return None
    styles = by_depth(overview["depth"])
    rates = sorted(overview["lr"].unique(), reverse=True)
    panels = make_panels(axes, 1, len(shown), figsize=(2.9 * len(shown), 3.6), sharey=True)
    for panel, (norm, init) in zip(panels.axes, shown, strict=True):
        chosen = overview[(overview["norm"] == norm) & (overview["init"] == init)]
        for run in chosen.itertuples():
            colour = styles[run.depth].colour
            rows = study.metrics[(study.metrics["net"] == run.net) & (study.metrics["seed"] == run.seed)]
            diverged = run.outcome == "diverged"
            rate = "" if len(rates) == 1 else f", learning rate {run.lr:g}"
            label = f"plain-{run.depth}{rate}" + (" (diverged)" if diverged else "")
            ls = LINE_STYLES[rates.index(run.lr) % len(LINE_STYLES)]
            panel.plot(rows["iteration"], rows["train_error"], color=colour, lw=1.5, ls=ls, label=label)
            if diverged:
                panel.plot(rows["iteration"].iloc[-1:], rows["train_error"].iloc[-1:], "x", color=colour, ms=9, mew=2)
        panel.axhline(100 * (1 - 1 / study.info.num_classes), color="0.7", lw=1, ls=":")
        panel.set_title(VARIANTS[norm, init], fontsize=9)
        panel.set_xlabel("iteration")
        panel.set_ylim(0, 100)
        panel.legend(frameon=False, fontsize=8, loc="lower left")
        tidy(panel)
    panels.axes[0].set_ylabel("training error (%)")
    runs = [run for run in (*study.runs, *study.diverged) if run.kind == "plain"]
    title = "Plain nets with and without BN and He initialization (section 1)"
    return finish(panels, runs, title, "Dotted line: the error of a constant prediction.")
