"""Statistics with known answers, claims and their verdicts, the report as documents, the notebooks."""

import json
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from test_report import write_run

from plainres.report import find_studies, read_study
from plainres.report.claims import NOT_ENOUGH, NOT_REPRODUCED, REPRODUCED, judge
from plainres.report.document import LEDGER, report_html, report_markdown, write_report
from plainres.report.layer_figures import convergence_problem, figure_7, gradients
from plainres.report.statistics import (
    comparisons,
    estimate,
    paired_difference,
    precision_differences,
    sampling_error,
    summary,
)
from plainres.report.tables import convergence_speed
from plainres.report.write import write_all


def write_probes(folder, layers, response, smallest_gradient=0.1, scale=1.0):
    frame = pd.DataFrame({"layer": range(1, layers + 1)})
    frame["name"] = "conv"
    frame["response_std"] = response
    frame["forward_variance"] = 1.0
    frame["gradient_norm"] = scale * np.linspace(smallest_gradient, 1.0, layers)
    pd.concat([frame.assign(iteration=i) for i in (0, 64_000)]).to_csv(folder / "probes.csv", index=False)


def write_study(results, plain_56=12.0, iterations=64_000, seeds=(0, 1, 2), **config):
    for shortcut, depth, error in ((None, 20, 9.0), (None, 56, plain_56), ("A", 20, 8.7), ("A", 56, 7.0)):
        for seed in seeds:
            error_of_seed = error + 0.1 * seed
            write_run(
                results, error_of_seed - 3, error_of_seed, depth=depth, shortcut=shortcut, seed=seed,
                iterations=iterations, **config,
            )  # fmt: skip
    return find_studies(results)


def test_t_interval_has_the_textbook_width():
    result = estimate(pd.Series([6.4, 6.6, 6.8]))
    assert (result.n, result.mean) == (3, pytest.approx(6.6))
    assert result.std == pytest.approx(0.2)
    assert result.half_width == pytest.approx(4.3027 * 0.2 / 3**0.5, rel=1e-4)


def test_one_value_has_no_interval():
    assert "no interval" in str(estimate(pd.Series([7.0])))
    with pytest.raises(ValueError, match="no values"):
        estimate(pd.Series([], dtype=float))


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8))
def test_interval_is_about_the_mean_and_shifts_with_the_values(values):
    here, there = estimate(pd.Series(values)), estimate(pd.Series(values) + 10)
    assert there.mean == pytest.approx(here.mean + 10)
    assert there.half_width == pytest.approx(here.half_width, abs=1e-6)


def test_the_test_set_has_an_error_of_its_own():
    assert sampling_error(7.0) == pytest.approx(0.255, abs=1e-3)


def test_differences_are_paired_by_seed(tmp_path):
    (study,) = write_study(tmp_path)
    difference = paired_difference(study, "plain-56", "resnet-56", "test_error")
    assert difference.mean == pytest.approx(5.0) and difference.half_width == pytest.approx(0, abs=1e-9)
    table = comparisons(study).set_index("difference")
    assert "+3.00" in table.loc["plain-56 less plain-20", "test error"]
    assert summary(study).set_index("net").loc["resnet-56", "every seed"] == "7.00, 7.10, 7.20"


def test_precisions_are_compared_at_one_budget_and_seed(tmp_path):
    for precision, errors in (("fp32", (8.0, 8.4)), ("bf16", (8.2, 8.4, 9.0))):
        for seed, error in enumerate(errors):
            write_run(tmp_path, error - 3, error, depth=20, seed=seed, precision=precision, iterations=1_000)
    write_run(tmp_path, 3.0, 7.0, depth=20, precision="bf16", iterations=2_000)
    studies = find_studies(tmp_path)
    (row,) = precision_differences(studies).to_dict("records")
    assert row["net"] == "resnet-20" and row["iterations"] == "1,000"
    assert row["test error"] == row["train error"] == "+0.10 ± 1.27 (95%, n = 2)"
    assert "## Precision" in report_markdown(studies, tmp_path)


def test_convergence_speed_counts_iterations(tmp_path):
    (study,) = write_study(tmp_path, seeds=(0,))
    row = convergence_speed(study).set_index("net").loc["plain-20"]
    run = study.of_net("plain-20")[0]
    first = run.metrics[run.metrics["train_error"] < 30]["iteration"].iloc[0]
    assert row["under 30%"] == f"{first:,}"


def test_full_study_reproduces_degradation(tmp_path):
    verdicts = judge(write_study(tmp_path))
    assert verdicts[1].status == verdicts[2].status == verdicts[5].status == REPRODUCED
    assert "+3.00 ± 0.00 (95%, n = 3)" in verdicts[1].effect
    assert verdicts[6].status == verdicts[10].status == verdicts[4].status == NOT_ENOUGH


def test_absent_degradation_is_not_reproduced(tmp_path):
    verdicts = judge(write_study(tmp_path, plain_56=8.0))
    assert verdicts[1].status == verdicts[2].status == NOT_REPRODUCED


@pytest.mark.parametrize(
    ("deep", "status"),
    [
        ((9.6, 9.1, 9.3), NOT_ENOUGH),  # within chance, and chance may hide a difference that matters
        ((9.01, 9.5, 9.21), NOT_REPRODUCED),  # certainly less than half a point
        ((7.0, 8.0, 7.6), NOT_REPRODUCED),
        ((11.0, 12.0, 11.5), REPRODUCED),
    ],
)
def test_seeds_tell_a_difference_from_chance(tmp_path, deep, status):
    for seed, errors in enumerate(zip((9.0, 9.5, 9.2), deep, strict=True)):
        for depth, error in zip((20, 56), errors, strict=True):
            write_run(tmp_path, error, error, depth=depth, shortcut=None, seed=seed)
    assert judge(find_studies(tmp_path))[1].status == status


@pytest.mark.parametrize(("deep", "status"), [(9.5, NOT_ENOUGH), (14.0, REPRODUCED), (5.0, NOT_REPRODUCED)])
def test_one_seed_borrows_the_spread_of_a_shorter_study(tmp_path, deep, status):
    for depth, error in ((20, 9.0), (56, deep)):
        write_run(tmp_path, error, error, depth=depth, shortcut=None)
    alone = judge(find_studies(tmp_path))[1]
    assert alone.status == NOT_ENOUGH and "no interval" in alone.effect
    for seed, apart in enumerate((-0.5, 0.0, 0.5)):
        for depth in (20, 56):
            write_run(tmp_path, 30 + apart, 30 + apart, depth=depth, shortcut=None, seed=seed, iterations=2_000)
    verdict = judge(find_studies(tmp_path))[1]
    assert verdict.status == status
    assert f"± {4.3027 * 0.5 * 2**0.5:.2f} by the seeds of cifar10-2k-fp32" in verdict.effect


@pytest.mark.parametrize(("with_c", "status"), [(6.6, REPRODUCED), (3.0, NOT_REPRODUCED), (7.0, NOT_ENOUGH)])
def test_shortcuts_are_alike_within_half_of_what_they_gain(tmp_path, with_c, status):
    """Plain 12, A and B about 7: within 2.5 of one another."""
    apart = (0.0, 2.0, -2.0) if status == NOT_ENOUGH else (0.0, 0.1, -0.1)
    for shortcut, error in ((None, 12.0), ("A", 7.0), ("B", 6.8), ("C", with_c)):
        for seed in range(3):
            own = error + (apart[seed] if shortcut == "C" else 0.0)
            write_run(tmp_path, own, own, depth=56, shortcut=shortcut, seed=seed)
    assert judge(find_studies(tmp_path))[7].status == status


def test_short_budget_gives_no_verdict_but_its_effect(tmp_path):
    verdict = judge(write_study(tmp_path, iterations=2_000))[1]
    assert verdict.status == NOT_ENOUGH
    assert (
        "2,000 of the paper's 64,000 iterations, which cannot carry a verdict" in verdict.effect
        and "+3.00" in verdict.effect
    )


def test_demo_set_says_nothing_about_the_claims(tmp_path):
    assert {v.status for v in judge(write_study(tmp_path, dataset="demo")).values()} == {NOT_ENOUGH}


@pytest.mark.parametrize(
    ("scale", "smallest", "word"),
    [(1.0, 0.1, None), (1.0, 1e-6, "vanishes"), (1e-5, 0.1, "vanishes"), (1e4, 0.1, "explodes")],
)
def test_unhealthy_gradients_would_be_seen(tmp_path, scale, smallest, word):
    """Also where all layers are unhealthy alike."""
    (study,) = write_study(tmp_path, seeds=(0,))
    write_probes(study.folder / "plain-20" / "seed-0", 19, 1.0)
    write_probes(study.folder / "plain-56" / "seed-0", 55, 1.0, smallest, scale)
    verdict = judge(find_studies(tmp_path))[3]
    assert verdict.status == (NOT_REPRODUCED if word else REPRODUCED)
    assert {w for w in ("vanishes", "explodes") if w in verdict.effect} == ({word} if word else set())


def test_committed_nets_without_bn_are_not_healthy(tmp_path):
    """The negative control: they stay at chance (convergence_problem.py)."""
    for net, taken in (("plain-20", "plain-20"), ("plain-56-nobn", "plain-56")):
        shutil.copytree(ROOT / "results" / "cifar10-256-bf16" / net, tmp_path / "cifar10-256-bf16" / taken)
        for path in tmp_path.rglob("run.json"):
            path.write_text(path.read_text().replace("plain-56-nobn", "plain-56"))
    verdict = judge(find_studies(tmp_path))[3]
    assert verdict.status == NOT_REPRODUCED and "gradient norm" in verdict.effect and "vanishes" in verdict.effect


def test_responses_are_compared(tmp_path):
    (study,) = write_study(tmp_path, seeds=(0, 1))
    for net, layers, response in (
        ("plain-20", 19, 2.0),
        ("plain-56", 55, 2.0),
        ("resnet-20", 19, 1.0),
        ("resnet-56", 55, 0.5),
    ):
        for seed in (0, 1):
            write_probes(study.folder / net / f"seed-{seed}", layers, response)
    studies = find_studies(tmp_path)
    assert judge(studies)[9].status == REPRODUCED
    assert len(figure_7(studies[0]).axes) == 2 and len(gradients(studies[0]).axes) == 4
    for seed in (0, 1):
        write_probes(study.folder / "resnet-56" / f"seed-{seed}", 55, 3.0)
    assert judge(find_studies(tmp_path))[9].status == NOT_REPRODUCED


def test_lost_claim_fails_the_command(tmp_path):
    def claims():
        command = [sys.executable, "-m", "plainres.report", str(tmp_path), "--claims"]
        return subprocess.run(command, capture_output=True, text=True)

    (study,) = write_study(tmp_path)
    done = claims()
    assert done.returncode == 0 and "1. Degradation" in done.stdout and "REPRODUCED, by cifar10-64k-fp32" in done.stdout
    assert json.loads((tmp_path / "claims.json").read_text())["1"] == REPRODUCED
    for path in study.folder.glob("plain-56/seed-*/run.json"):
        run = json.loads(path.read_text())
        run["final"]["train_error"] = 1.0
        path.write_text(json.dumps(run))
    done = claims()
    assert done.returncode == 1 and "no longer reproduced" in done.stderr and "claim 1" in done.stderr
    assert json.loads((tmp_path / "claims.json").read_text())["1"] == REPRODUCED


def test_diverged_runs_are_drawn_in_the_convergence_figure_alone(tmp_path):
    write_run(tmp_path, 40.0, 40.0, depth=20, shortcut=None, iterations=512)
    write_run(tmp_path, 90.0, 90.0, depth=20, shortcut=None, iterations=512, norm="none", outcome="diverged")
    study = read_study(tmp_path / "cifar10-512-fp32")
    figure = convergence_problem(study)
    assert [axes.get_title() for axes in figure.axes] == ["no BN, He initialization", "BN, He initialization"]
    assert [run.net for run in study.runs] == ["plain-20"]


def test_report_is_whole_and_needs_no_other_file(tmp_path):
    write_study(tmp_path)
    studies = write_all(tmp_path)
    paths = write_report(studies, tmp_path)
    assert [path.name for path in paths] == ["REPORT.md", "report.html"]
    markdown, html = (path.read_text() for path in paths)
    assert "cifar10-64k-fp32/figure6.png" in markdown
    assert 'src="data:image/png;base64,' in html and '.png"' not in html and "<table>" in html
    for words in ("Table 6", "Claims of the paper", "Provenance", *(entry[0] for entry in LEDGER)):
        assert words in markdown and words in html


def test_committed_report_is_what_the_records_say():
    results = ROOT / "results"
    markdown = report_markdown(find_studies(results), results)
    assert (results / "REPORT.md").read_text() == markdown
    assert "data:image/png;base64," in report_html(markdown, results)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebook_runs_on_the_records(path):
    committed = nbformat.read(path, 4)
    assert any(cell.get("outputs") for cell in committed.cells), "commit it with its outputs"
    fresh = NotebookClient(nbformat.read(path, 4), timeout=60, resources={"metadata": {"path": str(path.parent)}})
    executed = fresh.execute()
    kinds = {output.output_type for cell in executed.cells for output in cell.get("outputs", [])}
    assert "error" not in kinds and "display_data" in kinds
