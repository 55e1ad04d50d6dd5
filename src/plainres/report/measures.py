"""What claims compare beside final errors: early errors, and layers' signals, gradients and responses.

Every function takes a study and a net and returns one value per seed of the finished runs that have it.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from plainres.records.run import Run
from plainres.report.records import Study

EARLY = 1_000  # iterations after which signals and gradients are judged, and over which early errors are averaged
EARLY_SHARE = 4  # on ImageNet, the early error is that of the first quarter of the rows
SHALLOW = "plain-20"  # whose median layer is the reference for gradients
LEAST_VARIANCE = 1e-3  # before BN: a hundred times its eps, below which BN no longer restores a signal
GRADIENT_RANGE = 1e2  # a gradient vanishes or explodes beyond this factor from the reference


def _of_runs(study: Study, net: str, value: Callable[[Run], float]) -> pd.Series:
    return pd.Series({run.seed: value(run) for run in study.of_net(net)}, dtype=float).dropna()


def early_error(study: Study, net: str, until: int = EARLY) -> pd.Series:
    """Mean training error, in percent, of the first iterations (CIFAR) or the first quarter of the rows (ImageNet)."""

    def value(run: Run) -> float:
        rows = run.metrics
        early = rows[: len(rows) // EARLY_SHARE] if study.is_imagenet else rows[rows["iteration"] <= until]
        return early["train_error"].mean()

    return _of_runs(study, net, value)


def _late_probes(run: Run) -> pd.DataFrame:
    return run.probes[run.probes["iteration"] >= EARLY]


def signal_margin(study: Study, net: str) -> pd.Series:
    """Factors of ten between the smallest variance of a layer's output before BN and the least that BN restores."""

    def value(run: Run) -> float:
        probes = _late_probes(run)
        return np.log10(probes["forward_variance"].min() / LEAST_VARIANCE) if "forward_variance" in probes else np.nan

    return _of_runs(study, net, value)


def gradient_margin(study: Study, net: str) -> pd.Series:
    """Factors of ten by which the gradients of all layers stay between a hundredth and a hundred times a reference.

    The gradient is that with respect to the layer's output after BN, which does not depend on the scale of its
    weights. The reference is the median layer of plain-20 at the same iteration. The value is negative if a layer is
    outside.
    """
    column = "response_gradient_norm"
    shallow = [_late_probes(run) for run in study.of_net(SHALLOW) if column in run.probes]
    if not shallow:
        return pd.Series(dtype=float)
    reference = pd.concat(shallow).groupby("iteration")[column].median()

    def value(run: Run) -> float:
        if column not in run.probes:
            return np.nan
        norms = _late_probes(run).set_index("iteration")[column]
        apart = np.log10((norms / reference.reindex(norms.index)).clip(lower=1e-300)).abs()
        return np.log10(GRADIENT_RANGE) - apart.max()

    return _of_runs(study, net, value)


def median_response(study: Study, net: str) -> pd.Series:
    """Logarithm to base ten of the median response of a net's layers after the last iteration (Figure 7)."""

    def value(run: Run) -> float:
        if "response_std" not in run.probes:
            return np.nan
        last = run.probes[run.probes["iteration"] == run.config["iterations"]]
        return np.log10(last["response_std"].median())

    return _of_runs(study, net, value)
