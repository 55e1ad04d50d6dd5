"""W&B as a mirror of a run's record: local files come first, and no failure of W&B touches a training."""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytorch_lightning as pl

from plainres.errors import UserError
from plainres.training.config import RunConfig
from plainres.training.module import ClassificationModule

MODES = ("auto", "online", "offline", "off")
PROJECT = "plainres"


def choose_mode(mode: str) -> str:
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


class Mirror(pl.Callback):
    """Logs a run's rows against its iteration, and its final figures into the summary.

    A resumed run continues its W&B run online; offline each sitting leaves a segment with the same id. Under a W&B
    sweep the id is the sweep's. Whatever goes wrong with W&B is said once, and the training goes on without it.

    Args:
        config: the run.
        mode: "online" or "offline".
        folder: where W&B keeps its files.
    """

    def __init__(self, config: RunConfig, mode: str, folder: Path):
        self.config, self.mode, self.folder = config, mode, folder
        self.run = None
        self.failed = False
        self.logged = 0

    def _guarded(self, action: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # a mirror must not break what it shows
            self.failed = True
            print(f"W&B failed and is left out from here on: {type(error).__name__}: {error}", file=sys.stderr)

    def start(self, config: dict, logged: int = 0) -> None:
        """Open the W&B run.

        Args:
            config: configuration and provenance, as W&B shows them.
            logged: rows that earlier sittings have logged.
        """

        def init() -> None:
            import wandb

            c = self.config
            identity = {} if os.environ.get("WANDB_SWEEP_ID") else {"id": run_id(c), "resume": "allow"}
            self.folder.mkdir(parents=True, exist_ok=True)
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=run_id(c),
                group=c.net,
                job_type="train",
                tags=[c.dataset, f"{c.iterations} iterations", "Table 6"],
                config=config,
                mode=self.mode,
                dir=self.folder,
                settings=wandb.Settings(silent=True, console="off"),
                **identity,
            )
            self.run.define_metric("iteration")
            self.run.define_metric("*", step_metric="iteration")

        self.logged = logged
        self._guarded(init)

    def send(self, rows: list[dict]) -> None:
        """Log the rows that are not yet logged."""

        def log() -> None:
            for row in rows[self.logged :]:
                self.run.log({key: value for key, value in row.items() if not _missing(value)})

        self._guarded(log)
        self.logged = max(self.logged, len(rows))

    def finish(self, rows: list[dict], recorded: dict | None) -> None:
        """Log what is left, put the recorded final figures into the summary, and close the W&B run."""

        def close() -> None:
            if recorded is not None:
                self.run.summary.update({"outcome": recorded["outcome"]})
                self.run.summary.update({f"final/{key}": value for key, value in recorded.get("final", {}).items()})
            self.run.finish(exit_code=0 if recorded is not None else 1)

        if self.run is not None:
            self.send(rows)
            self._guarded(close)
            self.run = None

    # As a callback

    def on_train_start(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self.start(asdict(self.config), logged=len(module.rows))

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        # The last row may still get the errors of a pass over the test set.
        self.send(module.rows[:-1])


def _missing(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
