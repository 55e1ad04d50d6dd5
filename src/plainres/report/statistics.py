"""Means, spreads and differences between nets, each with the uncertainty that its number of runs allows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pandas as pd
from scipy import stats

from plainres.report.records import Run, Study

CONFIDENCE = 0.95
ALIKE = 0.05  # level of Bartlett's test, below which variances are not pooled
MOST_APART = 3.0  # ratio of standard deviations, above which they are not pooled: Bartlett's test is weak at few seeds
Measure = Callable[[Study, str], pd.Series]  # from a study and a net to one value per seed


@dataclass(frozen=True)
class Estimate:
    """A mean over n values with its t interval.

    Attributes:
        n: Number of values.
        mean: Mean of the values.
        std: Sample standard deviation. NaN for a single value.
        half_width: Half the width of the 95% t interval. NaN for a single value.
    """

    n: int
    mean: float
    std: float
    half_width: float

    def __str__(self) -> str:
        if self.n == 1:
            return f"{self.mean:+.2f} (n = 1, no interval)"
        return f"{self.mean:+.2f} ± {self.half_width:.2f} (95%, n = {self.n})"


def t_quantile(freedom: float) -> float:
    """The quantile of Student's t distribution that bounds a 95% interval."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def estimate(values: pd.Series) -> Estimate:
    """Return the mean and the t interval of independent values.

    Raises:
        ValueError: If there are no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values to average")
    if n == 1:
        return Estimate(1, float(values.iloc[0]), math.nan, math.nan)
    std = float(values.std())
    return Estimate(n, float(values.mean()), std, t_quantile(n - 1) * std / math.sqrt(n))


def sampling_error(error: float, images: int = 10_000) -> float:
    """Standard error, in points, of an error in percent measured on `images` images (about 0.26 at 7% of 10,000)."""
    p = error / 100
    return 100 * math.sqrt(p * (1 - p) / images)


def row_error(run: Run) -> float:
    """Standard error, in points, of the last row's training error, which is an average over the images of one row."""
    ends = run.metrics["iteration"]
    images = int(ends.iloc[-1] - (ends.iloc[-2] if len(ends) > 1 else 0)) * run.config["batch_size"]
    return sampling_error(run.metrics["train_error"].iloc[-1], images)


def by_seed(study: Study, net: str, column: str) -> pd.Series:
    """A final figure or a count of a net's runs, by seed. Runs without it are left out."""
    figures = {
        run.config["seed"]: (run.info["complexity"] | run.info["final"]).get(column) for run in study.of_net(net)
    }
    return pd.Series(figures, dtype=float).dropna()


def final(column: str) -> Measure:
    """The measure of a final error, or of another figure that `by_seed` finds."""
    return partial(by_seed, column=column)


@dataclass(frozen=True)
class Difference:
    """A difference between nets of one study, from the means over their seeds, with 95% intervals.

    Attributes:
        mean: The difference. If a net has a single seed, that of the runs of this seed, if all nets have it.
        half_width: Half the width of the interval for independent runs, which decides. NaN if a net has a single seed.
        paired: The difference seed by seed with its t interval. None if fewer than two seeds are common to all nets.
        n: Number of seeds of the net that has the fewest.
        spread: Where the variance comes from.
    """

    mean: float
    half_width: float
    paired: Estimate | None
    n: int
    spread: str = ""

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    def __str__(self) -> str:
        if self.n == 1:
            return f"{self.mean:+.2f} (one seed, no interval)"
        paired = f"; paired by seed ± {self.paired.half_width:.2f}" if self.paired else ""
        return f"{self.mean:+.2f} ± {self.half_width:.2f} (95%, n = {self.n}, {self.spread}{paired})"


def pooled_variance(study: Study, measure: Measure) -> tuple[float, int, int] | None:
    """Pool the variance over the nets of a study, all of which have the same budget.

    Returns:
        Variance, degrees of freedom and number of nets. None if fewer than two nets have several seeds, or if their
        variances differ: by Bartlett's test at 5%, or with a standard deviation over three times another.
    """
    several = [v for net in dict.fromkeys(run.net for run in study.runs) if len(v := measure(study, net)) > 1]
    if len(several) < 2 or any(values.var() == 0 for values in several):
        return None
    deviations = [values.std() for values in several]
    if max(deviations) > MOST_APART * min(deviations) or stats.bartlett(*several).pvalue < ALIKE:
        return None
    freedom = sum(len(values) - 1 for values in several)
    return sum((len(values) - 1) * values.var() for values in several) / freedom, freedom, len(several)


def difference(study: Study, weights: dict[str, int], measure: Measure) -> Difference | None:
    """Return a weighted sum of the means of nets: `{"plain-56": 1, "plain-20": -1}` is a difference of two.

    The interval is that of Welch: every net has its own variance, and the degrees of freedom are Satterthwaite's. The
    variance is pooled over all nets of the study where `pooled_variance` finds it alike. A seed gives all nets the
    same batches. Whether this correlates their errors, few seeds cannot tell, so runs are treated as independent, and
    the interval of the differences seed by seed is only shown beside it. For a single net this is a t interval.

    Returns:
        None if one of the nets has no runs.
    """
    values = {net: measure(study, net) for net in weights}
    if any(v.empty for v in values.values()):
        return None
    mean = float(sum(weight * values[net].mean() for net, weight in weights.items()))
    n = min(len(v) for v in values.values())
    by_seeds = sum(weight * values[net] for net, weight in weights.items()).dropna()
    if n == 1:
        return Difference(mean if by_seeds.empty else float(by_seeds.mean()), math.nan, None, 1)
    paired = estimate(by_seeds) if len(weights) > 1 and len(by_seeds) > 1 else None
    pooled = pooled_variance(study, measure)
    if pooled is not None:
        variance, freedom, nets = pooled
        error = math.sqrt(variance * sum(weight**2 / len(values[net]) for net, weight in weights.items()))
        return Difference(mean, t_quantile(freedom) * error, paired, n, f"variance pooled over {nets} nets")
    kind = "Welch" if len(weights) > 1 else "t"
    parts = [(weight**2 * values[net].var() / len(values[net]), len(values[net])) for net, weight in weights.items()]
    total = sum(part for part, _ in parts)
    if total == 0:
        return Difference(mean, 0.0, paired, n, kind)
    freedom = total**2 / sum(part**2 / (size - 1) for part, size in parts)
    return Difference(mean, t_quantile(freedom) * math.sqrt(total), paired, n, kind)


@dataclass(frozen=True)
class Chance:
    """How far apart single runs may be by chance.

    Attributes:
        half_width: Largest difference that chance explains in 95% of cases.
        text: The nets whose seeds it is estimated from, with their budgets, and with their precision if it is not
            that of the compared runs.
    """

    half_width: float
    text: str


class _Spread(NamedTuple):
    """How far a single run of a net may be from the mean of its runs, by the seeds of one budget."""

    iterations: int
    half_width: float
    net: str
    precision: str


def chance_between_single_runs(
    studies: Sequence[Study], study: Study, weights: dict[str, int], measure: Measure
) -> Chance | None:
    """Bound what chance explains of a difference between single runs, by seeds at this budget or shorter ones.

    The spread of each net is that of its own seeds, from the largest budget at which it has several and which does
    not exceed that of `study`, in any precision. At the budget of `study`, the spread may be larger or smaller. A net
    that has no such budget gets the largest spread of any net.

    This is no interval. It only decides whether one run per net may be called an indication.

    Returns:
        None if no net has several seeds at this or a shorter budget.
    """
    spreads = [
        _Spread(other.iterations, t_quantile(len(values) - 1) * float(values.std()), net, other.config["precision"])
        for other in studies
        if other.runs and other.info == study.info and other.iterations <= study.iterations
        for net in dict.fromkeys(run.net for run in other.runs)
        if len(values := measure(other, net)) > 1
    ]
    if not spreads:
        return None
    widest = max(spreads, key=lambda spread: spread.half_width)
    used = {net: max((spread for spread in spreads if spread.net == net), default=widest) for net in weights}
    half_width = math.sqrt(sum((weight * used[net].half_width) ** 2 for net, weight in weights.items()))
    by_budget: dict[str, list[str]] = {}
    for spread in dict.fromkeys(used.values()):
        precision = "" if spread.precision == study.config["precision"] else f" in {spread.precision}"
        by_budget.setdefault(f"{spread.iterations:,} iterations{precision}", []).append(spread.net)
    texts = [f"{' and '.join(nets)} at {budget}" for budget, nets in by_budget.items()]
    return Chance(half_width, ", ".join(texts))
