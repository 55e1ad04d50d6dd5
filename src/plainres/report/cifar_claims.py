"""The tests of the claims about CIFAR-10, from final and early errors."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations, pairwise

import pandas as pd

from plainres.report.ledger import has_small_gates
from plainres.report.parts import Reference, is_more
from plainres.report.published import (
    OPTIONS_APART,
    OTHERS_PLAIN_20_56,
    PLAIN_110_ABOVE,
    RESNET_1202_TRAIN_UNDER,
    TABLE_6_COMPARED,
    TABLE_6_PEERS_COMPARED,
)
from plainres.report.records import Study
from plainres.report.statistics import by_seed, difference, estimate, final
from plainres.report.verdicts import Verdict, choose, conclude, errors_rise, needs

TRAINING = ("train_error", "clean_train_error")
ERRORS = (*TRAINING, "test_error")
DEPTHS = (20, 32, 44, 56)
UNCHECKED = "the figures of the student reproductions were noted without links and cannot be checked"
HE_GATES = "; earlier records have He-initialized gates"


def _others() -> Reference:
    """The difference in test error between plain-56 and plain-20 that student reproductions report, with its spread.

    It decides nothing, because the reproductions cannot be looked up.
    """
    gaps = estimate(pd.Series([deep - shallow for shallow, deep in OTHERS_PLAIN_20_56]))
    return Reference(gaps.mean, "the figure of three student reproductions", gaps.half_width, decides=False)


def _of_table_6(net: str, other: str) -> Reference:
    return Reference(TABLE_6_COMPARED[net] - TABLE_6_COMPARED[other])


def confounded(_study: Study) -> str:
    """Say what else a difference between plain-56 and other nets may come from."""
    return "the mechanism is confounded with the explosion of the first gradients of plain-56 (claim 3c)"


def times_the_others(study: Study) -> str:
    """Say how large the difference between plain-56 and plain-20 is, compared with what other groups report."""
    gap = by_seed(study, "plain-56", "test_error").mean() - by_seed(study, "plain-20", "test_error").mean()
    other = _others().value
    return (
        f"the difference in test error, {gap:+.2f}, is {gap / other:.0f} times the {other:+.2f} that three student "
        "reproductions report at 64,000 iterations"
    )


def degradation(studies: Sequence[Study]) -> Verdict:
    """The training error of plain-56 is above that of plain-20."""
    return errors_rise(studies, [("plain-56", "plain-20")], TRAINING, caveats=(confounded, times_the_others))


def plain_nets_get_worse_step_by_step(studies: Sequence[Study]) -> Verdict:
    """The training error of plain nets rises from 20 to 32, 44 and 56 layers."""
    pairs = [(f"plain-{deep}", f"plain-{shallow}") for shallow, deep in pairwise(DEPTHS)]
    return errors_rise(studies, pairs, ["train_error"])


def plain_110_fails(studies: Sequence[Study]) -> Verdict:
    """The test error of plain-110 is above 60%."""
    study = choose(studies, [["plain-110"]])
    if study is None:
        return needs(["plain-110"])

    def excess(study: Study, net: str) -> pd.Series:
        return by_seed(study, net, "test_error") - PLAIN_110_ABOVE

    name = f"plain-110 minus {PLAIN_110_ABOVE:.0f}%, test error"
    return conclude([is_more(studies, study, {"plain-110": 1}, excess, "test error", name=name)])


def longer_training_does_not_help(studies: Sequence[Study]) -> Verdict:
    """Plain-56 still has the higher training error after three times the iterations."""
    pair, error = ("plain-56", "plain-20"), final("train_error")
    weights = dict(zip(pair, (1, -1), strict=True))
    both = [study for study in studies if choose([study], [pair])]
    found = [(short, long) for short in both for long in both if long.iterations >= 3 * short.iterations]
    full = [pair for pair in found if pair[0].iterations >= pair[0].info.paper_iterations]
    if full:
        short, long = max(full, key=lambda pair: pair[1].iterations)
        parts = [
            is_more(studies, study, weights, error, f"training error after {study.iterations:,} iterations")
            for study in (short, long)
        ]
        return conclude(parts)
    at = "; ".join(
        f"{effect.mean:+.1f} in {study.name}"
        for study in sorted(both, key=lambda study: study.iterations)
        if (effect := difference(study, weights, error)) is not None
    )
    seen = f"; so far the difference in training error is {at}" if at else ""
    return needs(pair, f" at 64,000 iterations and at 192,000 or more{seen}")


def not_overfitting(studies: Sequence[Study]) -> Verdict:
    """Training and test error of plain-56 are both above those of plain-20."""
    pair = ("plain-56", "plain-20")
    caveats = (confounded, times_the_others)
    return errors_rise(studies, [pair], ERRORS, {pair: _others()}, caveats=caveats, note=UNCHECKED)


def deeper_residual_is_better(studies: Sequence[Study]) -> Verdict:
    """Training and test error fall from ResNet-20 to ResNet-56 and ResNet-110."""
    pairs = [("resnet-20", "resnet-56"), ("resnet-56", "resnet-110")]
    return errors_rise(studies, pairs, ERRORS, {pair: _of_table_6(*pair) for pair in pairs})


def residual_nets_get_better_step_by_step(studies: Sequence[Study]) -> Verdict:
    """The test error of residual nets falls from 20 to 32, 44 and 56 layers."""
    pairs = [(f"resnet-{shallow}", f"resnet-{deep}") for shallow, deep in pairwise(DEPTHS)]
    return errors_rise(studies, pairs, ["test_error"], {pair: _of_table_6(*pair) for pair in pairs})


def early_error(study: Study, net: str, until: int) -> pd.Series:
    """The mean training error over the first iterations, all at the initial learning rate, by seed."""
    if study.iterations < 2 * until:
        return pd.Series(dtype=float)
    early = {}
    for run in study.of_net(net):
        rows = run.metrics[run.metrics["iteration"] <= until]
        early[run.config["seed"]] = rows["train_error"].mean()
    return pd.Series(early, dtype=float).dropna()


def warmup_is_needed(studies: Sequence[Study]) -> Verdict:
    """Without the warm-up, ResNet-110 has the higher training error over its first 2,000 iterations."""
    pair = ("resnet-110-nowarmup", "resnet-110")
    measure = partial(early_error, until=2_000)
    study = choose(studies, [pair], measure, any_budget=True)
    if study is None:
        return needs(pair, " with 4,000 iterations or more")
    weights = dict(zip(pair, (1, -1), strict=True))
    what = "training error of the first 2,000 iterations"
    return conclude([is_more(studies, study, weights, measure, what, any_budget=True)])


def residual_beats_plain(studies: Sequence[Study]) -> Verdict:
    """The test error of the plain net is above that of its residual twin at 20 and 56 layers, and more so at 56."""
    pairs = [(f"plain-{depth}", f"resnet-{depth}") for depth in (20, 56)]
    study = choose(studies, pairs)
    if study is None:
        return needs(net for pair in pairs for net in pair)
    error = final("test_error")
    parts = [is_more(studies, study, {net: 1, other: -1}, error, "test error") for net, other in pairs]
    growth = {"plain-56": 1, "resnet-56": -1, "plain-20": -1, "resnet-20": 1}
    parts.append(is_more(studies, study, growth, error, "", name="growth of that difference from 20 to 56 layers"))
    return conclude(parts, caveats=[confounded])


def residual_is_faster(studies: Sequence[Study]) -> Verdict:
    """Over the first 1,000 iterations the residual net has the lower training error at 20 and at 56 layers."""
    pairs = [(f"plain-{depth}", f"resnet-{depth}") for depth in (20, 56)]
    measure = partial(early_error, until=1_000)
    study = choose(studies, pairs, measure, any_budget=True)
    if study is None:
        return needs((net for pair in pairs for net in pair), " with 2,000 iterations or more")
    what = "training error of the first 1,000 iterations"
    return conclude(
        [is_more(studies, study, {net: 1, other: -1}, measure, what, any_budget=True) for net, other in pairs]
    )


def shortcuts_alike(studies: Sequence[Study]) -> Verdict:
    """Options A, B and C beat the plain net at 56 layers, and differ by no more than the paper reports."""
    nets = ("resnet-56", "resnet-56-b", "resnet-56-c")
    pairs = [("plain-56", net) for net in nets]
    study = choose(studies, [("plain-56", *nets)]) or choose(studies, pairs)
    if study is None:
        return needs(["plain-56", *nets])
    error = final("test_error")
    parts = [is_more(studies, study, {net: 1, other: -1}, error, "test error") for net, other in pairs]
    parts += [
        is_more(studies, study, {net: 1, other: -1}, error, "test error", bound=OPTIONS_APART)
        for net, other in combinations(nets, 2)
    ]
    return conclude(parts)


def a_thousand_layers(studies: Sequence[Study]) -> Verdict:
    """ResNet-1202 trains to under 0.1% and has a higher test error than ResNet-110."""
    nets = ("resnet-1202", "resnet-110")
    study = choose(studies, [nets])
    if study is None:
        return needs(nets)

    def margin(study: Study, net: str) -> pd.Series:
        return RESNET_1202_TRAIN_UNDER - by_seed(study, net, "train_error")

    name = f"{RESNET_1202_TRAIN_UNDER}% minus training error of resnet-1202"
    worse = {"resnet-1202": 1, "resnet-110": -1}
    return conclude(
        [
            is_more(studies, study, {"resnet-1202": 1}, margin, "", name=name),
            is_more(studies, study, worse, final("test_error"), "test error", reference=_of_table_6(*nets)),
        ]
    )


def small_gates_error(study: Study, net: str) -> pd.Series:
    """The final test error by seed, of highway nets only those whose gates start from N(0, 0.01²)."""
    errors = {
        run.config["seed"]: run.info["final"]["test_error"]
        for run in study.of_net(net)
        if run.kind != "highway" or has_small_gates(run)
    }
    return pd.Series(errors, dtype=float)


def residual_beats_highway(studies: Sequence[Study]) -> Verdict:
    """The test error of the highway net is above that of the residual net at 32, 56 or 20 layers, the first trained."""
    pairs = [(f"highway-{depth}", f"resnet-{depth}") for depth in (32, 56, 20)]
    for pair in pairs:
        study = choose(studies, [pair], small_gates_error)
        if study:
            break
    else:
        return needs(pairs[0], f" (or both with 56 or 20 layers){HE_GATES}")
    highway = TABLE_6_PEERS_COMPARED["Highway-32"][1]
    reference = Reference(highway - TABLE_6_COMPARED["resnet-32"]) if pair == pairs[0] else None
    weights = dict(zip(pair, (1, -1), strict=True))
    return conclude([is_more(studies, study, weights, small_gates_error, "test error", reference=reference)])


def fewer_parameters(studies: Sequence[Study]) -> Verdict:
    """ResNet-110 has fewer parameters and a lower test error than FitNet-19 and Highway-19, as published."""
    net, peers = "resnet-110", ("FitNet-19", "Highway-19")
    study = choose(studies, [[net]])
    if study is None:
        return needs([net], " at 64,000 iterations")
    parameters = by_seed(study, net, "parameters").iloc[0]
    parts = []
    for peer in peers:
        size, error = TABLE_6_PEERS_COMPARED[peer]

        def lead(study: Study, net: str, error: float = error) -> pd.Series:
            return error - by_seed(study, net, "test_error")

        count = (parameters < size, f"{parameters / 1e6:.2f}M parameters, {peer} {size / 1e6:.1f}M")
        reference = Reference(error - TABLE_6_COMPARED[net])
        more = {"name": f"{peer} (published) minus {net}, test error", "reference": reference, "conditions": (count,)}
        parts.append(is_more(studies, study, {net: 1}, lead, "", **more))
    return conclude(parts)
