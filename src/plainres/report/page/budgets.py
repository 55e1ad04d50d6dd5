"""Interactive version of the figure of final errors against the budget."""

import itertools
from collections.abc import Sequence

import altair as alt
import pandas as pd

from plainres.report.page.palette import DASHES, HEIGHT, ROWS, depth_colour, depth_shape, finish
from plainres.report.records import Study

FILLS = {"hollow": 0.0, "pale": 0.5}  # opacities of the points of variants
ERRORS = {"train_error": "training error", "test_error": "test error"}


def budgets_title(study: Study) -> str:
    """Return what the studies of a series from `budget_series` have in common, from one of them."""
    config = study.config
    bn = f" (BN sees {config['micro_batch']})" if config.get("micro_batch") else ""
    return f"{study.dataset}, {config['train_set']} images{bn}, {config['precision']}"


def _variant(net: str) -> str:
    """Return what the name of a net has beside its kind and depth: `"clip1"` of plain-56-clip1, often `""`."""
    return "-".join(net.split("-")[2:])


def budgets_chart(studies: Sequence[Study]) -> dict | None:
    """Return the final errors of nets against the number of iterations as a Vega-Lite specification.

    Points are runs, lines go through the means over seeds. Nets of one kind and depth, such as plain-56 and
    plain-56-clip1, differ in how their points are filled.

    Args:
        studies: Studies on one data set and training set, in one precision.

    Returns:
        None if no two nets were trained at several budgets that they share.
    """
    columns = ["net", "kind", "depth", "seed", "iterations", *ERRORS]
    runs = pd.concat([study.overview.loc[study.overview["outcome"] == "finished", columns] for study in studies])
    several = runs[runs.groupby("net")["iterations"].transform("nunique") > 1]
    several = several[several.groupby("iterations")["net"].transform("nunique") > 1]
    if several.empty:
        return None
    rows = several.melt(columns[:-2], [*ERRORS], var_name="error").dropna(subset="value").replace({"error": ERRORS})
    rows["variant"] = [_variant(net) for net in rows["net"]]
    variants = sorted({*rows["variant"]} - {""})
    fills = dict(zip(variants, itertools.cycle(FILLS), strict=False))
    depths, kinds = sorted(rows["depth"].unique()), list(dict.fromkeys(rows["kind"]))
    budgets = sorted(int(n) for n in rows["iterations"].unique())
    base = alt.Chart().encode(
        x=alt.X(
            "iterations:Q", scale=alt.Scale(type="log", base=2, nice=False, padding=12),
            axis=alt.Axis(values=budgets, format="~s", grid=False, labelOverlap="greedy"),
            title="iterations of the whole training",
        ),
        y=alt.Y("value:Q", title="final error (%)", scale=alt.Scale(zero=True)),
        color=depth_colour(depths),
    )  # fmt: skip
    dashes = alt.Scale(domain=kinds, range=DASHES[: len(kinds)])
    lines = base.mark_line().encode(
        y=alt.Y("mean(value):Q", title="final error (%)"), detail="net:N",
        strokeDash=alt.StrokeDash("kind:N", scale=dashes, title="kind", legend=alt.Legend(symbolType="stroke")),
    )  # fmt: skip
    tooltip = ["net:N", "seed:N", alt.Tooltip("iterations:Q", format=","), alt.Tooltip("value:Q", format=".2f")]
    points = base.mark_point(filled=True, size=50, opacity=0.9, strokeWidth=1.5).encode(
        shape=depth_shape(depths), stroke=depth_colour(depths), tooltip=tooltip,
        fillOpacity=alt.FillOpacity(
            "variant:O", scale=alt.Scale(domain=["", *fills], range=[1.0, *(FILLS[fill] for fill in fills.values())])
        ),
    )  # fmt: skip
    chart = alt.layer(lines, points, data=ROWS).properties(height=HEIGHT)
    panels = chart.facet(alt.Facet("error:N", sort=[*ERRORS.values()], header=alt.Header(title=None)), columns=2)
    if fills:  # Vega-Lite draws no legend of a fill's opacity
        by_fill: dict[str, list[str]] = {}
        for net in sorted({*rows["net"]}):
            if fill := fills.get(_variant(net)):
                by_fill.setdefault(fill, []).append(net)
        named = [f"{fill} points: {', '.join(nets)}" for fill, nets in by_fill.items()]
        panels = panels.properties(title=alt.Title("; ".join(named), fontSize=12, fontWeight="normal"))
    return finish(panels, rows.to_dict("records"))
