"""Interactive Figure 6 (Figure 4 for ImageNet)."""

import json
from collections.abc import Sequence

import altair as alt
import pandas as pd

from plainres.records.run import Run
from plainres.report.drawing import curves
from plainres.report.figures import error_top, paper_nets
from plainres.report.page.palette import HEIGHT, LINE, ROWS, depth_colour, depth_shape, finish
from plainres.report.records import Study

MEAN, EACH = "mean over seeds", "every seed"
ERRORS = {"training": "train_error", "test": "test_error"}
AXIS = "error (%)"
DIMMED, PALE = 0.12, 0.55  # opacity of curves that are not highlighted, and of runs that have not finished
FEW_TESTS = 24  # passes over the test set, from which on large markers would hide the curve
# A symlog scale is linear far below its constant and logarithmic far above it, which lets one control switch the scale
# of a chart: the type of a scale is fixed in Vega-Lite.
LINEAR, LOG = 1e6, 1e-4
LOG_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def series_name(run: Run) -> str:
    """Return the name of a run's curve: that of its net, and how far the run is if it has not finished."""
    if run.outcome == "finished":
        return run.net
    word = "partial" if run.outcome == "running" else run.outcome
    return f"{run.net} ({word}, {run.iterations_done:,} of {run.config['iterations']:,} iterations)"


def _row(run: Run, view: str, error: str, curve: pd.DataFrame) -> dict:
    # One row per curve, which the chart flattens to one per point: a fifth of the size of one row per point.
    name = {"series": series_name(run), "panel": f"{run.kind} nets", "depth": run.depth, "view": view, "error": error}
    values = {column: [float(f"{value:.4g}") for value in curve[column]] for column in ("value", "low", "high")}
    return name | {"outcome": run.outcome, "iteration": [int(i) for i in curve.index]} | values


def curve_rows(study: Study) -> list[dict]:
    """Return one row per curve: each seed's training and test error, and the means over seeds where there are several.

    Args:
        study: Study with readable runs.
    """
    rows = []
    several = len(study.seeds) > 1
    for error, column in ERRORS.items():
        for run in study.readable:
            if column not in run.metrics:
                continue
            points = run.metrics[["iteration", column]].dropna().set_index("iteration")[column]
            if points.empty:
                continue
            curve = pd.DataFrame({"value": points, "low": points, "high": points})
            rows.append(_row(run, f"seed {run.seed}", error, curve))
            if several and run.outcome != "finished":
                rows.append(_row(run, MEAN, error, curve))  # a mean holds finished runs alone
        for net in dict.fromkeys(run.net for run in study.runs if several):
            run = study.of_net(net)[0]
            mean = curves(study, net, column)
            if len(mean):
                rows.append(_row(run, MEAN, error, mean.set_axis(["value", "low", "high"], axis=1)))
    return rows


def default_series(study: Study) -> set[str]:
    """Return the curves that are shown first: the paper's nets, or all if the study has none of them.

    As in the paper, plain-110 is left out if there are other plain nets.
    """
    nets = {*paper_nets(study, "plain"), *paper_nets(study, "residual")}
    if len(paper_nets(study, "plain")) > 1:
        nets.discard("plain-110")
    shown = [run for run in study.readable if run.outcome != "diverged"]
    return {series_name(run) for run in shown if run.net in nets} or {series_name(run) for run in study.readable}


def switches(names: Sequence[str], default: set[str]) -> tuple[list[alt.Parameter], str]:
    """Return one checkbox per curve, and the expression that is true for the curves whose box is checked.

    Args:
        names: Names of the curves, which rows have in their column "series".
        default: Names of those that are checked at first.
    """
    boxes = [
        alt.param(f"net_{i}", value=name in default, bind=alt.binding_checkbox(name=name))
        for i, name in enumerate(names)
    ]
    lookup = ", ".join(f"{json.dumps(name)}: net_{i}" for i, name in enumerate(names))
    return boxes, f"{{{lookup}}}[datum.series]"


def _error_axis(default_top: float, lowest: float) -> tuple[list[alt.Parameter], alt.Y]:
    """Return the controls of an error axis, and the axis: linear from zero or logarithmic, up to a chosen error."""
    scale = alt.param("scale", value="linear", bind=alt.binding_radio(options=["linear", "log"], name="Error axis"))
    top = alt.param("top", value=default_top, bind=alt.binding_range(min=10, max=100, step=5, name="Axis up to (%)"))
    bottom = max([tick for tick in LOG_TICKS if tick <= lowest], default=LOG_TICKS[0])
    axis = alt.Axis(
        values=alt.ExprRef(f"scale == 'log' ? {[*LOG_TICKS]} : sequence(0, 101, top > 50 ? 20 : top > 20 ? 10 : 5)"),
        labelExpr="datum.value",
    )
    scale_of_y = alt.Scale(
        type="symlog",
        constant=alt.ExprRef(f"scale == 'log' ? {LOG:f} : {LINEAR:f}"),
        domainMin=alt.ExprRef(f"scale == 'log' ? {bottom:g} : 0"),
        domainMax=alt.ExprRef("top"),
        nice=False,
    )
    return [scale, top], alt.Y("value:Q", scale=scale_of_y, axis=axis, title=AXIS)


def _choices(rows: list[dict], tested: str) -> tuple[list[alt.Parameter], str]:
    """Return the controls that choose errors, seeds and a depth, and the expression that is true for what is chosen."""
    labels = ["both", "training", tested]
    bound_error = alt.binding_radio(options=["both", *ERRORS], labels=labels, name="Error")
    error = alt.param("error", value="both", bind=bound_error)
    depths = sorted({row["depth"] for row in rows})
    labels = ["none", *(f"{depth} layers" for depth in depths)]
    bound = alt.binding_select(options=[None, *depths], labels=labels, name="Highlight")
    highlight = alt.param("highlight", value=None, bind=bound)
    views = sorted({row["view"] for row in rows} - {MEAN})
    if len(views) == 1:
        return [error, highlight], "(error == 'both' || error == datum.error)"
    means = [MEAN] if any(row["view"] == MEAN for row in rows) else []
    options = [*means, EACH, *views]
    seeds = alt.param("seeds", value=options[0], bind=alt.binding_select(options=options, name="Seeds"))
    chosen = f"(seeds == '{EACH}' ? datum.view != '{MEAN}' : datum.view == seeds)"
    return [error, seeds, highlight], f"{chosen} && (error == 'both' || error == datum.error)"


def _marks(base: alt.Chart, rows: list[dict], tested: str) -> list[alt.Chart]:
    """Return the layers of the curves: ranges over seeds, lines, points of test passes, targets for hovering."""
    hover = alt.selection_point(name="hover", fields=["depth"], on="pointerover", clear="pointerout")
    lit = f"(highlight == null || highlight == datum.depth) ? (datum.outcome == 'finished' ? 1 : {PALE}) : {DIMMED}"
    opacity = alt.when(hover).then(alt.value(alt.ExprRef(lit))).otherwise(alt.value(DIMMED))
    legend = alt.Legend(labelExpr=f"datum.label == 'test' ? '{tested}' : datum.label", symbolType="stroke")
    dashes = alt.Scale(domain=[*ERRORS], range=[[5, 3], [1, 0]])
    widths = alt.Scale(domain=[*ERRORS], range=[1.5, 2.5])
    lines = base.mark_line(clip=True).encode(
        strokeDash=alt.StrokeDash("error:O", scale=dashes, legend=legend, title="error"),
        strokeWidth=alt.StrokeWidth("error:O", scale=widths, title="error"),
        opacity=opacity,
    )
    most_tests = max((len(row["iteration"]) for row in rows if row["error"] == "test"), default=0)
    points = base.transform_filter("datum.error == 'test'").mark_point(
        filled=True, size=44 if most_tests <= FEW_TESTS else 14, clip=True
    )
    points = points.encode(shape=depth_shape([row["depth"] for row in rows]), opacity=opacity)
    tooltip = [
        alt.Tooltip("series:N", title="net"),
        alt.Tooltip("view:N", title="seeds"),
        alt.Tooltip("iteration:Q", format=","),
        alt.Tooltip("error:N"),
        alt.Tooltip("value:Q", title="error (%)", format=".2f"),
    ]
    bands = []
    if any(row["view"] == MEAN for row in rows):
        bands = [base.mark_area(opacity=0.15, clip=True).encode(y=alt.Y("low:Q", title=AXIS), y2="high:Q")]
        tooltip += [alt.Tooltip(f"{end}:Q", title=f"{end}est seed", format=".2f") for end in ("low", "high")]
    targets = base.mark_point(size=250, filled=True, opacity=0, clip=True).encode(tooltip=tooltip)
    return [*bands, lines, points, targets.add_params(hover)]


def curves_chart(study: Study) -> dict | None:
    """Return Figure 6 of a study as a Vega-Lite specification: error against iteration, one panel per kind of net.

    Colour and marker are the depth, dashes the training error. Hovering a curve highlights the nets of its depth in
    all panels. Controls choose nets, seeds, training or test error, the depth to highlight, and the error axis.

    Args:
        study: Study with readable runs.

    Returns:
        None if the study has no metrics.
    """
    rows = curve_rows(study)
    if not rows:
        return None
    tested = "validation" if study.is_imagenet else "test"
    default = default_series(study)
    boxes, checked = switches(list(dict.fromkeys(row["series"] for row in rows)), default)
    choices, chosen = _choices(rows, tested)
    top = error_top(study, [run.net for run in study.readable if series_name(run) in default])
    axis_controls, y = _error_axis(top, min(min(row["value"]) for row in rows))
    base = alt.Chart().encode(
        x=alt.X(
            "iteration:Q",
            scale=alt.Scale(domain=[0, study.iterations], nice=False),
            axis=alt.Axis(format="~s", grid=False, tickCount=5, labelFlush=True),
        ),
        y=y,
        color=depth_colour([row["depth"] for row in rows]),
        detail=["series:N", "view:N", "error:N"],
    )
    drops = [
        alt.Chart().transform_aggregate(n="count()").mark_rule(color=LINE, strokeWidth=1.5).encode(x=alt.datum(drop))
        for drop in study.drops
    ]
    chart = alt.layer(*drops, *_marks(base, rows, tested), data=ROWS).properties(height=HEIGHT)
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    facets = chart.facet(alt.Facet("panel:N", sort=panels, header=alt.Header(title=None)), columns=2)
    # Before the facets, so that kinds of nets which are not chosen have no panel.
    shown = alt.Chart().transform_filter(f"({checked}) && {chosen}")
    facets.transform = shown.transform_flatten(["iteration", "value", "low", "high"]).transform
    return finish(facets, rows, [*boxes, *choices, *axis_controls])
