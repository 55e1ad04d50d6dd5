"""Statistics with known answers, the report as documents, the notebooks."""

import json
import shutil

import nbformat
import pandas as pd
import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from scipy import stats
from test_report import write_run

from plainres.report import Results, read_study
from plainres.report.degradation import verdict
from plainres.report.document import report_markdown, write_report
from plainres.report.layer_figures import convergence_problem
from plainres.report.statistics import difference, estimate, final, weighted_sum
from plainres.report.tables import comparisons, convergence_speed, precision_differences, summary
from plainres.report.write import write_all

VALUES = st.lists(st.integers(0, 1000).map(lambda tenths: tenths / 10), min_size=2, max_size=8)


def write_study(results, plain_56=12.0, iterations=64_000, seeds=(0, 1, 2), **config):
    for shortcut, depth, error in ((None, 20, 9.0), (None, 56, plain_56), ("A", 20, 8.7), ("A", 56, 7.0)):
        for seed in seeds:
            error_of_seed = error + 0.1 * seed
            write_run(
                results, error_of_seed - 3, error_of_seed, depth=depth, shortcut=shortcut, seed=seed,
                iterations=iterations, **config,
            )  # fmt: skip
    return Results(results).studies


def test_t_interval_has_the_textbook_width():
    result = estimate(pd.Series([6.4, 6.6, 6.8]))
    assert (result.n, result.mean) == (3, pytest.approx(6.6))
    assert result.half_width == pytest.approx(4.3027 * 0.2 / 3**0.5, rel=1e-4)


@given(VALUES, VALUES)
def test_the_interval_of_a_difference_is_welchs(a, b):
    ours = weighted_sum({"a": pd.Series(a), "b": pd.Series(b)}, {"a": 1, "b": -1})
    if min(pd.Series(a).var(), pd.Series(b).var()) > 1e-6:
        low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
        assert (ours.low, ours.high) == (pytest.approx(low, rel=1e-6), pytest.approx(high, rel=1e-6))


def test_one_value_has_no_interval():
    assert str(estimate(pd.Series([7.0]))) == "+7.00 (n = 1)"


@given(VALUES)
def test_interval_is_about_the_mean_and_shifts_with_the_values(values):
    here, there = estimate(pd.Series(values)), estimate(pd.Series(values) + 10)
    assert there.mean == pytest.approx(here.mean + 10)
    assert there.half_width == pytest.approx(here.half_width, abs=1e-6)


def test_differences_have_intervals_if_both_nets_have_several_seeds(tmp_path):
    (study,) = write_study(tmp_path)
    effect = difference(study, {"plain-56": 1, "resnet-56": -1}, final("test_error"))
    assert (effect.mean, effect.n) == (pytest.approx(5.0), 3) and effect.half_width > 0.1
    table = comparisons(study).set_index("difference")
    assert "+3.00 ± 0.2" in table.loc["plain-56 minus plain-20", "test error"]
    assert summary(study).set_index("net").loc["resnet-56", "every seed"] == "7.00, 7.10, 7.20"
    for seed in (1, 2):
        shutil.rmtree(tmp_path / f"cifar10-64k-fp32/resnet-56/seed-{seed}")
    (study,) = Results(tmp_path).studies
    assert difference(study, {"plain-56": 1, "resnet-56": -1}, final("test_error")).n == 1
    text = verdict(study)
    assert "One run each of resnet-56: no interval" in text and "One run per net" not in text
    assert "9.1% (+3.0 ± 0.2 points over 3 seeds)" in text, text


def test_averaged_bn_over_unaugmented_images_is_not_shown(tmp_path):
    (study,) = write_study(tmp_path, seeds=(0,))
    assert summary(study).set_index("net").loc["plain-20", "averaged BN, mean"] == "9.00"
    for path in study.folder.glob("*/*/run.json"):
        run = json.loads(path.read_text("utf-8"))
        run["final"]["exact_bn_test_error"] = run["final"].pop("averaged_bn_test_error")
        path.write_text(json.dumps(run))
    assert set(summary(Results(tmp_path).studies[0])["averaged BN, mean"]) == {"-"}


def test_precisions_are_compared_at_one_budget_and_seed(tmp_path):
    for precision, errors in (("fp32", (8.0, 8.4)), ("bf16", (8.2, 8.4, 9.0))):
        for seed, error in enumerate(errors):
            write_run(tmp_path, error - 3, error, depth=20, seed=seed, precision=precision, iterations=1_000)
    write_run(tmp_path, 3.0, 7.0, depth=20, precision="bf16", iterations=2_000)
    studies = Results(tmp_path).studies
    (row,) = precision_differences(studies).to_dict("records")
    assert row["net"] == "resnet-20" and row["iterations"] == "1,000"
    assert row["test error"] == row["train error"] == "+0.10 ± 1.27 (n = 2)"
    assert "## Precision" in report_markdown(Results(tmp_path))
    assert " / " not in row["hardware"]
    for path in tmp_path.glob("*-fp32/*/seed-1/run.json"):
        run = json.loads(path.read_text("utf-8"))
        run["provenance"]["hardware"] |= {"cpu": "Another CPU", "amx": True}
        path.write_text(json.dumps(run))
    (row,) = precision_differences(Results(tmp_path).studies).to_dict("records")
    precisions = row["hardware"].split(" / ")
    assert len(precisions) == 2 and "Another CPU (" in precisions[1] and "AMX" in precisions[1]


def test_convergence_speed_counts_iterations(tmp_path):
    (study,) = write_study(tmp_path, seeds=(0,))
    row = convergence_speed(study).set_index("net").loc["plain-20"]
    run = study.of_net("plain-20")[0]
    first = run.metrics[run.metrics["train_error"] < 30]["iteration"].iloc[0]
    assert row["under 30%"] == f"{first:,}"


def test_diverged_runs_are_drawn_in_the_convergence_figure_alone(tmp_path):
    write_run(tmp_path, 40.0, 40.0, depth=20, shortcut=None, iterations=512)
    write_run(tmp_path, 90.0, 90.0, depth=20, shortcut=None, iterations=512, norm="none", outcome="diverged")
    study = read_study(tmp_path / "cifar10-512-fp32")
    figure = convergence_problem(study)
    assert [axes.get_title() for axes in figure.axes] == ["no BN, He initialization", "BN, He initialization"]
    assert [run.net for run in study.runs] == ["plain-20"]


def test_report_is_whole_and_needs_no_other_file(tmp_path, undrawn):
    write_study(tmp_path)
    paths = write_report(write_all(tmp_path))
    assert [path.name for path in paths] == ["REPORT.md", "report.html"]
    markdown, html = (path.read_text("utf-8") for path in paths)
    assert "cifar10-64k-fp32/figure6.png" in markdown
    assert "figure6.png" not in html and "<table" in html
    for words in ("Table 6", "Claims of the paper"):
        assert words in markdown and words in html
    assert all(words in markdown for words in ("### Provenance", "### Deviations from the paper", "| Option A |"))


def test_committed_report_is_what_the_records_say():
    results = ROOT / "results"
    markdown = report_markdown(Results(results))
    assert (results / "REPORT.md").read_text("utf-8") == markdown


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebook_runs_on_the_records(path):
    committed = nbformat.read(path, 4)
    assert any(cell.get("outputs") for cell in committed.cells), "commit it with its outputs"
    fresh = NotebookClient(nbformat.read(path, 4), timeout=60, resources={"metadata": {"path": str(path.parent)}})
    executed = fresh.execute()
    kinds = {output.output_type for cell in executed.cells for output in cell.get("outputs", [])}
    assert "error" not in kinds and "display_data" in kinds
    assert _texts(committed) == _texts(executed), "run make notebooks"


def _texts(notebook):
    """What the cells print, and the tables that they display, but no images."""
    return [
        [output.get("text") or output.data.get("text/markdown") or output.data.get("text/html") for output in outputs]
        for cell in notebook.cells
        if (outputs := cell.get("outputs"))
    ]
