"""Tables: Table 6 of the paper beside our records, and statistics of a study's runs."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd

from plainres.records.frames import overview_frame
from plainres.report.published import REPRODUCTION, TABLE_6, TABLE_6_COMPARED, TABLE_6_PEERS
from plainres.report.records import ERRORS, Study
from plainres.report.statistics import difference, estimate, final

THRESHOLDS = (50, 30, 20, 10)  # training errors in percent, of `convergence_speed`
SETTINGS = ["dataset", "train_set", "micro_batch", "schedule", "iterations", "net"]
PRECISION_NOTE = (
    "bf16 minus fp32, in points, of the same net, initial weights and batches, with 95% t intervals over seeds. Where "
    "the hardware of the two differs, so does the rounding."
)


def cell(value: float | None, form: str = ".2f") -> str:
    """A number as text, "-" if there is none."""
    return "-" if pd.isna(value) else format(value, form)


def mean_and_std(values: pd.Series) -> str:
    """The mean with the sample standard deviation and n. A single run has no spread."""
    if len(values) < 2:
        return f"{values.iloc[0]:.2f} (n = 1)" if len(values) else "-"
    return f"{values.mean():.2f} ± {values.std():.2f} (n = {len(values)})"


def markdown_table(frame: pd.DataFrame) -> str:
    """A table of strings as Markdown."""
    return frame.to_markdown(index=False, disable_numparse=True)


def results_markdown(study: Study, heading: str, table: pd.DataFrame) -> str:
    """A table of a study's results as Markdown, with its heading and the runs that did not finish, and why."""
    lines = [f"- {name}: {outcome}{f' ({reason})' if reason else ''}" for name, outcome, reason in study.others]
    missing = ["", "Not in the table:", "", *lines] if lines else []
    return "\n".join([heading, "", markdown_table(table), *missing]) + "\n"


def table_6(study: Study) -> pd.DataFrame:
    """The test error of every finished net at the last iteration beside the paper's, and the paper's peers.

    "difference" is ours minus the paper's, in points. Below the paper's budget it is left empty. Of ResNet-110 it is
    taken from the paper's mean, not its best. "reproduction" is a public one, see `published.REPRODUCTION`.
    """
    rows = []
    for net, runs in study.finals.groupby("net", sort=False):
        error = runs["test_error"].mean()
        apart = error - TABLE_6_COMPARED[net] if net in TABLE_6_COMPARED and study.share >= 1 else None
        rows.append(
            {
                "net": net,
                "parameters": f"{runs['parameters'].iloc[0] / 1e6:.2f}M",
                "paper": TABLE_6.get(net, "-"),
                "reproduction": "{:.2f} ± {:.2f}".format(*REPRODUCTION[net]) if net in REPRODUCTION else "-",
                "ours": mean_and_std(runs["test_error"]),
                "difference": cell(apart, "+.2f"),
                "training error": mean_and_std(runs["train_error"]),
                "iterations": f"{study.iterations:,}",
            }
        )
    if study.info.paper_tables is None:
        return pd.DataFrame(rows).drop(columns=["paper", "reproduction", "difference"])
    peers = [
        {"net": f"{net} (paper's table)", "parameters": parameters, "paper": error}
        for net, (parameters, error) in TABLE_6_PEERS.items()
    ]
    return pd.DataFrame(rows + peers).fillna("-")


def table_6_markdown(study: Study) -> str:
    """Table 6 as Markdown, with what it was measured on and which runs did not finish."""
    note = f" ({study.info.warning})" if study.info.warning else ""
    heading = f"**Table 6{note}: test error in percent, last iteration, ± standard deviation.** {study.describe()}."
    return results_markdown(study, heading, table_6(study))


def convergence_speed(study: Study) -> pd.DataFrame:
    """Iterations until the training error of a row is first under 50, 30, 20 and 10%: mean over seeds, "-" if never."""
    metrics = study.metrics[study.metrics["outcome"] == "finished"]
    first = pd.DataFrame(
        {
            f"under {threshold}%": metrics["iteration"].where(metrics["train_error"] < threshold)
            for threshold in THRESHOLDS
        }
    )
    by_run = first.groupby([metrics["net"], metrics["seed"]], sort=False).min()
    means = by_run.groupby("net", sort=False).agg(lambda iterations: iterations.mean(skipna=False))
    return means.map(lambda mean: cell(mean, ",.0f")).reset_index()


def summary(study: Study) -> pd.DataFrame:
    """One row per net: test error over seeds with its interval, its best, with averaged BN, and training errors."""
    means = {
        "best iteration": "best_test_error",
        "averaged BN": "averaged_bn_test_error",
        "training error": "train_error",
        "clean training error": "clean_train_error",
    }
    rows = []
    for net, runs in study.finals.groupby("net", sort=False):
        test = estimate(runs["test_error"])
        row = {
            "net": net,
            "n": test.n,
            "test error, mean": f"{test.mean:.2f}",
            "95% interval": "-" if test.n == 1 else f"± {test.half_width:.2f}",
            "every seed": ", ".join(f"{value:.2f}" for value in runs["test_error"]),
        }
        rows.append(row | {f"{name}, mean": cell(runs[column].mean()) for name, column in means.items()})
    return pd.DataFrame(rows)


def comparisons(study: Study) -> pd.DataFrame:
    """Plain minus residual at each depth, and deep minus shallow of each kind, in points, with 95% intervals."""
    finals = study.finals
    nets, depths = set(finals["net"]), sorted(set(finals["depth"]))
    pairs = [(f"plain-{depth}", f"resnet-{depth}") for depth in depths]
    for kind in ("plain", "resnet"):
        of_kind = [net for depth in depths if (net := f"{kind}-{depth}") in nets]
        pairs += [(deep, shallow) for shallow, deep in pairwise(of_kind)]
    rows = []
    for net, other in pairs:
        if {net, other} <= nets:
            apart = [difference(study, {net: 1, other: -1}, final(column)) for column in ERRORS]
            rows.append((f"{net} minus {other}", *map(str, apart)))
    return pd.DataFrame(rows, columns=["difference", "train error", "test error"])


def precision_differences(studies: Sequence[Study]) -> pd.DataFrame:
    """bf16 minus fp32, in points, of every net that has runs of both with the same budget and seeds.

    The last column is the hardware: one name if all these runs have it, otherwise that of each precision.
    """
    runs = overview_frame([run for study in studies for run in study.runs])
    low, full = (runs[runs["precision"] == precision] for precision in ("bf16", "fp32"))
    # A seed gives both the same initial weights and batches, so the differences are paired.
    pairs = low.merge(full, on=[*SETTINGS, "seed"], suffixes=("_bf16", "_fp32"))
    rows = []
    for (*_, iterations, net), of_net in pairs.groupby(SETTINGS, sort=False):
        row = {"net": net, "iterations": f"{iterations:,}"}
        for part in ("train", "test"):
            row[f"{part} error"] = str(estimate(of_net[f"{part}_error_bf16"] - of_net[f"{part}_error_fp32"]))
        hardware = [", ".join(sorted(set(of_net[f"hardware_{precision}"]))) for precision in ("bf16", "fp32")]
        rows.append(row | {"hardware": " / ".join(dict.fromkeys(hardware))})
    return pd.DataFrame(rows)


def provenance(study: Study) -> pd.DataFrame:
    """One row per finished run: hardware, versions, commit and duration."""
    runs = study.finals
    return pd.DataFrame(
        {
            **{column: runs[column] for column in ("net", "seed", "hardware", "torch")},
            "commit": runs["commit"].fillna("unknown").str[:12],
            "altered since": runs["dirty"].eq(True).map({True: "yes", False: "no"}),
            "minutes": (runs["seconds"] / 60).map("{:.1f}".format),
        }
    )
