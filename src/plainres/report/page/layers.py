"""Inside the nets: what the probes recorded, layer against iteration."""

import math

import altair as alt

from plainres.report.frames import IDENTITY, PROBES
from plainres.report.page.curves import default_series, switches
from plainres.report.page.palette import DASHES, HEIGHT, ROWS, depth_colour, finish
from plainres.report.records import Study

QUANTITIES = {
    "forward_variance": "variance of the convolution's output, before BN",
    "gradient_norm": "gradient norm, with respect to the weights",
    "response_gradient_norm": "gradient norm, with respect to the response",
    "response_std": "standard deviation of the response, after BN",
    "relative_weight_norm": "norm of the weights, relative to the initial norm",
    "weight_angle": "angle between the weights and the initial weights (degrees)",
}
SPANNING_DECADES = ("forward_variance", "gradient_norm", "response_gradient_norm")
ROW_HEIGHT = 20
NUMBERS = "format(datum.value, datum.value >= 1e4 || datum.value < 1e-2 ? '.0e' : '~g')"
TITLE = "value (log scale)"
TOOLTIP = [
    alt.Tooltip("series:N", title="net"),
    alt.Tooltip("seed:N"),
    alt.Tooltip("iteration:Q", format=","),
    alt.Tooltip("layer:Q"),
    alt.Tooltip("value:Q", format=".3~g"),
]


def recorded_quantities(study: Study) -> list[str]:
    """Return the columns of the probes that a study has values of: those of `QUANTITIES` first, then any others."""
    measured = [name for name in study.probes if name not in {*IDENTITY, "iteration", "layer", "name"}]
    recorded = [name for name in measured if study.probes[name].notna().any()]
    return sorted(recorded, key=lambda name: [*QUANTITIES, *recorded].index(name))


def layer_rows(study: Study) -> list[dict]:
    """Return one row per net and probed iteration, with the quantities of all layers as lists.

    Of each net this is the seed that was probed most often, and the first of those.

    Args:
        study: Study with readable runs.
    """
    quantities = recorded_quantities(study)
    counts = study.probes.groupby(["net", "outcome", "seed"])["iteration"].nunique()
    most = counts.groupby(level=["net", "outcome"]).idxmax()
    rows = []
    keys = ["net", "outcome", "seed", "kind", "depth", "iteration"]
    for (net, outcome, seed, kind, depth, iteration), probe in study.probes.groupby(keys, sort=False):
        if (net, outcome, seed) != most[net, outcome]:
            continue
        probe = probe.sort_values("layer")
        name = net if outcome == "finished" else f"{net} (partial)" if outcome == "running" else f"{net} ({outcome})"
        row = {
            "series": name,
            "kind": kind,
            "depth": depth,
            "layers": f"{depth} layers",
            "seed": seed,
            "iteration": iteration,
        }
        values = {
            quantity: [float(f"{value:.3g}") if math.isfinite(value) else None for value in probe[quantity]]
            for quantity in quantities
        }
        rows.append(row | {"layer": probe["layer"].tolist()} | values)
    return rows


def _maps(names: list[str], depths: list[int], probes: int) -> alt.FacetChart:
    """Return one map of layer against iteration per net."""
    legend = alt.Legend(
        title=TITLE, gradientLength=220, labelExpr=NUMBERS, labelOverlap="greedy", labelSeparation=8, tickCount=5
    )
    maps = alt.Chart().mark_rect().encode(
        x=alt.X("layer:O", axis=alt.Axis(values=[1, *range(10, max(depths), 10)], labelAngle=0), title="layer"),
        y=alt.Y("iteration:O", title="iteration", axis=alt.Axis(format=",", ticks=False)),
        color=alt.Color("value:Q", scale=alt.Scale(type="log", scheme="viridis"), legend=legend),
        tooltip=TOOLTIP,
    )  # fmt: skip
    by_net = alt.Facet("series:N", sort=names, header=alt.Header(title=None))
    facets = maps.properties(height=ROW_HEIGHT * probes).facet(by_net, data=ROWS, columns=2)
    return facets.resolve_scale(x="independent")


def _lines(depths: list[int], kinds: list[str], iteration: str, title: str) -> alt.FacetChart:
    """Return one panel per depth: value against layer at the probe whose iteration the expression gives."""
    powers = [10.0**k for k in range(-12, 13)]
    between = sorted(digit * power for digit in (1, 2, 5) for power in powers)
    ticks = alt.ExprRef(f"indexof({[*SPANNING_DECADES]}, quantity) >= 0 ? {powers} : {between}")
    scale = alt.Scale(nice=False, zero=False)
    probe = alt.Chart().transform_filter(f"datum.iteration == {iteration}").encode(
        x=alt.X("layer:Q", axis=alt.Axis(grid=False, tickMinStep=1), scale=scale, title="layer"),
        y=alt.Y(
            "value:Q", scale=alt.Scale(type="log"), title=TITLE,
            axis=alt.Axis(values=ticks, labelExpr=NUMBERS, labelOverlap=True),
        ),
        color=depth_colour(depths),
        detail="series:N",
        tooltip=TOOLTIP,
    )  # fmt: skip
    # All probes, invisible, so that the axes stay the same while the slider moves.
    extent = alt.Chart().transform_aggregate(
        first="min(layer)", last="max(layer)", low="min(value)", high="max(value)", groupby=["depth"]
    )
    box = extent.mark_rect(opacity=0).encode(
        x=alt.X("first:Q", scale=scale, title="layer"), x2="last:Q", y=alt.Y("low:Q", title=TITLE), y2="high:Q"
    )
    dashes = alt.Scale(domain=kinds, range=DASHES[: len(kinds)])
    dash = alt.StrokeDash("kind:N", scale=dashes, title="kind", legend=alt.Legend(symbolType="stroke"))
    lines = alt.layer(box, probe.mark_line().encode(strokeDash=dash), probe.mark_point(filled=True, size=26), data=ROWS)
    by_depth = alt.Facet("layers:N", sort=[f"{depth} layers" for depth in depths], header=alt.Header(title=None))
    facets = lines.properties(height=HEIGHT * 3 // 4).facet(
        by_depth, columns=2, title=alt.TitleParams(alt.ExprRef(title))
    )
    return facets.resolve_scale(x="independent")


def layers_chart(study: Study) -> dict | None:
    """Return the probes of a study as a Vega-Lite specification.

    It has a map of layer against iteration for each net and, below them, the layers of plain and residual nets of one
    depth at one probe, which a slider chooses.

    Args:
        study: Study with readable runs.

    Returns:
        None if the study has no probes.
    """
    quantities, rows = recorded_quantities(study), layer_rows(study)
    if not quantities or not rows:
        return None
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    order = sorted({(row["depth"], kinds.index(row["kind"]), row["series"]) for row in rows})
    names, depths = [name for *_, name in order], sorted({row["depth"] for row in rows})
    iterations = sorted({row["iteration"] for row in rows})
    paper = {name.partition(" (")[0] for name in default_series(study)}
    boxes, checked = switches(names, {name for name in names if name.partition(" (")[0] in paper})
    labels = [QUANTITIES.get(name, PROBES.get(name, name)) for name in quantities]
    choice = alt.binding_select(options=quantities, labels=labels, name="Quantity")
    quantity = alt.param("quantity", value=quantities[0], bind=choice)
    last = len(iterations) - 1
    probe = alt.param("probe", value=min(1, last), bind=alt.binding_range(min=0, max=last, step=1, name="Probe"))
    iteration = f"{iterations}[probe]"

    points = (
        alt.Chart()
        .transform_filter(checked)
        .transform_flatten(["layer", *quantities])
        .transform_calculate(value="datum[quantity]")
        .transform_filter("datum.value > 0")  # the scales are logarithmic
    )
    title = f"'After ' + format({iteration}, ',') + ' of {study.iterations:,} iterations'"
    maps, lines = _maps(names, depths, len(iterations)), _lines(depths, kinds, iteration, title)
    for facets in (maps, lines):
        facets.transform = points.transform  # before the facets, so that nets which are not chosen have no panel
    chart = alt.vconcat(maps, lines, spacing=28).resolve_scale(color="independent", strokeDash="independent")
    return finish(chart, rows, [quantity, probe, *boxes])
