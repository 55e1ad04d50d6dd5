"""The rule that judges a claim on the records.

A claim consists of comparisons. Each is judged on all studies with at least an eighth of the paper's budget, and has
one of the levels in `MEANINGS`. A claim has the level of its weakest comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plainres.catalog.datasets import CIFAR10, DatasetInfo
from plainres.report.records import Study
from plainres.report.statistics import Interval, Measure, weighted_sum

REPRODUCED, DIRECTION, OPEN = "reproduced", "direction reproduced", "open"
NOT_TESTED, CONTRADICTED = "not tested", "contradicted"
MEANINGS = {
    REPRODUCED: "at the paper's budget, with at least three seeds per net, the 95% interval is on the claimed side; "
    "exact counts and constructions require no seeds",
    DIRECTION: "the same at an eighth of the budget or more, and every run at a larger budget has the claimed sign",
    OPEN: "there are records, and none of the others holds, or only for some of the comparisons",
    NOT_TESTED: "there are no records of an eighth of the paper's budget or more",
    CONTRADICTED: "as one of the first two, with the interval on the other side",
}
LEVELS = (CONTRADICTED, NOT_TESTED, OPEN, DIRECTION, REPRODUCED)  # the lowest first
LEAST_SHARE = 1 / 8  # of the paper's budget
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Comparison:
    """A statement about the means of nets: their weighted sum, less a constant, is positive.

    With `within`, the statement is instead that it differs from zero by less than this, or with 0 that the interval
    contains zero.
    """

    name: str  # what is compared, for tables
    weights: Mapping[str, float]  # of each net
    measure: Measure
    unit: str = "points"  # of the measure
    minus: float = 0.0  # the constant
    within: float | None = None
    published: float | None = None  # value of the sum
    least_share: float = LEAST_SHARE  # least budget, as a share of the paper's
    dataset: DatasetInfo = CIFAR10  # of the studies


@dataclass(frozen=True)
class Effect:
    """A comparison in one study, or an exact result."""

    study: str  # its name, or that of the file of an exact result
    iterations: int  # budget of the study, 0 for an exact result
    share: float  # the budget as a share of the paper's
    interval: Interval
    runs: tuple[float, ...] = ()  # effect of each seed that all nets have, or of the means if there is no such seed
    within: float | None = None  # see `Comparison`

    @property
    def in_favour(self) -> int:
        """Number of runs as claimed."""
        if self.within is None:
            return sum(run > 0 for run in self.runs)
        return sum(abs(run) < self.within for run in self.runs)

    @property
    def supports(self) -> bool:
        """Whether enough seeds place the interval on the claimed side."""
        low, high = self.interval.low, self.interval.high
        if self.within is None:
            holds = low > 0
        else:
            holds = low <= 0 <= high if self.within == 0 else -self.within < low and high < self.within
        return self.interval.n >= LEAST_SEEDS and holds

    @property
    def contradicts(self) -> bool:
        """Whether enough seeds place the interval on the other side."""
        low, high = self.interval.low, self.interval.high
        outside = high < 0 if self.within is None else high < -self.within or low > self.within
        return self.interval.n >= LEAST_SEEDS and outside


@dataclass(frozen=True)
class Judged:
    """A comparison with its level."""

    name: str
    level: str
    effects: tuple[Effect, ...] = ()  # the largest budget first
    shown: Effect | None = None  # what the level rests on, or that of the largest budget; None without records
    unit: str = "points"  # of the effects
    published: float | None = None

    @property
    def remark(self) -> str:
        """How many runs are as claimed, and the effect at the largest budget where the level rests on another."""
        runs = sum(len(effect.runs) for effect in self.effects)
        if not runs or self.effects[0].within == 0:
            return ""
        text = f"as claimed in {sum(effect.in_favour for effect in self.effects)} of {runs} runs"
        largest = self.effects[0]
        return text if largest is self.shown else f"{text}; {largest.interval} at {largest.iterations:,} iterations"


@dataclass(frozen=True)
class Verdict:
    """The judged comparisons of a claim."""

    parts: tuple[Judged, ...]

    @property
    def weakest(self) -> Judged:
        """The comparison with the lowest level, of those that have records if any has."""
        tested = [part for part in self.parts if part.level != NOT_TESTED]
        return min(tested or self.parts, key=lambda part: LEVELS.index(part.level))

    @property
    def level(self) -> str:
        """Level of the weakest comparison, or open if it is positive and other comparisons have no records."""
        tested = [part.level != NOT_TESTED for part in self.parts]
        positive = self.weakest.level in (DIRECTION, REPRODUCED)
        return OPEN if positive and not all(tested) else self.weakest.level


def effects_of(comparison: Comparison, studies: Sequence[Study]) -> list[Effect]:
    """Return the effect in each study that has all nets and the least budget, the largest budget first."""
    found = []
    for study in studies:
        if not study.runs or study.info is not comparison.dataset or not study.is_the_papers:
            continue
        values = {net: comparison.measure(study, net) for net in comparison.weights}
        if study.share < comparison.least_share or any(series.empty for series in values.values()):
            continue
        total = weighted_sum(values, comparison.weights)
        interval = Interval(total.mean - comparison.minus, total.half_width, total.n)
        seeds = sum(weight * values[net] for net, weight in comparison.weights.items()).dropna() - comparison.minus
        runs = tuple(seeds) or (interval.mean,)
        found.append(Effect(study.name, study.iterations, study.share, interval, runs, comparison.within))
    return sorted(found, key=lambda effect: -effect.iterations)


def judge_effects(name: str, effects: Sequence[Effect], unit: str = "points", published: float | None = None) -> Judged:
    """Apply the rule to the effects of one comparison, the largest budget first. The rest is as in `Judged`."""
    level, shown = _level(effects)
    return Judged(name, level, tuple(effects), shown, unit, published)


def _level(effects: Sequence[Effect]) -> tuple[str, Effect | None]:
    """Return the level of a comparison, and the effect that it rests on."""
    if not effects:
        return NOT_TESTED, None
    for claimed, full, shorter in ((True, REPRODUCED, DIRECTION), (False, CONTRADICTED, CONTRADICTED)):
        for effect in effects:
            if not (effect.supports if claimed else effect.contradicts):
                continue
            larger = [other for other in effects if other.iterations > effect.iterations]
            if all(other.in_favour == (len(other.runs) if claimed else 0) for other in larger):
                return full if effect.share >= 1 else shorter, effect
    return OPEN, effects[0]


def exact(name: str, holds: bool, source: str, effect: float, unit: str, published: float | None = None) -> Judged:
    """Return the result of an exact count or construction, which requires no seeds: `holds` if it is as claimed."""
    shown = Effect(source, 0, 1.0, Interval(effect, 0.0, 1))
    return Judged(name, REPRODUCED if holds else CONTRADICTED, (shown,), shown, unit, published)
