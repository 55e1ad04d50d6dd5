"""Tables: Table 6 of the paper beside our records, and statistics of a study's runs."""

from collections.abc import Sequence

import pandas as pd

from plainres.records.run import hardware_name
from plainres.report.published import TABLE_6, TABLE_6_COMPARED, TABLE_6_PEERS
from plainres.report.records import Study
from plainres.report.statistics import by_seed, difference, estimate, final, row_error, sampling_error

PRECISION_NOTE = (
    "bf16 minus fp32, in points, of the same net, initial weights and batches, with 95% t intervals over seeds. Where "
    "the hardware of the two precisions differs, so does how they round, and a difference between single runs does not "
    "show an effect of precision."
)


def mean_and_std(values: pd.Series) -> str:
    """The mean with the sample standard deviation and n. A single run has no spread."""
    if len(values) == 1:
        return f"{values.iloc[0]:.2f} (n = 1)"
    return f"{values.mean():.2f} ± {values.std():.2f} (n = {len(values)})"


def markdown_table(frame: pd.DataFrame) -> str:
    """A table of strings as Markdown."""
    return frame.to_markdown(index=False, disable_numparse=True)


def not_in_the_table(study: Study) -> list[str]:
    """Lines that name the runs that did not finish, and why. Empty if all did."""
    lines = [f"- {name}: {outcome}{f' ({reason})' if reason else ''}" for name, outcome, reason in study.others]
    return ["", "Not in the table:", "", *lines] if lines else []


def table_6(study: Study) -> pd.DataFrame:
    """The test error of every finished net at the last iteration beside the paper's, and the paper's peers.

    "difference" is ours minus the paper's, in points. Below the paper's budget it is left empty. Of ResNet-110 it is
    taken from the paper's mean, not its best.
    """
    published = study.info.paper_tables is not None
    full = study.iterations >= study.info.paper_iterations
    rows = []
    for net, runs in study.finals().groupby("net", sort=False):
        paper = TABLE_6_COMPARED.get(net)
        ours = runs["test_error"]
        rows.append(
            {
                "net": net,
                "parameters": f"{runs['parameters'].iloc[0] / 1e6:.2f}M",
                "paper": TABLE_6[net] if paper is not None else "-",
                "ours": mean_and_std(ours),
                "difference": f"{ours.mean() - paper:+.2f}" if paper is not None and full else "-",
                "training error": mean_and_std(runs["train_error"]),
                "iterations": f"{study.iterations:,}",
            }
        )
    if not published:
        return pd.DataFrame(rows).drop(columns=["paper", "difference"])
    nothing = {"ours": "-", "difference": "-", "training error": "-", "iterations": "-"}
    for net, (parameters, error) in TABLE_6_PEERS.items():
        rows.append({"net": f"{net} (paper's table)", "parameters": parameters, "paper": error} | nothing)
    return pd.DataFrame(rows)


THRESHOLDS = (50, 30, 20, 10)


def convergence_speed(study: Study) -> pd.DataFrame:
    """Iterations until the training error of a row is first under 50, 30, 20 and 10%: mean over seeds, "-" if never."""
    rows = []
    for net in dict.fromkeys(run.net for run in study.runs):
        row = {"net": net}
        for threshold in THRESHOLDS:
            reached = [run.metrics[run.metrics["train_error"] < threshold]["iteration"] for run in study.of_net(net)]
            first = [iterations.iloc[0] for iterations in reached if len(iterations)]
            row[f"under {threshold}%"] = f"{sum(first) / len(first):,.0f}" if len(first) == len(reached) else "-"
        rows.append(row)
    return pd.DataFrame(rows)


def table_6_markdown(study: Study) -> str:
    """Table 6 as Markdown, with what it was measured on and which runs did not finish."""
    note = f" ({study.info.warning})" if study.info.warning else ""
    spread = " ± is the standard deviation over seeds." if study.finals()["net"].duplicated().any() else ""
    lines = [f"**Table 6{note}: test error in percent, last iteration.** {study.describe()}.{spread}", ""]
    return "\n".join([*lines, markdown_table(table_6(study)), *not_in_the_table(study)]) + "\n"


def _mean_or_dash(values: pd.Series) -> str:
    return f"{values.mean():.2f}" if len(values) else "-"


def summary(study: Study) -> pd.DataFrame:
    """One row per net: test error over seeds with its uncertainty, its best, with averaged BN, and training errors.

    The training error of the last row is an average over the images of that row, hence its own standard error.
    """
    rows = []
    test_images = study.info.sizes[study.config["train_set"]]["test"]
    for net in dict.fromkeys(run.net for run in study.runs):
        values = by_seed(study, net, "test_error")
        test = estimate(values)
        row = max(row_error(run) for run in study.of_net(net))
        rows.append(
            {
                "net": net,
                "n": test.n,
                "test error, mean": f"{test.mean:.2f}",
                "std": "-" if test.n == 1 else f"{test.std:.2f}",
                "95% interval": "-" if test.n == 1 else f"± {test.half_width:.2f}",
                "every seed": ", ".join(f"{value:.2f}" for value in values),
                "test set's standard error": f"{sampling_error(test.mean, test_images):.2f}",
                "best iteration, mean": _mean_or_dash(by_seed(study, net, "best_test_error")),
                "averaged BN, mean": _mean_or_dash(by_seed(study, net, "averaged_bn_test_error")),
                "training error, mean": _mean_or_dash(by_seed(study, net, "train_error")),
                "its row's standard error": f"{row:.2f}",
                "clean training error, mean": _mean_or_dash(by_seed(study, net, "clean_train_error")),
            }
        )
    return pd.DataFrame(rows)


def comparisons(study: Study) -> pd.DataFrame:
    """Plain minus residual at each depth, and deep minus shallow of each kind, in points, with 95% intervals."""
    nets = set(study.finals()["net"])
    depths = sorted({int(net.split("-")[1]) for net in nets if net.count("-") == 1})
    pairs = [(f"plain-{depth}", f"resnet-{depth}") for depth in depths]
    for kind in ("plain", "resnet"):
        of_kind = [f"{kind}-{depth}" for depth in depths if f"{kind}-{depth}" in nets]
        pairs += zip(of_kind[1:], of_kind[:-1], strict=True)
    rows = []
    for net, other in pairs:
        if {net, other} <= nets:
            row = {"difference": f"{net} minus {other}"}
            for part in ("train", "test"):
                row[f"{part} error"] = str(difference(study, {net: 1, other: -1}, final(f"{part}_error")))
            rows.append(row)
    return pd.DataFrame(rows)


def precision_differences(studies: Sequence[Study]) -> pd.DataFrame:
    """bf16 minus fp32, in points, of every net that has runs of both with the same budget and seeds.

    The last column is the hardware: one name if all these runs have it, otherwise that of each precision.
    """
    finished = {study.name: study for study in studies if study.runs}
    rows = []
    for name, low in finished.items():
        full = finished.get(f"{name.removesuffix('bf16')}fp32") if name.endswith("-bf16") else None
        if full is None:
            continue
        for net in dict.fromkeys(run.net for run in low.runs):
            row = {"net": net, "iterations": f"{low.iterations:,}"}
            for part in ("train", "test"):
                # The same initial weights and batches, so that these differences are paired by seed.
                apart = (by_seed(low, net, f"{part}_error") - by_seed(full, net, f"{part}_error")).dropna()
                row[f"{part} error"] = str(estimate(apart)) if len(apart) else ""
            computed_on = [
                ", ".join(sorted({hardware_name(run.info) for run in study.of_net(net) if run.seed in apart.index}))
                for study in (low, full)
            ]
            row["hardware"] = " / ".join(dict.fromkeys(computed_on))
            if all(row.values()):
                rows.append(row)
    return pd.DataFrame(rows)
