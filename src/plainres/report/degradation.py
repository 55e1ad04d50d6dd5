"""What one study says about degradation and its cure, in a paragraph, from the errors at its own depths."""

from plainres.report.figures import PREFIXES, paper_depths
from plainres.report.records import ERRORS, Study
from plainres.report.statistics import Interval, difference, final
from plainres.report.verdicts import LEAST_SHARE

TRY = "Try another seed (--seeds 1) or more iterations (--iterations)"
TOO_SHORT = "a budget this short cannot tell a worse end from a slower start"


def _apart(study: Study, net: str, other: str, column: str = "train_error") -> Interval:
    apart = difference(study, {net: 1, other: -1}, final(column))
    assert apart is not None  # both nets have finished runs
    return apart


def _is_sure(apart: Interval) -> bool:
    """Whether several seeds tell the sign of a difference from chance."""
    return apart.n > 1 and (apart.low > 0 or apart.high < 0)


def _doubt(apart: Interval) -> str:
    """The remark that chance explains a difference of several seeds. Empty if it does not, or if seeds are missing."""
    return "" if apart.n == 1 or _is_sure(apart) else ", a difference that chance can explain"


def _change(study: Study, shallow: str, deep: str) -> str:
    changes = []
    for column, name in ERRORS.items():
        ends = [final(column)(study, net).mean() for net in (shallow, deep)]
        apart = _apart(study, deep, shallow, column)
        zero = "" if _is_sure(apart) else "; the interval includes zero"
        seeds = f" ({apart.mean:+.1f} ± {apart.half_width:.1f} points over {apart.n} seeds{zero})"
        interval = seeds if apart.n > 1 else ""
        changes.append(f"the {name} error goes from {ends[0]:.1f} to {ends[1]:.1f}%{interval}")
    return f"From {shallow} to {deep} {' and '.join(changes)}:"


def _plain(study: Study, depths: list[int]) -> str:
    if len(depths) < 2:
        return "Fewer than two plain nets have finished: this study cannot show degradation."
    shallow, deep = (f"plain-{depth}" for depth in (depths[0], depths[-1]))
    apart = _apart(study, deep, shallow)
    at = "" if study.share >= 1 else " at this budget"
    if apart.mean <= 0:
        how = f"does not have the higher training error{at}{_doubt(apart)}: degradation is not seen here. {TRY}"
    elif study.share < LEAST_SHARE:
        how = f"is behind on its own training set{_doubt(apart)}, which is consistent with degradation; {TOO_SHORT}"
    elif not at and _is_sure(apart):
        how = "ends worse on its own training set, which is degradation"
    else:
        how = f"ends worse on its own training set, the direction of degradation{_doubt(apart)}"
    return f"{_change(study, shallow, deep)} the deeper plain net {how}."


def _residual(study: Study, depths: list[int]) -> str:
    if len(depths) < 2:
        return ""
    shallow, deep = (f"resnet-{depth}" for depth in (depths[0], depths[-1]))
    apart = _apart(study, shallow, deep)
    at = "" if study.share >= 1 else " at this budget"
    has = "has the lower training error" if apart.mean > 0 else f"does not have the lower training error{at}"
    return f"{_change(study, shallow, deep)} the deeper residual net {has}{_doubt(apart)}."


def _twins(study: Study, depths: list[int]) -> str:
    if not depths:
        return ""
    gaps = []
    for depth in depths:
        apart = [_apart(study, f"plain-{depth}", f"resnet-{depth}", column).mean for column in ERRORS]
        gaps.append(f"{apart[0]:+.1f} and {apart[1]:+.1f} at {depth} layers")
    deepest = depths[-1]
    helps = _apart(study, f"plain-{deepest}", f"resnet-{deepest}").mean > 0
    seen = "" if helps else f" At {deepest} layers, shortcuts do not help here. {TRY}."
    return f"Plain minus residual twin, in points of training and test error: {', '.join(gaps)}.{seen}"


def finding(study: Study) -> list[str]:
    """Return one sentence on the plain nets of a study and, if two residual nets have finished, one on those."""
    plain, residual = (paper_depths(study.runs, kind) for kind in PREFIXES)
    return [sentence for sentence in (_plain(study, plain), _residual(study, residual)) if sentence]


def about_seeds(study: Study) -> str:
    """Return a sentence on the nets of a study that have a single seed. Empty if there are none."""
    runs = study.finals.groupby("net", sort=False).size()
    if runs.max() == 1:
        return "One run per net: no interval can be given."
    if runs.min() == 1:
        return f"One run each of {', '.join(runs[runs == 1].index)}: no interval can be given for them."
    return ""


def verdict(study: Study, described: bool = True) -> str:
    """Return one paragraph on degradation and its cure, from the last iteration of the study's finished runs.

    It states directions and differences. The claims judge them on all studies. If `described`, it begins with data,
    budget, precision and seeds.
    """
    plain, residual = (paper_depths(study.runs, kind) for kind in PREFIXES)
    parts = [
        f"{study.describe()}." if described else "",
        _plain(study, plain),
        _twins(study, sorted({*plain} & {*residual})),
        _residual(study, residual),
    ]
    if study.share < 1 and not study.info.warning:
        parts.append(
            f"This is {study.share:.1%} of the paper's {study.info.paper_iterations:,} iterations, so the figures "
            "cannot be compared with its final errors."
        )
    parts.append(about_seeds(study))
    if study.info.warning:
        parts.append(f"All of this is about the {study.dataset} and says nothing about CIFAR-10.")
    return " ".join(filter(None, parts)) + "\n"
