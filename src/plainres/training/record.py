"""The record that a run writes while it trains."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pandas as pd
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from plainres.errors import UserError
from plainres.records.config import RunConfig
from plainres.records.files import RecordFiles, RunInfo

COLUMNS = ["iteration", "epoch", "lr", "train_loss", "train_error", "images_per_second", "seconds"]
UNFINISHED = "running"


class Record(RecordFiles):
    """The record of the run of a configuration, in its folder below a results folder."""

    def __init__(self, results: Path, config: RunConfig):
        super().__init__(results / config.folder)
        self.config = config

    def read(self) -> RunInfo | None:
        """Return the contents of run.json, or None if there is no record yet.

        Raises:
            UserError: If the record belongs to another configuration, or cannot be read.
        """
        try:
            run = self.read_info()
            recorded, run_hash, _ = run["config"], run["config_hash"], run["outcome"]
            # Fields that the record lacks were added later, and had their defaults.
            with suppress(UserError):
                recorded = asdict(RunConfig(**recorded))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.run_json}: not a readable record ({error!r}); move {self.folder} away") from None
        wanted = asdict(self.config)
        if run_hash != self.config.hash or recorded != wanted:
            differences = ", ".join(
                f"{key} is {recorded.get(key)!r} there and {wanted.get(key)!r} here"
                for key in sorted({*recorded, *wanted})
                if recorded.get(key) != wanted.get(key)
            )
            raise UserError(
                f"{self.folder} holds a run of another configuration ({differences or 'its hash was altered'}); "
                "move it away or choose another --results"
            )
        return run

    def status(self) -> str:
        """Return the recorded outcome (`"finished"`, `"diverged"`), `"partial"` for a run to resume, or `"missing"`."""
        run = self.read()
        if run is None:
            return "missing"
        return "partial" if run["outcome"] == UNFINISHED else run["outcome"]

    def write(self, outcome: str, facts: Mapping[str, Any]) -> RunInfo:
        """Write run.json and return its contents.

        Args:
            outcome: `"running"` until the end of the run, then `"finished"` or `"diverged"`.
            facts: Results, provenance and whatever else is known about the run, JSON-compatible.
        """
        info = {
            "study": self.config.study,
            "net": self.config.net,
            "outcome": outcome,
            "config": asdict(self.config),
            "config_hash": self.config.hash,
            **facts,
        }
        run = cast(RunInfo, info)
        self.write_info(run)
        return run

    def write_rows(self, rows: list[dict]) -> None:
        """Write metrics.csv: one row per interval, errors in percent, empty cells where nothing was evaluated."""
        parts = ["test"] + (["val"] if self.config.train_set == "45k" else [])
        evaluated = [f"{part}_{what}" for part in parts for what in ("loss", "error")]
        if self.config.info.top5:
            evaluated += [f"{part}_top5_error" for part in parts]
        self.write_metrics(pd.DataFrame(rows, columns=COLUMNS + evaluated))

    def read_rows(self) -> list[dict]:
        """Return the rows of metrics.csv, or an empty list if there is no readable file."""
        try:
            return self.read_metrics().to_dict("records")
        except (OSError, ValueError):
            return []


class RecordLogger(Logger):
    """Lightning logger that writes metrics.csv, a row per iteration at which the module logs.

    `train_images` make an epoch. `rows` are the contents of metrics.csv, one dict per row.
    """

    name, version = "record", ""  # which Lightning asks of every logger

    def __init__(self, record: Record, train_images: int):
        super().__init__()
        self.record, self.train_images = record, train_images
        self.rows: list[dict] = []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row, or values to the last row if it has the same iteration. Other callbacks' metrics have none."""
        if "iteration" not in metrics:
            return
        iteration = int(metrics["iteration"])
        epoch = iteration * self.record.config.batch_size / self.train_images
        if not self.rows or self.rows[-1]["iteration"] != iteration:
            self.rows.append({})
        self.rows[-1] |= {**metrics, "iteration": iteration, "epoch": epoch}
        self.record.write_rows(self.rows)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: run.json has the configuration."""
