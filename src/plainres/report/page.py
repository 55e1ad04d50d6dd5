"""The report as one page to explore: a single HTML file that needs no server, no network and no other file.

Altair describes the charts and vl-convert supplies Vega's scripts. Drop-downs, legends that can be clicked and zooming
are Altair's own, so that the page has no code of its own but the one that draws the charts at the width of the window.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jinja2
import pandas as pd
import vl_convert

from plainres.catalog.datasets import CIFAR10
from plainres.files import write_atomic
from plainres.report import architecture, imagenet
from plainres.report.charts import budgets_chart, curves_chart, label, layers_chart
from plainres.report.claims import CLAIMS, judge_results
from plainres.report.claims_tables import comparison_lines
from plainres.report.degradation import finding
from plainres.report.records import Results, Study, largest_study
from plainres.report.tables import PRECISION_NOTE, precision_differences, table_6

HERE = files(__package__)


def runs_table(studies: Sequence[Study]) -> pd.DataFrame:
    """Return one row per readable run: how it ended, and what computed it."""
    runs = pd.concat([study.overview for study in studies])
    shown = runs[["study", "net", "seed", "outcome"]].copy()
    shown["iterations"] = runs["iterations_done"].map("{:,}".format)
    shown["training error"] = runs["last_train_error"].map("{:.2f}%".format)
    shown["test error"] = runs["last_test_error"].map("{:.2f}%".format)
    shown["minutes"] = (runs["seconds"] / 60).map("{:,.0f}".format)
    shown[["hardware", "torch"]] = runs[["hardware", "torch"]]
    shown["commit"] = runs["commit"].str[:12]
    return shown


def tables(studies: Sequence[Study], results: Path) -> list[tuple[str, str, pd.DataFrame]]:
    """Return title, note and rows of the tables of results."""
    shown = []
    for study in studies:
        if study.runs:
            frame = imagenet.finals_table(study) if study.is_imagenet else table_6(study)
            title = label(study) if study.is_imagenet else f"Table 6: {label(study)}"
            shown.append((title, f"{study.describe()}. Errors in percent at the last iteration.", frame))
    if len(precision := precision_differences(studies)):
        shown.append(("bf16 against fp32", PRECISION_NOTE, precision))
    if nets := architecture.read_nets(results / architecture.FOLDER):
        title = "Table 1: parameters and multiply-adds of the ImageNet nets"
        shown.append((title, "For an image of 224x224.", architecture.table_1(nets)))
    for scores in imagenet.score_sets(imagenet.read_scores(results)):
        if scores.is_result:
            shown += [(title, scores.describe(), frame) for title, frame in scores.tables().items()]
    return shown


def _table_html(frame: pd.DataFrame) -> str:
    with pd.option_context("display.max_colwidth", None):
        return frame.to_html(index=False, border=0, justify="left", na_rep="-")


def page_html(results: Results) -> str:
    """Return the page on the studies of a results folder as HTML."""
    studies = results.studies
    readable = [study for study in studies if study.readable]
    datasets = dict.fromkeys([CIFAR10.name, *(study.config["dataset"] for study in readable)])
    front = next(filter(None, (largest_study(studies, name) for name in datasets)), None)
    readable.sort(
        key=lambda study: (study is not front, study.info is not CIFAR10, study.is_imagenet, -study.iterations)
    )
    drawn = {"curves": curves_chart, "layers": layers_chart, "budgets": budgets_chart}
    charts = {name: chart for name, draw in drawn.items() if (chart := draw(readable))}
    verdicts = judge_results(results)
    template = jinja2.Template(
        (HERE / "page.html.jinja").read_text(encoding="utf-8"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return template.render(
        html=_table_html,
        front=front,
        finding=finding(front) if front else [],
        claims=[(claim, verdicts[claim.name].level, comparison_lines(verdicts[claim.name])) for claim in CLAIMS],
        charts={name: chart.to_dict() for name, chart in charts.items()},
        tables=tables(readable, results.folder),
        runs=runs_table(readable) if readable else pd.DataFrame(),
        unreadable=[(study.name, *other) for study in studies for other in study.others if other[1] == "unreadable"],
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        libraries=vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
    )


def write_page(results: Results) -> Path:
    """Write `report.html` into the results folder and return its path."""
    path = results.folder / "report.html"
    write_atomic(path, page_html(results))
    return path
