"""Judging a claim on records: the three verdicts, and when a difference is beyond chance."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import pandas as pd
from scipy import stats

from plainres.report.records import Study
from plainres.report.statistics import CONFIDENCE, Estimate, by_seed, estimate

REPRODUCED, NOT_REPRODUCED, NOT_ENOUGH = "reproduced", "not reproduced", "not enough data"
ORDER = (NOT_ENOUGH, NOT_REPRODUCED, REPRODUCED)
# Final errors are judged from an eighth of the paper's budget on, and a verdict holds for the budget that it names;
# below that, a slow start and a worse end look the same.
LEAST_SHARE = 1 / 8
MATTERS = 0.5  # points of error: what is certainly less is no difference
Measure = Callable[[Study, str], pd.Series]  # a value for each seed of a net


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim: the status, the effect in numbers, and the records and budget it holds for."""

    status: str
    effect: str
    basis: str = ""


@dataclass(frozen=True)
class Effect:
    """A difference between nets with its 95% interval.

    Attributes:
        half_width: of the interval; NaN where there is one seed, and no other study to tell the spread of seeds.
        text: the difference as it is printed.
    """

    mean: float
    half_width: float
    text: str

    def is_positive(self, matters: float = MATTERS) -> str:
        """The verdict on "more than nothing": not reproduced where it is certainly less than what matters."""
        if self.mean - self.half_width > 0:
            return REPRODUCED
        return NOT_REPRODUCED if self.mean + self.half_width < matters else NOT_ENOUGH

    def is_within(self, bound: float) -> str:
        """The verdict on "at most `bound`, either way"."""
        if abs(self.mean) + self.half_width < bound:
            return REPRODUCED
        return NOT_REPRODUCED if abs(self.mean) - self.half_width > bound else NOT_ENOUGH


Part = tuple[str, Effect | None, Callable[[Effect], str]]  # of a claim: what, how much, and the verdict on that


def final(column: str) -> Measure:
    """A final error, or another figure of `Study.finals`."""
    return partial(by_seed, column=column)


def holding(studies: Sequence[Study], nets: Iterable[str]) -> Study | None:
    """The study of the largest budget that has finished runs of all the nets."""
    wanted = set(nets)
    return next((study for study in studies if wanted <= {run.net for run in study.runs}), None)


def _share(study: Study) -> tuple[int, float]:
    paper = study.info.paper_iterations
    return paper, study.iterations / paper


def carries(study: Study) -> bool:
    """Whether a study's budget can carry a verdict on final errors."""
    return _share(study)[1] >= LEAST_SHARE


def budget(study: Study) -> str:
    """What part of the paper's budget a study has, where it is not the whole, and whether a verdict can rest on it."""
    paper, share = _share(study)
    if share >= 1:
        return ""
    told = f"; at {study.iterations:,} of the paper's {paper:,} iterations"
    return told if carries(study) else f"{told}, which cannot carry a verdict"


def _spread(studies: Sequence[Study], net: str, measure: Measure) -> tuple[Estimate, str] | None:
    """A net's spread over seeds in the study that has most of them, the larger budget first; None without two."""
    found = [(estimate(values), study.name) for study in studies if len(values := measure(study, net)) > 1]
    return max(found, key=lambda one: one[0].n, default=None)


def effect_of(studies: Sequence[Study], study: Study, weights: dict[str, int], measure: Measure) -> Effect | None:
    """A weighted sum over nets, paired by seed: {"plain-56": 1, "plain-20": -1} is a difference.

    With several seeds the interval is the t interval. One seed has none of its own: it borrows the seeds' spread from
    the other studies, most of them shorter and hence wider.

    Args:
        studies: in which to look for the spread, largest budget first.
        study: that is judged.
        weights: of the nets.
        measure: of each.

    Returns:
        None where the nets have no seed in common.
    """
    sums = sum(weight * measure(study, net) for net, weight in weights.items()).dropna()
    if sums.empty:
        return None
    own = estimate(sums)
    if own.n > 1:
        return Effect(own.mean, own.half_width, str(own))
    spreads = {net: _spread(studies, net, measure) for net in weights}
    if None in spreads.values():
        return Effect(own.mean, math.nan, str(own))
    error = math.sqrt(sum((weight * spreads[net][0].std) ** 2 for net, weight in weights.items()))
    freedom = min(one.n for one, _ in spreads.values()) - 1
    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    lenders = ", ".join(sorted({name for _, name in spreads.values()}))
    return Effect(own.mean, half_width, f"{own.mean:+.2f} (n = 1; ± {half_width:.2f} by the seeds of {lenders})")


def conclude(study: Study, parts: Sequence[Part]) -> Verdict:
    """The verdict of one study on a claim of several parts."""
    if any(effect is None for _, effect, _ in parts):
        return Verdict(NOT_ENOUGH, "the nets have no seed in common", study.name)
    told = "; ".join(f"{what}: {effect.text}" for what, effect, _ in parts) + budget(study)
    worst = min((test(effect) for _, effect, test in parts), key=ORDER.index)
    return Verdict(worst if carries(study) else NOT_ENOUGH, told, study.name)


def is_more(
    studies: Sequence[Study], study: Study, net: str, other: str, measure: Measure, what: str, matters: float = MATTERS
) -> Part:
    """The part of a claim that `net` has more of something than `other`, for `conclude`."""
    effect = effect_of(studies, study, {net: 1, other: -1}, measure)
    return f"{net} less {other}, {what}", effect, partial(Effect.is_positive, matters=matters)


def compare(studies: Sequence[Study], pairs: Sequence[tuple[str, str]], columns: Sequence[str]) -> Verdict:
    """Whether the first net of every pair has higher errors than the second, in all columns and one study."""
    nets = list(dict.fromkeys(chain(*pairs)))
    study = holding(studies, nets)
    kinds = [(pair, column, column.replace("_", " ")) for pair in pairs for column in columns]
    if study is not None:
        return conclude(study, [is_more(studies, study, *pair, final(column), what) for pair, column, what in kinds])
    told, bases = [], []
    for pair, column, what in kinds:
        some = holding(studies, pair)
        name, effect, _ = is_more(studies, some, *pair, final(column), what) if some else ("", None, None)
        if effect is not None:
            told.append(f"{name}: {effect.text}")
            bases.append(some.name)
    told.append(f"no study has all of {', '.join(nets)}")
    return Verdict(NOT_ENOUGH, "; ".join(told), ", ".join(dict.fromkeys(bases)))


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on several parts of one claim: reproduced if all are, not enough data if any lacks it."""
    worst = min(verdicts, key=lambda verdict: ORDER.index(verdict.status))
    bases = dict.fromkeys(verdict.basis for verdict in verdicts if verdict.basis)
    return Verdict(worst.status, "; ".join(verdict.effect for verdict in verdicts), ", ".join(bases))
