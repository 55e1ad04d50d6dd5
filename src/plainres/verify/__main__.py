"""Check published records: `python -m plainres.verify [RECORDS...]`, or `make verify`."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plainres.cli import run_command
from plainres.data import default_data_dir
from plainres.errors import UserError
from plainres.study.plan import format_seconds
from plainres.training.config import ROWS
from plainres.training.signals import Stopped
from plainres.verify.checks import Data, check_configuration, check_files, check_metrics, check_weights
from plainres.verify.published import FAILED, PASSED, SKIPPED, PublishedRecord, Result, find_published, read_record
from plainres.verify.redraw import check_drawn
from plainres.verify.replay import check_first_rows, estimate, reason_to_skip

COLOURS = {PASSED: "green", FAILED: "bold red", SKIPPED: "yellow"}
WIDTH = 160  # of the table in a file or a pipe
UNUSABLE = Result(SKIPPED, "the configuration does not hold")


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check published records and print a table of what holds. The exit status is 1 if something does not.

    files: the record is as it was committed. configuration: configuration, hash and names agree. metrics: metrics.csv
    is complete and agrees with run.json. data: the recorded md5s are those of the data here. weights: the published
    weights give the recorded errors. first rows: training again from the seed gives the recorded rows, within wide
    tolerances where the hardware rounds differently. With ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment, a CPU
    with AMX trains bf16 records that were computed without AMX again digit by digit. tables and figures: those that
    are drawn from the records are the committed ones. On a CPU without bf16 kernels, the weights of bf16 records are
    evaluated in fp32, and their first rows are skipped.
    """

    records: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of records, `results/<study>/<net>/seed-<s>`. Default: all that are committed below --results."""
    rows: int = 1
    """Number of first rows, of 64, to train again. 0 leaves this check out."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder that holds the data sets. Default: the environment's DATA_DIR, else ./data."""
    results: Path = Path("results")
    """Results folder, if no records are named."""


class Findings:
    """The results of all checks, printed as they come."""

    def __init__(self) -> None:
        self.console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False, soft_wrap=True)
        self.found: dict[str, dict[str, Result]] = {}

    def add(self, name: str, check: str, result: Result) -> None:
        self.found.setdefault(name, {})[check] = result
        if result.status == FAILED:
            self.console.print(f"{name}: {check} failed: {result.detail}", style="red", markup=False)

    def print_table(self) -> None:
        table = Table("record", "check", "result", "detail")
        for name, checks in self.found.items():
            for index, (check, result) in enumerate(checks.items()):
                status = f"[{COLOURS[result.status]}]{result.status}[/]"
                table.add_row("" if index else name, check, status, Text(result.detail))
            table.add_section()
        self.console.print(table, soft_wrap=False)
        counts = self.count()
        self.console.print(", ".join(f"{counts[status]} {status}" for status in COLOURS))

    def count(self) -> Counter:
        return Counter(result.status for checks in self.found.values() for result in checks.values())


def select(options: Verify) -> list[PublishedRecord]:
    """Return the records to check.

    Raises:
        UserError: If a folder is not a record, or there is none.
    """
    folders = options.records or find_published(options.results)
    if not folders:
        raise UserError(f"no records below {options.results.absolute()}: name some, or the results folder (--results)")
    return list({record.folder: record for record in map(read_record, folders)}.values())


def check_contents(records: Sequence[PublishedRecord], data: Data, findings: Findings) -> list[PublishedRecord]:
    """Check what the records hold; return those whose first rows can be trained again."""
    able = []
    for record in records:
        findings.add(record.name, "files", check_files(record))
        holds = check_configuration(record)
        findings.add(record.name, "configuration", holds)
        if holds.status == FAILED:
            for check in ("metrics", "data", "weights"):
                findings.add(record.name, check, UNUSABLE)
            continue
        metrics, same_data = check_metrics(record), data.check(record)
        findings.add(record.name, "metrics", metrics)
        findings.add(record.name, "data", same_data)
        loaded, _ = data.load(record.valid_config)
        if (record.folder / "weights.safetensors").exists():
            findings.console.print(f"{record.name}: evaluating its weights")
        usable = loaded if same_data.status == PASSED else same_data
        findings.add(record.name, "weights", check_weights(record, usable))
        reason = reason_to_skip(record) or ("" if same_data.status == PASSED else same_data.detail)
        if not reason and metrics.status == FAILED:
            reason = "metrics.csv does not hold"
        if not reason:
            able.append(record)
        else:
            findings.add(record.name, "first rows", Result(SKIPPED, reason))
    return able


def check_training(records: Sequence[PublishedRecord], data: Data, rows: int, findings: Findings) -> None:
    """Train the first rows of the records again, the cheapest first, after printing how long it will take."""
    if not records:
        return
    print_line = findings.console.print
    print_line(f"Timing a few iterations, before training the first {rows} of {ROWS} rows of {len(records)} records")
    costs = estimate(records, data, rows)
    print_line(f"Training these rows will take about {format_seconds(sum(seconds for seconds, _ in costs))}")
    for seconds, record in costs:
        print_line(f"{record.name}: training its first rows, about {format_seconds(seconds)}")
        findings.add(record.name, "first rows", check_first_rows(record, data.folder, rows))


def verify(options: Verify, findings: Findings) -> None:
    """Run all checks.

    Args:
        options: Options of the command line.
        findings: Where the results go.

    Raises:
        UserError: If there is nothing to check, or an option is out of range.
    """
    if not 0 <= options.rows <= ROWS:
        raise UserError(f"rows must be between 0 and {ROWS}, not {options.rows}")
    records, data = select(options), Data(options.data_dir)
    able = check_contents(records, data, findings)
    for results in sorted({record.results for record in records}):
        findings.console.print(f"Redrawing figures and tables of {results}")
        below = [record for record in records if record.results == results]
        for name, check, result in check_drawn(results, below, whole=not options.records):
            findings.add(name, check, result)
    if options.rows:
        check_training(able, data, options.rows, findings)
    else:
        for record in able:
            findings.add(record.name, "first rows", Result(SKIPPED, "left out, with ROWS=0"))


def main() -> int:
    options = tyro.cli(Verify, prog="python -m plainres.verify", description=Verify.__doc__)
    findings = Findings()
    try:
        verify(options, findings)
    except Stopped as stopped:
        findings.print_table()
        print("stopped by a signal: these are the results so far", file=sys.stderr)
        return stopped.exit_status
    findings.print_table()
    return 1 if findings.count()[FAILED] else 0


if __name__ == "__main__":
    run_command(main)
