"""A mirror of run records in W&B. Local files come first: W&B can neither stop nor delay training."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from operator import methodcaller
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, cast

import pytorch_lightning as pl

from plainres.errors import UserError, require_one_of
from plainres.training.config import RunConfig
from plainres.training.distributed import get_rank_info
from plainres.training.module import ClassificationModule
from plainres.training.record import UNFINISHED, Record

if TYPE_CHECKING:
    import wandb

ENDED = ("finished", "diverged")
MODES = ("auto", "online", "offline", "off")
PROJECT = "plainres"
WANDB_FOLDER = ".wandb"  # in the results folder
CLOSE_TIMEOUT = 60.0  # longest time, in seconds, that the end of a run waits for W&B


def resolve_mode(mode: str) -> str:
    """Return `"online"`, `"offline"` or `"off"` for one of `MODES`.

    The environment variable WANDB_MODE decides about `"auto"`, where it is set (`"disabled"` means off). Otherwise,
    `"auto"` means online if logged in, offline if not, and off, with a message, if wandb is not installed.

    Raises:
        UserError: If the mode is unknown, or requires wandb and wandb is not installed.
    """
    require_one_of("--wandb", mode, MODES)
    if mode == "off":
        return "off"
    try:
        import wandb
    except ImportError:
        if mode != "auto":
            raise UserError(f"--wandb {mode} requires wandb, which is not installed: pip install wandb") from None
        print("wandb is not installed: records are written to local files only", file=sys.stderr)
        return "off"
    if mode != "auto":
        return mode
    variable = os.environ.get("WANDB_MODE")
    if variable:
        return variable if variable in ("online", "offline") else "off"
    try:
        return "online" if wandb.login(prompt=False) else "offline"
    except Exception as error:  # there is a key, but it is wrong, or there is no network
        print(f"W&B cannot be reached, runs are mirrored offline: {error}", file=sys.stderr)
        return "offline"


def run_id(config: RunConfig) -> str:
    """Return the W&B id of a run, for example `cifar10-64k-bf16-plain-56-s0`."""
    return f"{config.study}-{config.net}-s{config.seed}"


def in_sweep() -> bool:
    """Return whether the agent of a W&B sweep has started this process, in which case W&B chooses the run's id."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


class Connection:
    """One W&B run, used from a separate thread so that the caller never waits for the network.

    The first error is printed, and everything after it is skipped.

    Args:
        mode: `"online"` or `"offline"`.
        folder: Folder for the files of W&B.
        identity: Further arguments of `wandb.init`.

    Attributes:
        failed: Whether an error occurred.
    """

    def __init__(self, mode: str, folder: Path, **identity: Any):
        self.folder = folder
        self.failed = False
        self._run: wandb.Run | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="W&B", daemon=True)
        self._thread.start()

        def init() -> None:
            import wandb

            folder.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                mode=cast(Literal["online", "offline"], mode),
                dir=folder,
                settings=wandb.Settings(silent=True, console="off"),
                **identity,
            )

        self._jobs.put(init)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self.failed:
                continue
            try:
                job()
            except Exception as error:  # an error of W&B must not stop training
                self.failed = True
                print(f"W&B failed and is no longer used: {type(error).__name__}: {error}", file=sys.stderr)

    def submit(self, action: Callable[["wandb.Run"], object]) -> None:
        """Schedule a call of `action` with the W&B run, after all earlier actions."""

        def job() -> None:
            assert self._run is not None
            action(self._run)

        self._jobs.put(job)

    def close(self, exit_code: int = 0) -> None:
        """Finish the W&B run, waiting at most `CLOSE_TIMEOUT` seconds."""
        self.submit(lambda run: run.finish(exit_code=exit_code))
        self._jobs.put(None)
        self._thread.join(CLOSE_TIMEOUT)
        if self._thread.is_alive():
            self.failed = True
            print(
                f"W&B has not finished after {CLOSE_TIMEOUT:.0f} s; its data is in {self.folder}/wandb and can be "
                "uploaded with `wandb sync`",
                file=sys.stderr,
            )


class Mirror(pl.Callback):
    """Callback that logs the rows of a run against its iteration, and its final figures as the summary.

    Online, a resumed run continues its W&B run. Offline, each restart writes another segment with the same id. In a
    W&B sweep, the sweep chooses the id.

    Args:
        record: Record of the run.
        mode: `"online"` or `"offline"`.
        folder: Folder for the files of W&B.
    """

    def __init__(self, record: Record, mode: str, folder: Path):
        self.record, self.mode, self.folder = record, mode, folder
        self.connection: Connection | None = None
        self.logged = 0

    def start(self, logged: int = 0, resume: str | None = "allow") -> None:
        """Start the W&B run.

        Args:
            logged: Number of rows that have been logged before the run was resumed.
            resume: `"allow"` to continue a W&B run with the same id, None to replace it.
        """
        config = self.record.config
        recorded = self.record.read()
        assert recorded is not None
        self.logged = logged
        self.connection = Connection(
            self.mode,
            self.folder,
            name=run_id(config),
            group=config.net,
            job_type="train",
            tags=[config.dataset, f"{config.iterations} iterations", *filter(None, [config.info.paper_tables])],
            config=asdict(config)
            | {"study": config.study, "net": config.net, "kind": config.kind, "provenance": recorded["provenance"]},
            **({} if in_sweep() else {"id": run_id(config), "resume": resume}),
        )
        self.connection.submit(lambda run: run.define_metric("iteration"))
        self.connection.submit(lambda run: run.define_metric("*", step_metric="iteration"))

    def send(self, rows: list[dict]) -> None:
        """Log the rows that have not been logged yet."""
        for row in rows[self.logged :]:
            values = {key: value for key, value in row.items() if not _is_missing(value)}
            assert self.connection is not None
            self.connection.submit(methodcaller("log", values, step=int(row["iteration"])))
        self.logged = max(self.logged, len(rows))

    def finish(self) -> None:
        """Log the remaining rows of the record and its final figures, and close the W&B run.

        Of a run that will be resumed, the last row is left to the next start, which may still add to it.
        """
        if self.connection is None:
            return
        recorded = self.record.read()
        assert recorded is not None
        ended = recorded["outcome"] != UNFINISHED
        rows = self.record.read_metrics()
        self.send(rows if ended else rows[:-1])
        if ended:
            final = {f"final/{key}": value for key, value in recorded.get("final", {}).items()}
            self.connection.submit(lambda run: run.summary.update({"outcome": recorded["outcome"], **final}))
        self.connection.close(exit_code=0 if ended else 1)

    @property
    def failed(self) -> bool:
        """Whether an error of W&B occurred."""
        return self.connection is not None and self.connection.failed

    def on_train_start(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        # Before the restart, the last row was still held back. W&B drops rows that it already has.
        self.start(logged=max(len(module.rows) - 1, 0))

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        # The test error may still be added to the last row.
        self.send(module.rows[:-1])


@contextmanager
def mirrored(record: Record, mode: str) -> Iterator[tuple[pl.Callback, ...]]:
    """Mirror a run to W&B while it trains.

    A run that was only evaluated, because an earlier start had done all of its iterations, is mirrored at its end.
    Under a W&B sweep, so is a run that had ended before, because the sweep has a W&B run of its own for it.

    Args:
        record: Record of the run.
        mode: `"online"`, `"offline"` or `"off"`.

    Yields:
        Callbacks for `train_run`.
    """
    if mode == "off" or get_rank_info().rank > 0:
        yield ()
        return
    results = record.folder.parents[2]
    mirror = Mirror(record, mode, results / WANDB_FOLDER)
    ended_before = record.status() in ENDED
    try:
        yield (mirror,)
    finally:
        mirror.finish()
    if mirror.connection is None and record.status() in ENDED and (in_sweep() or not ended_before):
        mirror_record(record, mode, results / WANDB_FOLDER)


def mirror_record(record: Record, mode: str, folder: Path) -> bool:
    """Mirror the record of a run that has ended, replacing its W&B run; return whether W&B accepted it."""
    mirror = Mirror(record, mode, folder)
    mirror.start(resume=None)
    mirror.finish()
    return not mirror.failed


def _is_missing(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
