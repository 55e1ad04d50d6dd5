"""A run's record on disk: results/<study>/<net>/seed-<s>/ with run.json, metrics.csv and weights.safetensors."""

import json
import os
from contextlib import suppress
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import pandas as pd

from plainres.errors import UserError
from plainres.training.config import RunConfig

COLUMNS = ["iteration", "epoch", "lr", "train_loss", "train_error", "images_per_second", "seconds"]
EVALUATED = ["test_loss", "test_error", "val_loss", "val_error"]
UNFINISHED = "running"


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that a crash leaves either the old contents or the new, never a part.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


class Record:
    """The record of one run.

    Args:
        results: the results folder.
        config: the run.
    """

    def __init__(self, results: Path, config: RunConfig):
        self.config = config
        self.folder = results / config.folder

    @property
    def run_json(self) -> Path:
        return self.folder / "run.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def read(self) -> dict | None:
        """What run.json holds, or None where there is no record yet.

        Raises:
            UserError: the record was made with another configuration, or cannot be read.
        """
        try:
            run = json.loads(self.run_json.read_text())
            recorded, run_hash = run["config"], run["config_hash"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.run_json}: not a readable record ({error!r}); move {self.folder} away") from None
        # A field that a record does not name was added since, and had its default.
        recorded = {f.name: f.default for f in fields(self.config) if f.default is not MISSING} | recorded
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
        """The recorded outcome ("finished", "diverged"), "partial" for a run to resume, or "missing"."""
        run = self.read()
        if run is None:
            return "missing"
        return "partial" if run["outcome"] == UNFINISHED else run["outcome"]

    def write(self, outcome: str, facts: dict) -> dict:
        """Write run.json and give back what it holds.

        Args:
            outcome: "running" until the end, then "finished" or "diverged".
            facts: figures, provenance and whatever else the run knows of itself; JSON-able.
        """
        run = {
            "study": self.config.study,
            "net": self.config.net,
            "outcome": outcome,
            "config": asdict(self.config),
            "config_hash": self.config.hash,
            **facts,
        }
        write_atomic(self.run_json, json.dumps(run, indent=2) + "\n")
        return run

    def write_metrics(self, rows: list[dict]) -> None:
        """Write metrics.csv whole: a row an interval, errors in percent, empty where nothing was evaluated."""
        present = [name for name in EVALUATED if name.startswith("test") or self.config.train_set == "45k"]
        if self.config.family == "imagenet":
            present.append("test_top5_error")
        frame = pd.DataFrame(rows, columns=COLUMNS + present)
        write_atomic(self.folder / "metrics.csv", frame.to_csv(index=False, float_format="%.6g"))

    def read_metrics(self) -> list[dict]:
        """The rows of metrics.csv; none where there is no readable one."""
        try:
            return pd.read_csv(self.folder / "metrics.csv").to_dict("records")
        except (OSError, ValueError):
            return []
