"""W&B runs: Lightning's `WandbLogger` for a run that trains, and the same run made again from its record.

Local files come first: W&B can neither stop training nor delay it by more than its time-outs.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytorch_lightning.loggers import WandbLogger

from plainres.errors import UserError, first_line
from plainres.records.config import RunConfig
from plainres.records.record import UNFINISHED, Record
from plainres.training.distributed import get_rank_info

if TYPE_CHECKING:
    import wandb

ENDED = ("finished", "diverged")
# What W&B calls its modes, in WANDB_MODE and in its settings.
WANDB_MODES = {"offline": "offline", "dryrun": "offline", "disabled": "off"}
PROJECT = "plainres"
WANDB_FOLDER = ".wandb"  # in the results folder
# Longest times in seconds to log in, to start a W&B run, and to wait for its upload at the end.
LOGIN_TIMEOUT, START_TIMEOUT, FINISH_TIMEOUT = 5, 20, 60


def resolve_mode(mode: str) -> str:
    """Return `"online"`, `"offline"` or `"off"` for one of these or `"auto"`.

    For `"auto"`, W&B's own settings decide, such as the environment variable WANDB_MODE. Where they say online, which
    is W&B's default, this is offline if nobody is logged in or W&B cannot be reached, and off if wandb is missing.
    """
    if mode == "off":
        return "off"
    if find_spec("wandb") is None:
        if mode != "auto":
            raise UserError(f"--wandb {mode} requires wandb, which is not installed: pip install wandb")
        print("wandb is not installed: records are written to local files only", file=sys.stderr)
        return "off"
    import wandb

    _require_home()
    if mode != "auto":
        return mode
    try:
        setting = wandb.setup().settings.mode
    except ValueError:
        raise UserError(
            f"W&B does not accept its settings (WANDB_MODE is {os.environ.get('WANDB_MODE')!r}): correct them, or use "
            "--wandb off"
        ) from None
    if setting in WANDB_MODES:
        return WANDB_MODES[setting]
    try:
        return "online" if wandb.login(prompt=False, timeout=LOGIN_TIMEOUT) else "offline"
    except Exception as error:  # there is a key, but it is wrong, or there is no network
        print(f"W&B cannot be used now, runs are tracked offline: {describe_error(error)}", file=sys.stderr)
        return "offline"


def _require_home() -> None:
    """Give W&B a temporary folder if there is no home that can be written, in which case it would print its log."""
    with suppress(RuntimeError):  # neither HOME nor an entry in passwd
        home = Path.home()
        os.environ.setdefault("HOME", str(home))
        if "WANDB_CACHE_DIR" in os.environ or os.access(home, os.W_OK):
            return
    folder = tempfile.mkdtemp(prefix="wandb-")
    os.environ.setdefault("HOME", folder)
    os.environ.setdefault("WANDB_CACHE_DIR", folder)
    print(
        f"there is no home folder that can be written (HOME): W&B keeps its log and cache in {folder}", file=sys.stderr
    )


def run_id(config: RunConfig) -> str:
    """Return the W&B id of a run, for example `cifar10-64k-bf16-plain-56-s0`."""
    return f"{config.study}-{config.net}-s{config.seed}"


def in_sweep() -> bool:
    """Return whether the agent of a W&B sweep has started this process, in which case W&B chooses the run's id."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def start_run(mode: str, folder: Path, **identity: Any) -> "wandb.Run | None":
    """Start a W&B run, offline if W&B cannot be reached. If that fails as well, return None, with a message."""
    import wandb

    attempts: list[Literal["online", "offline"]] = ["online", "offline"] if mode == "online" else ["offline"]
    for attempt in attempts:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                mode=attempt,
                dir=folder,
                settings=wandb.Settings(
                    silent=True,
                    console="off",
                    init_timeout=START_TIMEOUT,
                    finish_timeout=FINISH_TIMEOUT,
                    finish_timeout_raises=False,
                ),
                **identity,
            )
            run.define_metric("iteration")
            run.define_metric("*", step_metric="iteration")
        except Exception as error:  # an error of W&B must not stop training
            print(f"W&B is not used {attempt}: {describe_error(error)}", file=sys.stderr)
        else:
            return run
    return None


def describe_error(error: Exception) -> str:
    """Return the kind and the first line of an error."""
    return f"{type(error).__name__}: {first_line(error)}"


class TolerantWandbLogger(WandbLogger):
    """Lightning's `WandbLogger`, for which an error of W&B is no reason to stop training. It is reported once."""

    failed = False

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: W&B has got the configuration from `start_run`."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.failed:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:
            self.failed = True
            print(f"W&B failed and is no longer used: {describe_error(error)}", file=sys.stderr)


@contextmanager
def tracked(
    record: Record, config: RunConfig, mode: str, resume: str | None = "allow"
) -> Iterator[list[TolerantWandbLogger]]:
    """Make the W&B run of a record: log what the caller logs, and at the end the provenance and the final figures.

    Online, a resumed run continues its W&B run, and logs the rows since its checkpoint again. Offline, each restart
    writes another segment with the same id. A W&B sweep chooses the id itself. With `resume=None`, a W&B run with the
    same id is replaced.

    Yields:
        Loggers for `train_run`: one, or none if there is no W&B run.
    """
    run = None
    if mode != "off" and get_rank_info().rank == 0:
        run = start_run(
            mode,
            record.folder.parents[2] / WANDB_FOLDER,
            name=run_id(config),
            group=config.net,
            job_type="train",
            tags=[config.dataset, f"{config.iterations} iterations", *filter(None, [config.info.paper_tables])],
            config=asdict(config) | {"study": config.study, "net": config.net, "kind": config.kind},
            **({} if in_sweep() else {"id": run_id(config), "resume": resume}),
        )
    if run is None:
        yield []
        return
    logger = TolerantWandbLogger(experiment=run)
    try:
        yield [logger]
    finally:
        exit_code = 1
        try:
            try:
                recorded = record.read_as(config) or {"outcome": UNFINISHED}
                run.config.update({"provenance": recorded.get("provenance", {})}, allow_val_change=True)
                if recorded["outcome"] in ENDED:
                    final = {f"final/{key}": value for key, value in recorded.get("final", {}).items()}
                    run.summary.update({"outcome": recorded["outcome"], **final})
                    exit_code = 0
            finally:  # an unfinished W&B run would be continued by the next one of this process
                run.finish(exit_code=exit_code)
        except Exception as error:  # of W&B, or of a record that cannot be read, which the run itself has reported
            logger.failed = True
            print(f"W&B failed at the end of {config.name}: {describe_error(error)}", file=sys.stderr)
