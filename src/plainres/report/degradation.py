"""What one study says about degradation and its cure, in a paragraph: claims 1, 2, 4 and 5 at its own depths."""

from plainres.report.parts import LEAST_SHARE, Part, is_more
from plainres.report.records import Study
from plainres.report.statistics import final

PREFIXES = {"plain": "plain", "residual": "resnet"}
TRY = "Try another seed (--seeds 1) or more iterations (--iterations)"
ERRORS = {"training": "train_error", "test": "test_error"}


def _depths(study: Study, kind: str) -> list[int]:
    """The depths of a kind's nets that follow the paper, shallowest first."""
    finals = study.finals()
    named = finals["net"] == PREFIXES[kind] + "-" + finals["depth"].astype(str)
    return sorted(set(finals[named]["depth"]))


def _part(study: Study, net: str, other: str, column: str) -> Part:
    """The same comparison as in the claims, in this study alone."""
    return is_more([study], study, {net: 1, other: -1}, final(column), column)


def _change(study: Study, shallow: str, deep: str) -> str:
    changes = []
    for name, column in ERRORS.items():
        ends = [final(column)(study, net).mean() for net in (shallow, deep)]
        part = _part(study, deep, shallow, column)
        changes.append(f"the {name} error goes from {ends[0]:.1f} to {ends[1]:.1f}%{_interval(part)}")
    return f"From {shallow} to {deep} {' and '.join(changes)}:"


def _interval(part: Part) -> str:
    """A difference with its interval, which tells it from chance. Empty if a net has a single seed."""
    effect = part.effect
    if effect.n == 1:
        return ""
    zero = "" if part.beyond_chance else "; the interval includes zero"
    return f" ({effect.mean:+.1f} ± {effect.half_width:.1f} points over {effect.n} seeds{zero})"


def _is_sure(part: Part) -> bool:
    """Whether several seeds tell the sign of a difference from chance. Of single runs, the claims judge that."""
    return part.effect.n > 1 and part.beyond_chance


def _doubt(part: Part) -> str:
    """The remark that chance explains a difference of several seeds. Empty if it does not, or if seeds are missing."""
    return "" if part.effect.n == 1 or part.beyond_chance else ", a difference that chance can explain"


def _plain(study: Study, depths: list[int]) -> str:
    if len(depths) < 2:
        return "Fewer than two plain nets have finished: this study cannot show degradation."
    shallow, deep = (f"plain-{depth}" for depth in (depths[0], depths[-1]))
    part = _part(study, deep, shallow, "train_error")
    if not part.as_claimed:
        at = "" if part.comparable else " at this budget"
        finding = (
            f"the deeper plain net does not have the higher training error{at}{_doubt(part)}: degradation is not seen "
            f"here. {TRY}"
        )
    elif part.share < LEAST_SHARE:
        finding = (
            f"the deeper plain net is behind on its own training set{_doubt(part)}, which is consistent with "
            "degradation; a budget this short cannot tell a worse end from a slower start"
        )
    elif part.comparable and _is_sure(part):
        finding = "the deeper plain net ends worse on its own training set, which is degradation"
    else:
        size = "" if part.comparable else "; its size cannot be compared with the paper's at this budget"
        finding = (
            f"the deeper plain net ends worse on its own training set, the direction of degradation{_doubt(part)}{size}"
        )
    return f"{_change(study, shallow, deep)} {finding}."


def _residual(study: Study, depths: list[int]) -> str:
    if len(depths) < 2:
        return ""
    shallow, deep = (f"resnet-{depth}" for depth in (depths[0], depths[-1]))
    part = _part(study, shallow, deep, "train_error")
    if part.as_claimed:
        finding = f"the deeper residual net has the lower training error{_doubt(part)}"
    else:
        at = "" if part.comparable else " at this budget"
        finding = f"the deeper residual net does not have the lower training error{at}{_doubt(part)}"
    return f"{_change(study, shallow, deep)} {finding}."


def _twins(study: Study, depths: list[int]) -> str:
    if not depths:
        return ""
    gaps = ", ".join(
        " and ".join(
            f"{_part(study, f'plain-{depth}', f'resnet-{depth}', column).effect.mean:+.1f}"
            for column in ERRORS.values()
        )
        + f" at {depth} layers"
        for depth in depths
    )
    deepest = depths[-1]
    part = _part(study, f"plain-{deepest}", f"resnet-{deepest}", "train_error")
    seen = "" if part.as_claimed else f" At {deepest} layers, shortcuts do not help here. {TRY}."
    return f"Plain minus residual twin, in points of training and test error: {gaps}.{seen}"


def finding(study: Study) -> list[str]:
    """Return one sentence on the plain nets of a study and, if two residual nets have finished, one on those."""
    plain, residual = (_depths(study, kind) for kind in PREFIXES)
    return [sentence for sentence in (_plain(study, plain), _residual(study, residual)) if sentence]


def has_several_seeds(study: Study) -> bool:
    """Whether the shallowest and the deepest plain net of a study have several seeds each."""
    depths = _depths(study, "plain")
    return len(depths) > 1 and all(len(study.of_net(f"plain-{depth}")) > 1 for depth in (depths[0], depths[-1]))


def about_seeds(study: Study) -> str:
    """Return a sentence on the nets of a study that have a single seed. Empty if there are none."""
    runs = study.finals().groupby("net", sort=False).size()
    if runs.max() == 1:
        return (
            "One run per net: no interval can be given. The verdicts on the claims compare such differences with the "
            "spread of seeds at this budget or shorter ones."
        )
    if runs.min() == 1:
        single = ", ".join(runs[runs == 1].index)
        return (
            f"Errors are means over seeds. There is one seed of {single}: differences from other nets are then those "
            "between runs of this seed, without an interval."
        )
    return ""


def verdict(study: Study, described: bool = True) -> str:
    """Return one paragraph on degradation and its cure, from the last iteration of the study's finished runs.

    It states directions and differences. How sure they are is said by the levels of the claims, which need the other
    studies too.

    Args:
        study: Study with finished runs.
        described: Whether the paragraph begins with data, budget, precision, seeds and hardware.
    """
    plain, residual = (_depths(study, kind) for kind in PREFIXES)
    parts = [
        f"{study.describe()}." if described else "",
        _plain(study, plain),
        _twins(study, sorted({*plain} & {*residual})),
    ]
    parts.append(_residual(study, residual))
    paper = study.info.paper_iterations
    if study.iterations < paper and not study.info.warning:
        parts.append(
            f"This is {study.iterations / paper:.1%} of the paper's {paper:,} iterations, so the figures cannot be "
            "compared with its final errors."
        )
    parts.append(about_seeds(study))
    if study.info.warning:
        parts.append(f"All of this is about the {study.dataset} and says nothing about CIFAR-10.")
    return " ".join(filter(None, parts)) + "\n"
