"""The paper's claims as data, each with the test that our records put it to."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plainres.report.imagenet import is_ilsvrc
from plainres.report.imagenet_claims import alike_at_18, depth_pays, ensembles_help
from plainres.report.judging import (
    NOT_ENOUGH,
    NOT_REPRODUCED,
    REPRODUCED,
    Verdict,
    all_of,
    compare,
    holding,
    too_short,
)
from plainres.report.records import Study
from plainres.report.statistics import paired_difference

CIFAR, IMAGENET, SCORES = "CIFAR-10", "ImageNet", "scores"


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        number: its number in the list.
        text: what the paper says.
        evidence: where it says so.
        test: from records to a verdict.
        records: of which kind: studies on CIFAR-10 or on ImageNet, largest budget first, or scores.
    """

    number: int
    text: str
    evidence: str
    test: Callable[[Sequence], Verdict]
    records: str = CIFAR


def degradation(studies: Sequence[Study]) -> Verdict:
    """The training error of plain-56 above plain-20's."""
    return compare(studies, "plain-56", "plain-20", ["train_error"])


def not_overfitting(studies: Sequence[Study]) -> Verdict:
    """Training and test error of plain-56 both above plain-20's."""
    return compare(studies, "plain-56", "plain-20", ["train_error", "test_error"])


def _probed(studies: Sequence[Study], nets: Sequence[str]) -> tuple[Study, dict[str, pd.DataFrame]] | None:
    """Probes of the first seed of each net, in the largest study that has them all."""
    for study in studies:
        runs = {net: next((run for run in study.of_net(net) if len(run.probes)), None) for net in nets}
        if all(runs.values()):
            return study, {net: run.probes for net, run in runs.items()}
    return None


def healthy_gradients(studies: Sequence[Study]) -> Verdict:
    """In plain-56 no layer's forward variance or gradient norm falls under a thousandth of the median, at any probe."""
    found = _probed(studies, ["plain-56"])
    if found is None:
        return Verdict(NOT_ENOUGH, "no probes of plain-56")
    study, probes = found
    ratios = {}
    for what in ("forward_variance", "gradient_norm"):
        by_iteration = probes["plain-56"].groupby("iteration")[what]
        ratios[what] = float((by_iteration.min() / by_iteration.median()).min())
    effect = ", ".join(f"smallest {what.replace('_', ' ')} over the median: {r:.3f}" for what, r in ratios.items())
    return Verdict(
        REPRODUCED if min(ratios.values()) > 1e-3 else NOT_REPRODUCED,
        f"plain-56 over {study.iterations:,} iterations: {effect}",
        study.name,
    )


def deeper_residual_is_better(studies: Sequence[Study]) -> Verdict:
    """Training and test error of ResNet-20 above ResNet-56's, and of ResNet-56 above ResNet-110's."""
    pairs = (("resnet-20", "resnet-56"), ("resnet-56", "resnet-110"))
    return all_of([compare(studies, *pair, ["train_error", "test_error"]) for pair in pairs])


def residual_beats_plain(studies: Sequence[Study]) -> Verdict:
    """Test error of the plain net above its twin's at 20 and 56 layers, and more so at 56."""
    verdicts = [compare(studies, f"plain-{depth}", f"resnet-{depth}", ["test_error"]) for depth in (20, 56)]
    study = holding(studies, [f"{kind}-{depth}" for kind in ("plain", "resnet") for depth in (20, 56)])
    if study is not None:
        gaps = [paired_difference(study, f"plain-{depth}", f"resnet-{depth}", "test_error") for depth in (20, 56)]
        if all(gaps):
            grows = REPRODUCED if gaps[1].mean > gaps[0].mean else NOT_REPRODUCED
            verdicts.append(Verdict(grows, f"the gap goes from {gaps[0].mean:.2f} to {gaps[1].mean:.2f}", study.name))
    return all_of(verdicts)


def shortcuts_alike(studies: Sequence[Study]) -> Verdict:
    """Test error of plain-56 above that of ResNet-56 with A, B and C."""
    nets = ("resnet-56", "resnet-56-b", "resnet-56-c")
    return all_of([compare(studies, "plain-56", net, ["test_error"]) for net in nets])


def smaller_responses(studies: Sequence[Study]) -> Verdict:
    """The mean response at the end: ResNet-20 under plain-20, ResNet-56 under plain-56 and under ResNet-20."""
    nets = ["plain-20", "resnet-20", "plain-56", "resnet-56"]
    found = _probed(studies, nets)
    if found is None:
        return Verdict(NOT_ENOUGH, f"no study has probes of {', '.join(nets)}")
    study, probes = found
    mean = {
        net: frame[frame["iteration"] == frame["iteration"].max()]["response_std"].mean()
        for net, frame in probes.items()
    }
    holds = mean["resnet-20"] < mean["plain-20"] and mean["resnet-56"] < min(mean["plain-56"], mean["resnet-20"])
    effect = ", ".join(f"{net} {value:.2f}" for net, value in mean.items())
    effect = f"mean response std at the end: {effect}"
    if too_short(study):
        return Verdict(NOT_ENOUGH, effect + too_short(study), study.name)
    return Verdict(REPRODUCED if holds else NOT_REPRODUCED, effect, study.name)


def a_thousand_layers(studies: Sequence[Study]) -> Verdict:
    """ResNet-1202 trains to under 0.1% and tests worse than ResNet-110."""
    study = holding(studies, ["resnet-1202", "resnet-110"])
    if study is None:
        return Verdict(NOT_ENOUGH, "no study has both resnet-1202 and resnet-110")
    worse = compare(studies, "resnet-1202", "resnet-110", ["test_error"])
    finals = study.finals()
    train = finals[finals["net"] == "resnet-1202"]["train_error"].mean()
    return all_of(
        [Verdict(REPRODUCED if train < 0.1 else NOT_REPRODUCED, f"training error {train:.2f}%", study.name), worse]
    )


CLAIMS = (
    Claim(1, "Degradation: a deeper plain net ends with a higher training error", "Figures 1 and 6", degradation),
    Claim(2, "It is not overfitting: training and test error are both worse", "Figures 1 and 6", not_overfitting),
    Claim(
        3,
        "It is not vanishing gradients: with BN, signals and gradients stay healthy",
        "Section 4.1",
        healthy_gradients,
    ),
    Claim(4, "Residual nets turn it round: deeper is better, up to 110 layers", "Figure 6", deeper_residual_is_better),
    Claim(
        5,
        "At equal cost the residual net beats its plain twin, and more so when deeper",
        "Table 2",
        residual_beats_plain,
    ),
    Claim(6, "At 18 layers both end alike and the residual net converges faster", "Figure 4", alike_at_18, IMAGENET),
    Claim(7, "Options A, B and C all beat plain and differ little", "Table 3", shortcuts_alike),
    Claim(8, "Depth pays: 34, 50, 101, 152 layers; 152 cost less than VGG", "Tables 3 and 4", depth_pays, IMAGENET),
    Claim(9, "Residual layers respond less than plain ones, deeper ones less still", "Figure 7", smaller_responses),
    Claim(10, "1202 layers can be trained but generalize worse than 110", "Table 6", a_thousand_layers),
    Claim(11, "Combining models of different depth lowers the error", "Table 5", ensembles_help, SCORES),
)


def judge(studies: Sequence[Study], scores: Sequence[dict] = ()) -> dict[int, Verdict]:
    """Put every claim to the test on the records that it is about.

    Args:
        studies: in any order; those of other data sets than the paper's say nothing.
        scores: from `read_scores`.
    """
    ordered = sorted((study for study in studies if study.runs), key=lambda study: -study.iterations)
    records = {
        CIFAR: [study for study in ordered if study.dataset == "CIFAR-10"],
        IMAGENET: [study for study in ordered if is_ilsvrc(study)],
        SCORES: scores,
    }
    return {claim.number: claim.test(records[claim.records]) for claim in CLAIMS}


def claims_table(verdicts: dict[int, Verdict]) -> pd.DataFrame:
    """Claims and verdicts, a row each."""
    return pd.DataFrame(
        [
            {
                "claim": f"{claim.number}. {claim.text}",
                "paper": claim.evidence,
                "verdict": verdicts[claim.number].status,
                "effect": verdicts[claim.number].effect,
                "records": verdicts[claim.number].basis or "-",
            }
            for claim in CLAIMS
        ]
    )


def lost(verdicts: dict[int, Verdict], path: Path) -> list[int]:
    """The claims that an earlier `save` had as reproduced and that no longer are."""
    if not path.exists():
        return []
    before = json.loads(path.read_text())
    return [n for n, verdict in verdicts.items() if before.get(str(n)) == REPRODUCED != verdict.status]


def save(verdicts: dict[int, Verdict], path: Path) -> None:
    """Keep the statuses for the next comparison."""
    path.write_text(json.dumps({n: verdict.status for n, verdict in verdicts.items()}, indent=2) + "\n")
