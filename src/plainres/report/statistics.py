"""Means over seeds and weighted sums of nets, with 95% intervals."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from plainres.records.record import Record
from plainres.report.records import Study

CONFIDENCE = 0.95
Measure = Callable[[Study, str], pd.Series]  # from a study and a net to one value per seed


@dataclass(frozen=True)
class Interval:
    """A mean with half the width of its 95% interval."""

    mean: float
    half_width: float  # NaN where a net has a single run
    n: int  # number of runs of the net that has the fewest

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    def __str__(self) -> str:
        spread = "" if math.isnan(self.half_width) else f" ± {self.half_width:.2f}"
        return f"{self.mean:+.2f}{spread} (n = {self.n})"


def weighted_sum(values: Mapping[str, pd.Series], weights: Mapping[str, float]) -> Interval:
    """Return the sum of the means of independent samples, each mean multiplied by its weight.

    The interval is Student's for one sample and Welch's for two. For any number of samples, the degrees of freedom are
    Satterthwaite's.
    """
    mean = sum(weight * values[name].mean() for name, weight in weights.items())
    n = min(len(values[name]) for name in weights)
    if n == 1:
        return Interval(mean, math.nan, 1)
    variances = {name: weight**2 * values[name].var() / len(values[name]) for name, weight in weights.items()}
    total = sum(variances.values())
    if total == 0:
        return Interval(mean, 0.0, n)
    freedom = total**2 / sum(variance**2 / (len(values[name]) - 1) for name, variance in variances.items())
    return Interval(mean, float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total), n)


def estimate(values: pd.Series) -> Interval:
    """Return the mean of independent values with its t interval."""
    return weighted_sum({"": values}, {"": 1})


def difference(study: Study, weights: Mapping[str, float], measure: Measure) -> Interval | None:
    """Return a weighted sum of the means of nets of a study: `{"plain-56": 1, "plain-20": -1}` is a difference.

    It is None if one of the nets has no value.
    """
    values = {net: measure(study, net) for net in weights}
    return None if any(series.empty for series in values.values()) else weighted_sum(values, weights)


def by_seed(study: Study, net: str, value: Callable[[Record], float | None]) -> pd.Series:
    """Return one value per finished run of a net, by seed. Runs without the value are left out."""
    return pd.Series({run.seed: value(run) for run in study.of_net(net)}, dtype=float).dropna()


def final(column: str) -> Measure:
    """Return the measure of a final figure, for example of `test_error`."""
    return lambda study, net: by_seed(study, net, lambda run: run.info["final"].get(column))
