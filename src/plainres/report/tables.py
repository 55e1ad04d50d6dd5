"""Table 6 of the paper beside our records."""

import pandas as pd

from plainres.report.published import TABLE_6, TABLE_6_COMPARED, TABLE_6_PEERS
from plainres.report.records import Study


def mean_and_std(values: pd.Series) -> str:
    """Mean, with the sample standard deviation and n; a single run has no spread to give."""
    if len(values) == 1:
        return f"{values.iloc[0]:.2f} (n = 1)"
    return f"{values.mean():.2f} ± {values.std():.2f} (n = {len(values)})"


def markdown_table(frame: pd.DataFrame) -> str:
    """A table of texts as Markdown."""
    return frame.to_markdown(index=False, disable_numparse=True)


def not_in_the_table(study: Study) -> list[str]:
    """Lines that name the runs which did not finish, and why; none where all did."""
    told = [f"- {name}: {outcome}{f' ({reason})' if reason else ''}" for name, outcome, reason in study.others]
    return ["", "Not in the table:", "", *told] if told else []


def table_6(study: Study) -> pd.DataFrame:
    """CIFAR test error of every finished net at the last iteration, beside the paper's, and the paper's peers.

    "difference" is ours less the paper's, in points; of ResNet-110 it is taken from the paper's mean, not its best.
    """
    published = study.info.paper_tables is not None
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
                "difference": f"{ours.mean() - paper:+.2f}" if paper is not None else "-",
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
    """Table 6 as Markdown, with what it was measured on and what did not finish."""
    note = f" ({study.info.warning})" if study.info.warning else ""
    lines = [f"**Table 6{note}: test error in percent, last iteration.** {study.describe()}.", ""]
    return "\n".join([*lines, markdown_table(table_6(study)), *not_in_the_table(study)]) + "\n"
