"""Reading the record of one run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from plainres.catalog import SHORTCUTS
from plainres.records.files import RecordFiles, RunInfo

METRICS_REQUIRED = ("iteration", "train_error")
PROBES_REQUIRED = ("iteration", "layer")
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


@dataclass(frozen=True)
class Run:
    """The record of one run.

    Attributes:
        folder: Folder of the record, `<results>/<study>/<net>/seed-<seed>`.
        info: Content of `run.json`.
        metrics: Content of `metrics.csv`, one row per interval. Empty before the first interval has ended.
        probes: Content of `probes.csv`, one row per probed iteration and layer. Empty if there is no such file.
    """

    folder: Path
    info: RunInfo
    metrics: pd.DataFrame
    probes: pd.DataFrame

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


def hardware_name(recorded: Mapping[str, Any]) -> str:
    """Return what a record was computed on: the GPU, or the CPU with its instruction set and number of threads.

    The instruction set matters because it decides how a CPU rounds, and rounding decides how the training of deep nets
    starts. A run of several processes has their number before the name. A run that was resumed elsewhere names
    everything that computed it, in order.

    Args:
        recorded: Content of `run.json`, or of the record of a score.
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


def add_noted_hardware(recorded: RunInfo, folder: Path) -> None:
    """Add `provenance.earlier` to the content of a run.json that lacks it, if `NOTED_HARDWARE` has the record.

    Args:
        recorded: Content of `run.json`.
        folder: Folder of the record.
    """
    provenance = recorded.get("provenance", {})
    noted = NOTED_HARDWARE.get(("/".join(folder.resolve().parts[-3:]), provenance.get("commit", "")))
    if noted and "hardware" in provenance and "earlier" not in provenance:
        until, hardware = noted
        provenance["earlier"] = [{**provenance, "until": until, "hardware": provenance["hardware"] | hardware}]


def read_run(folder: Path) -> Run:
    """Read the record of one run.

    Args:
        folder: Folder of the record.

    Raises:
        OSError: If a file cannot be read.
        KeyError: If an entry or a column is missing.
        ValueError: If a file cannot be parsed, or a finished run's metrics do not reach its last iteration.
    """
    files = RecordFiles(folder)
    info = files.read_info()
    info["net"], info["outcome"]  # what is missing raises a KeyError that names it
    add_noted_hardware(info, folder)
    for key in ("depth", "seed", "iterations", "dataset"):
        info["config"][key]
    SHORTCUTS[info["config"]["shortcut"]]
    metrics = files.read_metrics() if files.metrics_csv.exists() else pd.DataFrame(columns=[*METRICS_REQUIRED])
    for column in METRICS_REQUIRED:
        metrics[column] = pd.to_numeric(metrics[column])
    if info["outcome"] == "finished":
        info["final"], info["complexity"], info["provenance"], info["seconds"]
        if metrics["iteration"].max() != info["config"]["iterations"]:
            raise ValueError(f"{files.metrics_csv.name} does not reach the last iteration")
    probes = files.read_probes() if files.probes_csv.exists() else pd.DataFrame(columns=[*PROBES_REQUIRED])
    for column in set(probes.columns) - {"name"}:
        probes[column] = pd.to_numeric(probes[column])
    probes[[*PROBES_REQUIRED]]  # raises a KeyError that names a missing column
    return Run(folder, info, metrics, probes)
