"""One comparison that a claim consists of: its level, and its size beside the published one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plainres.report.records import Study
from plainres.report.statistics import Chance, Difference, Measure, chance_between_single_runs, difference

NOT_ENOUGH, INDICATIVE = "not enough data", "indicative"
REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
# A claim of several parts is refuted by one of them, and otherwise as sure as the least sure of them.
ORDER = (NOT_REPRODUCED, NOT_ENOUGH, INDICATIVE, REPRODUCED)
# Final errors are judged from this share of the paper's budget on (see the ledger).
LEAST_SHARE = 1 / 8
PAPER = "the paper's figure"


@dataclass(frozen=True)
class Reference:
    """A published effect.

    Attributes:
        value: The effect, in the unit of the part that it is compared with.
        source: Who published it.
        half_width: Half the width of its own 95% interval, where one can be given.
        decides: Whether an interval that includes zero and excludes the published effect refutes the claim.
    """

    value: float
    source: str = PAPER
    half_width: float = 0.0
    decides: bool = True


@dataclass(frozen=True)
class Part:
    """One comparison that a claim consists of.

    Attributes:
        name: What is compared.
        study: The study that it is measured on. None if there are no records.
        difference: The effect, positive if it is as claimed. None if there are no records.
        chance: What chance explains of a difference between single runs.
        bound: If given, the claim is not that the effect is positive, but that it is at most this large either way.
        reference: The published effect, which is also the margin of the claim.
        any_budget: Whether the effect means the same at every budget, as early errors do.
        never: Whether the claim is that something never happens. A short budget can refute it, from the first
            iteration on, but only the whole budget can establish it.
        unit: Unit of the effect.
        conditions: Further tests that must hold, each with its text.
        missing: Nets without records.
        several_seeds: If single runs are compared, the same comparison in another study, where all nets have several
            seeds. The level does not rest on it.
    """

    name: str
    study: Study | None
    difference: Difference | None
    chance: Chance | None = None
    bound: float | None = None
    reference: Reference | None = None
    any_budget: bool = False
    never: bool = False
    unit: str = "points"
    conditions: tuple[tuple[bool, str], ...] = ()
    missing: tuple[str, ...] = ()
    several_seeds: tuple[Study, Difference] | None = None

    @property
    def judged(self) -> Study:
        """The study of a part that has records."""
        assert self.study is not None
        return self.study

    @property
    def effect(self) -> Difference:
        """The difference of a part that has records."""
        assert self.difference is not None
        return self.difference

    @property
    def share(self) -> float:
        """The budget, as a share of the paper's."""
        return self.judged.iterations / self.judged.info.paper_iterations

    @property
    def comparable(self) -> bool:
        """Whether the effect can be compared with published figures: not below the paper's budget."""
        return self.any_budget or self.share >= 1

    @property
    def as_claimed(self) -> bool:
        """Whether the mean supports the claim."""
        return self.effect.mean > 0 if self.bound is None else abs(self.effect.mean) < self.bound

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval, or for single runs what chance explains, leaves the sign of the effect certain."""
        width = self.effect.half_width if self.effect.n > 1 else self.chance.half_width if self.chance else None
        if width is None:
            return False
        edge = 0.0 if self.bound is None else self.bound
        return abs(abs(self.effect.mean) - edge) > width

    def level(self) -> tuple[str, str]:
        """Return the level of this part and the reason for it."""
        if self.difference is None:
            return NOT_ENOUGH, ""
        if self.share < LEAST_SHARE and not (self.any_budget or self.never):
            return NOT_ENOUGH, f"{self._budget()}, where a slow start and a worse end look the same"
        level, reason = self._one_seed() if self.difference.n == 1 else self._several_seeds()
        failed = [text for holds, text in self.conditions if not holds]
        if failed and level in (REPRODUCED, INDICATIVE):
            return NOT_ENOUGH, "; ".join(failed)
        return level, reason

    def _budget(self) -> str:
        return f"{self.judged.iterations:,} iterations are {self.share:.1%} of the paper's budget"

    def _one_seed(self) -> tuple[str, str]:
        if self.chance is None:
            return NOT_ENOUGH, "single runs are compared, and no net has several seeds at this budget or a shorter one"
        seen = "what chance explains between them, by seeds at this budget or shorter ones"
        if not self.beyond_chance:
            return NOT_ENOUGH, f"single runs are compared; the effect does not exceed {seen}"
        if not self.as_claimed:
            return NOT_ENOUGH, f"single runs are compared; the effect is not as claimed, and exceeds {seen}"
        return INDICATIVE, f"single runs are compared; the effect exceeds {seen}"

    def _several_seeds(self) -> tuple[str, str]:
        short = "" if self.comparable else self._budget()
        if self.beyond_chance and self.as_claimed:
            return (INDICATIVE, short) if short else (REPRODUCED, "the interval supports the claim")
        if self.beyond_chance:
            if short and not self.never:
                return NOT_ENOUGH, f"the interval contradicts the claim, but {short}"
            return NOT_REPRODUCED, "the interval contradicts the claim"
        reference = self.reference
        if self.bound is None and not short and reference and reference.decides and self.effect.high < reference.value:
            return NOT_REPRODUCED, f"the interval includes zero and excludes {reference.source}"
        edge = "zero" if self.bound is None else f"the bound of {self.bound:.2f}"
        return NOT_ENOUGH, f"the interval includes {edge}"

    def magnitude(self) -> str:
        """Compare the effect with the published one. Empty without either, or at a lower budget."""
        if self.reference is None or self.difference is None or not self.comparable:
            return ""
        published = f"{self.reference.source} ({self.reference.value:+.2f})"
        apart = self.difference.mean - self.reference.value
        if self.difference.n == 1:
            return f"differs by {apart:+.2f} from {published} (one seed, no interval)"
        if abs(apart) <= self.difference.half_width + self.reference.half_width:
            return f"agrees with {published} within the interval"
        return f"differs by {apart:+.2f} from {published}"

    def text(self) -> str:
        """The effect with its interval."""
        chance = ""
        if self.chance:
            chance = f"; by chance, up to {self.chance.half_width:.2f}, estimated from seeds of {self.chance.text}"
        conditions = "".join(f", {text}" for _, text in self.conditions)
        return f"{self.describe(self.effect)}{chance}{conditions}"

    def describe(self, effect: Difference) -> str:
        """The name of this comparison, and an effect with its interval and unit."""
        unit = "" if self.unit == "points" else f" {self.unit}"
        return f"{self.name}: {effect}{unit}"


def _over_several_seeds(
    studies: Sequence[Study], study: Study, weights: dict[str, int], measure: Measure
) -> tuple[Study, Difference] | None:
    """Return a comparison in the study with the largest budget in which all nets have several seeds, and this study.

    Studies of less than an eighth of the paper's budget are left out.
    """
    others = [
        other
        for other in studies
        if other.runs
        and other.info == study.info
        and other.iterations >= LEAST_SHARE * study.info.paper_iterations
        and all(len(measure(other, net)) > 1 for net in weights)
    ]
    largest = max(others, key=lambda other: (other.iterations, not other.holds_out_images), default=None)
    effect = difference(largest, weights, measure) if largest else None
    return (largest, effect) if largest and effect else None


def is_more(
    studies: Sequence[Study], study: Study | None, weights: dict[str, int], measure: Measure, what: str, **more: Any
) -> Part:
    """Return the part of a claim that a weighted sum over nets is positive.

    Args:
        studies: All studies, for what chance explains of single runs.
        study: The study that is judged. None if none has the nets.
        weights: Weights of the nets.
        measure: Measure of each net.
        what: Name of the measure.
        more: Further fields of `Part`.
    """
    sign = " minus ".join(weights) if list(weights.values()) == [1, -1] else ", ".join(weights)
    name = more.pop("name", f"{sign}, {what}")
    effect = difference(study, weights, measure) if study else None
    chance = several_seeds = None
    if study and effect and effect.n == 1:
        chance = chance_between_single_runs(studies, study, weights, measure)
        several_seeds = _over_several_seeds(studies, study, weights, measure)
    missing = tuple(net for net in weights if study is None or measure(study, net).empty)
    return Part(name, study, effect, chance, missing=missing, several_seeds=several_seeds, **more)
