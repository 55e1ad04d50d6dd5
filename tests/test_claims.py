"""The rule of the verdicts, and the verdicts on hand-made records."""

import json
import shutil

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from helpers import ROOT, run_plainres
from hypothesis import given
from hypothesis import strategies as st
from test_report import write_run

from plainres.report import Results
from plainres.report.claims import CLAIMS, judge_results
from plainres.report.claims_tables import claims_frame, claims_markdown, claims_table, claims_text, save_claims
from plainres.report.forest import figure_claims
from plainres.report.statistics import weighted_sum
from plainres.report.verdicts import (
    CONTRADICTED,
    DIRECTION,
    LEVELS,
    NOT_TESTED,
    OPEN,
    REPRODUCED,
    Effect,
    Judged,
    Verdict,
    judge_effects,
)

PLAIN, RESIDUAL = None, "A"
NOISE = (-0.1, 0.0, 0.1)
DEGRADATION = "degradation, training error"
BUDGETS = (8_000, 16_000, 64_000)


def write_nets(results, errors, noise=NOISE, **config):
    """Write one record per net and seed: `noise` has one value per seed, added to the mean `errors`."""
    for (shortcut, depth), error in errors.items():
        for seed, apart in enumerate(noise):
            own = error + apart
            write_run(results, own, own, depth=depth, shortcut=shortcut, seed=seed, **config)
    return Results(results).studies


def degraded(results, deep, shallow=9.0, **more):
    return write_nets(results, {(PLAIN, 20): shallow, (PLAIN, 56): deep}, **more)


def level(results, claim=DEGRADATION):
    return judge_results(Results(results))[claim].level


# The rule


def effect(deep, shallow, iterations=64_000, within=None):
    """The effect of records with these errors, one per seed."""
    values = {"deep": pd.Series(deep, dtype=float), "shallow": pd.Series(shallow, dtype=float)}
    runs = tuple((values["deep"] - values["shallow"]).dropna())
    interval = weighted_sum(values, {"deep": 1, "shallow": -1})
    return Effect(f"{iterations}", iterations, iterations / 64_000, interval, runs, within)


PERCENT = st.integers(0, 1000).map(lambda tenths: tenths / 10)
ERRORS = st.lists(PERCENT, min_size=1, max_size=4)
EFFECTS = st.lists(
    st.builds(effect, ERRORS, ERRORS, st.sampled_from(BUDGETS)), max_size=3, unique_by=lambda e: e.iterations
)


def judge(effects):
    return judge_effects("", sorted(effects, key=lambda e: -e.iterations)).level


@given(EFFECTS, ERRORS, st.floats(1, 50), st.sampled_from(BUDGETS))
def test_records_that_agree_never_lower_a_level(effects, shallow, apart, iterations):
    if iterations in {e.iterations for e in effects}:
        return
    agreeing = effect([error + apart for error in shallow], shallow, iterations)
    assert LEVELS.index(judge([*effects, agreeing])) >= LEVELS.index(judge(effects)) or judge(effects) == CONTRADICTED


@given(st.lists(PERCENT, min_size=2, max_size=4), st.floats(-50, 50), st.sampled_from(BUDGETS))
def test_a_seed_like_the_others_never_lowers_a_level(deep, apart, iterations):
    shallow = [error - apart for error in deep]
    before = effect(deep, shallow, iterations)
    after = effect([*deep, sum(deep) / len(deep)], [*shallow, sum(shallow) / len(shallow)], iterations)
    if apart > 0:
        assert LEVELS.index(judge([after])) >= LEVELS.index(judge([before]))


@given(st.lists(st.builds(lambda a, b, n: effect([a], [b], n), PERCENT, PERCENT, st.sampled_from(BUDGETS))))
def test_single_runs_never_decide(effects):
    assert judge(effects) in (OPEN, NOT_TESTED)


@given(EFFECTS)
def test_the_opposite_of_what_is_reproduced_is_contradicted(effects):
    opposite = [
        Effect(e.study, e.iterations, e.share, type(e.interval)(-e.interval.mean, e.interval.half_width, e.interval.n),
               tuple(-run for run in e.runs))
        for e in effects
    ]  # fmt: skip
    if judge(effects) in (REPRODUCED, DIRECTION):
        assert judge(opposite) == CONTRADICTED


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        ([], NOT_TESTED),
        ([effect([12.1, 12.0, 11.9], [9.0, 9.1, 8.9])], REPRODUCED),
        ([effect([12.1, 12.0, 11.9], [9.0, 9.1, 8.9], 8_000)], DIRECTION),
        ([effect([12.1, 12.0, 11.9], [9.0, 9.1, 8.9], 8_000), effect([12], [9])], DIRECTION),
        ([effect([12.1, 12.0, 11.9], [9.0, 9.1, 8.9], 8_000), effect([9], [12])], OPEN),
        ([effect([9.0, 9.1, 8.9], [12.1, 12.0, 11.9], 8_000), effect([12.1, 12, 11.9], [9, 9.1, 8.9])], REPRODUCED),
        ([effect([9.0, 9.1, 8.9], [12.1, 12.0, 11.9])], CONTRADICTED),
        ([effect([12.1, 11.9], [9.0, 9.1])], OPEN),  # two seeds
        ([effect([15.0, 12.0, 9.0], [9.0, 9.1, 8.9])], OPEN),  # the interval includes zero
        ([effect([9.1, 9.0, 8.9], [9.0, 9.1, 8.9], within=0.5)], REPRODUCED),
        ([effect([9.5, 9.0, 8.5], [9.0, 9.1, 8.9], within=0.5)], OPEN),
        ([effect([12.1, 12.0, 11.9], [9.0, 9.1, 8.9], within=0.5)], CONTRADICTED),
        ([effect([9.1, 9.0, 8.9], [9.0, 9.1, 8.9], within=0)], REPRODUCED),
        ([effect([12.1, 12.0, 11.9], [9.0, 9.1, 8.9], within=0)], CONTRADICTED),
    ],
)
def test_levels(effects, expected):
    assert judge(effects) == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([REPRODUCED, DIRECTION], DIRECTION),
        ([REPRODUCED, CONTRADICTED, NOT_TESTED], CONTRADICTED),
        ([REPRODUCED, NOT_TESTED], OPEN),
        ([NOT_TESTED, NOT_TESTED], NOT_TESTED),
    ],
)
def test_a_claim_has_the_level_of_its_weakest_comparison(levels, expected):
    assert Verdict(tuple(Judged("", level) for level in levels)).level == expected


# The claims


def test_degradation_at_two_budgets(tmp_path):
    degraded(tmp_path, 55.0, 12.0, iterations=8_000)
    degraded(tmp_path, 12.0, noise=(0.0,))
    verdict = judge_results(Results(tmp_path))[DEGRADATION]
    (part,) = verdict.parts
    assert verdict.level == DIRECTION and part.shown.study == "cifar10-8k-fp32"
    assert part.remark == "as claimed in 4 of 4 runs; +3.00 (n = 1) at 64,000 iterations"
    shutil.rmtree(tmp_path / "cifar10-64k-fp32")
    assert level(tmp_path) == DIRECTION
    shutil.rmtree(tmp_path / "cifar10-8k-fp32")
    degraded(tmp_path, 55.0, 12.0, iterations=7_999)
    assert level(tmp_path) == NOT_TESTED


def test_a_smaller_effect_than_the_papers_is_a_remark(tmp_path):
    """The paper has 1.78 points from ResNet-20 to ResNet-56."""
    write_nets(tmp_path, {(RESIDUAL, 20): 8.5, (RESIDUAL, 56): 8.0})
    verdict = judge_results(Results(tmp_path))["better with depth"]
    test = verdict.parts[1]
    assert (test.level, test.published) == (REPRODUCED, pytest.approx(1.78))
    assert verdict.level == OPEN, "there is no net of 110 layers"


def test_the_demo_set_says_nothing_about_the_claims(tmp_path):
    degraded(tmp_path, 55.0, 12.0, dataset="demo")
    assert level(tmp_path) == NOT_TESTED


def test_trends_need_all_depths(tmp_path):
    errors = {(PLAIN, depth): error for depth, error in ((20, 9.0), (32, 10.0), (44, 11.0), (56, 12.0))}
    write_nets(tmp_path, errors)
    (part,) = judge_results(Results(tmp_path))["worse with depth"].parts
    assert part.level == REPRODUCED and part.shown.interval.mean == pytest.approx(3.0)
    shutil.rmtree(tmp_path / "cifar10-64k-fp32" / "plain-44")
    assert level(tmp_path, "worse with depth") == NOT_TESTED


@pytest.mark.parametrize(("error", "expected"), [(7.0, OPEN), (7.5, CONTRADICTED)])
def test_intervals_contain_the_errors_of_table_6(tmp_path, error, expected):
    write_nets(tmp_path, {(RESIDUAL, 56): error}, noise=(-0.2, 0.0, 0.2))
    verdict = judge_results(Results(tmp_path))["errors of Table 6"]
    assert verdict.level == expected
    assert [part.level for part in verdict.parts].count(NOT_TESTED) == 5


@pytest.mark.parametrize(("error", "expected"), [(70.0, REPRODUCED), (50.0, CONTRADICTED)])
def test_plain_110_ends_above_60(tmp_path, error, expected):
    write_nets(tmp_path, {(PLAIN, 110): error})
    assert level(tmp_path, "plain-110 fails") == expected


@pytest.mark.parametrize(("option_c", "expected"), [(8.6, REPRODUCED), (7.0, CONTRADICTED)])
def test_options_beat_the_plain_net_and_differ_little(tmp_path, option_c, expected):
    write_nets(tmp_path, {(PLAIN, 20): 9.5, ("A", 20): 8.5, ("B", 20): 8.4, ("C", 20): option_c})
    assert level(tmp_path, "options A, B and C") == expected


@pytest.mark.parametrize(("training", "expected"), [(0.05, REPRODUCED), (0.2, CONTRADICTED)])
def test_1202_layers_train_but_overfit(tmp_path, training, expected):
    for seed, apart in enumerate((0.0, 0.001, 0.002)):
        write_run(tmp_path, training + apart, 7.9 + apart, depth=1202, shortcut=RESIDUAL, seed=seed)
        write_run(tmp_path, 0.2, 6.6 + apart, depth=110, shortcut=RESIDUAL, seed=seed)
    assert level(tmp_path, "1202 layers") == expected


@pytest.mark.parametrize(("slow", "expected"), [(0.0, CONTRADICTED), (99.0, REPRODUCED)])
def test_the_warmup_is_needed_if_the_net_starts_slower_without_it(tmp_path, slow, expected):
    for warmup, first in (("auto", 50.0), ("off", slow)):
        for seed in range(3):
            folder = write_run(tmp_path, 1.0, 7.0, depth=110, shortcut=RESIDUAL, seed=seed, warmup=warmup)
            rows = pd.read_csv(folder / "metrics.csv")
            rows.loc[rows["iteration"] <= 2_000, "train_error"] = first + seed
            rows.to_csv(folder / "metrics.csv", index=False)
    assert level(tmp_path, "warm-up of 110 layers") == expected


def write_probes(results, plain_20, plain_56, **columns):
    """Records of the two plain nets with probes: a gradient per layer of each, and further columns of plain-56."""
    for depth, gradients in ((20, plain_20), (56, plain_56)):
        for seed in range(3):
            folder = write_run(results, 9.0, 9.0, depth=depth, shortcut=PLAIN, seed=seed)
            frame = pd.DataFrame({"layer": range(1, depth), "forward_variance": 1.0})
            frame = frame.assign(response_gradient_norm=gradients, name="conv", **(columns if depth == 56 else {}))
            # What holds at initialization is no part of the claim.
            start = frame.assign(iteration=0, response_gradient_norm=1e9, forward_variance=0.0)
            pd.concat([start, frame.assign(iteration=64_000)]).to_csv(folder / "probes.csv", index=False)


@pytest.mark.parametrize(
    ("deep", "variance", "expected"),
    [(1.0, 1.0, REPRODUCED), (0.001, 1.0, CONTRADICTED), (200.0, 1.0, CONTRADICTED), (1.0, 1e-4, CONTRADICTED)],
)
def test_signals_and_gradients_neither_vanish_nor_explode(tmp_path, deep, variance, expected):
    write_probes(tmp_path, 1.0, deep, forward_variance=variance)
    assert level(tmp_path, "signals and gradients") == expected


@pytest.mark.parametrize(("built", "expected"), [(1.0, REPRODUCED), (1.5, CONTRADICTED)])
def test_the_construction_has_the_errors_of_the_shallow_net(tmp_path, built, expected):
    (study,) = degraded(tmp_path, 12.0)
    rows = ["net,clean training error", "plain-20,1", f"plain-56 by construction,{built}", "plain-56 trained,8"]
    (study.folder / "identity_extension_20_56_seed-0.csv").write_text("\n".join(rows))
    assert level(tmp_path, "a better net exists") == expected


def test_the_cost_of_152_layers_is_judged_from_the_counted_nets(tmp_path):
    verdict = judge_results(Results(ROOT / "results"))["cost of 152 layers"]
    assert verdict.level == REPRODUCED
    assert [part.shown.interval.mean for part in verdict.parts] == [
        pytest.approx(4.19, abs=0.01),
        pytest.approx(8.35, abs=0.01),
    ]
    nets = json.loads((ROOT / "results" / "complexity" / "nets.json").read_text("utf-8"))
    costly = [net | {"multiply_adds": 2e10} if net["net"] == "resnet-152-b" else net for net in nets]
    (tmp_path / "complexity").mkdir()
    (tmp_path / "complexity" / "nets.json").write_text(json.dumps(costly))
    assert level(tmp_path, "cost of 152 layers") == CONTRADICTED


# What is printed


def test_every_claim_is_printed_and_the_effects_are_drawn(tmp_path):
    degraded(tmp_path, 12.0)
    verdicts = judge_results(Results(tmp_path))
    for text in (claims_text(verdicts), claims_markdown(verdicts)):
        assert all(claim.sentence in text for claim in CLAIMS)
        assert "plain-56 minus plain-20, test error: reproduced, +3.00 ± 0.23 (n = 3), 64,000 iterations" in text
    assert len(claims_table(verdicts)) == len(CLAIMS)
    frame = claims_frame(verdicts)
    assert len(frame) == sum(len(verdict.parts) for verdict in verdicts.values())
    (axes,) = figure_claims(verdicts).axes
    drawn = {label.get_text() for label in axes.get_yticklabels()}
    assert drawn == set(frame.dropna(subset="effect")["comparison"])
    plt.close("all")
    assert figure_claims(judge_results(Results(tmp_path / "none"))) is None


def test_claims_are_printed_and_saved(tmp_path, monkeypatch, capsys):
    degraded(tmp_path, 12.0)
    status, out, _ = run_plainres(monkeypatch, capsys, "claims", str(tmp_path))
    assert status == 0 and "Degradation" in out and "cifar10-64k-fp32" in out
    save_claims(judge_results(Results(tmp_path)), tmp_path / "claims.json")
    saved = json.loads((tmp_path / "claims.json").read_text("utf-8"))[DEGRADATION]
    assert saved["level"] == REPRODUCED
    (comparison,) = saved["comparisons"]
    assert comparison["study"] == "cifar10-64k-fp32" and comparison["n"] == 3 and comparison["iterations"] == 64_000
    assert comparison["low"] < comparison["effect"] < comparison["high"]
