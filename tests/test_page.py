"""The page to explore: what it says and leaves unsaid, and, in a headless Chromium, what it draws."""

import html
import json
import re
import shutil
import subprocess

import pandas as pd
import pytest
import vl_convert
from helpers import ROOT
from test_frames import write_layers, write_partial
from test_report import write_run

from plainres.report import find_studies
from plainres.report.claims import judge_results
from plainres.report.degradation import finding
from plainres.report.page import content, page_html, write_page
from plainres.report.page.budgets import budgets_chart
from plainres.report.page.build import chart_specifications
from plainres.report.page.cards import claim_cards
from plainres.report.page.curves import EACH, MEAN, curve_rows, curves_chart
from plainres.report.page.effects import effect_rows
from plainres.report.page.layers import layer_rows, layers_chart, recorded_quantities
from plainres.report.page.tables import Points, results_table
from plainres.report.records import budget_series
from plainres.report.write import write_all

COMMITTED = ROOT / "results"
MOST_BYTES = 2_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Opens the page as on a desktop and as on a phone, chooses every study, and writes down what it finds.
EXPLORE = """
<iframe id="desktop" src="report.html" width="1280" height="900"></iframe>
<iframe id="phone" src="report.html" width="390" height="844"></iframe>
<script>
async function explore(id) {
  const frame = document.getElementById(id).contentWindow, page = frame.document;
  const found = { empty: [], studies: [], wide: [] };
  for (const details of page.querySelectorAll("details")) details.open = true;
  for (const option of page.querySelectorAll("#study option")) {
    await frame.chooseStudy(option.value);
    found.studies.push(option.value);
    for (const chart of page.querySelectorAll(".chart")) {
      const marks = [".mark-line", ".mark-rect", ".mark-symbol"].map((kind) => `${kind}.role-mark path`).join();
      if (chart.clientWidth && !chart.querySelector(marks)) found.empty.push(chart.dataset.chart);
    }
    if (page.documentElement.scrollWidth > frame.innerWidth) found.wide.push(option.value);
  }
  const head = [...page.querySelectorAll(".table")].find((table) => table.clientWidth).querySelector("thead button");
  const rows = () => [...head.closest("table").tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
  head.click();
  found.ascending = rows();
  head.click();
  found.descending = rows();
  found.charts = page.querySelectorAll(".chart").length;
  return found;
}
addEventListener("load", async () => {
  const found = { desktop: await explore("desktop"), phone: await explore("phone") };
  document.body.innerHTML = "";
  document.body.dataset.found = JSON.stringify(found);
});
</script>
"""


@pytest.fixture
def results(tmp_path):
    """Finished nets at the paper's budget with two seeds, a run in progress beside them, and a shorter study."""
    for shortcut, depth, error in ((None, 20, 9.0), (None, 56, 12.0), ("A", 20, 8.5), ("A", 56, 7.0)):
        for seed in (0, 1):
            folder = write_run(
                tmp_path, error - 3 + seed / 9, error + seed / 9, depth=depth, shortcut=shortcut, seed=seed
            )
            write_layers(folder, depth - 1)
    write_partial(tmp_path, depth=110)
    for shortcut in (None, "A"):
        write_run(tmp_path, 40.0, 45.0, depth=20, shortcut=shortcut, iterations=1_000)
        write_run(tmp_path, 50.0, 55.0, depth=56, shortcut=shortcut, iterations=1_000)
    return tmp_path


def study_of(results, name):
    return {study.name: study for study in find_studies(results)}[name]


def explore(page):
    """Return what the script above finds on a page. The browser must print nothing to its console."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)}")
    outer = page.with_name("explore.html")
    outer.write_text(f"<!doctype html><body>{EXPLORE}</body>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    options += ["--allow-file-access-from-files", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"]
    options += ["--virtual-time-budget=100000", f"--user-data-dir={page.parent / 'browser'}", "--dump-dom"]
    done = subprocess.run([browser, *options, outer.as_uri()], capture_output=True, text=True, timeout=200)
    printed = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not printed, "\n".join(printed)
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


def test_page_opens_with_the_finding_of_the_largest_study(results):
    headline = content.headline(find_studies(results))
    assert headline.sentences == finding(study_of(results, "cifar10-64k-fp32"))
    assert len(headline.sentences) == 2 and "which is degradation" in headline.sentences[0]
    assert [(tile.shallow, tile.deep) for tile in headline.tiles] == [
        ("plain-20", "plain-56"),
        ("resnet-20", "resnet-56"),
    ]
    assert "cannot be compared" not in headline.limits and "One run per net" not in headline.limits
    page = html.unescape(page_html(find_studies(results), results))
    assert all(sentence in page for sentence in headline.sentences)


def test_page_that_opens_with_single_runs_says_so(tmp_path):
    for depth, error in ((20, 1.1), (56, 9.7)):
        write_run(tmp_path, error, error, depth=depth, shortcut=None)
    headline = content.headline(find_studies(tmp_path))
    assert "One run per net: no interval can be given." in headline.limits


def test_page_without_a_finished_run_says_so(tmp_path):
    write_partial(tmp_path, depth=20)
    page = page_html(find_studies(tmp_path), tmp_path)
    assert "No run has finished yet" in page and "has finished, so it has no results" in page
    assert "Runs in progress: not results" in page


def test_curves_have_means_of_finished_runs_alone(results):
    rows = pd.DataFrame(curve_rows(study_of(results, "cifar10-64k-fp32")))
    mean = rows[(rows["series"] == "plain-56") & (rows["view"] == MEAN) & (rows["error"] == "test")].iloc[0]
    assert mean["value"][-1] == pytest.approx(12.06, abs=0.01)
    assert (mean["low"][-1], mean["high"][-1]) == (12.0, 12.11)
    partial = rows[rows["outcome"] == "running"]
    assert set(partial["series"]) == {"resnet-110 (partial, 20,000 of 64,000 iterations)"}
    assert set(partial["view"]) == {MEAN, "seed 0"}  # drawn beside the means, as a run of its own


def test_partial_runs_of_several_seeds_have_no_mean(tmp_path):
    for seed in (0, 1):
        write_partial(tmp_path, depth=20, seed=seed)
    (study,) = find_studies(tmp_path)
    (seeds,) = [control for control in curves_chart(study)["params"] if control["name"] == "seeds"]
    assert seeds["value"] == EACH and seeds["bind"]["options"] == [EACH, "seed 0", "seed 1"]


def test_only_recorded_quantities_are_offered(results):
    study = study_of(results, "cifar10-64k-fp32")
    assert recorded_quantities(study) == ["forward_variance", "gradient_norm", "response_std"]
    rows = layer_rows(study)
    assert {row["series"] for row in rows} == {"plain-20", "plain-56", "resnet-20", "resnet-56"}
    assert all(len(row["layer"]) == len(row["gradient_norm"]) == row["depth"] - 1 for row in rows)
    assert "relative_weight_norm" not in json.dumps(layers_chart(study))
    assert layers_chart(study_of(results, "cifar10-1k-fp32")) is None


def test_effects_stand_beside_the_papers_figure_only_at_its_budget(results):
    def published(folder):
        verdicts = judge_results(find_studies(folder), folder)
        return [row for verdict in verdicts.values() for row in effect_rows(verdict) if "published" in row]

    assert {row["name"] for row in published(results)} >= {"resnet-20 minus resnet-56, test error"}
    shutil.rmtree(results / "cifar10-64k-fp32")
    assert not published(results)
    cards = claim_cards(judge_results(find_studies(results), results))
    assert any(card.without_published for card in cards)
    assert {card.verdict.magnitude for card in cards if card.verdict.parts} >= {"cannot be compared at this budget"}


def test_tables_stand_beside_the_papers_figures_only_at_its_budget(results):
    full, short = (results_table(study_of(results, f"cifar10-{budget}-fp32")) for budget in ("64k", "1k"))
    assert {"paper", "difference"} <= {*full.columns} and not {"paper", "difference"} & {*short.columns}
    assert "1.6% of its 64,000" in short.note
    (drawn,) = [cell for row in full.rows for cell in row if isinstance(cell, Points) and row[0] == "resnet-56"]
    assert drawn.values == (7.0, pytest.approx(7.11, abs=0.01)) and drawn.published == 6.97
    assert not any(cell.published for row in short.rows for cell in row if isinstance(cell, Points))
    assert [row[0] for row in short.rows] == ["plain-20", "plain-56", "resnet-20", "resnet-56"]


def test_demo_is_named(tmp_path):
    for depth in (8, 20):
        write_run(tmp_path, 30.0, 30.0, depth=depth, shortcut=None, dataset="demo", iterations=64)
    page = page_html(find_studies(tmp_path), tmp_path)
    assert page.count("DEMO SET, not CIFAR-10") >= 3


def test_text_of_records_cannot_end_the_script(results):
    path = results / "cifar10-1k-fp32" / "plain-20" / "seed-0" / "run.json"
    record = json.loads(path.read_text())
    record["net"] = "</script><b>"
    path.write_text(json.dumps(record))
    page = page_html(find_studies(results), results)
    assert "</script><b>" not in page and page.count("</script>") == 3


def test_charts_are_valid_vega_lite(results):
    studies = find_studies(results)
    charts = chart_specifications(studies, claim_cards(judge_results(studies, results)))
    assert {name.partition("/")[0] for name in charts} == {"curves", "layers", "budgets", "effects"}
    for chart in charts.values():
        assert vl_convert.vegalite_to_vega(chart)["marks"]


def test_variants_of_a_net_have_other_points_in_the_chart_over_budgets(results):
    for iterations in (1_000, 64_000):
        write_run(results, 30.0, 35.0, depth=56, shortcut=None, clip=1.0, iterations=iterations)
    (group,) = budget_series(find_studies(results)).values()
    chart = budgets_chart(group)
    assert chart["title"]["text"] == "hollow points: plain-56-clip1"
    fill = chart["spec"]["layer"][1]["encoding"]["fillOpacity"]["scale"]
    assert dict(zip(fill["domain"], fill["range"], strict=True)) == {"": 1.0, "clip1": 0.0}
    rows = {row["net"]: row["variant"] for row in chart["datasets"]["rows"]}
    assert rows["plain-56-clip1"] == "clip1" and rows["plain-56"] == ""


def test_a_run_without_metrics_has_no_curves(tmp_path):
    folder = write_partial(tmp_path, depth=20)
    (folder / "metrics.csv").unlink()
    (study,) = find_studies(tmp_path)
    assert curves_chart(study) is None and page_html([study], tmp_path)


def test_browser_draws_every_chart_and_sorts_tables(results):
    write_all(results, draw=False)
    found = explore(write_page(find_studies(results), results))
    for frame in found.values():
        assert frame["studies"] == ["cifar10-64k-fp32", "cifar10-1k-fp32"] and frame["charts"] > 5
        assert not frame["empty"] and not frame["wide"]
        assert frame["ascending"] == frame["descending"][::-1] != []


@pytest.mark.slow
def test_page_of_the_committed_records(tmp_path):
    text = page_html(find_studies(COMMITTED), COMMITTED)
    page = tmp_path / "report.html"
    page.write_text(text)
    assert page.stat().st_size < MOST_BYTES
    markup = text[: text.index('<script type="text/plain"')]
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:)|@import|url\(""", markup)
    found = explore(page)
    for frame in found.values():
        assert len(frame["studies"]) == len(find_studies(COMMITTED))
        assert not frame["empty"] and not frame["wide"]
