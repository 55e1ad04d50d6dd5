"""The paper's claims as data, each with the test that our records put it to."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from pathlib import Path

import pandas as pd

from plainres.catalog.datasets import CIFAR10
from plainres.report.imagenet import is_ilsvrc
from plainres.report.imagenet_claims import alike_at_18, depth_pays, ensembles_help
from plainres.report.records import Study
from plainres.report.statistics import by_seed
from plainres.report.verdicts import (
    NOT_ENOUGH,
    NOT_REPRODUCED,
    REPRODUCED,
    Effect,
    Verdict,
    all_of,
    budget,
    compare,
    conclude,
    effect_of,
    final,
    holding,
    is_more,
)

PLAIN = ("plain-56", "plain-20")
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
    return compare(studies, [("plain-56", "plain-20")], ["train_error"])


def not_overfitting(studies: Sequence[Study]) -> Verdict:
    """Training and test error of plain-56 both above plain-20's."""
    return compare(studies, [("plain-56", "plain-20")], ["train_error", "test_error"])


def healthy_gradients(studies: Sequence[Study]) -> Verdict:
    """In plain-56 no layer vanishes or explodes, at any probe of any run, held against the median layer of plain-20.

    Forward variance of a thousandth of that and more; gradient norm between a hundredth and a hundred times of it.
    """
    study = next((s for s in studies if all(any(len(r.probes) for r in s.of_net(net)) for net in PLAIN)), None)
    if study is None:
        return Verdict(NOT_ENOUGH, f"no study has probes of {' and '.join(PLAIN)}")
    shallow, deep = (pd.concat([run.probes for run in study.of_net(net)]) for net in PLAIN[::-1])
    told, holds = [], True
    for what, least, most in (("forward_variance", 1e-3, math.inf), ("gradient_norm", 1e-2, 1e2)):
        ratio = deep.set_index("iteration")[what] / shallow.groupby("iteration")[what].median()
        ratio = ratio.dropna()
        tests = {"vanishes": ratio.min() < least, "explodes": ratio.max() > most}
        faults = [fault for fault, found in tests.items() if found]
        holds = holds and not faults
        told.append(
            f"{what.replace('_', ' ')} {ratio.min():.2g} to {ratio.max():,.0f} times (at iterations "
            f"{ratio.idxmin():,} and {ratio.idxmax():,}){', which ' + ' and '.join(faults) if faults else ''}"
        )
    effect = f"layers of plain-56 against the median layer of plain-20: {'; '.join(told)}{budget(study)}"
    return Verdict(REPRODUCED if holds else NOT_REPRODUCED, effect, study.name)


def deeper_residual_is_better(studies: Sequence[Study]) -> Verdict:
    """Training and test error of ResNet-20 above ResNet-56's, and of ResNet-56 above ResNet-110's."""
    pairs = [("resnet-20", "resnet-56"), ("resnet-56", "resnet-110")]
    return compare(studies, pairs, ["train_error", "test_error"])


def residual_beats_plain(studies: Sequence[Study]) -> Verdict:
    """Test error of the plain net above its twin's at 20 and 56 layers, and more so at 56."""
    pairs = [(f"plain-{depth}", f"resnet-{depth}") for depth in (20, 56)]
    study = holding(studies, chain(*pairs))
    if study is None:
        return compare(studies, pairs, ["test_error"])
    error = final("test_error")
    gap = effect_of(studies, study, {"plain-56": 1, "resnet-56": -1, "plain-20": -1, "resnet-20": 1}, error)
    parts = [is_more(studies, study, *pair, error, "test error") for pair in pairs]
    return conclude(study, [*parts, ("growth of the gap", gap, Effect.is_positive)])


def shortcuts_alike(studies: Sequence[Study]) -> Verdict:
    """Test error of plain-56 above ResNet-56's with A, B and C, which differ by less than half of what A gains."""
    nets = ("resnet-56", "resnet-56-b", "resnet-56-c")
    pairs = [("plain-56", net) for net in nets]
    study = holding(studies, chain(*pairs))
    if study is None:
        return compare(studies, pairs, ["test_error"])
    error = final("test_error")
    parts = [is_more(studies, study, *pair, error, "test error") for pair in pairs]
    bound = parts[0][1].mean / 2 if parts[0][1] else math.nan
    for net, other in combinations(nets, 2):
        effect = effect_of(studies, study, {net: 1, other: -1}, error)
        parts.append((f"{net} less {other}", effect, partial(Effect.is_within, bound=bound)))
    return conclude(study, parts)


def mean_response(study: Study, net: str) -> pd.Series:
    """The mean over layers of the response's std at the end, by seed."""
    ends = {
        run.config["seed"]: run.probes[run.probes["iteration"] == run.config["iterations"]]["response_std"].mean()
        for run in study.of_net(net)
        if len(run.probes)
    }
    return pd.Series(ends, dtype=float)


def smaller_responses(studies: Sequence[Study]) -> Verdict:
    """The mean response at the end: ResNet-20 under plain-20, ResNet-56 under plain-56 and under ResNet-20."""
    pairs = [("plain-20", "resnet-20"), ("plain-56", "resnet-56"), ("resnet-20", "resnet-56")]
    nets = list(dict.fromkeys(chain(*pairs)))
    study = next((s for s in studies if all(len(mean_response(s, net)) for net in nets)), None)
    if study is None:
        return Verdict(NOT_ENOUGH, f"no study has probes of {', '.join(nets)}")
    return conclude(study, [is_more(studies, study, *pair, mean_response, "response std", 0.0) for pair in pairs])


def a_thousand_layers(studies: Sequence[Study]) -> Verdict:
    """ResNet-1202 trains to under 0.1% and tests worse than ResNet-110."""
    worse = compare(studies, [("resnet-1202", "resnet-110")], ["test_error"])
    study = holding(studies, ["resnet-1202", "resnet-110"])
    if study is None:
        return worse
    train = by_seed(study, "resnet-1202", "train_error").mean()
    trained = REPRODUCED if train < 0.1 else NOT_REPRODUCED
    return all_of([Verdict(trained, f"training error of resnet-1202: {train:.2f}%", study.name), worse])


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
        CIFAR: [study for study in ordered if study.info is CIFAR10],
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
