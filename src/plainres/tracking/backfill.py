"""The command `plainres backfill`, which sends recorded runs, their figures and their tables to W&B."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from plainres.cli import parse_options
from plainres.errors import UserError
from plainres.report import Results, Study
from plainres.report.tables import table_6
from plainres.report.write import FIGURES, IMAGENET_FIGURES
from plainres.tracking.runs import WANDB_FOLDER, describe_error, resolve_mode, run_id, start_run, tracked
from plainres.training import Record, RunConfig


@dataclass(frozen=True, kw_only=True)
class Options:
    """Send recorded runs, their figures and their tables to W&B."""

    results: tyro.conf.Positional[Path] = Path("results")
    """Results folder."""
    wandb: Literal["auto", "online", "offline"] = "auto"
    """auto: online if logged in, otherwise offline."""


def send_record(record: Record, config: RunConfig, mode: str) -> bool:
    """Make the W&B run of a record that has ended, replacing an earlier one; return whether W&B accepted it."""
    with tracked(record, config, mode, resume=None) as loggers:
        for logger in loggers:
            for row in record.read_rows():
                known = {key: value for key, value in row.items() if value == value}  # a cell without a value is NaN
                logger.log_metrics(known, step=int(row["iteration"]))
    return bool(loggers) and not loggers[0].failed


def track_report(study: Study, mode: str, folder: Path) -> bool:
    """Log the drawn figures of a study and its Table 6 to W&B; return whether W&B accepted everything.

    They form a W&B run of their own, `<study>-report`, which replaces an earlier one.
    """
    import wandb

    name = f"{study.name}-report"
    run = start_run(
        mode,
        folder,
        id=name,
        name=name,
        group="report",
        job_type="report",
        tags=[study.runs[0].config["dataset"], f"{study.iterations} iterations"],
        config={"study": study.name},
    )
    if run is None:
        return False
    paths = {figure: study.folder / f"{figure}.png" for figure in FIGURES | IMAGENET_FIGURES}
    images = {f"figures/{figure}": wandb.Image(str(path)) for figure, path in paths.items() if path.exists()}
    key, table = ("finals", study.finals) if study.is_imagenet else ("table6", table_6(study))
    try:
        try:
            run.log({key: wandb.Table(dataframe=table), **images})
        finally:
            run.finish()
    except Exception as error:  # the report has been written, whatever W&B says
        print(f"W&B failed for {name}: {describe_error(error)}", file=sys.stderr)
        return False
    return True


def main() -> int:
    """Send all records of a results folder; return 1 if W&B did not accept all of them."""
    options = parse_options(Options, prog="plainres backfill")
    mode = resolve_mode(options.wandb)
    if mode == "off":
        raise UserError("wandb is off (WANDB_MODE) or not installed: use --wandb online or --wandb offline")
    studies = Results(options.results).studies
    if not studies:
        raise UserError(f"{options.results.absolute()}: there are no records; train some, for example with `make demo`")
    folder = options.results / WANDB_FOLDER
    accepted = {}
    for study in studies:
        for run in study.runs + study.diverged:
            config = RunConfig(**run.config)
            accepted[run_id(config)] = send_record(run, config, mode)
        if study.runs:
            accepted[f"{study.name}-report"] = track_report(study, mode, folder)
    for name, success in accepted.items():
        print(f"{name}: {mode if success else 'failed'}")
    return 0 if all(accepted.values()) else 1
