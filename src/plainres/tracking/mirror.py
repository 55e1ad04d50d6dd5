"""W&B as a mirror of a run's record: local files come first, and W&B neither breaks nor holds up a training."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import pytorch_lightning as pl

from plainres.errors import UserError
from plainres.training.config import RunConfig
from plainres.training.distributed import get_rank_info
from plainres.training.module import ClassificationModule
from plainres.training.record import UNFINISHED, Record

if TYPE_CHECKING:
    import wandb

MODES = ("auto", "online", "offline", "off")
PROJECT = "plainres"
MIRRORED = ".wandb"  # W&B's files, in the results folder
PATIENCE = 60.0  # seconds that the end of a run waits for W&B


def resolve_mode(mode: str) -> str:
    """What "auto" means here: online when logged in, else offline; off when wandb is not installed (said once).

    The environment's WANDB_MODE decides before that, "disabled" meaning off.

    Raises:
        UserError: `mode` is none of `MODES`, or wandb was asked for and is not installed.
    """
    if mode not in MODES:
        raise UserError(f"wandb must be one of {', '.join(MODES)}, not {mode!r}")
    if mode == "off":
        return "off"
    try:
        import wandb
    except ImportError:
        if mode != "auto":
            raise UserError(f"--wandb {mode} was asked for, but wandb is not installed: pip install wandb") from None
        print("wandb is not installed: records are kept in local files only", file=sys.stderr)
        return "off"
    if mode != "auto":
        return mode
    wanted = os.environ.get("WANDB_MODE")
    if wanted:
        return {"online": "online", "offline": "offline"}.get(wanted, "off")
    try:
        return "online" if wandb.login(prompt=False) else "offline"
    except Exception as error:  # a key, but no network or a wrong key
        print(f"W&B cannot be reached, so runs are mirrored offline: {error}", file=sys.stderr)
        return "offline"


def run_id(config: RunConfig) -> str:
    """The stable id of a run: `cifar10-64k-bf16-plain-56-s0`."""
    return f"{config.study}-{config.net}-s{config.seed}"


def in_sweep() -> bool:
    """Whether a W&B agent has started this process, which then has an id of W&B's own."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


class Connection:
    """One W&B run, spoken to from a thread of its own, so that no network makes its caller wait.

    Whatever goes wrong is said once, and everything after it is left out.

    Args:
        mode: "online" or "offline".
        folder: where W&B keeps its files.
        identity: further arguments of `wandb.init`.

    Attributes:
        failed: whether something went wrong.
    """

    def __init__(self, mode: str, folder: Path, **identity: object):
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
                mode=mode,
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
            except Exception as error:  # a mirror must not break what it shows
                self.failed = True
                print(f"W&B failed and is left out from here on: {type(error).__name__}: {error}", file=sys.stderr)

    def do(self, action: Callable[["wandb.Run"], object]) -> None:
        """Have `action` called with the W&B run, after all that was asked before."""
        self._jobs.put(lambda: action(self._run))

    def close(self, exit_code: int = 0) -> None:
        """Finish the W&B run, waiting for it no longer than `PATIENCE`."""
        self.do(lambda run: run.finish(exit_code=exit_code))
        self._jobs.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self.failed = True
            print(
                f"W&B has not answered for {PATIENCE:.0f} s and is left behind; "
                f"what it was told is in {self.folder}/wandb, to be sent with `wandb sync`",
                file=sys.stderr,
            )


class Mirror(pl.Callback):
    """Logs a run's rows against its iteration, and its final figures into the summary.

    A resumed run continues its W&B run online; offline each sitting leaves a segment with the same id. Under a W&B
    sweep the id is the sweep's.

    Args:
        record: the run's.
        mode: "online" or "offline".
        folder: where W&B keeps its files.
    """

    def __init__(self, record: Record, mode: str, folder: Path):
        self.record, self.mode, self.folder = record, mode, folder
        self.connection: Connection | None = None
        self.logged = 0

    def start(self, logged: int = 0, resume: str | None = "allow") -> None:
        """Open the W&B run.

        Args:
            logged: rows that earlier sittings have logged.
            resume: "allow" to continue a W&B run of this id, None to write it anew.
        """
        c = self.record.config
        provenance = self.record.read()["provenance"]
        self.logged = logged
        self.connection = Connection(
            self.mode,
            self.folder,
            name=run_id(c),
            group=c.net,
            job_type="train",
            tags=[c.dataset, f"{c.iterations} iterations", *filter(None, [c.info.paper_tables])],
            config=asdict(c) | {"study": c.study, "net": c.net, "kind": c.kind, "provenance": provenance},
            **({} if in_sweep() else {"id": run_id(c), "resume": resume}),
        )
        self.connection.do(lambda run: run.define_metric("iteration"))
        self.connection.do(lambda run: run.define_metric("*", step_metric="iteration"))

    def send(self, rows: list[dict]) -> None:
        """Log the rows that are not yet logged."""
        for row in rows[self.logged :]:
            known = {key: value for key, value in row.items() if not _missing(value)}
            self.connection.do(lambda run, known=known: run.log(known))
        self.logged = max(self.logged, len(rows))

    def finish(self) -> None:
        """Log what the record has left, put its final figures into the summary, and close the W&B run."""
        if self.connection is None:
            return
        recorded = self.record.read()
        ended = recorded["outcome"] != UNFINISHED
        self.send(self.record.read_metrics())
        if ended:
            final = {f"final/{key}": value for key, value in recorded.get("final", {}).items()}
            self.connection.do(lambda run: run.summary.update({"outcome": recorded["outcome"], **final}))
        self.connection.close(exit_code=0 if ended else 1)

    @property
    def failed(self) -> bool:
        return self.connection is not None and self.connection.failed

    # As a callback

    def on_train_start(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self.start(logged=len(module.rows))

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        # The last row may still get the errors of a pass over the test set.
        self.send(module.rows[:-1])


@contextmanager
def mirrored(record: Record, mode: str) -> Iterator[tuple[pl.Callback, ...]]:
    """Mirror a run to W&B while it trains.

    Under a W&B sweep, a run that has finished before is mirrored as well, because the sweep has a W&B run of its own
    for it.

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
    mirror = Mirror(record, mode, results / MIRRORED)
    try:
        yield (mirror,)
    finally:
        mirror.finish()
    if mirror.connection is None and in_sweep():
        mirror_record(record, mode, results / MIRRORED)


def mirror_record(record: Record, mode: str, folder: Path) -> bool:
    """Mirror the record of a run that has ended, in place of what W&B may have of it; whether W&B took it."""
    mirror = Mirror(record, mode, folder)
    mirror.start(resume=None)
    mirror.finish()
    return not mirror.failed


def _missing(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
