"""From comparisons to the verdict on a claim: a level, a direction and a magnitude, with the records they rest on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from plainres.report.parts import (
    NOT_ENOUGH,
    ORDER,
    Part,
    Reference,
    is_more,
)
from plainres.report.records import Study
from plainres.report.statistics import Measure, final


@dataclass(frozen=True)
class Verdict:
    """What the records say about a claim.

    Attributes:
        level: `"not enough data"`, `"indicative"`, `"reproduced"` or `"not reproduced"`.
        direction: Whether the effects have the sign of the claim.
        magnitude: How their sizes compare with the published ones.
        interval: The effects with their 95% intervals.
        n: Number of seeds.
        budget: Number of iterations, and the paper's.
        records: Names of the studies.
        several_seeds: The effects of single runs, as several seeds show them in another study. The level does not rest
            on them.
        reason: Why the level is what it is, and what else limits it.
        parts: The comparisons, for figures.
    """

    level: str
    _: KW_ONLY
    direction: str = "-"
    magnitude: str = "-"
    interval: str = "-"
    n: str = "-"
    budget: str = "-"
    records: str = "-"
    several_seeds: str = "-"
    reason: str = ""
    parts: tuple[Part, ...] = ()


def choose(
    studies: Sequence[Study], groups: Iterable[Sequence[str]], measure: Measure | None = None, any_budget: bool = False
) -> Study | None:
    """Return the study that has most of the groups of nets, and of those the one with the largest budget.

    Of studies with the same budget, one that held out training images comes last.

    Args:
        studies: Candidates.
        groups: Nets that are compared with one another.
        measure: Measure that the nets must have values of. By default their test error.
        any_budget: Whether the number of seeds goes before the budget.
    """
    measure = measure or final("test_error")

    def worth(study: Study) -> tuple[int, ...]:
        seeds = [min(len(measure(study, net)) for net in nets) for nets in groups]
        whole = [n for n in seeds if n]
        fewest = min(whole, default=0)
        kept = not study.holds_out_images
        return len(whole), *((kept, fewest, study.iterations) if any_budget else (study.iterations, kept, fewest))

    groups = list(groups)
    best = max(studies, key=worth, default=None)
    return best if best and worth(best)[0] else None


def needs(nets: Iterable[str], what: str = "") -> Verdict:
    """Return the verdict on a claim without records, which names those that it needs."""
    return Verdict(NOT_ENOUGH, reason=f"needs records of {', '.join(dict.fromkeys(nets))}{what}")


def _direction(parts: Sequence[Part]) -> str:
    seen = sum(part.as_claimed for part in parts)
    text = "as claimed" if seen == len(parts) else "opposite" if not seen else f"as claimed in {seen} of {len(parts)}"
    unsure = sum(not part.beyond_chance for part in parts)
    if not unsure:
        return text
    return f"{text}, chance not excluded" + ("" if unsure == len(parts) else f" in {unsure} of {len(parts)}")


def _magnitude(parts: Sequence[Part]) -> str:
    if not all(part.comparable for part in parts):
        return "cannot be compared at this budget"
    return "; ".join(filter(None, (part.magnitude() for part in parts))) or "the paper prints no figure to compare with"


def _over_several_seeds(parts: Sequence[Part]) -> str:
    """The comparisons of single runs, as several seeds show them, study by study. A dash if there are none."""
    by_study: dict[str, list[str]] = {}
    for part in parts:
        if part.several_seeds:
            study, effect = part.several_seeds
            by_study.setdefault(f"{study.name} ({budget(study)})", []).append(part.describe(effect))
    return "; ".join(f"in {study}, {'; '.join(texts)}" for study, texts in by_study.items()) or "-"


def budget(study: Study) -> str:
    """The number of iterations, and the paper's where it is another."""
    paper = study.info.paper_iterations
    return f"{study.iterations:,}" + ("" if study.iterations == paper else f" of {paper:,}") + " iterations"


def conclude(parts: Sequence[Part], caveats: Sequence[Callable[[Study], str]] = (), note: str = "") -> Verdict:
    """Return the verdict on a claim of several parts.

    Args:
        parts: The comparisons.
        caveats: Functions that return a text on a study below the paper's budget, to be added to the reason.
        note: What must be known at every budget.
    """
    levels = [part.level() for part in parts]
    level = min((level for level, _ in levels), key=ORDER.index)
    reasons = [reason for own, reason in levels if own == level]
    missing = dict.fromkeys(net for part in parts for net in part.missing)
    if missing:
        reasons.append(f"needs records of {', '.join(missing)}")
    found = [part for part in parts if part.difference is not None]
    if found and not all(part.comparable for part in found):
        reasons += [caveat(found[0].judged) for caveat in caveats]
    reason = "; ".join(dict.fromkeys(filter(None, [*reasons, note])))
    if not found:
        return Verdict(NOT_ENOUGH, reason=reason)
    studies = list({part.judged.name: part.judged for part in found}.values())
    seeds = sorted({part.effect.n for part in found})
    return Verdict(
        level,
        direction=_direction(found),
        magnitude=_magnitude(found),
        interval="; ".join(part.text() for part in found),
        n=" to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
        budget=", ".join(dict.fromkeys(budget(study) for study in studies)),
        records=", ".join(study.name for study in studies),
        several_seeds=_over_several_seeds(found),
        reason=reason,
        parts=tuple(found),
    )


NAMES = {
    "train_error": "training error",
    "clean_train_error": "clean training error",
    "test_error": "test error",
}


def errors_rise(
    studies: Sequence[Study],
    pairs: Sequence[tuple[str, str]],
    columns: Sequence[str],
    references: dict[tuple[str, str], Reference] | None = None,
    **limits: Any,
) -> Verdict:
    """Judge the claim that the first net of every pair has higher errors than the second.

    Args:
        studies: Candidates.
        pairs: Names of nets.
        columns: Final errors that are compared.
        references: Published differences in test error, by pair.
        limits: Further arguments of `conclude`.
    """
    study = choose(studies, pairs)
    if study is None:
        return needs(net for pair in pairs for net in pair)
    parts = []
    for net, other in pairs:
        for column in columns:
            reference = (references or {}).get((net, other)) if column == "test_error" else None
            weights = {net: 1, other: -1}
            parts.append(is_more(studies, study, weights, final(column), NAMES[column], reference=reference))
    return conclude(parts, **limits)
