"""The tests of the claims about signals, gradients and responses, layer by layer."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from plainres.report.parts import Part, is_more
from plainres.report.records import Run, Study, join
from plainres.report.verdicts import Verdict, choose, conclude, needs

SHALLOW, DEEP = "plain-20", "plain-56"
FACTORS = "factors of ten"
BN_EPS = 1e-5
LEAST_VARIANCE = 100 * BN_EPS  # below it BN, which divides by the root of variance + eps, no longer restores a signal
LEAST_GRADIENT, MOST_GRADIENT = 1e-2, 1e2  # relative to the median layer of plain-20
LEVEL = 0.05  # of the sign test
GROWTH = (
    "behind BN and without shortcuts the gradient grows by about 1.2 per layer at initialization, as Yang et al., "
    "A Mean Field Theory of Batch Normalization (2019), predict"
)


def smallest_variance(study: Study, net: str) -> pd.Series:
    """Log10 of the smallest forward variance of any layer at any probe, relative to the least that BN restores."""
    least = {
        run.config["seed"]: math.log10(max(run.probes["forward_variance"].min(), 1e-300) / LEAST_VARIANCE)
        for run in study.of_net(net)
        if "forward_variance" in run.probes and len(run.probes)
    }
    return pd.Series(least, dtype=float).dropna()


def signals_do_not_vanish(studies: Sequence[Study]) -> Verdict:
    """In plain-56 no layer's forward variance falls to where BN no longer restores it, at any probe."""
    study = choose(studies, [[DEEP]], smallest_variance, any_budget=True)
    if study is None:
        return needs([DEEP], " with probes")
    name = f"{DEEP}, smallest forward variance of any layer over {LEAST_VARIANCE:g}"
    return conclude([is_more(studies, study, {DEEP: 1}, smallest_variance, "", name=name, never=True, unit=FACTORS)])


def layer_gradients(run: Run) -> pd.Series | None:
    """Gradient norm of every layer and probe on a scale that the weights do not change, by iteration.

    This is the gradient with respect to the response behind BN or, where that is not recorded, the gradient with
    respect to the weights times the norm of the weights, since BN makes the former inversely proportional to the
    latter. None if the record has neither.
    """
    probes = run.probes
    if not len(probes):
        return None
    if "response_gradient_norm" in probes:
        return probes.set_index("iteration")["response_gradient_norm"]
    if {"gradient_norm", "weight_norm"} <= set(probes.columns):
        return (probes["gradient_norm"] * probes["weight_norm"]).set_axis(probes["iteration"])
    return None


def gradient_margins(study: Study, net: str, margin: Callable[[pd.Series], pd.Series]) -> dict[int, pd.Series]:
    """Margins by which the gradients of every layer and probe meet a threshold, by seed.

    Args:
        study: Study with runs of plain-20.
        net: Net whose gradients are compared with the threshold.
        margin: From log10 of a layer's gradient over that of the median layer of plain-20 at the same iteration to the
            margin in factors of ten, negative beyond the threshold.

    Returns:
        By seed, one margin per layer and probe, indexed by iteration.
    """
    shallow = [norms for run in study.of_net(SHALLOW) if (norms := layer_gradients(run)) is not None]
    if not shallow:
        return {}
    median = pd.concat(shallow).groupby(level=0).median()
    margins = {}
    for run in study.of_net(net):
        norms = layer_gradients(run)
        if norms is not None and len(ratio := (norms / median.reindex(norms.index)).dropna()):
            margins[run.config["seed"]] = margin(np.log10(ratio.clip(lower=1e-300)))
    return margins


def above_vanishing(ratio: pd.Series) -> pd.Series:
    """By how many factors of ten gradients lie above the lower threshold. See `gradient_margins`."""
    return ratio - math.log10(LEAST_GRADIENT)


def below_explosion(ratio: pd.Series) -> pd.Series:
    """By how many factors of ten gradients lie below the upper threshold. See `gradient_margins`."""
    return math.log10(MOST_GRADIENT) - ratio


def _gradients(
    studies: Sequence[Study], margin: Callable[[pd.Series], pd.Series], name: str, note: str = ""
) -> Verdict:
    """The smallest margin of any layer and probe is positive."""

    def measure(study: Study, net: str) -> pd.Series:
        return pd.Series({seed: m.min() for seed, m in gradient_margins(study, net, margin).items()}, dtype=float)

    study = choose(studies, [[DEEP]], measure, any_budget=True)
    if study is None:
        return needs(
            [SHALLOW, DEEP],
            " with probes of the response gradient or of weight norms; earlier records have the gradient of the "
            "weights alone, which BN scales by the inverse of their norm" + (f"; {note}" if note else ""),
        )
    part = is_more(studies, study, {DEEP: 1}, measure, "", name=name, never=True, unit=FACTORS)
    margins = gradient_margins(study, DEEP, margin).values()
    crossed = f"the threshold is crossed in {sum(m.min() < 0 for m in margins)} of {len(margins)} seeds"
    if beyond := sorted({int(iteration) for m in margins for iteration in m.index[m < 0]}):
        alone = "iteration" if len(beyond) == 1 else "iterations"
        crossed += f", of all probes only at {alone} {join([f'{iteration:,}' for iteration in beyond])}"
    return conclude([part], note=f"{crossed}; {note}" if note else crossed)


def gradients_do_not_vanish(studies: Sequence[Study]) -> Verdict:
    """In plain-56 no layer's gradient falls under a hundredth of the median layer's of plain-20, at any probe."""
    return _gradients(studies, above_vanishing, f"{DEEP}, smallest gradient over {LEAST_GRADIENT:g} of {SHALLOW}'s")


def gradients_do_not_explode(studies: Sequence[Study]) -> Verdict:
    """In plain-56 no layer's gradient exceeds a hundred times the median layer's of plain-20, at any probe."""
    name = f"{MOST_GRADIENT:g} times {SHALLOW}'s gradient over the largest of {DEEP}"
    return _gradients(studies, below_explosion, name, GROWTH)


def _final_responses(study: Study, net: str) -> pd.DataFrame:
    """Standard deviations of responses at the end: one row per layer, one column per seed."""
    ends = {
        run.config["seed"]: run.probes[run.probes["iteration"] == run.config["iterations"]].set_index("layer")[
            "response_std"
        ]
        for run in study.of_net(net)
        if len(run.probes) and "response_std" in run.probes
    }
    return pd.DataFrame(ends).dropna(axis=1, how="all")


def median_response(study: Study, net: str) -> pd.Series:
    """Log10 of the median response of a net's layers at the end, by seed."""
    return np.log10(_final_responses(study, net).median()).dropna()


def matched_layers(deep: pd.Series, layers: int) -> pd.Series:
    """The responses of a net at the layers of a shallower one: the median of those that each of them corresponds to.

    Args:
        deep: Responses of the deeper net, in layer order. Behind the first layer it has a multiple of the layers.
        layers: Number of layers of the shallower net.
    """
    ratio = (len(deep) - 1) // (layers - 1)
    rest = deep.to_numpy()[1:].reshape(layers - 1, ratio)
    return pd.Series([deep.iloc[0], *np.median(rest, axis=1)], index=range(1, layers + 1))


def sign_test(net: pd.Series, other: pd.Series) -> tuple[int, int, float]:
    """Count the layers in which `net` responds more than `other`.

    Returns:
        That count, the number of layers that differ, and the p-value of the two-sided sign test.
    """
    apart = (net - other)[net != other]
    more = int((apart > 0).sum())
    return more, len(apart), float(stats.binomtest(more, len(apart)).pvalue) if len(apart) else 1.0


def response_part(studies: Sequence[Study], study: Study, net: str, other: str) -> Part:
    """The part of claim 9 that the median layer of `net` responds more than that of `other`, and most layers do."""
    responses = [_final_responses(study, name).mean(axis=1) for name in (net, other)]
    conditions: tuple[tuple[bool, str], ...] = ()
    if all(len(r) for r in responses):
        fewest = min(map(len, responses))
        a, b = (r if len(r) == fewest else matched_layers(r, fewest) for r in responses)
        more, count, p = sign_test(a, b)
        conditions = ((p < LEVEL and 2 * more > count, f"larger in {more} of {count} layers (sign test p = {p:.2g})"),)
    what = "median response of a layer"
    weights = {net: 1, other: -1}
    return is_more(studies, study, weights, median_response, what, unit=FACTORS, conditions=conditions)


def smaller_responses(studies: Sequence[Study]) -> Verdict:
    """Layers respond less in ResNet-20 than in plain-20, in ResNet-56 than in plain-56, and than in ResNet-20."""
    pairs = [("plain-20", "resnet-20"), ("plain-56", "resnet-56"), ("resnet-20", "resnet-56")]
    study = choose(studies, pairs, median_response)
    if study is None:
        return needs((net for pair in pairs for net in pair), " with probes")
    return conclude([response_part(studies, study, *pair) for pair in pairs])
