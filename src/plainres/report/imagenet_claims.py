"""The tests of the claims about ImageNet: from runs, and from scores of single nets and ensembles."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import pandas as pd

from plainres.report.imagenet import CLASSES
from plainres.report.published import TABLE_1
from plainres.report.records import Study
from plainres.report.statistics import sampling_error
from plainres.report.verdicts import (
    NOT_ENOUGH,
    NOT_REPRODUCED,
    REPRODUCED,
    Effect,
    Verdict,
    all_of,
    compare,
    conclude,
    effect_of,
    final,
    holding,
    is_more,
)

ALIKE = 0.5  # points of top-1 error; the paper's two 18-layer nets differ by 0.06
EARLY_ROWS = 16  # of 64: the first quarter of the training
WANTED = "wants ImageNet runs of {}, of which there are no records"


def _early_error(study: Study, net: str) -> pd.Series:
    """The mean training error over the first quarter of the training, by seed."""
    early = {run.config["seed"]: run.metrics["train_error"].head(EARLY_ROWS).mean() for run in study.of_net(net)}
    return pd.Series(early, dtype=float)


def alike_at_18(studies: Sequence[Study]) -> Verdict:
    """Plain-18 and ResNet-18 within half a point of test error; the training error of ResNet-18 lower at first."""
    nets = ("plain-18", "resnet-18")
    study = holding(studies, nets)
    if study is None:
        return Verdict(NOT_ENOUGH, WANTED.format(" and ".join(nets)))
    end = effect_of(studies, study, {"plain-18": 1, "resnet-18": -1}, final("test_error"))
    early = is_more(studies, study, *nets, _early_error, "training error over the first quarter", 0.0)
    ends = ("plain-18 less resnet-18, test error", end, partial(Effect.is_within, bound=ALIKE))
    return conclude(study, [ends, early])


def depth_pays(studies: Sequence[Study]) -> Verdict:
    """The test error falls from ResNet-34 to 50, 101 and 152, and ResNet-152 takes fewer multiply-adds than VGG-16."""
    nets = ("resnet-34", "resnet-50-b", "resnet-101-b", "resnet-152-b")
    study = holding(studies, nets)
    if study is None:
        return Verdict(NOT_ENOUGH, WANTED.format(", ".join(nets)))
    cost = study.of_net("resnet-152-b")[0].info["complexity"]["multiply_adds"]
    cheaper = REPRODUCED if cost < TABLE_1["VGG-16"] else NOT_REPRODUCED
    effect = f"resnet-152-b takes {cost / 1e9:.1f}e9 multiply-adds, VGG-16 {TABLE_1['VGG-16'] / 1e9:.1f}e9"
    falls = compare(studies, list(pairwise(nets)), ["test_error"])
    return all_of([falls, Verdict(cheaper, effect, study.name)])


def ensembles_help(scores: Sequence[dict]) -> Verdict:
    """Every ensemble of nets of different depth has a lower top-5 error than the best of its members by itself."""
    verdicts = [verdict for score in scores if (verdict := _helps(score, scores)) is not None]
    real = [verdict for verdict in verdicts if verdict.status != NOT_ENOUGH]
    if not verdicts:
        return Verdict(NOT_ENOUGH, "wants scores of an ensemble of several depths and of each of its nets by itself")
    return all_of(real or verdicts)


def _helps(score: dict, scores: Sequence[dict]) -> Verdict | None:
    """The verdict on one ensemble; None for a single net, nets of one depth, or members that were not scored."""
    if len({net.get("depth") for net in score["nets"]}) < 2:
        return None
    same = [other for other in scores if all(other[key] == score[key] for key in ("way", "data", "size"))]
    alone = {other["nets"][0]["weights_sha256"]: other["top5_error"] for other in same if len(other["nets"]) == 1}
    members = [alone.get(net["weights_sha256"]) for net in score["nets"]]
    if None in members:
        return None
    names = ", ".join(net["name"] for net in score["nets"])
    effect = f"top-5 error of {names} together {score['top5_error']:.2f}, of the best alone {min(members):.2f}"
    studies = ", ".join(sorted({net.get("study") or "weights from elsewhere" for net in score["nets"]}))
    if score["data"]["classes"] != CLASSES:
        return Verdict(NOT_ENOUGH, f"{effect}; {score['data']['classes']} classes are a check of the pipeline", studies)
    # Of the same images, so that this is more than enough.
    chance = 2 * math.sqrt(2) * sampling_error(min(members), score["images"])
    gain = Effect(min(members) - score["top5_error"], chance, "")
    return Verdict(gain.is_positive(0.0), f"{effect} (± {chance:.2f})", studies)
