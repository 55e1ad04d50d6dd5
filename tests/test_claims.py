"""Verdicts of the claims, from records made for every level and for every verdict that was once wrong."""

import json
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import ROOT
from scipy import stats
from test_report import write_run

from plainres.report import find_studies, ledger
from plainres.report.architecture import read_nets
from plainres.report.claims import CLAIMS, claims_markdown, claims_summary, claims_text, judge
from plainres.report.forest import figure_claims
from plainres.report.parts import INDICATIVE, NOT_ENOUGH, NOT_REPRODUCED, REPRODUCED
from plainres.report.statistics import difference, final

PLAIN, RESIDUAL, HIGHWAY = None, "A", "highway"
NOISE = (-0.1, 0.0, 0.1)


def write_nets(results, errors, noise=NOISE, **config):
    """Write one record per net and seed: `noise` has one value per seed, added to the mean `errors`."""
    for (shortcut, depth), error in errors.items():
        for seed, apart in enumerate(noise):
            own = error + apart
            write_run(results, own, own, depth=depth, shortcut=shortcut, seed=seed, **config)
    return find_studies(results)


def write_probes(folder, layers, iterations=64_000, **columns):
    """Write probes of the first and the last iteration; each column is a number or one number per layer."""
    frame = pd.DataFrame({"layer": range(1, layers + 1), "name": "conv", "response_std": 1.0, "forward_variance": 1.0})
    frame = frame.assign(**columns)
    pd.concat([frame.assign(iteration=i) for i in (0, iterations)]).to_csv(folder / "probes.csv", index=False)


def degraded(results, deep, shallow=9.0, **more):
    return write_nets(results, {(PLAIN, 20): shallow, (PLAIN, 56): deep}, **more)


# Levels


def test_several_seeds_at_the_papers_budget_reproduce(tmp_path):
    verdict = judge(degraded(tmp_path, 12.0))["1"]
    assert (verdict.level, verdict.direction, verdict.n) == (REPRODUCED, "as claimed", "3")
    assert verdict.records == "cifar10-64k-fp32" and verdict.budget == "64,000 iterations"
    assert "clean training error: +3.00 ± 0.23 (95%, n = 3, variance pooled over 2 nets; paired by seed ± 0.00)" in (
        verdict.interval
    )


@pytest.mark.parametrize(
    ("deep", "level", "direction"),
    [
        (14.0, INDICATIVE, "as claimed"),
        (11.0, NOT_ENOUGH, "as claimed, chance not excluded"),
        (5.0, NOT_ENOUGH, "opposite"),
    ],
)
def test_one_seed_is_indicative_beyond_the_spread_of_a_shorter_budget(tmp_path, deep, level, direction):
    """A spread of 0.5 at a shorter budget explains 4.30 * 0.5 * sqrt(2) = 3.04 points between single runs."""
    degraded(tmp_path, deep, noise=(0.0,))
    degraded(tmp_path, 30.0, 30.0, noise=(-0.5, 0.0, 0.5), iterations=2_000)
    verdict = judge(find_studies(tmp_path))["1"]
    assert (verdict.level, verdict.direction, verdict.n) == (level, direction, "1")
    assert (
        "single runs are compared" in verdict.reason
        and verdict.reason.count("seeds at this budget or shorter ones") == 1
    )
    assert ("not as claimed, and exceeds" in verdict.reason) == (direction == "opposite")
    assert "up to 3.04, estimated from seeds of plain-56 and plain-20 at 2,000 iterations" in verdict.interval


def test_single_runs_come_with_several_seeds_of_another_budget_on_which_no_level_rests(tmp_path):
    degraded(tmp_path, 11.0, noise=(0.0,))
    degraded(tmp_path, 30.0, 20.0, noise=(-0.5, 0.0, 0.5), iterations=7_999)
    before = judge(find_studies(tmp_path))["1"]
    assert before.several_seeds == "-", "below an eighth of the paper's budget"
    degraded(tmp_path, 30.0, 20.0, noise=(-0.5, 0.0, 0.5), iterations=8_000)
    degraded(tmp_path, 31.0, 20.0, noise=(0.0,), iterations=16_000)
    verdict = judge(find_studies(tmp_path))["1"]
    assert verdict.several_seeds.startswith(
        "in cifar10-8k-fp32 (8,000 of 64,000 iterations), plain-56 minus plain-20, training error: +10.00 ± 1.13"
    )
    assert (verdict.level, verdict.direction, verdict.n) == (before.level, before.direction, "1")
    assert "cifar10-8k-fp32" not in verdict.records
    assert f"several seeds: {verdict.several_seeds}" in claims_text({"1": verdict}, ["1"])
    (axes,) = figure_claims({"1": verdict}).axes
    assert len(axes.containers) == 2, "an interval beside each of the two effects"
    plt.close("all")


def test_several_seeds_of_the_judged_study_need_no_other(tmp_path):
    degraded(tmp_path, 30.0, 20.0, iterations=8_000)
    assert judge(degraded(tmp_path, 12.0))["1"].several_seeds == "-"


def test_chance_is_estimated_from_each_nets_own_seeds_at_its_largest_budget(tmp_path):
    """4.30 * sqrt(0.5**2 + 1**2) = 4.81, however variable other nets and shorter budgets are."""
    degraded(tmp_path, 14.0, noise=(0.0,))
    write_nets(tmp_path, {(PLAIN, 56): 30.0}, noise=(-0.5, 0.0, 0.5), iterations=2_000)
    write_nets(tmp_path, {(PLAIN, 20): 30.0}, noise=(-1.0, 0.0, 1.0), iterations=1_000)
    write_nets(tmp_path, {(PLAIN, 56): 30.0, (RESIDUAL, 56): 30.0}, noise=(-9.0, 0.0, 9.0), iterations=1_000)
    interval = judge(find_studies(tmp_path))["1"].interval
    seeds = "plain-56 at 2,000 iterations, plain-20 at 1,000 iterations"
    assert f"by chance, up to 4.81, estimated from seeds of {seeds}" in interval


def test_chance_names_seeds_of_another_precision(tmp_path):
    degraded(tmp_path, 14.0, noise=(0.0,))
    write_nets(tmp_path, {(PLAIN, 56): 30.0}, noise=(-0.5, 0.0, 0.5), iterations=2_000)
    write_nets(tmp_path, {(PLAIN, 20): 30.0}, noise=(-0.5, 0.0, 0.5), iterations=2_000, precision="bf16")
    interval = judge(find_studies(tmp_path))["1"].interval
    assert "from seeds of plain-56 at 2,000 iterations, plain-20 at 2,000 iterations in bf16" in interval


def test_chance_falls_back_on_the_most_variable_net(tmp_path):
    """4.30 * sqrt(0.5**2 + 2**2) = 8.87: plain-20 has several seeds at no budget."""
    degraded(tmp_path, 14.0, noise=(0.0,))
    write_nets(tmp_path, {(PLAIN, 56): 30.0}, noise=(-0.5, 0.0, 0.5), iterations=2_000)
    write_nets(tmp_path, {(RESIDUAL, 56): 30.0}, noise=(-2.0, 0.0, 2.0), iterations=2_000)
    interval = judge(find_studies(tmp_path))["1"].interval
    assert "by chance, up to 8.87, estimated from seeds of plain-56 and resnet-56 at 2,000 iterations" in interval


@pytest.mark.parametrize("iterations", [None, 128_000])
def test_one_seed_is_not_enough_without_a_spread_at_this_or_a_shorter_budget(tmp_path, iterations):
    """A spread at a longer budget says nothing of a shorter one, where seeds differ more."""
    degraded(tmp_path, 30.0, noise=(0.0,))
    if iterations:
        write_nets(tmp_path, {(RESIDUAL, 20): 7.0}, iterations=iterations)
    verdict = judge(find_studies(tmp_path))["1"]
    assert verdict.level == NOT_ENOUGH and "no net has several seeds" in verdict.reason


def test_a_single_seed_beside_several_gives_no_interval(tmp_path):
    write_nets(tmp_path, {(PLAIN, 20): 9.0})
    (study,) = write_nets(tmp_path, {(PLAIN, 56): 9.5}, noise=(0.0,))
    effect = difference(study, {"plain-56": 1, "plain-20": -1}, final("test_error"))
    assert effect.n == 1 and np.isnan(effect.half_width)


@pytest.mark.parametrize(
    ("deep", "iterations", "level"),
    [
        (12.0, 8_000, INDICATIVE),
        (6.0, 8_000, NOT_ENOUGH),  # the opposite, but the budget is short
        (6.0, 64_000, NOT_REPRODUCED),
        (12.0, 2_000, NOT_ENOUGH),
        (9.0, 64_000, NOT_ENOUGH),
    ],
)
def test_the_budget_limits_the_level(tmp_path, deep, iterations, level):
    verdict = judge(degraded(tmp_path, deep, iterations=iterations))["1"]
    assert verdict.level == level
    assert ("of the paper's budget" in verdict.reason) == (iterations < 64_000)


def test_no_difference_that_excludes_the_published_one_is_not_reproduced(tmp_path):
    """The margin is the claim's: the paper gains 1.24 from 20 to 32 layers and 0.20 from 44 to 56."""
    nets = {(RESIDUAL, depth): 7.0 for depth in (20, 32, 44, 56)}
    verdict = judge(write_nets(tmp_path, nets, noise=(-0.01, 0.0, 0.01)))["4a"]
    assert verdict.level == NOT_REPRODUCED and "includes zero and excludes the paper's figure" in verdict.reason
    wide = judge(write_nets(tmp_path / "wide", nets, noise=(-2.0, 0.0, 2.0)))["4a"]
    assert wide.level == NOT_ENOUGH


def test_figures_that_cannot_be_looked_up_refute_nothing(tmp_path):
    """The interval is 0.1 ± 1.13, and the other reproductions have +2.87."""
    verdict = judge(degraded(tmp_path, 9.1, noise=(-0.5, 0.0, 0.5)))["2"]
    assert (verdict.level, "includes zero" in verdict.reason) == (NOT_ENOUGH, True)
    assert "differs by -2.77 from the figure of three student reproductions" in verdict.magnitude


def test_the_paper_without_records_needs_them(tmp_path):
    for verdict in judge([]).values():
        assert verdict.level == NOT_ENOUGH and "needs" in verdict.reason and not verdict.parts
    assert judge([])["1a"].reason == "needs records of plain-32, plain-20, plain-44, plain-56"


def test_demo_set_says_nothing_about_the_claims(tmp_path):
    assert {v.level for v in judge(degraded(tmp_path, 12.0, dataset="demo")).values()} == {NOT_ENOUGH}


# Magnitudes


def test_magnitudes_are_compared_with_the_published_ones(tmp_path):
    published = {(RESIDUAL, 20): 8.75, (RESIDUAL, 32): 7.51, (RESIDUAL, 44): 7.17, (RESIDUAL, 56): 6.97}
    agrees = judge(write_nets(tmp_path / "a", published, noise=(-0.02, 0.0, 0.02)))["4a"]
    assert agrees.level == REPRODUCED and agrees.magnitude.count("agrees with the paper's figure") == 3
    differs = judge(write_nets(tmp_path / "b", published | {(RESIDUAL, 20): 12.0}))["4a"]
    assert "differs by +3.25 from the paper's figure (+1.24)" in differs.magnitude
    single = judge(write_nets(tmp_path / "c", published, noise=(0.0,)))["4a"]
    assert "(one seed, no interval)" in single.magnitude
    short = judge(write_nets(tmp_path / "d", published, iterations=8_000))["4a"]
    assert short.magnitude == "cannot be compared at this budget"


def test_at_an_eighth_of_the_budget_degradation_is_seen_but_not_measured(tmp_path):
    """As committed at 8,000 iterations."""
    degraded(tmp_path, 53.19, 14.7, noise=(0.0,), iterations=8_000)
    write_nets(tmp_path, {(RESIDUAL, 56): 40.0}, noise=(-5.87, 0.0, 5.87), iterations=2_000)
    verdicts = judge(find_studies(tmp_path))
    for number in ("1", "2"):
        verdict = verdicts[number]
        assert (verdict.level, verdict.direction) == (INDICATIVE, "as claimed")
        assert verdict.magnitude == "cannot be compared at this budget"
        assert "the mechanism is confounded" in verdict.reason and "is 13 times the +2.87" in verdict.reason


# Intervals


def test_unlike_variances_give_welchs_interval(tmp_path):
    write_nets(tmp_path, {(PLAIN, 20): 9.0})
    (study,) = write_nets(tmp_path, {(PLAIN, 56): 12.0}, noise=(-3.0, 1.0, 2.0))
    effect = difference(study, {"plain-56": 1, "plain-20": -1}, final("test_error"))
    groups = [np.array(noise) + mean for noise, mean in (((-3.0, 1.0, 2.0), 12.0), (NOISE, 9.0))]
    interval = stats.ttest_ind(*groups, equal_var=False).confidence_interval()
    assert (effect.low, effect.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert effect.spread == "Welch" and effect.paired.half_width != pytest.approx(effect.half_width)


def test_alike_variances_are_pooled_over_the_nets_of_the_budget(tmp_path):
    nets = {(PLAIN, 20): 9.0, (PLAIN, 56): 12.0, (RESIDUAL, 20): 8.0}
    (study,) = write_nets(tmp_path, nets)
    effect = difference(study, {"plain-56": 1, "plain-20": -1}, final("test_error"))
    assert effect.spread == "variance pooled over 3 nets"
    assert effect.half_width == pytest.approx(stats.t.ppf(0.975, 6) * 0.1 * (2 / 3) ** 0.5)


def test_the_spread_of_another_budget_is_never_borrowed(tmp_path):
    degraded(tmp_path, 12.0, noise=(-2.0, 0.0, 2.0))
    alone = judge(find_studies(tmp_path))["1"].interval
    write_nets(tmp_path, {(PLAIN, 20): 9.0, (PLAIN, 56): 12.0}, noise=(-0.01, 0.0, 0.01), iterations=32_000)
    assert judge(find_studies(tmp_path))["1"].interval == alone


# Claims of several parts


def test_training_error_is_also_judged_on_the_clean_training_set(tmp_path):
    (study,) = degraded(tmp_path, 12.0)
    for path in study.folder.glob("plain-56/*/run.json"):
        run = json.loads(path.read_text())
        run["final"]["clean_train_error"] = 1.0
        path.write_text(json.dumps(run))
    verdict = judge(find_studies(tmp_path))["1"]
    assert verdict.level == NOT_REPRODUCED and verdict.direction == "as claimed in 1 of 2"


def test_one_refuted_part_refutes_the_claim(tmp_path):
    verdict = judge(write_nets(tmp_path, {(RESIDUAL, 20): 7.0, (RESIDUAL, 56): 9.0}))["4"]
    assert verdict.level == NOT_REPRODUCED and "needs records of resnet-110" in verdict.reason
    better = judge(write_nets(tmp_path / "better", {(RESIDUAL, 20): 9.0, (RESIDUAL, 56): 7.0}))["4"]
    assert better.level == NOT_ENOUGH and "needs records of resnet-110" in better.reason


def test_residual_nets_beat_plain_ones_and_more_so_when_deeper(tmp_path):
    nets = {(PLAIN, 20): 9.3, (PLAIN, 56): 12.0, (RESIDUAL, 20): 8.7, (RESIDUAL, 56): 7.0}
    assert judge(write_nets(tmp_path, nets))["5"].level == REPRODUCED
    shrinks = nets | {(PLAIN, 56): 7.2}
    assert judge(write_nets(tmp_path / "shrinks", shrinks, noise=(-0.01, 0, 0.01)))["5"].level == NOT_REPRODUCED


@pytest.mark.parametrize(("with_c", "level"), [(6.6, REPRODUCED), (5.0, NOT_REPRODUCED), (6.2, NOT_ENOUGH)])
def test_shortcuts_are_alike_within_what_the_paper_reports_between_them(tmp_path, with_c, level):
    """Table 3 has 0.84 points between A and C; half of the gain over the plain net would be 2.5."""
    nets = {(PLAIN, 56): 12.0, (RESIDUAL, 56): 7.0, ("B", 56): 6.8, ("C", 56): with_c}
    assert judge(write_nets(tmp_path, nets))["7"].level == level


def test_every_step_counts(tmp_path):
    steps = {(PLAIN, 20): 9.0, (PLAIN, 32): 10.0, (PLAIN, 44): 11.0, (PLAIN, 56): 12.0}
    assert judge(write_nets(tmp_path, steps))["1a"].level == REPRODUCED
    assert judge(write_nets(tmp_path / "dip", steps | {(PLAIN, 44): 9.5}))["1a"].level == NOT_REPRODUCED


@pytest.mark.parametrize(("error", "level"), [(70.0, REPRODUCED), (40.0, NOT_REPRODUCED)])
def test_plain_110_ends_above_60(tmp_path, error, level):
    assert judge(write_nets(tmp_path, {(PLAIN, 110): error}))["1b"].level == level


def test_three_times_the_iterations_need_both_budgets(tmp_path):
    degraded(tmp_path, 12.0)
    reason = judge(find_studies(tmp_path))["1c"].reason
    assert "192,000" in reason and "+3.0 in cifar10-64k-fp32" in reason
    degraded(tmp_path, 11.0, iterations=192_000)
    verdict = judge(find_studies(tmp_path))["1c"]
    assert verdict.level == REPRODUCED and verdict.records == "cifar10-64k-fp32, cifar10-192k-fp32"


@pytest.mark.parametrize(
    ("train", "deep", "level"), [(0.05, 7.9, REPRODUCED), (3.0, 7.9, NOT_REPRODUCED), (0.05, 5.0, NOT_REPRODUCED)]
)
def test_1202_layers_train_but_overfit(tmp_path, train, deep, level):
    for seed, apart in enumerate(NOISE):
        write_run(tmp_path, train + apart / 100, deep + apart, depth=1202, seed=seed)
        write_run(tmp_path, 0.1, 6.6 + apart, depth=110, seed=seed)
    assert judge(find_studies(tmp_path))["10"].level == level


def test_early_errors_are_comparable_at_any_budget(tmp_path):
    """The first 1,000 iterations have the initial learning rate from 2,000 iterations on."""
    nets = {(PLAIN, 20): 60.0, (PLAIN, 56): 80.0, (RESIDUAL, 20): 40.0, (RESIDUAL, 56): 50.0}
    assert judge(write_nets(tmp_path, nets, iterations=2_000))["5a"].level == REPRODUCED
    assert judge(write_nets(tmp_path / "short", nets, iterations=1_000))["5a"].level == NOT_ENOUGH


def test_the_warmup_is_needed_if_the_net_starts_slower_without_it(tmp_path):
    for seed, apart in enumerate(NOISE):
        write_run(tmp_path, 20 + apart, 20.0, depth=110, seed=seed, iterations=8_000)
        write_run(tmp_path, 85 + apart, 80.0, depth=110, seed=seed, iterations=8_000, warmup="off")
    assert judge(find_studies(tmp_path))["4b"].level == REPRODUCED


def test_no_verdict_rests_on_highway_nets_with_he_gates(tmp_path):
    (study,) = write_nets(tmp_path, {(HIGHWAY, 32): 8.8, (RESIDUAL, 32): 7.51})
    assert judge([study])["12"].level == REPRODUCED
    for path in study.folder.glob("highway-32/*/run.json"):
        run = json.loads(path.read_text())
        run["final"]["exact_bn_test_error"] = run["final"].pop("averaged_bn_test_error")
        path.write_text(json.dumps(run))
    verdict = judge(find_studies(tmp_path))["12"]
    assert verdict.level == NOT_ENOUGH and "He-initialized gates" in verdict.reason


@pytest.mark.parametrize(("error", "level"), [(6.6, REPRODUCED), (8.0, NOT_REPRODUCED)])
def test_resnet_110_beats_larger_peers(tmp_path, error, level):
    """It is compared with 8.39 and 7.72, the published errors of FitNet-19 and Highway-19."""
    assert judge(write_nets(tmp_path, {(RESIDUAL, 110): error}))["13"].level == level


def test_the_cost_of_152_layers_is_judged_from_the_counted_nets():
    nets = read_nets(ROOT / "results" / "complexity")
    verdict = judge([], nets=nets)["8a"]
    assert verdict.level == REPRODUCED and "11.28e9" in verdict.interval and "agrees" in verdict.magnitude
    assert verdict.reason == "counts of convolutions and linear layers are exact" and verdict.several_seeds == "-"
    costly = [net | {"multiply_adds": 2e10} if net["net"] == "resnet-152-b" else net for net in nets]
    assert judge([], nets=costly)["8a"].level == NOT_REPRODUCED


# Layers


def write_gradients(results, deep, iterations=64_000, **columns):
    """Probes of plain-20, whose gradients have norm 1, and of plain-56, by `deep` and further columns."""
    (study,) = degraded(results, 12.0, iterations=iterations)
    for seed in range(len(NOISE)):
        write_probes(
            study.folder / "plain-20" / f"seed-{seed}", 19, iterations, **dict.fromkeys((*deep, *columns), 1.0)
        )
        write_probes(study.folder / "plain-56" / f"seed-{seed}", 55, iterations, **deep, **columns)
    return find_studies(results)


@pytest.mark.parametrize(
    ("gradients", "vanish", "explode"),
    [
        (np.geomspace(0.1, 10, 55), REPRODUCED, REPRODUCED),
        (np.geomspace(1e-4, 10, 55), NOT_REPRODUCED, REPRODUCED),
        (np.geomspace(0.1, 1.2**54, 55), REPRODUCED, NOT_REPRODUCED),
        (np.full(55, 1e-5), NOT_REPRODUCED, REPRODUCED),  # all layers alike
    ],
)
def test_vanishing_and_exploding_gradients_are_told_apart(tmp_path, gradients, vanish, explode):
    verdicts = judge(write_gradients(tmp_path, {"response_gradient_norm": gradients}))
    assert (verdicts["3b"].level, verdicts["3c"].level) == (vanish, explode)
    assert "Yang et al." in verdicts["3c"].reason


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_scale_of_weights_behind_bn_does_not_matter(tmp_path, scale):
    """Weights a thousand times as long have gradients a thousandth as long, which once read as vanishing."""
    columns = {"gradient_norm": np.full(55, 1 / scale), "weight_norm": scale}
    verdicts = judge(write_gradients(tmp_path, columns))
    assert verdicts["3b"].level == verdicts["3c"].level == REPRODUCED


def test_gradients_of_weights_alone_are_not_enough(tmp_path):
    verdicts = judge(write_gradients(tmp_path, {"gradient_norm": np.full(55, 1e-5)}))
    for number in ("3b", "3c"):
        assert verdicts[number].level == NOT_ENOUGH and "inverse of their norm" in verdicts[number].reason


@pytest.mark.parametrize(("largest", "level"), [(10.0, INDICATIVE), (1e4, NOT_REPRODUCED)])
def test_a_short_budget_can_refute_but_not_establish_that_gradients_never_explode(tmp_path, largest, level):
    deep = {"response_gradient_norm": np.geomspace(1.0, largest, 55)}
    assert judge(write_gradients(tmp_path, deep, iterations=2_000))["3c"].level == level


@pytest.mark.parametrize(("smallest", "level"), [(0.08, REPRODUCED), (1e-4, NOT_REPRODUCED)])
def test_signals_vanish_where_bn_no_longer_restores_them(tmp_path, smallest, level):
    verdicts = judge(write_gradients(tmp_path, {}, forward_variance=np.geomspace(smallest, 1e7, 55)))
    assert verdicts["3a"].level == level


def write_responses(results, plain_56, resnet_56=0.5):
    nets = {(PLAIN, 20): 9.0, (PLAIN, 56): 12.0, (RESIDUAL, 20): 8.7, (RESIDUAL, 56): 7.0}
    (study,) = write_nets(results, nets)
    responses = {"plain-20": 1.2, "plain-56": plain_56, "resnet-20": 0.8, "resnet-56": resnet_56}
    for net, response in responses.items():
        for seed, apart in enumerate(NOISE):
            layers = 19 if net.endswith("20") else 55
            own = response * (1 + apart / 10)
            write_probes(study.folder / net / f"seed-{seed}", layers, response_std=own)
    return find_studies(results)


def test_responses_are_compared_by_median_and_layer_by_layer(tmp_path):
    verdict = judge(write_responses(tmp_path, 1.0))["9"]
    assert verdict.level == REPRODUCED and "larger in 55 of 55 layers (sign test p = 5.6e-17)" in verdict.interval
    assert judge(write_responses(tmp_path / "less", 0.4))["9"].level == NOT_REPRODUCED


def test_a_few_exploded_layers_do_not_decide(tmp_path):
    """Their mean does: 40 layers respond slightly less than the twin's, 15 have exploded."""
    responses = np.where(np.arange(55) < 15, 10.0, 0.45)
    verdict = judge(write_responses(tmp_path, responses))["9"]
    assert responses.mean() > 0.5 and verdict.level == NOT_REPRODUCED


# Where verdicts show


def test_claims_are_printed_and_drawn(tmp_path):
    verdicts = judge(degraded(tmp_path, 12.0))
    text, markdown = claims_text(verdicts), claims_markdown(verdicts)
    for claim in CLAIMS:
        assert claim.sentence in text and claim.sentence in markdown
    for field in ("direction", "magnitude", "interval", "n", "budget", "records", "reason"):
        assert f"    {field}:" in text and f"- {field}:" in markdown
    figure = figure_claims(verdicts)
    assert [label.get_text()[:2] for label in figure.axes[0].get_yticklabels()] == ["1 ", "1 ", "2 ", "2 ", "2 "]
    assert figure_claims(judge([])) is None


def test_summary_lists_the_decided_claims(tmp_path):
    summary = claims_summary(judge(degraded(tmp_path, 12.0))).splitlines()
    assert len(summary) == 3 and summary[-1] == "- *not enough data*: the other 20"
    assert summary[0].startswith("- *reproduced*: Degradation: a deeper plain net")
    assert summary[0].endswith("(claim 1; Figures 1 and 6; 3 seeds; 64,000 iterations)")
    assert claims_summary(judge([])) == "- *not enough data*: all 22"


def test_summary_gives_the_reason_for_a_refuted_claim(tmp_path):
    gradients = np.geomspace(1e4, 1.0, 55)
    summary = claims_summary(judge(write_gradients(tmp_path, {"response_gradient_norm": gradients}))).splitlines()
    (refuted,) = (line for line in summary if "claim 3c" in line)
    assert "): the interval contradicts the claim; the threshold is crossed in 3 of 3 seeds, of all probes" in refuted


def test_thresholds_and_changes_are_dated():
    assert all(entry[2].startswith("2026-") for entry in ledger.THRESHOLDS)
    assert all(entry[0].startswith("2026-") for entry in (*ledger.CHANGES, *ledger.RECORDS))


def test_lost_claim_fails_the_command(tmp_path):
    def claims():
        command = [sys.executable, "-m", "plainres.report", str(tmp_path), "--claims"]
        return subprocess.run(command, capture_output=True, text=True)

    (study,) = degraded(tmp_path, 12.0)
    done = claims()
    assert done.returncode == 0 and "1. Degradation" in done.stdout and "cifar10-64k-fp32" in done.stdout
    assert json.loads((tmp_path / "claims.json").read_text())["1"] == REPRODUCED
    for path in study.folder.glob("plain-56/seed-*/run.json"):
        run = json.loads(path.read_text())
        run["final"]["train_error"] = 1.0
        path.write_text(json.dumps(run))
    done = claims()
    assert done.returncode == 1 and "higher level for claim 1" in done.stderr
    assert json.loads((tmp_path / "claims.json").read_text())["1"] == REPRODUCED
