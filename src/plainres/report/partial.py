"""Runs in progress, which belong neither to means nor to tables of results, as a table of their own."""

import pandas as pd

from plainres.report.records import Study, describe_runs
from plainres.report.tables import markdown_table


def partial_table(study: Study) -> pd.DataFrame:
    """Return one row per run in progress: net, seed, iterations done, last training and test error in percent."""
    rows = [
        {
            "net": run.net,
            "seed": str(run.seed),
            "iterations done": f"{run.iterations_done:,} of {run.config['iterations']:,}",
            **{
                f"last {name} error": f"{error:.2f}" if (error := run.last(column)) == error else "-"
                for name, column in (("training", "train_error"), ("test", "test_error"))
            },
        }
        for run in study.partial
    ]
    return pd.DataFrame(rows)


def partial_markdown(study: Study) -> str:
    """Return the table of runs in progress as Markdown, empty if there are none."""
    if not study.partial:
        return ""
    return (
        f"**Runs in progress: not results.** {describe_runs(study.partial)}. The learning rate may still have to fall, "
        f"so these errors say little about the final ones.\n\n{markdown_table(partial_table(study))}\n"
    )
