"""The page to explore: what it says, which nets its charts show, and, in a headless Chromium, what it draws."""

import html
import json
import re
import shutil
import subprocess

import pytest
import vl_convert
from helpers import ROOT
from test_frames import write_layers, write_partial
from test_report import write_run

from plainres.report import Results
from plainres.report.charts import (
    budgets_chart,
    curve_rows,
    curves_chart,
    figure_nets,
    layer_rows,
    layers_chart,
)
from plainres.report.degradation import finding
from plainres.report.figures import figure_6
from plainres.report.page import page_html, write_page

COMMITTED = ROOT / "results"
MOST_BYTES = 4_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Opens the page as on a desktop and as on a phone, chooses all values of drop-downs, and writes down what it finds.
EXPLORE = """
<iframe id="desktop" src="report.html" width="1280" height="900"></iframe>
<iframe id="phone" src="report.html" width="390" height="844"></iframe>
<script>
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
async function explore(id) {
  const frame = document.getElementById(id).contentWindow, page = frame.document;
  const found = { charts: [], chosen: [], empty: [], wide: false };
  for (const chart of page.querySelectorAll(".chart")) {
    while (!chart.querySelector("svg")) await pause(50);
    found.charts.push(chart.id);
    for (const list of chart.querySelectorAll("select")) {
      for (const option of list.options) {
        list.value = option.value;
        list.dispatchEvent(new Event("input", { bubbles: true }));
        list.dispatchEvent(new Event("change", { bubbles: true }));
        await pause(100);
        found.chosen.push(option.text);
        const marks = chart.querySelector(".mark-line.role-mark path, .mark-symbol.role-mark path");
        if (!marks) found.empty.push(option.text);
      }
      list.selectedIndex = 0;
      list.dispatchEvent(new Event("change", { bubbles: true }));
    }
  }
  for (const details of page.querySelectorAll("details")) details.open = true;
  found.wide = page.documentElement.scrollWidth > frame.innerWidth;
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
    return {study.name: study for study in Results(results).studies}[name]


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
    sentences = finding(study_of(results, "cifar10-64k-fp32"))
    page = html.unescape(page_html(Results(results)))
    assert len(sentences) == 2 and all(f'<p class="finding">{sentence}</p>' in page for sentence in sentences)


def test_page_without_a_finished_run_says_so(tmp_path):
    write_partial(tmp_path, depth=20)
    assert "No run has finished yet" in page_html(Results(tmp_path))
    assert "No run has finished yet" in page_html(Results(tmp_path / "none"))


def test_page_lists_runs_and_records_that_cannot_be_read(results):
    (results / "cifar10-1k-fp32" / "plain-20" / "seed-0" / "run.json").write_text("{}")
    page = page_html(Results(results))
    assert "cifar10-1k-fp32/plain-20/seed-0: KeyError" in page
    assert "<summary>12 runs</summary>" in page and len(re.findall(r"<td>resnet-110</td>\s*<td>0</td>", page)) == 1


def test_curves_have_means_of_finished_runs_alone(results):
    rows = curve_rows(study_of(results, "cifar10-64k-fp32"))
    last = rows[(rows["net"] == "plain-56") & (rows["error"] == "test")].iloc[-1]
    assert last["seeds"] == "mean of n = 2"
    assert [last[end] for end in ("min", "mean", "max")] == pytest.approx([12.0, 12.0 + 1 / 18, 12.0 + 1 / 9])
    partial = rows[rows["seeds"].str.contains("in progress")]
    assert set(partial["net"]) == {"resnet-110"} and set(partial["seeds"]) == {"seed 0, in progress"}


def test_curves_show_the_nets_of_figure_6(results):
    write_run(results, 30.0, 35.0, depth=56, shortcut=None, clip=1.0)
    write_run(results, 80.0, 80.0, depth=110, shortcut=None)
    study = study_of(results, "cifar10-64k-fp32")
    legends = [panel.get_legend().get_texts() for panel in figure_6(study).axes]
    drawn = {text.get_text().split(",")[0] for texts in legends for text in texts} - {"training", "test"}
    assert set(curve_rows(study)["net"]) == set(figure_nets(study)) == drawn


def test_layers_have_one_seed_and_the_recorded_quantities(results):
    rows = layer_rows(study_of(results, "cifar10-64k-fp32"))
    assert set(rows["net"]) == {"plain-20", "plain-56", "resnet-20", "resnet-56"} and set(rows["seed"]) == {0}
    assert (rows.groupby(["net", "depth", "iteration"])["layer"].count().reset_index("depth")["layer"] > 0).all()
    chart = layers_chart(Results(results).studies).to_dict()
    (quantity,) = [param for param in chart["params"] if param["name"] == "quantity"]
    assert set(quantity["bind"]["options"]) == {"forward_variance", "gradient_norm", "response_std"}
    assert layers_chart([study_of(results, "cifar10-1k-fp32")]) is None


def test_charts_are_valid_vega_lite(results):
    studies = Results(results).studies
    for draw in (curves_chart, layers_chart, budgets_chart):
        assert vl_convert.vegalite_to_vega(draw(studies).to_dict())["marks"]
    assert budgets_chart([study_of(results, "cifar10-1k-fp32")]) is None


def test_demo_is_named(tmp_path):
    for depth in (8, 20):
        write_run(tmp_path, 30.0, 30.0, depth=depth, shortcut=None, dataset="demo", iterations=64, batch_size=64)
    page = page_html(Results(tmp_path))
    assert "<summary>Table 6: demo-64-fp32 (DEMO SET, not CIFAR-10)</summary>" in page
    assert page.count("DEMO SET, not CIFAR-10") >= 3


def test_text_of_records_cannot_end_the_script(results):
    path = results / "cifar10-1k-fp32" / "plain-20" / "seed-0" / "run.json"
    record = json.loads(path.read_text("utf-8"))
    record["net"] = "</script><b>"
    path.write_text(json.dumps(record))
    page = page_html(Results(results))
    assert "</script><b>" not in page and page.count("</script>") == 2


def test_a_run_without_metrics_has_no_curves(tmp_path):
    folder = write_partial(tmp_path, depth=20)
    (folder / "metrics.csv").unlink()
    studies = Results(tmp_path).studies
    assert curves_chart(studies) is None and page_html(Results(tmp_path))


def test_browser_draws_every_chart(results):
    for frame in explore(write_page(Results(results))).values():
        assert frame["charts"] == ["curves", "layers", "budgets"] and not frame["empty"] and not frame["wide"]
        assert {"cifar10-64k-fp32", "cifar10-1k-fp32"} <= {*frame["chosen"]}


@pytest.mark.slow
def test_page_of_the_committed_records(tmp_path):
    studies = Results(COMMITTED).studies
    text = page_html(Results(COMMITTED))
    page = tmp_path / "report.html"
    page.write_text(text)
    assert page.stat().st_size < MOST_BYTES
    markup = text[: text.index("<script>")]
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#|data:)|@import|url\(""", markup)
    for frame in explore(page).values():
        assert {study.name for study in studies} <= {text.split(" (")[0] for text in frame["chosen"]}
        assert not frame["empty"] and not frame["wide"]
