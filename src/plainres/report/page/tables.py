"""Tables of the page: frames of strings as rows of cells, and every seed as a point on a line."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from plainres.report import architecture, imagenet
from plainres.report.published import TABLE_6_COMPARED
from plainres.report.records import Study
from plainres.report.statistics import by_seed
from plainres.report.tables import (
    PRECISION_NOTE,
    comparisons,
    convergence_speed,
    precision_differences,
    summary,
    table_6,
)

SEEDS = "every seed"
PIPELINE_CHECK = "A check of the pipeline, not a result: nothing here can be compared with the paper."


@dataclass(frozen=True)
class Points:
    """The values of a net's seeds, for a cell that draws them on a line.

    Attributes:
        values: Value of each seed.
        low: Left end of the line, which is the same for all rows of a table.
        high: Right end of the line.
        published: The paper's figure, drawn as a diamond. None where it must not be compared.
    """

    values: tuple[float, ...]
    low: float
    high: float
    published: float | None = None

    def place(self, value: float) -> float:
        """Return where a value is on the line, from 0 to 100."""
        return round(100 * (value - self.low) / ((self.high - self.low) or 1), 2)


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        title: Title, also the name of the table for screen readers.
        columns: Names of the columns.
        rows: Cells of each row: strings, or points for the column that draws every seed.
        note: What was measured, and what the table must not be taken for.
    """

    title: str
    columns: list[str]
    rows: list[list[str | Points]] = field(default_factory=list)
    note: str = ""


def from_frame(title: str, frame: pd.DataFrame, note: str = "") -> Table:
    """Return a frame of strings as a table of the page.

    Args:
        title: Title of the table.
        frame: One row per row of the table.
        note: Text below the title.
    """
    return Table(title, [*frame.columns], [[str(cell) for cell in row] for row in frame.to_numpy().tolist()], note)


def with_points(
    table: Table, column: str, values: dict[str, tuple[float, ...]], published: dict[str, float] | None = None
) -> Table:
    """Return a table with a further column that draws the values of a column for every seed.

    Args:
        table: Table whose first column names the nets.
        column: Column that summarizes the values.
        values: Value of each seed, by net. Empty for nets without values of their own.
        published: The paper's figures by net, drawn beside the values.
    """
    published = published or {}
    ends = [*(value for seeds in values.values() for value in seeds), *published.values()]
    place = table.columns.index(column) + 1
    drawn = f"{SEEDS} ({min(ends):.1f} to {max(ends):.1f})"
    columns = [*table.columns[:place], drawn, *table.columns[place:]]
    rows = []
    for row in table.rows:
        net = str(row[0])
        points = Points(values[net], min(ends), max(ends), published.get(net)) if values.get(net) else "-"
        rows.append([*row[:place], points, *row[place:]])
    return replace(table, columns=columns, rows=rows)


def results_table(study: Study) -> Table:
    """Return Table 6, with the test error of every seed drawn.

    Below the paper's budget the paper's columns and rows are left out, because the two cannot be compared.

    Args:
        study: Study on a CIFAR data set with finished runs.
    """
    frame, paper, note = table_6(study), study.info.paper_iterations, study.describe() + "."
    compared = study.iterations >= paper and study.info.paper_tables is not None
    if not compared:
        frame = frame[~frame["net"].str.contains("paper's table", regex=False)]
        frame = frame.drop(columns=["paper", "difference", "iterations"], errors="ignore")
        if study.info.paper_tables:
            note += (
                f" The paper's figures are not shown beside these: {study.iterations:,} iterations are "
                f"{study.iterations / paper:.1%} of its {paper:,}."
            )
    if not compared:
        frame = frame.rename(columns={"ours": "test error"})
    values = {net: tuple(by_seed(study, net, "test_error")) for net in frame["net"]}
    published = {net: TABLE_6_COMPARED[net] for net in frame["net"] if compared and net in TABLE_6_COMPARED}
    warning = f" ({study.info.warning})" if study.info.warning else ""
    table = from_frame(f"Table 6: test error in percent{warning}", frame, note)
    return with_points(table, "ours" if compared else "test error", values, published)


def statistics_tables(study: Study) -> list[Table]:
    """Return the tables behind Table 6: statistics of every net, differences between nets, and speed of convergence.

    Args:
        study: Study on a CIFAR data set with finished runs.
    """
    pairs, interval = comparisons(study), "In points, with 95% intervals."
    tables = [from_frame("Statistics of every net", summary(study))]
    if len(pairs):
        tables.append(from_frame("Differences between nets", pairs, interval))
    note = "Mean over seeds, - if a seed never was."
    speed = from_frame("Iterations until the training error is under a threshold", convergence_speed(study), note)
    return [*tables, speed]


def precision_tables(studies: Sequence[Study]) -> list[Table]:
    """Return the table of bf16 compared with fp32, if nets were trained in both.

    Args:
        studies: Studies in any order.
    """
    frame = precision_differences(studies)
    return [] if frame.empty else [from_frame("Precision", frame, PRECISION_NOTE)]


def imagenet_table(study: Study) -> Table:
    """Return the errors of an ImageNet study at the last iteration, with the top-1 error of every seed drawn.

    Args:
        study: Study on photographs with finished runs.
    """
    check = "" if imagenet.is_result(study) else f" {PIPELINE_CHECK}"
    frame = imagenet.finals_table(study)
    table = from_frame("Errors in percent at the last iteration, center crop", frame, f"{study.describe()}.{check}")
    return with_points(table, "top-1", {net: tuple(by_seed(study, net, "test_error")) for net in frame["net"]})


def score_tables(scores: Sequence[dict]) -> list[Table]:
    """Return Tables 2 to 5 as far as there are scores of ours, with the top-1 error of every seed drawn.

    The paper's columns and rows are left out where the scores only check the pipeline.

    Args:
        scores: Scores from `imagenet.read_scores`.
    """
    tables = []
    for scored in imagenet.score_sets(scores):
        for title, (way, frame) in scored.tables().items():
            ours = [column for column in frame if column.startswith("our ")]
            has_ours = (frame[ours] != imagenet.NOTHING).any(axis=1)
            if not has_ours.any():
                continue
            if not scored.is_result:
                frame = frame.loc[has_ours, [frame.columns[0], *ours]]
            note = f"{scored.studies}. {scored.describe()}"
            table = from_frame(f"{title}{'' if scored.is_result else ' (no result)'}", frame, note)
            singles = imagenet.single_nets(scored.of(way))
            if "our top-1" in frame:
                values = {net: tuple(singles.loc[singles["net"] == net, "top1"]) for net in frame["net"]}
                table = with_points(table, "our top-1", values)
            tables.append(table)
    return tables


def cost_table(results: Path) -> list[Table]:
    """Return Table 1, the counted parameters and multiply-adds of the ImageNet nets, if the results have it.

    Args:
        results: Results folder.
    """
    folder = results / architecture.FOLDER
    if not (folder / "nets.json").exists():
        return []
    note = "For a 224x224 image: convolutions and linear layers, biases left out, as the paper counts."
    frame = architecture.table_1(architecture.read_nets(folder))
    return [from_frame("Table 1: parameters and multiply-adds", frame, note)]
