"""The paper's claims as data, and their verdicts on the records of a results folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from plainres.catalog.datasets import IMAGENET
from plainres.records.files import RecordFiles
from plainres.report import architecture
from plainres.report.imagenet import read_scores, score_is_result
from plainres.report.measures import early_error, gradient_margin, median_response, signal_margin
from plainres.report.published import (
    OPTIONS_APART,
    PLAIN_110_ABOVE,
    RESNET_1202_TRAIN_UNDER,
    TABLE_1,
    TABLE_3,
    TABLE_6_COMPARED,
)
from plainres.report.records import Study
from plainres.report.statistics import Measure, estimate, final
from plainres.report.verdicts import (
    CONTRADICTED,
    DIRECTION,
    NOT_TESTED,
    OPEN,
    REPRODUCED,
    Comparison,
    Effect,
    Judged,
    Verdict,
    exact,
    judge_comparison,
    judge_effects,
)

MEANINGS = {
    REPRODUCED: "at the paper's budget, with at least three seeds per net, the 95% interval is on the claimed side; "
    "exact counts and constructions require no seeds",
    DIRECTION: "the same at an eighth of the budget or more, and every run at a larger budget has the claimed sign",
    OPEN: "there are records, and none of the others holds, or only for some of the comparisons",
    NOT_TESTED: "there are no records of an eighth of the paper's budget or more",
    CONTRADICTED: "as one of the first two, with the interval on the other side",
}
TEST, TRAINING = final("test_error"), final("train_error")
FACTORS = "factors of ten"
LATE = "of all layers after 1,000 iterations"
# Weights of nets of equal steps in depth: the rise of the fitted line from the first to the last of them.
TREND = dict(zip((20, 32, 44, 56), (-0.9, -0.3, 0.3, 0.9), strict=True))
PHOTOS: dict[str, Any] = {"dataset": IMAGENET}
ALIKE_AT_18 = 0.5  # points of top-1 error; the paper's two nets differ by 0.06


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        name: Short name, for tables, figures and `claims.json`.
        sentence: What the paper says, for readers who have not read it.
        evidence: Where it says so.
        comparisons: What it consists of.
        exact: Judges what no comparison of trained nets can, from the results folder.
    """

    name: str
    sentence: str
    evidence: str
    comparisons: tuple[Comparison, ...] = ()
    exact: Callable[[Path], list[Judged]] | None = None


def _minus(net: str, other: str, what: str, measure: Measure, **more: Any) -> Comparison:
    """The comparison that the measure is larger for `net` than for `other`."""
    return Comparison(f"{net} minus {other}, {what}", {net: 1, other: -1}, measure, **more)


def _test(net: str, other: str, published: Mapping[str, float] | None = None, **more: Any) -> Comparison:
    """The comparison that the test error is higher for `net` than for `other`."""
    size = published[net] - published[other] if published else None
    return _minus(net, other, "test error", TEST, published=size, **more)


def _trend(prefix: str, sign: int, published: Mapping[str, float] | None = None) -> Comparison:
    weights = {f"{prefix}-{depth}": sign * weight for depth, weight in TREND.items()}
    size = sum(weight * published[net] for net, weight in weights.items()) if published else None
    change = "rise" if sign > 0 else "fall"
    return Comparison(f"{prefix}, {change} from 20 to 56 layers, test error", weights, TEST, published=size)


def construction(results: Path) -> list[Judged]:
    """A deep plain net with the errors of a shallow one, made by identity layers, beside the one that was trained."""
    budgets = {}
    for path in results.glob("cifar10-*/identity_extension_20_56_seed-*.csv"):
        trained = RecordFiles(path.parent / "plain-56" / path.stem.rpartition("_")[2]).read_info()
        budgets[trained["config"]["iterations"], path] = pd.read_csv(path, index_col="net")["clean training error"]
    if not budgets:
        return []
    (_, path), errors = max(budgets.items(), key=lambda item: item[0])
    shallow, built, trained = (errors[f"plain-{name}"] for name in ("20", "56 by construction", "56 trained"))
    return [
        exact(
            "plain-56 trained minus built from plain-20 and identities, training error",
            shallow == built < trained,
            path.relative_to(results).as_posix(),
            trained - built,
            "points",
        )
    ]


def cost(results: Path) -> list[Judged]:
    """The multiply-adds of ResNet-152 and of VGG-16 and VGG-19."""
    # The paper's counts fit bottlenecks whose first convolution has the stride.
    nets = [net for net in architecture.read_nets(results / architecture.FOLDER) if net.get("stride_in") != "3x3"]
    if not nets:
        return []
    counts = {net["net"]: net["multiply_adds"] / 1e9 for net in nets}
    return [
        exact(
            f"{peer} minus resnet-152-b, multiply-adds",
            counts["resnet-152-b"] < counts[peer],
            f"{architecture.FOLDER}/nets.json",
            counts[peer] - counts["resnet-152-b"],
            "thousand million",
            (TABLE_1[peer] - TABLE_1["152"]) / 1e9,
        )
        for peer in ("VGG-16", "VGG-19")
    ]


def ensembles(results: Path) -> list[Judged]:
    """How much lower the top-5 error of ensembles of several depths is than that of their best member."""
    scores = [score for score in read_scores(results) if score_is_result(score)]
    gains = []
    for score in scores:
        same = [other for other in scores if all(other[k] == score[k] for k in ("way", "data", "size", "precision"))]
        alone = {other["nets"][0]["weights_sha256"]: other["top5_error"] for other in same if len(other["nets"]) == 1}
        members = [net["weights_sha256"] for net in score["nets"]]
        if len({net.get("depth") for net in score["nets"]}) > 1 and set(members) <= set(alone):
            gains.append(min(alone[member] for member in members) - score["top5_error"])
    if not gains:
        return []
    return [
        judge_effects(
            "best member minus ensemble, top-5 error",
            [Effect("scores", 0, 1.0, estimate(pd.Series(gains)), tuple(gains))],
        )
    ]


CLAIMS = (
    Claim(
        "degradation, training error",
        "Degradation: a deeper plain net ends with a higher training error than a shallower one",
        "Figures 1 and 6",
        (_minus("plain-56", "plain-20", "training error", TRAINING),),
    ),
    Claim(
        "degradation, test error",
        "The deeper plain net also has the higher test error",
        "Figures 1 and 6",
        (_test("plain-56", "plain-20"),),
    ),
    Claim(
        "a better net exists",
        "A deep plain net that is as good as the shallow one exists: its layers and identities",
        "Section 1",
        exact=construction,
    ),
    Claim(
        "worse with depth", "Plain nets get worse from 20 to 32, 44 and 56 layers", "Figure 6", (_trend("plain", 1),)
    ),
    Claim(
        "plain-110 fails",
        "A plain net of 110 layers ends above 60% error",
        "Section 4.2",
        (Comparison("plain-110 minus 60%, test error", {"plain-110": 1}, TEST, minus=PLAIN_110_ABOVE),),
    ),
    Claim(
        "signals and gradients",
        "With batch normalization, signals and gradients of a deep plain net neither vanish nor explode",
        "Section 4.1, there on ImageNet",
        (
            Comparison(f"plain-56, smallest signal {LATE} over 1e-3", {"plain-56": 1}, signal_margin, FACTORS),
            Comparison(f"plain-56, gradients {LATE}, room up to 100 times", {"plain-56": 1}, gradient_margin, FACTORS),
        ),
    ),
    Claim(
        "residual beats plain",
        "A residual net has lower errors than its plain twin of the same cost, and more so when deeper",
        "Table 2, Figure 6",
        (
            _minus("plain-56", "resnet-56", "training error", TRAINING),
            _test("plain-56", "resnet-56"),
            Comparison(
                "growth of that lead from 20 to 56 layers, test error",
                {"plain-56": 1, "resnet-56": -1, "plain-20": -1, "resnet-20": 1},
                TEST,
            ),
        ),
    ),
    Claim(
        "better with depth",
        "Residual nets get better from 20 to 110 layers",
        "Figure 6, Table 6",
        (
            _minus("resnet-20", "resnet-56", "training error", TRAINING),
            _test("resnet-20", "resnet-56", TABLE_6_COMPARED),
            _trend("resnet", -1, TABLE_6_COMPARED),
            _test("resnet-56", "resnet-110", TABLE_6_COMPARED),
        ),
    ),
    Claim(
        "errors of Table 6",
        "Residual nets have the test errors of Table 6, which our intervals contain",
        "Table 6",
        tuple(
            Comparison(f"{net} minus the paper's, test error", {net: 1}, TEST, minus=error, within=0, least_share=1)
            for net, error in TABLE_6_COMPARED.items()
        ),
    ),
    Claim(
        "faster convergence",
        "At equal depth a residual net converges faster than its plain twin",
        "Section 4.1, there on ImageNet",
        tuple(
            _minus(f"plain-{depth}", f"resnet-{depth}", "training error of the first 1,000 iterations", early_error)
            for depth in (20, 56)
        ),
    ),
    Claim(
        "warm-up of 110 layers",
        "ResNet-110 needs the warm-up: at the full learning rate it is slow to start",
        "Section 4.2, footnote",
        (
            _minus(
                "resnet-110-nowarmup",
                "resnet-110",
                "training error of the first 2,000 iterations",
                partial(early_error, until=2_000),
            ),
        ),
    ),
    Claim(
        "options A, B and C",
        "Shortcuts of options A, B and C all beat the plain net and differ little",
        "Table 3, there on ImageNet",
        (
            *(_test("plain-20", net) for net in ("resnet-20", "resnet-20-b", "resnet-20-c")),
            *(
                _minus(net, other, f"test error, within ±{OPTIONS_APART:.2f}", TEST, within=OPTIONS_APART)
                for net, other in combinations(("resnet-20", "resnet-20-b", "resnet-20-c"), 2)
            ),
        ),
    ),
    Claim(
        "layer responses",
        "Layers of residual nets respond less than those of plain nets, and less still in deeper residual nets",
        "Figure 7",
        tuple(
            _minus(net, other, "median response of a layer", median_response, unit=FACTORS)
            for net, other in (("plain-20", "resnet-20"), ("plain-56", "resnet-56"), ("resnet-20", "resnet-56"))
        ),
    ),
    Claim(
        "1202 layers",
        "A net of 1202 layers can be trained, but generalizes worse than one of 110",
        "Table 6",
        (
            Comparison(
                f"{RESNET_1202_TRAIN_UNDER}% minus resnet-1202, training error",
                {"resnet-1202": -1},
                TRAINING,
                minus=-RESNET_1202_TRAIN_UNDER,
            ),
            _test("resnet-1202", "resnet-110", TABLE_6_COMPARED),
        ),
    ),
    Claim(
        "ImageNet, 18 and 34 layers",
        "Plain-34 is worse than plain-18, ResNet-34 better than both, and ResNet-18 as good as plain-18 but faster",
        "Table 2, Figure 4",
        (
            *(
                _test(net, other, {name: top1 for name, (top1, _) in TABLE_3.items()}, **PHOTOS)
                for net, other in (("plain-34", "plain-18"), ("resnet-18", "resnet-34"), ("plain-34", "resnet-34"))
            ),
            _minus("plain-18", "resnet-18", f"test error, within ±{ALIKE_AT_18}", TEST, within=ALIKE_AT_18, **PHOTOS),
            _minus("plain-18", "resnet-18", "training error of the first quarter", early_error, **PHOTOS),
        ),
    ),
    Claim(
        "ImageNet, 34 to 152 layers",
        "The error falls from 34 to 50, 101 and 152 layers",
        "Tables 3 and 4",
        tuple(
            _test(net, other, {name: top1 for name, (top1, _) in TABLE_3.items()}, **PHOTOS)
            for net, other in pairwise(f"resnet-{depth}-b" for depth in (34, 50, 101, 152))
        ),
    ),
    Claim(
        "cost of 152 layers",
        "The 152-layer residual net costs less than VGG-16 and VGG-19",
        "Section 4.1, Table 1",
        exact=cost,
    ),
    Claim("ensembles", "Combining nets of different depth lowers the error", "Table 5", exact=ensembles),
)


def judge_results(studies: Sequence[Study], results: Path) -> dict[str, Verdict]:
    """Judge all claims on studies and on the other files of their results folder.

    Returns:
        Verdicts by name of the claim.
    """
    verdicts = {}
    for claim in CLAIMS:
        parts = [judge_comparison(comparison, studies) for comparison in claim.comparisons]
        parts += claim.exact(results) if claim.exact else []
        verdicts[claim.name] = Verdict(tuple(parts) or (Judged(claim.name, NOT_TESTED),))
    return verdicts
