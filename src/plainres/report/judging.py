"""Judging a claim on records: the three verdicts, and when a difference is beyond chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plainres.report.published import IMAGENET_ITERATIONS, PAPER_ITERATIONS
from plainres.report.records import Study
from plainres.report.statistics import Estimate, paired_difference, sampling_error

REPRODUCED, NOT_REPRODUCED, NOT_ENOUGH = "reproduced", "not reproduced", "not enough data"
# Differences between final errors are judged from an eighth of the paper's budget on; below it a slow start and a
# worse end cannot be told apart.
LEAST_SHARE = 1 / 8


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim: the status, the effect in numbers, and the records and budget it holds for."""

    status: str
    effect: str
    basis: str = ""


def holding(studies: Sequence[Study], nets: Sequence[str]) -> Study | None:
    """The study of the largest budget that has finished runs of all the nets."""
    for study in studies:
        if set(nets) <= {run.net for run in study.runs}:
            return study
    return None


def too_short(study: Study) -> str:
    """Why a study's budget cannot carry a verdict on final errors; empty where it can."""
    least = (IMAGENET_ITERATIONS if study.is_imagenet else PAPER_ITERATIONS) * LEAST_SHARE
    return f"; {study.iterations:,} iterations cannot carry a verdict" if study.iterations < least else ""


def _images(study: Study, column: str) -> int:
    """How many images a final error of a run was measured on."""
    config = study.runs[0].config
    if column == "test_error":
        return 50_000 if study.is_imagenet else 10_000
    return config["iterations"] * config["batch_size"] // 64


def _sign(study: Study, difference: Estimate, column: str) -> int:
    """+1 or -1 where a difference is beyond chance, else 0: by its t interval, or 3 standard errors for one seed."""
    if difference.n > 1:
        bound = difference.half_width
    else:
        bound = 3 * math.sqrt(2) * sampling_error(50.0, _images(study, column))
    return 0 if abs(difference.mean) <= bound else int(math.copysign(1, difference.mean))


def compare(studies: Sequence[Study], net: str, other: str, columns: Sequence[str]) -> Verdict:
    """Whether `net` has higher errors than `other` in all columns; one seed can only tell what is beyond chance."""
    study = holding(studies, (net, other))
    if study is None:
        return Verdict(NOT_ENOUGH, f"no study has both {net} and {other}")
    signs, effects, seeds = [], [], 0
    for column in columns:
        difference = paired_difference(study, net, other, column)
        if difference is None:
            return Verdict(NOT_ENOUGH, f"{net} and {other} have no seed in common", study.name)
        seeds = difference.n
        signs.append(_sign(study, difference, column))
        effects.append(f"{net} less {other}, {column.replace('_', ' ')}: {difference}")
    effect = "; ".join(effects)
    if too_short(study):
        return Verdict(NOT_ENOUGH, effect + too_short(study), study.name)
    if seeds == 1 and min(signs) == 0:
        return Verdict(NOT_ENOUGH, f"{effect}; within what one seed can tell", study.name)
    return Verdict(REPRODUCED if min(signs) > 0 else NOT_REPRODUCED, effect, study.name)


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on several parts of one claim: reproduced if all are, not enough data if any lacks it."""
    order = (NOT_ENOUGH, NOT_REPRODUCED, REPRODUCED)
    worst = min(verdicts, key=lambda verdict: order.index(verdict.status))
    bases = dict.fromkeys(verdict.basis for verdict in verdicts if verdict.basis)
    return Verdict(worst.status, "; ".join(verdict.effect for verdict in verdicts), ", ".join(bases))
