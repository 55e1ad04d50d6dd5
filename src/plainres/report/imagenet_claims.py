"""The tests of the claims about ImageNet: from runs, from counted nets, and from scores of nets and ensembles."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from plainres.catalog.datasets import IMAGENET
from plainres.report.imagenet import score_is_result
from plainres.report.parts import NOT_ENOUGH, NOT_REPRODUCED, ORDER, REPRODUCED, Reference, is_more
from plainres.report.published import TABLE_1, TABLE_3
from plainres.report.records import Study
from plainres.report.statistics import final, sampling_error
from plainres.report.verdicts import Verdict, choose, conclude, errors_rise, needs

ALIKE = 0.5  # points of top-1 error; the paper's two 18-layer nets differ by 0.06
EARLY_ROWS = 16  # of 64: the first quarter of the training
ON_IMAGENET = " on ImageNet"


def _early_error(study: Study, net: str) -> pd.Series:
    """The mean training error over the first quarter of the training, by seed."""
    early = {run.config["seed"]: run.metrics["train_error"].head(EARLY_ROWS).mean() for run in study.of_net(net)}
    return pd.Series(early, dtype=float)


def alike_at_18(studies: Sequence[Study]) -> Verdict:
    """Plain-18 and ResNet-18 end within half a point of test error, and ResNet-18 is ahead early."""
    nets = ("plain-18", "resnet-18")
    study = choose(studies, [nets])
    if study is None:
        return needs(nets, ON_IMAGENET)
    weights = {"plain-18": 1, "resnet-18": -1}
    return conclude(
        [
            is_more(studies, study, weights, final("test_error"), "test error", bound=ALIKE),
            is_more(studies, study, weights, _early_error, "training error over the first quarter"),
        ]
    )


def depth_pays(studies: Sequence[Study]) -> Verdict:
    """The test error falls from ResNet-34 to 50, 101 and 152 layers."""
    with_b = any(study.of_net("resnet-34-b") for study in studies)
    nets = ("resnet-34-b" if with_b else "resnet-34", "resnet-50-b", "resnet-101-b", "resnet-152-b")
    pairs = list(pairwise(nets))
    if choose(studies, pairs) is None:
        return needs(nets, ON_IMAGENET)
    # The paper's figures are of 10-crop testing and ours of the center crop; differences carry over approximately.
    references = {(net, other): Reference(TABLE_3[net][0] - TABLE_3[other][0]) for net, other in pairs}
    return errors_rise(studies, pairs, ["test_error"], references)


def depth_is_cheap(nets: Sequence[dict]) -> Verdict:
    """ResNet-152 takes fewer multiply-adds than VGG-16 and VGG-19, by the counted layers of the nets."""
    # The paper's counts fit bottlenecks whose first convolution has the stride.
    counts = {net["net"]: net["multiply_adds"] for net in nets if net.get("stride_in", "1x1") == "1x1"}
    ours, peers = counts.get("resnet-152-b"), {name: counts.get(name) for name in ("VGG-16", "VGG-19")}
    if ours is None or None in peers.values():
        return needs(["resnet-152-b", *peers], " in complexity/nets.json (experiments/complexity.py)")
    holds = all(ours < count for count in peers.values())
    paper = {"resnet-152-b": TABLE_1["152"]} | {name: TABLE_1[name] for name in peers}
    worst = max(abs(counts[name] / paper[name] - 1) for name in paper)
    published = ", ".join(f"{count / 1e9:.1f}e9" for count in paper.values())
    return Verdict(
        REPRODUCED if holds else NOT_REPRODUCED,
        direction="as claimed" if holds else "opposite",
        magnitude=f"agrees with the paper's counts ({published}) within {worst:.1%}"
        if worst < 0.05
        else f"differs from the paper's counts by up to {worst:.1%}",
        interval="; ".join(f"{name}: {counts[name] / 1e9:.2f}e9 multiply-adds" for name in paper),
        records="complexity/nets.json",
        reason="counts of convolutions and linear layers are exact",
    )


def ensembles_help(scores: Sequence[dict]) -> Verdict:
    """Every ensemble of nets of different depth has a lower top-5 error than the best of its members by itself.

    Ensembles that are no results, of fewer classes or of shorter training, count only if there are no others.
    """
    found = [(score, verdict) for score in scores if (verdict := _helps(score, scores)) is not None]
    verdicts = [verdict for score, verdict in found if not _why_no_result(score)] or [verdict for _, verdict in found]
    if not verdicts:
        return Verdict(NOT_ENOUGH, reason="needs scores of an ensemble of several depths and of each of its nets")
    worst = min(verdicts, key=lambda verdict: ORDER.index(verdict.level))
    joined: dict[str, Any] = {
        name: "; ".join(dict.fromkeys(getattr(v, name) for v in verdicts)) for name in ("interval", "records", "reason")
    }
    return Verdict(worst.level, direction=worst.direction, magnitude=worst.magnitude, n=str(len(verdicts)), **joined)


def _why_no_result(score: dict) -> str:
    """Return why a score says nothing about ImageNet. Empty if it does."""
    if score["data"]["classes"] != IMAGENET.num_classes:
        return f"{score['data']['classes']} classes are a check of the pipeline"
    return "" if score_is_result(score) else "a net was trained for fewer iterations than the paper's"


def _helps(score: dict, scores: Sequence[dict]) -> Verdict | None:
    """The verdict on one ensemble; None for a single net, nets of one depth, or members that were not scored."""
    if len({net.get("depth") for net in score["nets"]}) < 2:
        return None
    same = [other for other in scores if all(other[key] == score[key] for key in ("way", "data", "size", "precision"))]
    alone = {other["nets"][0]["weights_sha256"]: other["top5_error"] for other in same if len(other["nets"]) == 1}
    members = [alone[net["weights_sha256"]] for net in score["nets"] if net["weights_sha256"] in alone]
    if len(members) < len(score["nets"]):
        return None
    names = ", ".join(net["name"] for net in score["nets"])
    gain = min(members) - score["top5_error"]
    # Both errors are of the same images, so that the interval for independent samples is wide enough.
    chance = 2 * math.sqrt(2) * sampling_error(min(members), score["images"])
    level = REPRODUCED if gain > chance else NOT_REPRODUCED if gain < -chance else NOT_ENOUGH
    reason = {
        REPRODUCED: "the interval supports the claim",
        NOT_REPRODUCED: "the interval contradicts the claim",
        NOT_ENOUGH: "the interval includes zero",
    }[level]
    if why := _why_no_result(score):
        level, reason = NOT_ENOUGH, why
    direction = "as claimed" if gain > 0 else "opposite"
    studies = ", ".join(sorted({net.get("study") or "weights from elsewhere" for net in score["nets"]}))
    return Verdict(
        level,
        direction=direction if abs(gain) > chance else f"{direction}, chance not excluded",
        magnitude="the paper prints no figure to compare with",
        interval=f"top-5 error of {names} together {score['top5_error']:.2f}, of the best alone {min(members):.2f} "
        f"(± {chance:.2f}, from the number of images)",
        records=studies,
        reason=reason,
    )
