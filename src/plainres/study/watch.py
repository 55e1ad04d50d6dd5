"""Progress of the runs of a study, read from their records, whichever process or machine trains them."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from plainres.study.plan import PlannedRun, format_seconds, plan_study
from plainres.training import Record, RunConfig
from plainres.training.checkpoints import list_checkpoints
from plainres.training.config import ROWS
from plainres.training.schedule import row_ends

REFRESH_SECONDS = 2.0
LINES_PER_RUN = 8  # outside a terminal
BARS = "▁▂▃▄▅▆▇█"
COLUMNS = ("net", "seed", "iteration", "training\nerror", "", "test\nerror", "images/s", "time\nleft", "state")
LEFT_JUSTIFIED = ("net", "training\nerror", "state")
CURVE_WIDTH = 16  # half of it on consoles with fewer than `WIDE` columns
WIDE = 100


class Watch:
    """Context manager that shows a live table of runs on a terminal, and otherwise prints eight lines per run.

    The table has plain and residual nets of the same depth in adjacent rows.

    Args:
        configs: Runs to show.
        results: Results folder, shared with the processes that train the runs.
        console: Console to print on.
        expected: Expected duration of all runs in seconds, None if it is unknown.
    """

    def __init__(self, configs: Sequence[RunConfig], results: Path, console: Console, expected: float | None = None):
        self.configs = sorted(configs, key=lambda config: (config.seed, config.depth))
        self.results, self.console, self.expected = results, console, expected
        self.lines_printed = dict.fromkeys(configs, 0)
        self.started = time.time()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal and not console.quiet else None

    def __enter__(self) -> "Watch":
        if self._live:
            self._live.start()
        else:  # what earlier starts have done is no progress of this one
            for config in self.configs:
                self.lines_printed[config] = _lines_due(config, _last_row(Record(self.results, config)))
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
        if self.console.quiet:
            return
        if self._live:
            self._live.update(self.table(), refresh=True)
            return
        for config in self.configs:
            row = _last_row(Record(self.results, config))
            due = _lines_due(config, row)
            if row and due > self.lines_printed[config]:
                self.lines_printed[config] = due
                self.console.print(_line(config, row), highlight=False, soft_wrap=True)

    def table(self) -> Table:
        """Return one row per run: iteration, curve of the training error, errors in percent, speed, time left, state.

        Records have 64 rows of metrics, so the iteration and the time left of a run in progress are extrapolated from
        its last row or checkpoint, at most to the next row. Curves are bars between 0 and 100%. The table fits into 80
        columns, where it breaks long names of nets.
        """
        wide = self.console.width >= WIDE
        curve_width = CURVE_WIDTH if wide else CURVE_WIDTH // 2
        table = Table(caption_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, int(wide)))
        for name in COLUMNS:
            table.add_column(
                name, justify="left" if name in LEFT_JUSTIFIED else "right", no_wrap=name != "net", overflow="fold"
            )
        runs = plan_study(self.configs, self.results)
        for run in runs:
            record = Record(self.results, run.config)
            rows = record.read_metrics() if run.status != "missing" else []
            state = self._state(run, record)
            cells = [f"{run.resumed_after:,}/{run.config.iterations:,}", "", "", "", "", ""]
            if rows:
                row = _with_last_test(rows)
                done = max(row["iteration"], run.resumed_after)
                if state == "training":
                    done += _iterations_since(record, run.config, done, row["images_per_second"])
                iteration, *errors, speed, left = _cells(run.config, row, done)
                cells = [iteration, _curve(rows, curve_width), *errors, speed, left if run.to_do else ""]
            table.add_row(run.config.net, str(run.config.seed), *cells, state)
        ended = sum(not run.to_do for run in runs)
        elapsed = format_seconds(time.time() - self.started)
        of = f" of about {format_seconds(self.expected)}" if self.expected else ""
        table.caption = f"{ended} of {len(runs)} runs have ended, after {elapsed}{of}"
        return table

    def _state(self, run: PlannedRun, record: Record) -> str:
        """Return the state of a run. A run whose record is older than this object is still waiting to be resumed."""
        if not run.to_do:
            return run.status
        changed = max(_modified(record.run_json), _modified(record.folder / "metrics.csv"))
        return "training" if changed >= self.started else "waiting"


def _modified(path: Path) -> float:
    """Return the time of a file's last modification in seconds since the epoch, or 0 if there is no such file."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _with_last_test(rows: list[dict]) -> dict:
    """Return the last row, with the last test error that is known."""
    test_errors = [row["test_error"] for row in rows if row.get("test_error", float("nan")) >= 0]
    return rows[-1] | {"test_error": test_errors[-1] if test_errors else None}


def _last_row(record: Record) -> dict | None:
    """Return the last row of metrics.csv with the last known test error, or None if there is no row yet."""
    rows = record.read_metrics()
    return _with_last_test(rows) if rows else None


def _lines_due(config: RunConfig, row: dict | None) -> int:
    """Return how many of its lines a run has reached."""
    return int(row["iteration"] * LINES_PER_RUN // config.iterations) if row else 0


def _iterations_since(record: Record, config: RunConfig, done: int, images_per_second: float) -> float:
    """Return the expected number of iterations since the run began, or wrote a row or a checkpoint, if that was later.

    Args:
        record: Record of the run.
        config: Configuration of the run.
        done: Number of iterations that were done then. The result ends at most at the next row.
        images_per_second: Speed of the run.
    """
    written = (record.run_json, record.folder / "metrics.csv", *list_checkpoints(record.checkpoints))
    latest = max(map(_modified, written))
    if not latest:
        return 0
    following = min((end for end in row_ends(config) if end > done), default=config.iterations)
    return min(max(time.time() - latest, 0) * images_per_second / config.batch_size, following - done)


def _curve(rows: list[dict], width: int) -> str:
    """Return the training error as a row of bars between 0 and 100%, each of them the mean of several rows."""
    per_bar = ROWS // width
    errors = [row["train_error"] for row in rows]
    means = [sum(part) / len(part) for part in (errors[i : i + per_bar] for i in range(0, len(errors), per_bar))]
    return "".join(BARS[min(int(mean / 100 * len(BARS)), len(BARS) - 1)] for mean in means)


def _cells(config: RunConfig, row: dict, done: float) -> list[str]:
    """Return iterations done, training error, test error, images per second and time left."""
    speed = row["images_per_second"]
    return [
        f"{done:,.0f}/{config.iterations:,}",
        f"{row['train_error']:.1f}%",
        "" if row["test_error"] is None else f"{row['test_error']:.1f}%",
        f"{speed:,.0f}",
        format_seconds((config.iterations - done) * config.batch_size / speed),
    ]


def _line(config: RunConfig, row: dict) -> str:
    """Return the progress of a run as one line of a log."""
    iteration, train_error, test_error, speed, left = _cells(config, row, row["iteration"])
    test = f"  test {test_error}" if test_error else ""
    return f"{config.name}  {iteration}  train {train_error}{test}  {speed} images/s  {left} left"
