"""How charts tell nets apart: colour and marker of a depth, dash of a kind of error. The colours themselves are CSS."""

from collections.abc import Sequence
from typing import cast

import altair as alt

# The paper's depths keep their colours in every study; other depths take the remaining ones.
PAPER_DEPTHS = (20, 56, 32, 44, 110, 1202)
COLOURS = 8  # custom properties --series-0 to --series-7 in page.css: the palette of Okabe and Ito, for both themes
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([5, 3], [1, 0], [2, 2], [8, 2, 2, 2])  # of kinds: plain nets first, whose lines are dashed
INK, MUTED, LINE, PUBLISHED = "var(--ink)", "var(--muted)", "var(--line)", "var(--series-1)"
HEIGHT = 300
ROWS = alt.NamedData(name="rows")  # altair would copy and check rows within a chart many times


def depth_indices(depths: Sequence[int]) -> dict[int, int]:
    """Return the number of the colour and of the marker of each depth.

    Args:
        depths: Numbers of layers, in any order.
    """
    others = sorted({*depths} - {*PAPER_DEPTHS})
    free = [i for i in range(COLOURS) if i not in [PAPER_DEPTHS.index(d) for d in depths if d in PAPER_DEPTHS]]
    fallback = {depth: free[i % len(free)] for i, depth in enumerate(others)}
    return {
        depth: PAPER_DEPTHS.index(depth) if depth in PAPER_DEPTHS else fallback[depth] for depth in sorted({*depths})
    }


def depth_colour(depths: Sequence[int]) -> alt.Color:
    """Return the encoding of a net's depth as colour, with the legend above the chart."""
    indices = depth_indices(depths)
    scale = alt.Scale(domain=list(indices), range=[f"var(--series-{i})" for i in indices.values()])
    # Without an opacity of their own, symbols would be as pale as the first layer of a chart.
    return alt.Color("depth:N", scale=scale, legend=alt.Legend(symbolOpacity=1), title="layers")


def depth_shape(depths: Sequence[int]) -> alt.Shape:
    """Return the encoding of a net's depth as marker, which tells depths apart without colour."""
    indices = depth_indices(depths)
    return alt.Shape("depth:N", scale=alt.Scale(domain=list(indices), range=[SHAPES[i] for i in indices.values()]))


def finish(chart: alt.TopLevelMixin, rows: list[dict], controls: Sequence[alt.Parameter] = ()) -> dict:
    """Return a chart as a Vega-Lite specification that leaves its width and its colours to the page.

    Args:
        chart: Finished chart, whose data are `ROWS`.
        rows: The data.
        controls: Parameters with inputs that the page shows above the chart.
    """
    axis = alt.AxisConfig(
        domainColor=LINE, gridColor=LINE, labelColor=MUTED, tickColor=LINE, titleColor=MUTED, titleFontWeight="normal"
    )
    configured = (
        chart.configure(background="transparent", font="system-ui, sans-serif", padding=4)
        .configure_axis(**axis.to_dict(), labelFontSize=12, titleFontSize=12)
        .configure_view(stroke=None)
        .configure_legend(
            orient="top", direction="horizontal", labelColor=INK, titleColor=MUTED, titleFontWeight="normal",
            labelFontSize=12, titleFontSize=12, symbolStrokeWidth=2, offset=6,
        )
        .configure_header(labelColor=INK, labelFontSize=13, labelFontWeight="bold", title=None)
        .configure_title(color=INK, fontSize=13, anchor="start")
    )  # fmt: skip
    specification = configured.to_dict()
    # add_params copies the chart for every parameter, and fails on concatenated facets in altair 6.3.
    parameters = [
        *(cast(alt.VariableParameter, control.param).to_dict() for control in controls),
        *specification.get("params", []),
    ]
    return specification | {"params": parameters, "datasets": {"rows": rows}}
