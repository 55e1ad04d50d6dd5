"""Figure 7 of the paper, and beside it gradients and weights by layer, and training without BN or He initialization.

Every function returns a matplotlib figure, or None if the study has no records for it.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from plainres.records.record import Record
from plainres.report.drawing import by_depth, in_our_style, make_panels, net_colours, thousands
from plainres.report.figures import PREFIXES, paper_nets
from plainres.report.records import Study

PAPER_NETS = ("plain-20", "plain-56", "resnet-20", "resnet-56", "resnet-110")
LINE_STYLES = ("-", "--", ":", "-.")
VARIANTS = {
    ("none", "naive"): "no BN, naive initialization",
    ("none", "he"): "no BN, He initialization",
    ("batch", "naive"): "BN, naive initialization",
    ("batch", "he"): "BN, He initialization",
}


def probed_runs(study: Study, *columns: str) -> dict[str, Record]:
    """Return the first seed of each net whose probes have some columns, by name of the net.

    If the study has the paper's four nets of 20 and 56 layers, the nets are these and ResNet-110. Otherwise they are
    those that follow the paper, such as plain-20, because variants of a net would look like it. If there are none,
    they are all nets.
    """
    probed = {run.net: run for run in reversed(study.runs) if len(run.probes) and {*columns} <= {*run.probes}}
    papers = [net for net in PAPER_NETS if net in probed]
    if len(papers) < 4:
        papers = [net for kind in PREFIXES for net in paper_nets(study, kind) if net in probed]
    return {net: probed[net] for net in papers or reversed([*probed])}


def _probe(run: Record, iteration: int) -> pd.DataFrame:
    return run.probes[run.probes["iteration"] == iteration].sort_values("layer")


def at_end(run: Record) -> pd.DataFrame:
    """Return the last probe of a run, in the order of the layers."""
    return _probe(run, run.probes["iteration"].max())


def _layer_axis(axes: Axes) -> None:
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _log_axis(axes: Axes, values: pd.Series) -> None:
    """Make the y axis logarithmic, with labels such as 0.5, 1, 2, 5 where the values span few decades."""
    axes.set_yscale("log")
    span = values.max() / values.min()
    if span < 300:
        axes.yaxis.set_major_locator(MaxNLocator(6) if span < 6 else LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_nets(axes: Axes, study: Study, runs: dict[str, Record], values: dict[str, pd.Series]) -> None:
    """Draw the values of each net's layers, from the first layer to the last."""
    colours = net_colours(study)
    for net, of_layers in values.items():
        ls = "--" if runs[net].kind == "plain" else "-"
        axes.plot(range(1, len(of_layers) + 1), of_layers, color=colours[net], ls=ls, label=net)
    _layer_axis(axes)
    _log_axis(axes, pd.concat(values))


@in_our_style
def figure_7(study: Study) -> Figure | None:
    """Draw Figure 7: standard deviation of the response of every 3x3 layer at the end of the training.

    The layers are in the order of the net in the first panel, and sorted by magnitude in the second one. The
    paper's axis is linear. This one is logarithmic, because the first layers of a deep plain net may exceed all others
    by far.
    """
    runs = probed_runs(study, "response_std")
    if not runs:
        return None
    responses = {net: at_end(run)["response_std"] for net, run in runs.items()}
    by_size = {net: std.sort_values(ascending=False) for net, std in responses.items()}
    title = "Layer responses, after BN and before ReLU or addition (Figure 7)"
    figure, panels = make_panels(study, title, runs.values(), 2, 1, figsize=(7, 6.4), sharey=True)
    orders = {"from the input to the output": responses, "by size of the response": by_size}
    for panel, (order, values) in zip(panels, orders.items(), strict=True):
        _draw_nets(panel, study, runs, values)
        panel.set_xlabel(f"layer, {order}")
        panel.set_ylabel("standard deviation")
        panel.legend(ncols=2)
    return figure


@in_our_style
def gradients(study: Study) -> Figure | None:
    """Draw gradient norms and the variance of the output of every 3x3 layer (section 4.1).

    The gradients are those with respect to the weights, and also those with respect to the output of batch
    normalization if all shown nets have them recorded. The variance is that of the convolution, before BN. There are
    two axes for each quantity: at initialization and at the end.
    """
    runs = probed_runs(study, "gradient_norm", "forward_variance")
    if not runs:
        return None
    quantities = {
        "gradient_norm": "gradient norm of weights",
        "response_gradient_norm": "gradient norm behind BN",
        "forward_variance": "output variance before BN",
    }
    quantities = {c: name for c, name in quantities.items() if all(c in run.probes for run in runs.values())}
    title, size = "Gradients and signals, layer by layer (section 4.1)", (9, 3 * len(quantities))
    figure, panels = make_panels(study, title, runs.values(), len(quantities), 2, figsize=size)
    probes = {
        "initialization": {net: _probe(run, run.probes["iteration"].min()) for net, run in runs.items()},
        "the end": {net: at_end(run) for net, run in runs.items()},
    }
    shown = [(column, when) for column in quantities for when in probes]
    for panel, (column, when) in zip(panels, shown, strict=True):
        _draw_nets(panel, study, runs, {net: layers[column] for net, layers in probes[when].items()})
        panel.set_title(f"{quantities[column]}, at {when}")
    panels[0].legend()
    return figure


@in_our_style
def weights(study: Study) -> Figure | None:
    """Draw the norm of every 3x3 layer's weights relative to the initial norm, and their angle to the initial weights.

    There are two axes per probed net: the norms of all nets, then the angles.
    """
    runs = probed_runs(study, "relative_weight_norm", "weight_angle")
    if not runs:
        return None
    probes = pd.concat([run.probes for run in runs.values()])
    iterations = sorted(set(probes["iteration"]) - {0})
    colours = plt.get_cmap("plasma")(np.linspace(0.85, 0, len(iterations)))
    title = "Norm and angle of the weights, relative to initialization"
    size = (2.6 * len(runs) + 2, 5.4)
    figure, panels = make_panels(study, title, runs.values(), 2, len(runs), figsize=size, sharex="col", sharey="row")
    norms, angles = panels[: len(runs)], panels[len(runs) :]
    for run, norm, angle in zip(runs.values(), norms, angles, strict=True):
        for iteration, colour in zip(iterations, colours, strict=True):
            layers = _probe(run, iteration)
            look = {"color": colour, "label": thousands(iteration)}
            norm.plot(layers["layer"], layers["relative_weight_norm"], **look)
            angle.plot(layers["layer"], layers["weight_angle"], **look)
        norm.set_title(run.net)
        _log_axis(norm, probes["relative_weight_norm"])
        _layer_axis(angle)
    angles[0].set_ylim(0, 1.05 * probes["weight_angle"].max())
    norms[0].set_ylabel("relative norm")
    angles[0].set_ylabel("angle (degrees)")
    norms[-1].legend(title="iteration", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


@in_our_style
def convergence_problem(study: Study) -> Figure | None:
    """Draw the training error of plain nets with and without BN and He initialization (section 1).

    Lines differ by initial learning rate. The curve of a run that diverged ends in a cross. There is one axes per
    combination of normalization and initialization, of which the study must have two.
    """
    runs = [run for run in (*study.runs, *study.diverged) if run.kind == "plain"]
    overview = study.overview[(study.overview["kind"] == "plain") & (study.overview["outcome"] != "running")]
    combinations = dict(iter(overview.groupby(["norm", "init"])))
    shown = [variant for variant in VARIANTS if variant in combinations]
    if len(shown) < 2:
        return None
    colours = by_depth(overview["depth"])
    rates = sorted(set(overview["lr"]), reverse=True)
    title = "Plain nets with and without BN and He initialization (section 1)"
    note, size = "Dotted line: a constant prediction.", (3 * len(shown), 3.6)
    figure, panels = make_panels(study, title, runs, 1, len(shown), note, figsize=size, sharey=True)
    for panel, variant in zip(panels, shown, strict=True):
        for run in combinations[variant].itertuples():
            curve = study.metrics[(study.metrics["net"] == run.net) & (study.metrics["seed"] == run.seed)]
            x, y = curve["iteration"], curve["train_error"]
            ls = LINE_STYLES[rates.index(run.lr) % len(LINE_STYLES)]
            panel.plot(x, y, color=colours[run.depth], ls=ls, label=f"{run.depth} layers, learning rate {run.lr:g}")
            if run.outcome == "diverged":
                panel.plot(x.iloc[-1:], y.iloc[-1:], "x", color=colours[run.depth], ms=9, mew=2, label="diverged")
        panel.axhline(100 * (1 - 1 / study.info.num_classes), color="0.7", lw=1, ls=":")
        panel.set_title(VARIANTS[variant])
        panel.set_xlabel("iteration")
        panel.set_ylim(0, 100)
        panel.legend(loc="lower left", fontsize=8)
    panels[0].set_ylabel("training error (%)")
    return figure
