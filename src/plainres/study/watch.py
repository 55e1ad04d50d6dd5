"""Watching runs that train in other processes or on other machines, through their records."""

import threading
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from plainres.study.plan import format_seconds, plan_study
from plainres.training import Record, RunConfig

SECONDS = 2.0  # between two looks at the records
LINES = 8  # a run, where there is no terminal


class Watch:
    """While entered, a live table of runs on a terminal; elsewhere a line every eighth of each run.

    Args:
        configs: the runs.
        results: results folder, shared with whoever trains them.
        console: where to.
    """

    def __init__(self, configs: Sequence[RunConfig], results: Path, console: Console):
        self.configs, self.results, self.console = configs, results, console
        self.told = dict.fromkeys(configs, 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "Watch":
        if self._live:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._show()
        if self._live:
            self._live.stop()

    def _look(self) -> None:
        while not self._over.wait(SECONDS):
            self._show()

    def _show(self) -> None:
        if self._live:
            self._live.update(self.table(), refresh=True)
            return
        for config in self.configs:
            row = _last_row(Record(self.results, config))
            eighth = row["iteration"] * LINES // config.iterations if row else 0
            if eighth > self.told[config]:
                self.told[config] = eighth
                self.console.print("  ".join(_cells(config, row)), highlight=False)

    def table(self) -> Table:
        """Every run: how far, errors in percent, images per second, time left, state."""
        table = Table()
        for name in ("net", "seed", "iteration", "train %", "test %", "images/s", "left", "state"):
            table.add_column(name, justify="left" if name in ("net", "state") else "right")
        for run in plan_study(self.configs, self.results):
            row = _last_row(Record(self.results, run.config)) if run.status != "missing" else None
            state = {"partial": "training", "missing": "waiting"}.get(run.status, run.status)
            table.add_row(*_cells(run.config, row), state)
        return table


def _last_row(record: Record) -> dict | None:
    """The last row of metrics.csv, with the last test error that is known."""
    rows = record.read_metrics()
    if not rows:
        return None
    tested = [row["test_error"] for row in rows if row.get("test_error", float("nan")) >= 0]
    return rows[-1] | {"test_error": tested[-1] if tested else None}


def _cells(config: RunConfig, row: dict | None) -> list[str]:
    """Net, seed, iteration, training and test error, images per second, time left."""
    known = [config.net, str(config.seed)]
    if row is None:
        return [*known, f"0/{config.iterations:,}", "", "", "", ""]
    speed = row["images_per_second"]
    left = (config.iterations - row["iteration"]) * config.batch_size / speed
    return [
        *known,
        f"{row['iteration']:,.0f}/{config.iterations:,}",
        f"{row['train_error']:.1f}",
        "" if row["test_error"] is None else f"{row['test_error']:.1f}",
        f"{speed:,.0f}",
        format_seconds(left),
    ]
