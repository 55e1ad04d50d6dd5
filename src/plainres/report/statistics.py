"""Means, spreads and differences with their uncertainty, as few runs as there may be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from plainres.report.records import Study

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over n values with its t interval.

    Attributes:
        mean, std: over the values; `std` is the sample standard deviation, NaN for one value.
        half_width: of the 95% t interval; NaN for one value, of which no interval can be given.
    """

    n: int
    mean: float
    std: float
    half_width: float

    def __str__(self) -> str:
        if self.n == 1:
            return f"{self.mean:+.2f} (n = 1, no interval)"
        return f"{self.mean:+.2f} ± {self.half_width:.2f} (95%, n = {self.n})"


def estimate(values: pd.Series) -> Estimate:
    """Mean and t interval of independent values.

    Raises:
        ValueError: there are none.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no values to average")
    if n == 1:
        return Estimate(1, float(values.iloc[0]), math.nan, math.nan)
    std = float(values.std())
    return Estimate(n, float(values.mean()), std, float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n))


def sampling_error(error: float, images: int = 10_000) -> float:
    """Standard error, in points, of an error in percent measured on so many images (about 0.26 at 7% of 10,000)."""
    p = error / 100
    return 100 * math.sqrt(p * (1 - p) / images)


def by_seed(study: Study, net: str, column: str) -> pd.Series:
    """A final figure of a net's runs, by seed; empty where the study has none."""
    finals = study.finals()
    return finals[finals["net"] == net].set_index("seed")[column]


def _paired(a: pd.Series, b: pd.Series) -> Estimate | None:
    differences = (a - b).dropna()
    return estimate(differences) if len(differences) else None


def paired_difference(study: Study, net: str, other: str, column: str) -> Estimate | None:
    """`net` less `other` in a final figure, seed by seed; None where they have no seed in common."""
    return _paired(by_seed(study, net, column), by_seed(study, other, column))


def precision_differences(studies: Sequence[Study]) -> pd.DataFrame:
    """bf16 less fp32, in points, of every net that has runs of both with the same budget and seeds; a row each."""
    finished = {study.name: study for study in studies if study.runs}
    rows = []
    for name, low in finished.items():
        full = finished.get(f"{name.removesuffix('bf16')}fp32") if name.endswith("-bf16") else None
        for net in dict.fromkeys(run.net for run in low.runs) if full else ():
            row = {"net": net, "iterations": f"{low.iterations:,}"}
            for part in ("train", "test"):
                column = f"{part}_error"
                row[f"{part} error"] = _paired(by_seed(low, net, column), by_seed(full, net, column))
            if all(row.values()):
                rows.append({key: str(value) for key, value in row.items()})
    return pd.DataFrame(rows)


def summary(study: Study) -> pd.DataFrame:
    """A row a net: test error over seeds with its uncertainty, at its best, and with averaged BN; training error."""
    rows = []
    for net, runs in study.finals().groupby("net", sort=False):
        test = estimate(runs["test_error"])
        rows.append(
            {
                "net": net,
                "n": test.n,
                "test error, mean": f"{test.mean:.2f}",
                "std": "-" if test.n == 1 else f"{test.std:.2f}",
                "95% interval": "-" if test.n == 1 else f"± {test.half_width:.2f}",
                "every seed": ", ".join(f"{value:.2f}" for value in runs["test_error"]),
                "test set's standard error": f"{sampling_error(test.mean):.2f}",
                "best iteration, mean": f"{runs['best_test_error'].mean():.2f}",
                "averaged BN, mean": f"{runs['exact_bn_test_error'].mean():.2f}",
                "training error, mean": f"{runs['train_error'].mean():.2f}",
            }
        )
    return pd.DataFrame(rows)


def comparisons(study: Study) -> pd.DataFrame:
    """Plain less residual at each depth, and deep less shallow of each kind, in points, paired by seed."""
    nets = set(study.finals()["net"])
    depths = sorted({int(net.split("-")[1]) for net in nets if net.count("-") == 1})
    pairs = [(f"plain-{depth}", f"resnet-{depth}") for depth in depths]
    for kind in ("plain", "resnet"):
        own = [f"{kind}-{depth}" for depth in depths if f"{kind}-{depth}" in nets]
        pairs += zip(own[1:], own[:-1], strict=True)
    rows = []
    for net, other in pairs:
        if {net, other} <= nets:
            differences = {
                f"{part} error": paired_difference(study, net, other, f"{part}_error") for part in ("train", "test")
            }
            if all(differences.values()):
                rows.append({"difference": f"{net} less {other}"} | {key: str(d) for key, d in differences.items()})
    return pd.DataFrame(rows)
