"""The effects that the verdict on a claim rests on, drawn with their intervals."""

import altair as alt

from plainres.report.page.palette import INK, LINE, MUTED, PUBLISHED, ROWS, finish
from plainres.report.verdicts import Verdict

ROW_HEIGHT = 46


def effect_rows(verdict: Verdict) -> list[dict]:
    """Return one row per comparison: effect, interval, what chance explains, and the published effect.

    The published effect is left out below the paper's budget, where the two cannot be compared.

    Args:
        verdict: Verdict on a claim.
    """
    rows = []
    for part in verdict.parts:
        effect, reference = part.effect, part.reference if part.comparable else None
        row = {"name": part.name, "effect": round(effect.mean, 4), "seeds": effect.n}
        row["budget"] = f"{part.judged.iterations:,} iterations"
        if effect.n > 1:
            row |= {"low": round(effect.low, 4), "high": round(effect.high, 4)}
        limit = part.bound if part.bound is not None else part.chance.half_width if part.chance else None
        if limit is not None:
            row |= {"from": -limit, "to": limit}
        if reference:
            row |= {"published": reference.value, "source": reference.source}
            row |= {
                "published_low": reference.value - reference.half_width,
                "published_high": reference.value + reference.half_width,
            }
        rows.append(row)
    return rows


def effects_chart(verdict: Verdict) -> dict | None:
    """Return the effects of a claim as a Vega-Lite specification, positive as claimed.

    Filled points have a 95% interval, open ones are single seeds. The grey band is what chance explains between single
    runs or, where a claim is that nets are alike, how far apart they may be. A diamond is the published effect.

    Args:
        verdict: Verdict on a claim.

    Returns:
        None if the verdict rests on no effects.
    """
    rows = effect_rows(verdict)
    if not rows:
        return None
    y = alt.Y("name:N", sort=None, axis=None, scale=alt.Scale(type="band", paddingInner=0.5))
    base = alt.Chart().encode(y=y)
    tooltip = [
        alt.Tooltip("name:N", title="comparison"),
        alt.Tooltip("effect:Q", format="+.2f"),
        alt.Tooltip("seeds:Q"),
        alt.Tooltip("budget:N"),
    ]
    title = f"{verdict.parts[0].unit}, positive as claimed"
    axis = alt.Axis(tickCount=5, grid=False, labelExpr="(datum.value > 0 ? '+' : '') + datum.value")
    x = alt.X("effect:Q", title=title, axis=axis)
    has = {name for row in rows for name in row}
    layers = [alt.Chart().transform_aggregate(n="count()").mark_rule(color=MUTED).encode(x=alt.datum(0))]
    if "to" in has:
        band = base.transform_filter("isValid(datum.to)").mark_bar(color=LINE, height=16)
        limit = [alt.Tooltip("to:Q", title="band up to", format=".2f")]
        layers.insert(0, band.encode(x=alt.X("from:Q", title=title), x2="to:Q", tooltip=limit))
    if "low" in has:
        interval = base.transform_filter("isValid(datum.low)").mark_rule(color=INK, strokeWidth=2)
        layers.append(interval.encode(x=alt.X("low:Q", title=title), x2="high:Q"))
    if "published" in has:
        published = base.transform_filter("isValid(datum.published)")
        source = ["source:N", alt.Tooltip("published:Q", format="+.2f")]
        layers += [
            published.mark_rule(color=PUBLISHED, strokeWidth=1.5, yOffset=9).encode(
                x=alt.X("published_low:Q", title=title), x2="published_high:Q"
            ),
            published.mark_point(shape="diamond", color=PUBLISHED, size=70, strokeWidth=2, yOffset=9).encode(
                x=alt.X("published:Q", title=title), tooltip=source
            ),
        ]
    filled = alt.condition("datum.seeds > 1", alt.value(INK), alt.value("var(--paper)"))
    layers += [
        base.mark_point(size=70, strokeWidth=2, stroke=INK, opacity=1).encode(x=x, fill=filled, tooltip=tooltip),
        base.mark_text(
            align="left", baseline="bottom", dy=-11, color=INK, fontSize=12, limit=alt.ExprRef("width")
        ).encode(x=alt.value(0), text="name:N", tooltip=tooltip),
    ]
    chart = alt.layer(*layers, data=ROWS)
    return finish(chart.properties(height=ROW_HEIGHT * len(rows)), rows)
