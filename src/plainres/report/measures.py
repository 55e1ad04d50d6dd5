"""What claims compare beside final errors: early errors, and layers' signals, gradients and responses.

Every function takes a study and a net and returns one value per seed of the finished runs that have it.
"""

import numpy as np
import pandas as pd

from plainres.records.record import Record
from plainres.report.records import Study
from plainres.report.statistics import by_seed

EARLY = 1_000  # iterations after which signals and gradients are judged, and over which early errors are averaged
EARLY_SHARE = 4  # on ImageNet, the early error is that of the first quarter of the rows
SHALLOW = "plain-20"  # whose median layer is the reference for gradients
LEAST_VARIANCE = 1e-3  # before BN: a hundred times its eps, below which BN no longer restores a signal
GRADIENT_RANGE = 1e2  # a gradient vanishes or explodes beyond this factor from the reference


def early_error(study: Study, net: str, until: int = EARLY) -> pd.Series:
    """Mean training error, in percent, of the first iterations (CIFAR) or the first quarter of the rows (ImageNet)."""

    def value(run: Record) -> float:
        rows = run.metrics
        early = rows[: len(rows) // EARLY_SHARE] if study.is_imagenet else rows[rows["iteration"] <= until]
        return early["train_error"].mean()

    return by_seed(study, net, value)


def _late(run: Record, column: str) -> pd.Series:
    """A column of the probes after the first 1,000 iterations, by iteration. Empty if it is not recorded."""
    probes = run.probes[run.probes["iteration"] >= EARLY].set_index("iteration")
    return probes.get(column, pd.Series(dtype=float))


def signal_margin(study: Study, net: str) -> pd.Series:
    """Factors of ten between the smallest variance of a layer's output before BN and the least that BN restores."""
    return by_seed(study, net, lambda run: np.log10(_late(run, "forward_variance").min() / LEAST_VARIANCE))


def gradient_margin(study: Study, net: str) -> pd.Series:
    """Factors of ten by which the gradients of all layers stay between a hundredth and a hundred times a reference.

    The gradient is that with respect to the layer's output after BN, which does not depend on the scale of its
    weights. The reference is the median layer of plain-20 at the same iteration. The value is negative if a layer is
    outside.
    """
    column = "response_gradient_norm"
    shallow = [norms for run in study.of_net(SHALLOW) if len(norms := _late(run, column))]
    if not shallow:
        return pd.Series(dtype=float)
    reference = pd.concat(shallow).groupby("iteration").median()

    def value(run: Record) -> float:
        norms = _late(run, column)
        apart = np.log10((norms / reference.reindex(norms.index)).clip(lower=1e-300)).abs()
        return np.log10(GRADIENT_RANGE) - apart.max()

    return by_seed(study, net, value)


def median_response(study: Study, net: str) -> pd.Series:
    """Logarithm to base ten of the median response of a net's layers after the last iteration (Figure 7)."""

    def value(run: Record) -> float:
        last = run.probes[run.probes["iteration"] == run.config["iterations"]]
        return np.log10(last["response_std"].median()) if "response_std" in last else np.nan

    return by_seed(study, net, value)
