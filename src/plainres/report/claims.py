"""The paper's claims as data, and their verdicts on the records of a results folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from plainres.catalog.datasets import IMAGENET
from plainres.records.record import Record
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
from plainres.report.records import Results
from plainres.report.statistics import Measure, estimate, final
from plainres.report.verdicts import NOT_TESTED, Comparison, Effect, Judged, Verdict, effects_of, exact, judge_effects

TEST = final("test_error")
MEASURES: dict[str, Measure] = {
    "test error": TEST,
    "training error": final("train_error"),
    "training error of the first 1,000 iterations": early_error,
    "training error of the first 2,000 iterations": partial(early_error, until=2_000),
    "training error of the first quarter": early_error,  # of the rows, on ImageNet
    "median response of a layer": median_response,
}
FACTORS = "factors of ten"
LATE = "of all layers after 1,000 iterations"
# Weights of nets of equal steps in depth: the rise of the fitted line from the first to the last of them.
TREND = dict(zip((20, 32, 44, 56), (-0.9, -0.3, 0.3, 0.9), strict=True))
TOP1 = {net: top1 for net, (top1, _) in TABLE_3.items()}
PHOTOS: dict[str, Any] = {"dataset": IMAGENET}
ALIKE_AT_18 = 0.5  # points of top-1 error; the paper's two nets differ by 0.06


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    name: str  # for tables, figures and `claims.json`
    sentence: str  # what the paper says, for readers who have not read it
    evidence: str  # where it says so
    comparisons: tuple[Comparison, ...] = ()
    exact: Callable[[Path], list[Judged]] | None = None  # judges the results folder, where no comparison of nets can


def _claim(name: str, sentence: str, evidence: str, *comparisons: Comparison, exact: Callable | None = None) -> Claim:
    return Claim(name, sentence, evidence, comparisons, exact)


def _minus(
    net: str,
    other: str,
    what: str = "test error",
    published: Mapping[str, float] | None = None,
    within: float | None = None,
    **more: Any,
) -> Comparison:
    """The comparison that a measure is larger for `net` than for `other`, or that it differs by less than `within`."""
    name = f"{net} minus {other}, {what}" + (f", within ±{within:.2g}" if within else "")
    size = published[net] - published[other] if published else None
    return Comparison(name, {net: 1, other: -1}, MEASURES[what], published=size, within=within, **more)


def _trend(prefix: str, sign: int, published: Mapping[str, float] | None = None) -> Comparison:
    weights = {f"{prefix}-{depth}": sign * weight for depth, weight in TREND.items()}
    size = sum(weight * published[net] for net, weight in weights.items()) if published else None
    change = "rise" if sign > 0 else "fall"
    return Comparison(f"{prefix}, {change} from 20 to 56 layers, test error", weights, TEST, published=size)


def construction(results: Path) -> list[Judged]:
    """A deep plain net with the errors of a shallow one, made by identity layers, beside the one that was trained."""
    budgets = {}
    for path in results.glob("cifar10-*/identity_extension_20_56_seed-*.csv"):
        trained = Record(path.parent / "plain-56" / path.stem.rpartition("_")[2]).read_info()
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
    _claim(
        "degradation, training error",
        "Degradation: a deeper plain net ends with a higher training error than a shallower one",
        "Figures 1 and 6",
        _minus("plain-56", "plain-20", "training error"),
    ),
    _claim(
        "degradation, test error",
        "The deeper plain net also has the higher test error",
        "Figures 1 and 6",
        _minus("plain-56", "plain-20"),
    ),
    _claim(
        "a better net exists",
        "A deep plain net that is as good as the shallow one exists: its layers and identities",
        "Section 1",
        exact=construction,
    ),
    _claim("worse with depth", "Plain nets get worse from 20 to 32, 44 and 56 layers", "Figure 6", _trend("plain", 1)),
    _claim(
        "plain-110 fails",
        "A plain net of 110 layers ends above 60% error",
        "Section 4.2",
        Comparison("plain-110 minus 60%, test error", {"plain-110": 1}, TEST, minus=PLAIN_110_ABOVE),
    ),
    _claim(
        "signals and gradients",
        "With batch normalization, signals and gradients of a deep plain net neither vanish nor explode",
        "Section 4.1, there on ImageNet",
        Comparison(f"plain-56, smallest signal {LATE} over 1e-3", {"plain-56": 1}, signal_margin, FACTORS),
        Comparison(f"plain-56, gradients {LATE}, room up to 100 times", {"plain-56": 1}, gradient_margin, FACTORS),
    ),
    _claim(
        "residual beats plain",
        "A residual net has lower errors than its plain twin of the same cost, and more so when deeper",
        "Table 2, Figure 6",
        _minus("plain-56", "resnet-56", "training error"),
        _minus("plain-56", "resnet-56"),
        Comparison(
            "growth of that lead from 20 to 56 layers, test error",
            {"plain-56": 1, "resnet-56": -1, "plain-20": -1, "resnet-20": 1},
            TEST,
        ),
    ),
    _claim(
        "better with depth",
        "Residual nets get better from 20 to 110 layers",
        "Figure 6, Table 6",
        _minus("resnet-20", "resnet-56", "training error"),
        _minus("resnet-20", "resnet-56", published=TABLE_6_COMPARED),
        _trend("resnet", -1, TABLE_6_COMPARED),
        _minus("resnet-56", "resnet-110", published=TABLE_6_COMPARED),
    ),
    _claim(
        "errors of Table 6",
        "Residual nets have the test errors of Table 6, which our intervals contain",
        "Table 6",
        *(
            Comparison(f"{net} minus the paper's, test error", {net: 1}, TEST, minus=error, within=0, least_share=1)
            for net, error in TABLE_6_COMPARED.items()
        ),
    ),
    _claim(
        "faster convergence",
        "At equal depth a residual net converges faster than its plain twin",
        "Section 4.1, there on ImageNet",
        *(
            _minus(f"plain-{depth}", f"resnet-{depth}", "training error of the first 1,000 iterations")
            for depth in (20, 56)
        ),
    ),
    _claim(
        "warm-up of 110 layers",
        "ResNet-110 needs the warm-up: at the full learning rate it is slow to start",
        "Section 4.2, footnote",
        _minus("resnet-110-nowarmup", "resnet-110", "training error of the first 2,000 iterations"),
    ),
    _claim(
        "options A, B and C",
        "Shortcuts of options A, B and C all beat the plain net and differ little",
        "Table 3, there on ImageNet",
        *(_minus("plain-20", net) for net in ("resnet-20", "resnet-20-b", "resnet-20-c")),
        *(
            _minus(net, other, within=OPTIONS_APART)
            for net, other in combinations(("resnet-20", "resnet-20-b", "resnet-20-c"), 2)
        ),
    ),
    _claim(
        "layer responses",
        "Layers of residual nets respond less than those of plain nets, and less still in deeper residual nets",
        "Figure 7",
        *(
            _minus(net, other, "median response of a layer", unit=FACTORS)
            for net, other in (("plain-20", "resnet-20"), ("plain-56", "resnet-56"), ("resnet-20", "resnet-56"))
        ),
    ),
    _claim(
        "1202 layers",
        "A net of 1202 layers can be trained, but generalizes worse than one of 110",
        "Table 6",
        Comparison(
            f"{RESNET_1202_TRAIN_UNDER}% minus resnet-1202, training error",
            {"resnet-1202": -1},
            MEASURES["training error"],
            minus=-RESNET_1202_TRAIN_UNDER,
        ),
        _minus("resnet-1202", "resnet-110", published=TABLE_6_COMPARED),
    ),
    _claim(
        "ImageNet, 18 and 34 layers",
        "Plain-34 is worse than plain-18, ResNet-34 better than both, and ResNet-18 as good as plain-18 but faster",
        "Table 2, Figure 4",
        _minus("plain-34", "plain-18", published=TOP1, **PHOTOS),
        _minus("resnet-18", "resnet-34", published=TOP1, **PHOTOS),
        _minus("plain-34", "resnet-34", published=TOP1, **PHOTOS),
        _minus("plain-18", "resnet-18", within=ALIKE_AT_18, **PHOTOS),
        _minus("plain-18", "resnet-18", "training error of the first quarter", **PHOTOS),
    ),
    _claim(
        "ImageNet, 34 to 152 layers",
        "The error falls from 34 to 50, 101 and 152 layers",
        "Tables 3 and 4",
        *(
            _minus(net, other, published=TOP1, **PHOTOS)
            for net, other in pairwise(f"resnet-{depth}-b" for depth in (34, 50, 101, 152))
        ),
    ),
    _claim(
        "cost of 152 layers",
        "The 152-layer residual net costs less than VGG-16 and VGG-19",
        "Section 4.1, Table 1",
        exact=cost,
    ),
    _claim("ensembles", "Combining nets of different depth lowers the error", "Table 5", exact=ensembles),
)


def judge_results(results: Results) -> dict[str, Verdict]:
    """Return the verdict on each claim by its name, from the studies and the other files of a results folder."""
    verdicts = {}
    for claim in CLAIMS:
        parts = [judge_effects(c.name, effects_of(c, results.studies), c.unit, c.published) for c in claim.comparisons]
        parts += claim.exact(results.folder) if claim.exact else []
        verdicts[claim.name] = Verdict(tuple(parts) or (Judged(claim.name, NOT_TESTED),))
    return verdicts
