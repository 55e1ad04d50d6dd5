"""Published records, and what a check says about one of them."""

import json
import math
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from plainres.errors import UserError
from plainres.report.run import add_noted_hardware
from plainres.training import RunConfig
from plainres.training.device import choose_device, describe_hardware, has_bf16_kernels
from plainres.training.record import UNFINISHED

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
# Everything about the hardware that may change the last digits. The number of threads is set to the recorded one.
HARDWARE = ("device", "gpu", "cpu", "cpu_capability", "amx")
SHOWN = 3  # number of problems that a result lists in full


@dataclass(frozen=True)
class Result:
    """What a check says.

    Attributes:
        status: `"passed"`, `"failed"` or `"skipped"`.
        detail: What was compared, or what is wrong, or why the check was skipped.
    """

    status: str
    detail: str


def judge(problems: Sequence[str], detail: str) -> Result:
    """Return a failed result that names the problems, or a passed one with `detail` if there are none."""
    if not problems:
        return Result(PASSED, detail)
    more = len(problems) - SHOWN
    return Result(FAILED, "; ".join(problems[:SHOWN]) + (f"; and {more} more" if more > 0 else ""))


@dataclass(frozen=True)
class PublishedRecord:
    """The record of a run that has ended.

    Attributes:
        folder: Folder of the record, `<results>/<study>/<net>/seed-<s>`.
        run: Contents of run.json.
        config: Configuration in run.json, or None if it is not a valid one.
        problem: Why the configuration is not valid.
    """

    folder: Path
    run: dict
    config: RunConfig | None
    problem: str = ""

    @property
    def valid_config(self) -> RunConfig:
        """Configuration of a record in which it is a valid one."""
        assert self.config is not None, self.problem
        return self.config

    @property
    def results(self) -> Path:
        return self.folder.parents[2]

    @property
    def name(self) -> str:
        """Path below the results folder, in messages."""
        return self.folder.relative_to(self.results).as_posix()

    @property
    def rows(self) -> list[dict[str, str]]:
        """Rows of metrics.csv as they are printed there."""
        return read_rows(self.folder / "metrics.csv")

    @property
    def hardware(self) -> dict:
        return self.run["provenance"]["hardware"]

    @property
    def device(self) -> torch.device:
        """Device that computes this record again: a GPU if it was computed on one and this machine has one."""
        on_gpu = self.hardware["device"] == "cuda" and torch.cuda.is_available()
        return choose_device("cuda" if on_gpu else "cpu")

    @property
    def precision(self) -> str:
        """Precision of a forward pass here: that of the record, or fp32 if the device has no kernels for bf16."""
        recorded = self.valid_config.precision
        return "fp32" if recorded == "bf16" and not has_bf16_kernels(self.device) else recorded

    def at_start(self) -> "PublishedRecord":
        """Return the record as if all of it had been computed with the software and hardware of its first rows."""
        provenance = self.run["provenance"]
        first: dict = next(iter(provenance.get("earlier", [])), {})
        return replace(self, run=self.run | {"provenance": provenance | first})

    def differences(self) -> list[str]:
        """Return what differs between the recorded hardware and software and those here, if it may change digits."""
        here = describe_hardware(self.device)
        pairs = {name: (self.hardware.get(name), here.get(name)) for name in HARDWARE}
        pairs["torch"] = (self.run["provenance"]["torch"], torch.__version__)
        pairs["precision"] = (self.valid_config.precision, self.precision)
        told = [f"{name} {there}, here {value}" for name, (there, value) in pairs.items() if there != value]
        if pairs["amx"] == (False, True):
            told.append("ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 leaves out AMX")
        if self.device.type == "cuda":
            told.append("kernels on CUDA add in no fixed order")
        return told

    @contextmanager
    def recorded_threads(self) -> Iterator[None]:
        """Compute with the recorded number of threads, which decides in which order sums are taken."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.hardware.get("threads", before))
        try:
            yield
        finally:
            torch.set_num_threads(before)


def printed(value: float) -> str:
    """Return a number as metrics.csv prints it."""
    if isinstance(value, int):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a metrics.csv with its cells as text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")


def read_record(folder: Path) -> PublishedRecord:
    """Read the record of a run.

    Raises:
        UserError: If there is no record of a run that has ended.
    """
    path = folder / "run.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such record")
    try:
        run = json.loads(path.read_text())
        outcome = run["outcome"]
        if outcome == UNFINISHED:
            raise UserError(f"{folder}: this run has not ended, and so there is nothing to verify yet")
        for key in ("config", "config_hash", "final", "provenance"):
            run[key]
        run["provenance"]["hardware"]["device"]
        add_noted_hardware(run, folder)
    except FileNotFoundError:
        raise UserError(f"{folder}: not the record of a run (it holds no run.json)") from None
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the record of a run ({error!r})") from None
    try:
        return PublishedRecord(folder.resolve(), run, RunConfig(**run["config"]))
    except (UserError, TypeError, AttributeError) as error:
        return PublishedRecord(folder.resolve(), run, None, str(error))


def git(folder: Path, *command: str) -> list[str] | None:
    """Return the lines that git prints in a folder, or None if it is not in a repository, or there is no git."""
    try:
        done = subprocess.run(["git", "-C", folder, *command], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()


def _has_ended(folder: Path) -> bool:
    """Return whether a run has ended. A record that cannot be read counts as ended, so that it is checked."""
    try:
        return json.loads((folder / "run.json").read_text())["outcome"] != UNFINISHED
    except (OSError, ValueError, KeyError, TypeError):
        return True


def find_published(results: Path, *, in_progress: bool = False) -> list[Path]:
    """Return the folders of all published records.

    These are the records that are committed, or all records if none is committed.

    Args:
        results: Results folder.
        in_progress: Whether to return the records of runs in progress too. They cannot be verified, but figures show
            them.
    """
    pattern = "*/*/seed-*/run.json"
    # The asterisks of git match slashes too.
    committed = [Path(line) for line in git(results, "ls-files", "--", pattern) or [] if line.count("/") == 3]
    found = [results / path for path in committed] or sorted(results.glob(pattern))
    return [path.parent for path in found if in_progress or _has_ended(path.parent)]
