"""The verdicts on the claims as frames, tables, text and JSON."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from plainres.files import write_atomic
from plainres.report.claims import CLAIMS
from plainres.report.tables import markdown_table
from plainres.report.verdicts import LEVELS, MEANINGS, Judged, Verdict


def claims_frame(verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """Return one row per comparison: claim, level of the comparison, effect with its interval, and what it rests on."""
    rows = []
    for claim in CLAIMS:
        for part in verdicts[claim.name].parts:
            row = {"claim": claim.name, "comparison": part.name, "level": part.level, "published": part.published}
            if shown := part.shown:
                effect = shown.interval
                row |= {"effect": effect.mean, "low": effect.low, "high": effect.high, "n": effect.n}
                row |= {"unit": part.unit, "iterations": shown.iterations, "study": shown.study}
            rows.append(row)
    columns = ["claim", "comparison", "level", "effect", "low", "high", "n", "unit", "iterations", "study", "published"]
    return pd.DataFrame(rows, columns=columns).astype({"n": "Int64", "iterations": "Int64"})


def claims_table(verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """Return one row per claim, as text: the claim, its level, and the comparison that decides the level."""
    rows = []
    for claim in CLAIMS:
        weakest = verdicts[claim.name].weakest
        row = {"claim": claim.sentence, "in the paper": claim.evidence, "verdict": verdicts[claim.name].level}
        if weakest.shown:
            row |= {"decided by": weakest.name, "effect": describe_effect(weakest)}
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def describe_effect(part: Judged) -> str:
    """Return the effect that a level rests on, with its interval, unit, number of seeds and budget."""
    if part.shown is None:
        return ""
    unit = "" if part.unit == "points" else f" {part.unit}"
    if not part.shown.runs:  # exact
        return f"{part.shown.interval.mean:+.2f}{unit}"
    return f"{part.shown.interval}{unit}, {part.shown.iterations:,} iterations"


def comparison_lines(verdict: Verdict) -> list[str]:
    """Return one line per comparison of a verdict: its level, its effect, and what it rests on."""
    lines = []
    for part in verdict.parts:
        if part.shown is None:
            lines.append(f"{part.name}: {part.level}")
            continue
        published = "" if part.published is None else f"published {part.published:+.2f}"
        more = "; ".join(filter(None, [part.remark, published, part.shown.study]))
        lines.append(f"{part.name}: {part.level}, {describe_effect(part)} ({more})")
    return lines


def claims_text(verdicts: Mapping[str, Verdict]) -> str:
    """Return the claims that have verdicts with their levels and comparisons, for a terminal."""
    lines = []
    for claim in (claim for claim in CLAIMS if claim.name in verdicts):
        verdict = verdicts[claim.name]
        lines += [f"{claim.sentence} ({claim.evidence}).", f"    {verdict.level.upper()}"]
        lines += [f"    {line}" for line in comparison_lines(verdict)] + [""]
    return "\n".join(lines)


def claims_markdown(verdicts: Mapping[str, Verdict]) -> str:
    """Return the meaning of the levels, the table of the claims, and all comparisons as Markdown."""
    lines = [f"- *{level}*: {MEANINGS[level]}." for level in reversed(LEVELS)]
    lines += ["", markdown_table(claims_table(verdicts)), ""]
    for claim in CLAIMS:
        lines += [f"**{claim.name[0].upper()}{claim.name[1:]}**\n"]
        lines += [f"- {line}" for line in comparison_lines(verdicts[claim.name])] + [""]
    return "\n".join(lines).strip()


def save_claims(verdicts: Mapping[str, Verdict], path: Path) -> None:
    """Write level, effects, intervals, numbers of seeds, budgets and studies of all claims as JSON."""
    frame = claims_frame(verdicts)
    content = {
        name: {
            "level": verdict.level,
            "comparisons": json.loads(frame[frame["claim"] == name].drop(columns="claim").to_json(orient="records")),
        }
        for name, verdict in verdicts.items()
    }
    write_atomic(path, json.dumps(content, indent=2) + "\n")
