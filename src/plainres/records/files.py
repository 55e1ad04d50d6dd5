"""The files of a run's record, `<results>/<study>/<net>/seed-<s>/`. Nothing else reads or writes them."""

import json
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from plainres.files import write_atomic

RUNS = "*/*/seed-*/run.json"  # below a results folder


class RunInfo(TypedDict, total=False):
    """Contents of `run.json`.

    A run in progress lacks what only its end can tell, and older records lack what was added later.

    Attributes:
        study: Name of the study.
        net: Name of the net.
        outcome: `"running"`, `"finished"` or `"diverged"`.
        reason: Why it diverged.
        config: Fields of `plainres.training.RunConfig`.
        config_hash: Hash of the configuration.
        complexity: Number of parameters, and of multiply-adds for one image.
        final: Errors and losses after the last iteration.
        warmup_end: Iteration at which the warm-up ended.
        seconds: Training time.
        provenance: Software, hardware and data that computed the run.
    """

    study: str
    net: str
    outcome: str
    reason: str
    config: dict[str, Any]
    config_hash: str
    complexity: dict[str, int]
    final: dict[str, Any]
    warmup_end: int | None
    seconds: float
    provenance: dict[str, Any]


class RecordFiles:
    """The files of one record.

    Args:
        folder: Folder of the record.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.run_json = folder / "run.json"
        self.metrics_csv = folder / "metrics.csv"
        self.probes_csv = folder / "probes.csv"
        self.weights = folder / "weights.safetensors"
        self.checkpoints = folder / "checkpoints"

    def read_info(self) -> RunInfo:
        """Return the contents of run.json.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it is not JSON.
        """
        return json.loads(self.run_json.read_text(encoding="utf-8"))

    def write_info(self, info: RunInfo) -> None:
        """Write run.json."""
        write_atomic(self.run_json, json.dumps(info, indent=2) + "\n")

    def read_metrics(self, **options: Any) -> pd.DataFrame:
        """Return metrics.csv, one row per interval, errors in percent. `options` are those of `pandas.read_csv`."""
        return pd.read_csv(self.metrics_csv, **options)

    def write_metrics(self, frame: pd.DataFrame) -> None:
        """Write metrics.csv."""
        write_atomic(self.metrics_csv, _csv(frame))

    def read_probes(self) -> pd.DataFrame:
        """Return probes.csv, one row per probed iteration and layer."""
        return pd.read_csv(self.probes_csv)

    def write_probes(self, frame: pd.DataFrame) -> None:
        """Write probes.csv."""
        write_atomic(self.probes_csv, _csv(frame))


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, float_format="%.6g")
