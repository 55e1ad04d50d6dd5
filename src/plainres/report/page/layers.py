"""Chart of what the probes recorded inside the nets, layer by layer."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from plainres.records.frames import IDENTITY
from plainres.report.layer_figures import probed_runs
from plainres.report.page.curves import HEIGHT, csv_data, drop_down, label
from plainres.report.records import Study

QUANTITIES = {
    "gradient_norm": "gradient norm of the weights",
    "response_gradient_norm": "gradient norm of the response",
    "response_std": "standard deviation of the response, after BN",
    "forward_variance": "variance of the convolution's output, before BN",
    "relative_weight_norm": "norm of the weights, relative to the initial norm",
    "weight_angle": "angle between the weights and the initial weights (degrees)",
}
KEYS = ["study", "net", "kind", "depth", "seed", "iteration", "layer"]


def layer_rows(study: Study) -> pd.DataFrame:
    """Return the probes of one seed of each net that Figure 7 shows, with every column that the study has recorded."""
    runs = probed_runs(study)
    probes = study.probes[study.probes["outcome"] == "finished"]
    probes = probes[probes["seed"] == probes["net"].map({net: run.seed for net, run in runs.items()})]
    return probes.drop(columns={*IDENTITY, "name"} - {*KEYS}).dropna(axis="columns", how="all")


def layers_chart(studies: Sequence[Study]) -> alt.FacetChart | None:
    """Return one quantity of one study, which drop-downs choose, against the layer: one panel per net.

    Args:
        studies: Studies in the order of the drop-down.

    Returns:
        None if no study has probes.
    """
    rows = pd.concat([layer_rows(study) for study in studies]) if studies else pd.DataFrame()
    if rows.empty:
        return None
    shown = {study.name: label(study) for study in studies if study.name in set(rows["study"])}
    recorded = [*QUANTITIES, *sorted(set(rows) - {*QUANTITIES, *KEYS})]
    labels = {name: QUANTITIES.get(name, name) for name in recorded if name in rows}
    chosen = drop_down("layers_study", "Study", shown)
    quantity = drop_down("quantity", "Quantity", labels)
    iteration = alt.selection_point(name="probe", fields=["iteration"], bind="legend")
    base = alt.Chart().encode(
        x=alt.X("layer:Q", axis=alt.Axis(grid=False, tickMinStep=1), scale=alt.Scale(nice=False)),
        y=alt.Y("value:Q", title="value (log scale)", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=5)),
        color=alt.Color(
            "iteration:O",
            scale=alt.Scale(scheme=alt.SchemeParams("plasma", extent=[0.85, 0])),
            legend=alt.Legend(columns=4),
        ),
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
