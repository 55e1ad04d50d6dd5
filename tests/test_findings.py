"""Every number of docs/findings.md, computed again from the committed records."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT

from plainres import report
from plainres.report.claims import judge_results
from plainres.report.first_updates import figure_first_updates, relative_norm
from plainres.report.published import REPRODUCTION, TABLE_6_COMPARED
from plainres.report.statistics import difference, final

RESULTS = ROOT / "results"
TEXT = " ".join((ROOT / "docs" / "findings.md").read_text("utf-8").split())
TRAINING, TEST = final("train_error"), final("test_error")


@pytest.fixture(scope="module")
def studies():
    return report.open(RESULTS)


def says(*sentences):
    """Check that the page has the sentences, whose numbers the caller has computed."""
    for sentence in sentences:
        assert sentence in TEXT, sentence


def mean(study, net, measure=TRAINING):
    return measure(study, net).mean()


def span(values, digits=0):
    return f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"


def cells(*columns):
    """Return neighbouring cells of a table, each with one value per seed."""
    return "".join(f"| {', '.join(f'{value:.1f}' for value in column)} " for column in columns) + "|"


def test_full_length(studies):
    study = studies["cifar10-64k-bf16"]
    for net in ("plain-20", "plain-56", "resnet-20", "resnet-56"):
        (seed,) = [run.seed for run in study.of_net(net)]
        assert seed == 0
        says(f"| {net} | {mean(study, net):.2f} | {mean(study, net, TEST):.2f} |")
        published, deviation = REPRODUCTION[net]
        says(f"{published:.2f} ± {deviation:.2f}")
    says(f"{mean(study, 'resnet-56', TEST) - TABLE_6_COMPARED['resnet-56']:+.2f} points")
    errors = {net: rows.set_index("iteration")["train_error"] for net, rows in study.metrics.groupby("net")}
    behind = errors["resnet-56"] > errors["resnet-20"]
    says(f"behind ResNet-20 until {behind[behind].index[-1]:,} iterations")


def test_construction():
    errors = pd.read_csv(RESULTS / "cifar10-64k-bf16/identity_extension_20_56_seed-0.csv", index_col="net")
    shallow, built, trained = errors["clean training error"]
    assert shallow == built
    says(f"{built:.2f}% training error, the trained one {trained:.2f}%")


def test_an_eighth_of_the_budget(studies):
    verdicts = judge_results(studies)
    for claim in ("degradation, training error", "degradation, test error", "residual beats plain"):
        shown = verdicts[claim].parts[0].shown
        assert (shown.study, shown.interval.n) == ("cifar10-8k-fp32", 3)
        says(f"{shown.interval.mean:.1f} ± {shown.interval.half_width:.1f}")
    study = studies["cifar10-8k-fp32"]
    behind = difference(study, {"resnet-56": 1, "resnet-20": -1}, TRAINING)
    says(f"{behind.mean:.1f} ± {behind.half_width:.1f} points behind ResNet-20")
    ends = [TEST(study, net).to_list() for net in ("plain-56", "resnet-56")]
    says(*(span(errors, 1) for errors in ends))
    options = [difference(study, {"resnet-20": 1, f"resnet-20-{o}": -1}, TEST) for o in "bc"]
    says(*(f"{apart.mean:+.2f} ± {apart.half_width:.2f}" for apart in options))


def test_the_gap_depends_on_the_budget(studies):
    gaps = {}
    for budget in ("256", "2k", "8k", "64k"):
        study = studies[f"cifar10-{budget}-bf16"]
        ends = {run.net: run.info["final"]["train_error"] for run in study.runs if run.seed == 0}
        gaps[budget] = ends["plain-56"] - ends["plain-20"]
    says("; ".join(f"{gap:.1f} at {budget}" for budget, gap in gaps.items()))


def test_gradients_and_first_updates(studies):
    bf16, fp32 = studies["cifar10-8k-bf16"], studies["cifar10-8k-fp32"]
    largest = {}
    for study, depths in ((fp32, (20, 56)), (bf16, (32, 44))):
        start = study.probes[(study.probes["iteration"] == 0) & (study.probes["seed"] == 0)]
        for depth in depths:
            largest[depth] = start[start["net"] == f"plain-{depth}"]["response_gradient_norm"].max()
    growth = [(largest[depth + 12] / largest[depth]) ** (1 / 12) for depth in (20, 32, 44)]
    says(span(growth, 2))
    says(f"{span([relative_norm(run, 125) for run in fp32.of_net('plain-56')])} times")
    says(f"{span([relative_norm(run, 125) for run in fp32.of_net('resnet-56')], 1)} times")
    (run,) = studies["cifar10-64k-bf16"].of_net("plain-56")
    measured = {iteration: relative_norm(run, iteration) for iteration in (1_000, 8_000, 16_000, 32_000)}
    decay = {i: measured[1_000] * np.exp(-1e-4 * (i - 1_000)) for i in (8_000, 16_000, 32_000)}
    says(", ".join(f"{norm:.1f}" for norm in measured.values()), ", ".join(f"{norm:.1f}" for norm in decay.values()))


def test_smaller_first_updates(studies):
    study = studies["cifar10-2k-fp32"]
    bounded = studies["cifar10-2k-bf16"]
    for classifier in ("", "-uniform-classifier", "-small-classifier"):
        runs = study.of_net(f"plain-56{classifier}")
        columns = [relative_norm(run, 31) for run in runs], *(error(study, runs[0].net) for error in (TRAINING, TEST))
        says(cells(*columns))
    for net in ("plain-20", "resnet-20", "resnet-56"):
        columns = TRAINING(study, net), TRAINING(bounded, net), TRAINING(study, f"{net}-small-classifier")
        says(f"| {net} {cells(*columns)}")
    behind = [TRAINING(study, f"plain-56{c}") - TRAINING(study, f"plain-20{c}") for c in ("", "-small-classifier")]
    says("{:.1f} points of training error behind plain-20 with He-normal (seed 0)".format(*behind[0].dropna()))
    says("{:.1f} and {:.1f} points with N(0, 0.01²) (seeds 0 and 1)".format(*behind[1].dropna()))
    (warmup,) = study.of_net("resnet-56-warmup")
    says(f"after {warmup.info['warmup_end']} iterations", f"either: {warmup.info['final']['train_error']:.1f}%")
    gap = {"plain-56": 1, "plain-20": -1}
    less = difference(bounded, gap | {"plain-56-clip1": -1, "plain-20-clip1": 1}, TRAINING)
    says(f"{less.mean:.1f} ± {less.half_width:.1f} of {difference(bounded, gap, TRAINING).mean:.1f} points")


def test_first_updates_are_drawn(studies):
    (panel,) = figure_first_updates(studies.studies).axes
    drawn = {tuple(line.get_xydata()[0]) for line in panel.lines if len(line.get_xdata())}
    for run in studies["cifar10-2k-fp32"].of_net("plain-56-small-classifier"):
        assert (relative_norm(run, 31), run.info["final"]["train_error"]) in drawn
    assert len(drawn) >= 13 and figure_first_updates([studies["cifar10-8k-fp32"]]) is None


def test_precision(studies):
    first = pd.read_csv(RESULTS / "gradient_precision.csv").query("layer <= 10 and net == 'plain-56'")
    cosine = first.groupby(["precision", "amx", "seed"])["cosine"].median()
    says(*(f"{span(cosine[precision], 2)}" for precision in ("bf16", "fp32")))
    fp32, bf16 = (studies[f"cifar10-8k-{precision}"] for precision in ("fp32", "bf16"))
    says(f"{mean(bf16, 'plain-56'):.1f}% in bf16 and {span(TRAINING(fp32, 'plain-56'), 1)}% in fp32")


def test_no_number_stands_without_a_check():
    assert len(re.findall(r"^## \d+\. ", (ROOT / "docs" / "findings.md").read_text("utf-8"), re.MULTILINE)) == 10
