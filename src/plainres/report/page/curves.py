"""Charts of errors: during the training (Figure 6, and Figure 4 for ImageNet), and at its end against its length."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from plainres.report.figures import error_panels, error_top
from plainres.report.records import Study, budget_series

ERRORS = {"train_error": "training", "test_error": "test"}
HEIGHT = 320
# Dark is deep, as in the other figures. The light end of the scheme would be too pale on white.
DEPTH = alt.Color(
    "depth:O",
    title="layers",
    scale=alt.Scale(scheme=alt.SchemeParams("viridis", extent=[0.75, 0])),
    legend=alt.Legend(symbolOpacity=1),  # not that of the bands
)


def figure_nets(study: Study) -> list[str]:
    """Return the nets that Figure 6 shows of a study, or Figure 4 if it is one on photographs."""
    return [net for nets in error_panels(study).values() for net in nets]


def csv_data(frame: pd.DataFrame, numbers: Sequence[str]) -> alt.InlineData:
    """Return a frame as data of a chart. CSV is a quarter of the size of JSON.

    Args:
        frame: One row per mark.
        numbers: Columns of numbers. They are written with four digits.
    """
    text = frame.to_csv(index=False, float_format="%.4g")
    return alt.InlineData(text, alt.CsvDataFormat(type="csv", parse=dict.fromkeys(numbers, "number")))


def drop_down(name: str, title: str, labels: dict[str, str]) -> alt.Parameter:
    """Return a parameter of a chart that a drop-down sets. Its first value is chosen.

    Args:
        name: Name of the parameter.
        title: Text before the drop-down.
        labels: Text of each value.
    """
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

    Args:
        studies: Studies in the order of the drop-down.

    Returns:
        None if no study has metrics of the nets.
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
    """Return the final errors of every run against the length of the training, for one series of studies.

    Args:
        studies: Studies in any order.

    Returns:
        None if no series of studies has several budgets.
    """
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
    points = (
        alt.Chart()
        .mark_point(filled=True, size=90, opacity=0.8)
        .encode(
            x=alt.X(
                "iterations:Q",
                title="iterations of the whole training",
                scale=alt.Scale(type="log", base=2, padding=15),
                axis=alt.Axis(
                    format="~s", grid=False, values=sorted(map(int, rows["iterations"].unique())), labelOverlap="greedy"
                ),
            ),
            y=alt.Y("value:Q", title="final error (%)"),
            color=DEPTH,
            shape=alt.Shape("kind:N"),
            tooltip=["net:N", "seed:N", "iterations:Q", "value:Q", "hardware:N"],
        )
        .properties(height=HEIGHT)
    )
    data = csv_data(rows, ["depth", "iterations", "value"])
    header = alt.Header(labelExpr="datum.value + ' error'")
    chart = points.facet(alt.Facet("error:N", title=None, sort=[*ERRORS.values()], header=header), data=data, columns=2)
    return chart.transform_filter("datum.series == series").add_params(chosen).configure_legend(orient="top")
