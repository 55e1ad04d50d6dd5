"""Charts of errors during the training, of errors against its length, and of the probes, layer by layer."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from plainres.records.frames import IDENTITY
from plainres.report.figures import error_panels, error_top
from plainres.report.layer_figures import probed_runs
from plainres.report.records import ERRORS, Study, budget_series

HEIGHT = 320
# Dark is deep, as in the other figures. The light end of the scheme would be too pale on white.
DEPTH = alt.Color(
    "depth:O",
    title="layers",
    scale=alt.Scale(scheme=alt.SchemeParams("viridis", extent=[0.75, 0])),
    legend=alt.Legend(symbolOpacity=1),  # not that of the bands
)
QUANTITIES = {
    "gradient_norm": "gradient norm of the weights",
    "response_gradient_norm": "gradient norm of the response",
    "response_std": "standard deviation of the response, after BN",
    "forward_variance": "variance of the convolution's output, before BN",
    "relative_weight_norm": "norm of the weights, relative to the initial norm",
    "weight_angle": "angle between the weights and the initial weights (degrees)",
}
KEYS = ["study", "net", "kind", "depth", "seed", "iteration", "layer"]


def figure_nets(study: Study) -> list[str]:
    """Return the nets that Figure 6 shows of a study, or Figure 4 if it is one on photographs."""
    return [net for nets in error_panels(study).values() for net in nets]


def csv_data(frame: pd.DataFrame, numbers: Sequence[str]) -> alt.InlineData:
    """Return a frame as data of a chart, its numbers with four digits. CSV is a quarter of the size of JSON."""
    text = frame.to_csv(index=False, float_format="%.4g")
    return alt.InlineData(text, alt.CsvDataFormat(type="csv", parse=dict.fromkeys(numbers, "number")))


def drop_down(name: str, title: str, labels: dict[str, str]) -> alt.Parameter:
    """Return a parameter of a chart that a drop-down sets: `labels` has the text of each value. The first is chosen."""
    bound = alt.binding_select(options=[*labels], labels=[*labels.values()], name=f"{title} ")
    return alt.param(name, value=next(iter(labels)), bind=bound)


def label(study: Study) -> str:
    """Return the name of a study, with what it must not be taken for."""
    warning = study.info.warning or ("a check of the pipeline, not a result" if study.is_imagenet else "")
    return f"{study.name} ({warning})" if warning else study.name


def curve_rows(study: Study) -> pd.DataFrame:
    """Return one row per net, kind of error and iteration: mean, lowest and highest of the finished seeds.

    Each run in progress has rows of its own.
    """
    keys = ["study", "net", "kind", "depth", "seeds", "error", "iteration"]
    metrics = study.metrics[study.metrics["net"].isin(figure_nets(study))]
    finished = metrics["outcome"] == "finished"
    counts = metrics[finished].groupby("net")["seed"].nunique()
    means = metrics["net"].map(counts).map("mean of n = {:.0f}".format)
    metrics = metrics.assign(seeds=means.where(finished, "seed " + metrics["seed"].astype(str) + ", in progress"))
    metrics = metrics[finished | (metrics["outcome"] == "running")].rename(columns=ERRORS)
    rows = metrics.melt(keys[:5] + keys[6:], [*ERRORS.values()], "error", "value").dropna(subset="value")
    return rows.groupby(keys, sort=False)["value"].agg(["mean", "min", "max"]).reset_index()


def curves_chart(studies: Sequence[Study]) -> alt.FacetChart | None:
    """Return the errors of one study, which a drop-down chooses, against the iteration: one panel per kind of net.

    Like the other charts, it is None if there is nothing to draw.
    """
    rows = pd.concat([curve_rows(study) for study in studies]) if studies else pd.DataFrame()
    if rows.empty:
        return None
    shown = [study for study in studies if study.name in set(rows["study"])]
    chosen = drop_down("curves_study", "Study", {study.name: label(study) for study in shown})
    tops = {study.name: float(error_top(study, figure_nets(study))) for study in shown}
    drops = pd.DataFrame([(study.name, drop) for study in shown for drop in study.drops], columns=["study", "drop"])
    depth = alt.selection_point(name="depth", fields=["depth"], bind="legend")
    error = alt.selection_point(name="error", fields=["error"], bind="legend")
    zoom = alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.shiftKey]")
    y = alt.Y("mean:Q", title="error (%)", scale=alt.Scale(domainMin=0, domainMax=alt.ExprRef(f"{tops}[curves_study]")))
    dashes = alt.Scale(domain=["training", "test"], range=[[5, 3], [1, 0]])
    base = alt.Chart().encode(
        x=alt.X("iteration:Q", scale=alt.Scale(nice=False), axis=alt.Axis(format="~s", grid=False)),
        y=y,
        color=DEPTH,
        detail=["net:N", "seeds:N", "error:N"],
        tooltip=["net:N", "seeds:N", "error:N", "iteration:Q", *(f"{end}:Q" for end in ("mean", "min", "max"))],
    )
    pale = alt.when("indexof(datum.seeds, 'progress') > 0").then(alt.value(0.4)).otherwise(alt.value(1))
    lit = alt.when(depth & error).then(alt.value(1)).otherwise(alt.value(0.1))
    lines = base.mark_line(clip=True).encode(
        strokeDash=alt.StrokeDash("error:N", scale=dashes), strokeOpacity=pale, opacity=lit
    )
    points = base.mark_circle(clip=True, size=35).encode(opacity=lit).transform_filter("datum.error == 'test'")
    bands = base.mark_area(clip=True).encode(
        y=alt.Y("min:Q"), y2="max:Q", opacity=alt.when(depth & error).then(alt.value(0.15)).otherwise(alt.value(0))
    )
    rules = alt.Chart(csv_data(drops, ["drop"])).transform_filter("datum.study == curves_study")
    rules = rules.mark_rule(color="lightgrey", clip=True).encode(x=alt.X("drop:Q", title="iteration"))
    layers = alt.layer(rules, bands, lines.add_params(depth, error, zoom), points).properties(height=HEIGHT)
    data = csv_data(rows, ["depth", "iteration", "mean", "min", "max"])
    chart = layers.facet(alt.Facet("kind:N", title=None), data=data, columns=2)
    return chart.transform_filter("datum.study == curves_study").add_params(chosen).configure_legend(orient="top")


def budgets_chart(studies: Sequence[Study]) -> alt.FacetChart | None:
    """Return the final errors of every run against the length of the training, for one series of studies."""
    tables = []
    for name, series in budget_series(studies).items():
        runs = pd.concat([study.overview[study.overview["net"].isin(figure_nets(study))] for study in series])
        runs = runs[runs["outcome"] == "finished"]
        if runs["iterations"].nunique() > 1:
            tables.append(runs.assign(series=name))
    if not tables:
        return None
    columns = ["series", "net", "kind", "depth", "seed", "iterations", "hardware"]
    rows = pd.concat(tables).rename(columns=ERRORS).melt(columns, [*ERRORS.values()], "error", "value")
    chosen = drop_down("series", "Studies", {name: name for name in rows["series"].unique()})
    budgets = sorted(map(int, rows["iterations"].unique()))
    points = alt.Chart().mark_point(filled=True, size=90, opacity=0.8).properties(height=HEIGHT)
    points = points.encode(
        x=alt.X(
            "iterations:Q",
            title="iterations of the whole training",
            scale=alt.Scale(type="log", base=2, padding=15),
            axis=alt.Axis(format="~s", grid=False, values=budgets, labelOverlap="greedy"),
        ),
        y=alt.Y("value:Q", title="final error (%)"),
        color=DEPTH,
        shape=alt.Shape("kind:N"),
        tooltip=["net:N", "seed:N", "iterations:Q", "value:Q", "hardware:N"],
    )
    data = csv_data(rows, ["depth", "iterations", "value"])
    header = alt.Header(labelExpr="datum.value + ' error'")
    chart = points.facet(alt.Facet("error:N", title=None, sort=[*ERRORS.values()], header=header), data=data, columns=2)
    return chart.transform_filter("datum.series == series").add_params(chosen).configure_legend(orient="top")


def layer_rows(study: Study) -> pd.DataFrame:
    """Return the probes of one seed of each net that Figure 7 shows, with every column that the study has recorded."""
    runs = probed_runs(study)
    probes = study.probes[study.probes["outcome"] == "finished"]
    probes = probes[probes["seed"] == probes["net"].map({net: run.seed for net, run in runs.items()})]
    return probes.drop(columns={*IDENTITY, "name"} - {*KEYS}).dropna(axis="columns", how="all")


def layers_chart(studies: Sequence[Study]) -> alt.FacetChart | None:
    """Return one quantity of one study, which drop-downs choose, against the layer: one panel per net."""
    rows = pd.concat([layer_rows(study) for study in studies]) if studies else pd.DataFrame()
    if rows.empty:
        return None
    shown = {study.name: label(study) for study in studies if study.name in set(rows["study"])}
    recorded = [*QUANTITIES, *sorted(set(rows) - {*QUANTITIES, *KEYS})]
    labels = {name: QUANTITIES.get(name, name) for name in recorded if name in rows}
    chosen = drop_down("layers_study", "Study", shown)
    quantity = drop_down("quantity", "Quantity", labels)
    iteration = alt.selection_point(name="probe", fields=["iteration"], bind="legend")
    shades = alt.Scale(scheme=alt.SchemeParams("plasma", extent=[0.85, 0]))
    base = alt.Chart().encode(
        x=alt.X("layer:Q", axis=alt.Axis(grid=False, tickMinStep=1), scale=alt.Scale(nice=False)),
        y=alt.Y("value:Q", title="value (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=5)),
        color=alt.Color("iteration:O", scale=shades, legend=alt.Legend(columns=4)),
        opacity=alt.when(iteration).then(alt.value(1)).otherwise(alt.value(0.08)),
        tooltip=["net:N", "seed:N", "iteration:Q", "layer:Q", alt.Tooltip("value:Q", format=".3~g")],
    )
    layers = alt.layer(base.mark_line().add_params(iteration), base.mark_circle(size=25)).properties(height=HEIGHT)
    nets = sorted(rows["net"].unique(), key=lambda net: [*rows["net"]].index(net))
    data = csv_data(rows[[*KEYS, *labels]], ["depth", "iteration", "layer", *labels])
    chart = layers.facet(alt.Facet("net:N", title=None, sort=nets), data=data, columns=2).resolve_scale(x="independent")
    return (
        chart.transform_filter("datum.study == layers_study")
        .transform_calculate(value="datum[quantity]")
        .transform_filter("datum.value > 0")  # the scale is logarithmic
        .add_params(chosen, quantity)
        .configure_legend(orient="top")
    )
