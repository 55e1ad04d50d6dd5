"""`python -m plainres.tracking.backfill [RESULTS]`: mirror recorded runs, their figures and tables into W&B."""

import argparse
import sys
from pathlib import Path

from plainres.errors import UserError
from plainres.report import Study, find_studies
from plainres.report.tables import table_6
from plainres.report.write import FIGURES, IMAGENET_FIGURES
from plainres.tracking.mirror import MIRRORED, Connection, mirror_record, resolve_mode, run_id
from plainres.training import Record, RunConfig


def mirror_report(study: Study, mode: str, folder: Path) -> bool:
    """Log a study's drawn figures as images and its Table 6 as a W&B table; whether W&B took them.

    They go into one W&B run, `<study>-report`, that is written anew each time.

    Args:
        study: with its figures drawn.
        mode: "online" or "offline".
        folder: where W&B keeps its files.
    """
    name = f"{study.name}-report"
    told = {
        "tags": [study.runs[0].config["dataset"], f"{study.iterations} iterations"],
        "config": {"study": study.name},
    }
    connection = Connection(mode, folder, id=name, name=name, group="report", job_type="report", **told)

    def log(run) -> None:
        import wandb

        drawn = {name: study.folder / f"{name}.png" for name in FIGURES | IMAGENET_FIGURES}
        images = {f"figures/{name}": wandb.Image(str(path)) for name, path in drawn.items() if path.exists()}
        name, table = ("finals", study.finals()) if study.is_imagenet else ("table6", table_6(study))
        run.log({name: wandb.Table(dataframe=table), **images})

    connection.do(log)
    connection.close()
    return not connection.failed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m plainres.tracking.backfill", description="Mirror recorded runs into W&B."
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"), help="results folder")
    parser.add_argument("--wandb", default="auto", help="auto, online or offline")
    options = parser.parse_args()
    try:
        mode = resolve_mode(options.wandb)
        if mode == "off":
            raise UserError("W&B is off here (WANDB_MODE, or wandb is not installed): say --wandb online or offline")
        studies = find_studies(options.results)
        if not studies:
            raise UserError(f"no records below {options.results.absolute()}: train some with `make demo`")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = options.results / MIRRORED
    taken = {}
    for study in studies:
        for run in study.runs + study.diverged:
            config = RunConfig(**run.config)
            taken[run_id(config)] = mirror_record(Record(options.results, config), mode, folder)
        if study.runs:
            taken[f"{study.name}-report"] = mirror_report(study, mode, folder)
    for name, ok in taken.items():
        print(f"{name}: {mode if ok else 'failed'}")
    return 0 if all(taken.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
