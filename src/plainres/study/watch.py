"""Progress of runs in other processes or on other machines, read from their records."""

import threading
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from plainres.study.plan import format_seconds, plan_study
from plainres.training import Record, RunConfig

REFRESH_SECONDS = 2.0
LINES_PER_RUN = 8  # outside a terminal
STATES = {"partial": "training", "missing": "waiting"}


class Watch:
    """Context manager that shows a live table of runs on a terminal, and otherwise prints eight lines per run.

    Args:
        configs: Runs to show.
        results: Results folder, shared with the processes that train the runs.
        console: Console to print on.
    """

    def __init__(self, configs: Sequence[RunConfig], results: Path, console: Console):
        self.configs, self.results, self.console = configs, results, console
        self.lines_printed = dict.fromkeys(configs, 0)
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "Watch":
        if self._live:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self._thread.join()
        self._show()
        if self._live:
            self._live.stop()

    def _refresh(self) -> None:
        while not self._finished.wait(REFRESH_SECONDS):
            self._show()

    def _show(self) -> None:
        if self._live:
            self._live.update(self.table(), refresh=True)
            return
        for config in self.configs:
            row = _last_row(Record(self.results, config))
            due = int(row["iteration"] * LINES_PER_RUN // config.iterations) if row else 0
            if row and due > self.lines_printed[config]:
                self.lines_printed[config] = due
                self.console.print(_line(config, row), highlight=False, soft_wrap=True)

    def table(self) -> Table:
        """Return one row per run: iteration, errors in percent, images per second, time left and state."""
        table = Table()
        for name in ("net", "seed", "iteration", "train error", "test error", "images/s", "time left", "state"):
            table.add_column(name, justify="left" if name in ("net", "state") else "right")
        for run in plan_study(self.configs, self.results):
            row = _last_row(Record(self.results, run.config)) if run.status != "missing" else None
            net = (run.config.net, str(run.config.seed))
            table.add_row(*net, *_cells(run.config, row), STATES.get(run.status, run.status))
        return table


def _last_row(record: Record) -> dict | None:
    """Return the last row of metrics.csv with the last known test error, or None if there is no row yet."""
    rows = record.read_metrics()
    if not rows:
        return None
    test_errors = [row["test_error"] for row in rows if row.get("test_error", float("nan")) >= 0]
    return rows[-1] | {"test_error": test_errors[-1] if test_errors else None}


def _cells(config: RunConfig, row: dict | None) -> list[str]:
    """Return iteration, training error, test error, images per second and time left."""
    if row is None:
        return [f"0/{config.iterations:,}", "", "", "", ""]
    speed = row["images_per_second"]
    remaining = (config.iterations - row["iteration"]) * config.batch_size
    return [
        f"{row['iteration']:,.0f}/{config.iterations:,}",
        f"{row['train_error']:.1f}%",
        "" if row["test_error"] is None else f"{row['test_error']:.1f}%",
        f"{speed:,.0f}",
        format_seconds(remaining / speed),
    ]


def _line(config: RunConfig, row: dict) -> str:
    """Return the progress of a run as one line of a log."""
    iteration, train_error, test_error, speed, left = _cells(config, row)
    test = f"  test {test_error}" if test_error else ""
    return f"{config.name}  {iteration}  train {train_error}{test}  {speed} images/s  {left} left"
