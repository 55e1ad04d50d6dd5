"""The Lightning logger that writes the record of a run while it trains."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from plainres.records.config import RunConfig
from plainres.records.record import Record

COLUMNS = ["iteration", "epoch", "lr", "train_loss", "train_error", "images_per_second", "seconds"]


class RecordLogger(Logger):
    """Lightning logger that writes metrics.csv, a row per iteration at which the module logs.

    Errors are in percent. Cells are empty where nothing was evaluated. `train_images` make an epoch. `rows` are the
    contents of metrics.csv, one dict per row.
    """

    name, version = "record", ""  # which Lightning asks of every logger

    def __init__(self, record: Record, config: RunConfig, train_images: int):
        super().__init__()
        self.record, self.config, self.train_images = record, config, train_images
        self.rows: list[dict] = []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row, or values to the last row if it has the same iteration. Other callbacks' metrics have none."""
        if "iteration" not in metrics:
            return
        iteration = int(metrics["iteration"])
        epoch = iteration * self.config.batch_size / self.train_images
        if not self.rows or self.rows[-1]["iteration"] != iteration:
            self.rows.append({})
        self.rows[-1] |= {**metrics, "iteration": iteration, "epoch": epoch}
        self.write()

    def write(self) -> None:
        """Write metrics.csv."""
        parts = ["test"] + (["val"] if self.config.train_set == "45k" else [])
        evaluated = [f"{part}_{what}" for part in parts for what in ("loss", "error")]
        if self.config.info.top5:
            evaluated += [f"{part}_top5_error" for part in parts]
        self.record.write_table(self.record.metrics_csv, pd.DataFrame(self.rows, columns=COLUMNS + evaluated))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: run.json has the configuration."""
