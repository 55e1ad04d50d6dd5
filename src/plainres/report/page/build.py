"""Putting the page together."""

import base64
import gzip
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jinja2
import vl_convert
from markdown_it import MarkdownIt

from plainres.files import write_atomic
from plainres.report import imagenet
from plainres.report.claims import LEVELS, judge_results
from plainres.report.page import content
from plainres.report.page.budgets import budgets_chart, budgets_title
from plainres.report.page.cards import Card, claim_cards
from plainres.report.page.curves import curves_chart
from plainres.report.page.effects import effects_chart
from plainres.report.page.layers import layers_chart
from plainres.report.page.tables import Points, cost_table, precision_tables, score_tables
from plainres.report.records import Study, budget_series

EXPORTS = "window.vegaEmbed = vegaEmbed;"
HERE = files(__package__)


def chart_specifications(studies: Sequence[Study], cards: Sequence[Card]) -> dict[str, dict]:
    """Return the Vega-Lite specification of every chart of the page by its name.

    Args:
        studies: Studies with readable runs.
        cards: All claims.
    """
    charts: dict[str, dict | None] = {}
    for study in studies:
        charts[f"curves/{study.name}"] = curves_chart(study)
        charts[f"layers/{study.name}"] = layers_chart(study)
    charts |= {f"budgets/{budgets_title(group[0])}": budgets_chart(group) for group in budget_series(studies).values()}
    charts |= {f"effects/{card.claim.id}": effects_chart(card.verdict) for card in cards}
    return {name: chart for name, chart in charts.items() if chart is not None}


def _in_script(text: str) -> str:
    """Return JavaScript or JSON that the parser of HTML cannot take for the end of its script element."""
    return re.sub("</(?=script)|<(?=!--)", lambda found: found[0].replace("<", r"\u003c"), text, flags=re.IGNORECASE)


def _pack(charts: dict[str, dict]) -> str:
    """Return the specifications of all charts as JSON, compressed with gzip, in base64."""
    text = json.dumps(charts, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def page_html(studies: Sequence[Study], results: Path) -> str:
    """Return the page as HTML.

    Args:
        studies: Studies below the results folder.
        results: Results folder.
    """
    cards = claim_cards(judge_results(studies, results))
    contents = content.ordered_studies(studies)
    charts = chart_specifications([shown.study for shown in contents], cards)
    headline = content.headline(studies)
    chosen = headline.study or (contents[0].study if contents else None)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.tests["points"] = lambda cell: isinstance(cell, Points)
    environment.filters["inline_markdown"] = MarkdownIt("zero").enable("backticks").renderInline
    template = environment.from_string((HERE / "page.html.jinja").read_text())
    page = template.render(
        headline=headline,
        chosen=chosen.name if chosen else "",
        studies=contents,
        cards=cards,
        levels=LEVELS,
        charts=charts,
        budgets=[name for name in charts if name.startswith("budgets/")],
        precision=precision_tables(studies),
        imagenet_tables=[*cost_table(results), *score_tables(imagenet.read_scores(results))],
        ledger=content.ledger_tables(),
        unreadable=content.unreadable(studies, results),
        style=(HERE / "page.css").read_text(),
        script=_in_script((HERE / "page.js").read_text()),
        libraries=_in_script(vl_convert.javascript_bundle(EXPORTS)),
        specifications=_pack(charts),
    )
    return page.lstrip()


def write_page(studies: Sequence[Study], results: Path) -> Path:
    """Write `report.html` into the results folder and return its path.

    Args:
        studies: Studies below the results folder.
        results: Results folder.
    """
    path = results / "report.html"
    write_atomic(path, page_html(studies, results))
    return path
