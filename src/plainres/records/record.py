"""The record of a run, the folder `<results>/<study>/<net>/seed-<s>`. Nothing else writes run.json and the tables."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, cast

import pandas as pd

from plainres.catalog import SHORTCUTS
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.records.config import RunConfig

RUNS = "*/*/seed-*/run.json"  # below a results folder
UNFINISHED = "running"
METRICS_REQUIRED = ["iteration", "train_error"]
PROBES_REQUIRED = ["iteration", "layer"]
# Records that were begun before `provenance.earlier` existed, by path and commit: the iteration until which other
# hardware computed them, and what that was. The commit tells them from records of the same name in other folders.
NOTED_HARDWARE = {
    ("cifar10-64k-bf16/plain-20/seed-0", "42439f5705ee61a6dcd8d0a283036504fdec95eb"): (
        20_015,
        {"cpu": "AMD EPYC", "amx": False},
    ),
    ("cifar10-64k-bf16/resnet-20/seed-0", "42439f5705ee61a6dcd8d0a283036504fdec95eb"): (
        20_978,
        {"cpu": "AMD EPYC", "amx": False},
    ),
}


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


class Record:
    """The record of one run.

    `info`, `metrics` and `probes` are read once, when they are first used.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.run_json = folder / "run.json"
        self.metrics_csv = folder / "metrics.csv"
        self.probes_csv = folder / "probes.csv"
        self.weights = folder / "weights.safetensors"
        self.checkpoints = folder / "checkpoints"

    def __repr__(self) -> str:
        return f"Record({str(self.folder)!r})"

    @classmethod
    def of(cls, results: Path, config: RunConfig) -> "Record":
        """Return the record of the run of a configuration below a results folder."""
        return cls(results / config.folder)

    def read_info(self) -> RunInfo:
        """Return the contents of run.json as they are now."""
        return json.loads(self.run_json.read_text(encoding="utf-8"))

    @cached_property
    def info(self) -> RunInfo:
        """The contents of run.json, with `provenance.earlier` from `NOTED_HARDWARE` where it lacks that."""
        info = self.read_info()
        provenance = info.get("provenance", {})
        noted = NOTED_HARDWARE.get(("/".join(self.folder.resolve().parts[-3:]), provenance.get("commit", "")))
        if noted and "earlier" not in provenance:
            until, hardware = noted
            provenance["earlier"] = [{**provenance, "until": until, "hardware": provenance["hardware"] | hardware}]
        return info

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The contents of metrics.csv, one row per interval, errors in percent. Empty without such a file."""
        return self._read_table(self.metrics_csv, METRICS_REQUIRED)

    @cached_property
    def probes(self) -> pd.DataFrame:
        """The contents of probes.csv, one row per probed iteration and layer. Empty without such a file."""
        return self._read_table(self.probes_csv, PROBES_REQUIRED)

    def _read_table(self, path: Path, required: list[str]) -> pd.DataFrame:
        if not path.exists():
            return pd.DataFrame(columns=required, dtype=float)
        table = pd.read_csv(path)
        table[required]  # raises a KeyError that names a missing column
        return table.apply(lambda column: column if column.name == "name" else pd.to_numeric(column))

    def check(self) -> None:
        """Check that the record can be used.

        Raises:
            OSError: If a file cannot be read.
            KeyError: If an entry or a column is missing.
            ValueError: If a file cannot be parsed, or a finished run's metrics do not reach its last iteration.
        """
        info = self.info
        info["net"], info["outcome"]  # what is missing raises a KeyError that names it
        for key in ("depth", "seed", "iterations", "dataset"):
            self.config[key]
        SHORTCUTS[self.config["shortcut"]]
        done, _ = self.iterations_done, self.probes
        if self.outcome == "finished":
            info["final"], info["complexity"], info["provenance"], info["seconds"]
            if done != self.config["iterations"]:
                raise ValueError(f"{self.metrics_csv.name} does not reach the last iteration")

    @property
    def net(self) -> str:
        """Name of the net, for example `"resnet-56"`."""
        return self.info["net"]

    @property
    def outcome(self) -> str:
        """`"finished"`, `"running"` or `"diverged"`."""
        return self.info["outcome"]

    @property
    def config(self) -> dict:
        """Configuration of the run, as `run.json` holds it."""
        return self.info["config"]

    @property
    def seed(self) -> int:
        """Seed of the initial weights and of the batches."""
        return self.config["seed"]

    @property
    def depth(self) -> int:
        """Number of layers of the net."""
        return self.config["depth"]

    @property
    def kind(self) -> str:
        """Kind of the net's shortcuts, for example `"plain"` or `"residual"`."""
        return SHORTCUTS[self.config["shortcut"]].kind

    @property
    def iterations_done(self) -> int:
        """Number of iterations that `metrics.csv` covers."""
        return int(self.metrics["iteration"].max()) if len(self.metrics) else 0

    def last(self, column: str) -> float:
        """Return the last recorded value of a column of `metrics`, NaN if there is none."""
        values = self.metrics[column].dropna() if column in self.metrics else pd.Series(dtype=float)
        return float(values.iloc[-1]) if len(values) else float("nan")

    def read_rows(self) -> list[dict]:
        """Return the rows of metrics.csv as they are now, or an empty list if there is no readable file."""
        try:
            return pd.read_csv(self.metrics_csv).to_dict("records")
        except (OSError, ValueError):
            return []

    def read_as(self, config: RunConfig) -> RunInfo | None:
        """Return the contents of run.json as they are now, or None if there is no record yet.

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
        wanted = asdict(config)
        if run_hash != config.hash or recorded != wanted:
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

    def status(self, config: RunConfig) -> str:
        """Return the outcome (`"finished"`, `"diverged"`), `"partial"` for a run to resume, or `"missing"`."""
        run = self.read_as(config)
        if run is None:
            return "missing"
        return "partial" if run["outcome"] == UNFINISHED else run["outcome"]

    def write(self, config: RunConfig, outcome: str, facts: Mapping[str, Any]) -> RunInfo:
        """Write run.json and return its contents.

        `outcome` is `"running"` until the end of the run, then `"finished"` or `"diverged"`. `facts` are results,
        provenance and whatever else is known about the run, JSON-compatible.
        """
        names = {"study": config.study, "net": config.net, "outcome": outcome}
        info = {**names, "config": asdict(config), "config_hash": config.hash, **facts}
        write_atomic(self.run_json, json.dumps(info, indent=2) + "\n")
        return cast(RunInfo, info)

    @staticmethod
    def write_table(path: Path, table: pd.DataFrame) -> None:
        """Write `metrics_csv` or `probes_csv`."""
        write_atomic(path, table.to_csv(index=False, float_format="%.6g"))


def hardware_name(recorded: Mapping[str, Any]) -> str:
    """Return what a record was computed on: the GPU, or the CPU with its instruction set and number of threads.

    The instruction set matters because it decides how a CPU rounds, and rounding decides how the training of deep nets
    starts. A run of several processes has their number before the name. A run that was resumed elsewhere names
    everything that computed it, in order. `recorded` is the content of `run.json`, or of the record of a score.
    """
    provenance = recorded["provenance"]
    return ", then ".join(dict.fromkeys(map(_name_of_start, [*provenance.get("earlier", []), provenance])))


def _name_of_start(start: dict) -> str:
    hardware, processes = start["hardware"], start.get("processes", 1)
    name = hardware.get("gpu") or f"{re.sub(r'[(](R|TM)[)]', '', hardware['cpu'])} ({_describe_cores(hardware)})"
    return name if processes == 1 else f"{processes} x {name}"


def _describe_cores(hardware: dict) -> str:
    threads = hardware.get("threads")
    instructions = "AMX" if hardware.get("amx") else hardware.get("cpu_capability")
    return ", ".join(filter(None, [instructions, "one thread" if threads == 1 else f"{threads} threads"]))
