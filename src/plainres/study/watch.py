"""Progress of the runs of a study, read from their records, whichever process or machine trains them."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from plainres.records.config import ROWS
from plainres.study.plan import format_seconds, plan_study
from plainres.training import Record, RunConfig

REFRESH_SECONDS = 2.0
ROWS_PER_LINE = ROWS // 8  # outside a terminal
BARS = "▁▂▃▄▅▆▇█"
COLUMNS = ("net", "seed", "iteration", "training\nerror", "", "test\nerror", "images/s", "time\nleft", "state")
LEFT_JUSTIFIED = ("net", "training\nerror", "state")
CURVE_WIDTH = 16  # half of it on consoles with fewer than `WIDE` columns
WIDE = 100


@contextmanager
def watch(
    configs: Sequence[RunConfig], results: Path, console: Console, expected: float | None = None
) -> Iterator[None]:
    """Show a live table of runs on a terminal, and otherwise print eight lines per run.

    `expected` is the duration of all runs in seconds, None if it is unknown.
    """
    started = time.time()
    if console.quiet or not configs:
        yield
        return
    if console.is_terminal:

        def table() -> Table:
            return progress_table(configs, results, console.width, started, expected)

        with Live(get_renderable=table, console=console, refresh_per_second=1 / REFRESH_SECONDS):
            yield
        return

    # What earlier starts have done is no progress of this one.
    printed = {config: len(_rows(results, config)) // ROWS_PER_LINE for config in configs}
    ended = threading.Event()

    def print_lines() -> None:
        last = False
        while not last:
            last = ended.wait(REFRESH_SECONDS)
            for config in configs:
                rows = _rows(results, config)
                if (due := len(rows) // ROWS_PER_LINE) > printed[config]:
                    printed[config] = due
                    iteration, train_error, test_error, speed, left = _cells(config, rows)
                    test = f"  test {test_error}" if test_error else ""
                    line = f"{config.name}  {iteration}  train {train_error}{test}  {speed} images/s  {left} left"
                    console.print(line, highlight=False, soft_wrap=True)

    thread = threading.Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def progress_table(
    configs: Sequence[RunConfig], results: Path, width: int, started: float, expected: float | None = None
) -> Table:
    """Return one row per run: iteration, curve of the training error, errors in percent, speed, time left, state.

    Plain and residual nets of the same depth are in adjacent rows. Curves are bars between 0 and 100%. A run whose
    record is older than the start, in seconds since the epoch, is waiting to be resumed. The table fits into 80
    columns, where it breaks long names of nets. `expected` is the duration of the study in seconds, None if unknown.
    """
    wide = width >= WIDE
    curve_width = CURVE_WIDTH if wide else CURVE_WIDTH // 2
    table = Table(caption_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, int(wide)))
    for name in COLUMNS:
        justify = "left" if name in LEFT_JUSTIFIED else "right"
        table.add_column(name, justify=justify, no_wrap=name != "net", overflow="fold")  # type: ignore[arg-type]
    runs = plan_study(sorted(configs, key=lambda config: (config.seed, config.depth)), results)
    for run in runs:
        record, rows = Record.of(results, run.config), _rows(results, run.config)
        cells = [f"{run.resumed_after:,}/{run.config.iterations:,}", "", "", "", "", ""]
        if rows:
            iteration, *errors, speed, left = _cells(run.config, rows, run.resumed_after)
            cells = [iteration, _curve(rows, curve_width), *errors, speed, left if run.to_do else ""]
        state = run.status
        if run.to_do:
            files = (record.run_json, record.metrics_csv)
            changed = max((path.stat().st_mtime for path in files if path.exists()), default=0)
            state = "training" if changed >= started else "waiting"
        table.add_row(run.config.net, str(run.config.seed), *cells, state)
    ended = sum(not run.to_do for run in runs)
    of = f" of about {format_seconds(expected)}" if expected else ""
    table.caption = f"{ended} of {len(runs)} runs have ended, after {format_seconds(time.time() - started)}{of}"
    return table


def _rows(results: Path, config: RunConfig) -> list[dict]:
    return Record.of(results, config).read_rows()


def _curve(rows: list[dict], width: int) -> str:
    """Return the training error as a row of bars between 0 and 100%, each of them the mean of several rows."""
    per_bar = ROWS // width
    errors = [row["train_error"] for row in rows]
    means = [mean(errors[first : first + per_bar]) for first in range(0, len(errors), per_bar)]
    return "".join(BARS[min(int(error / 100 * len(BARS)), len(BARS) - 1)] for error in means)


def _cells(config: RunConfig, rows: list[dict], resumed_after: int = 0) -> list[str]:
    """Return iterations done, training error, last known test error, images per second and time left."""
    row = rows[-1]
    tested = [row["test_error"] for row in rows if row.get("test_error", float("nan")) >= 0]
    done, speed = max(row["iteration"], resumed_after), row["images_per_second"]
    return [
        f"{done:,.0f}/{config.iterations:,}",
        f"{row['train_error']:.1f}%",
        f"{tested[-1]:.1f}%" if tested else "",
        f"{speed:,.0f}",
        format_seconds((config.iterations - done) * config.batch_size / speed),
    ]
