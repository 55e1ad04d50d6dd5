"""`python -m plainres.backfill [RESULTS]`: mirror recorded runs into W&B, wherever they were trained."""

import argparse
import sys
from pathlib import Path

from plainres.errors import UserError
from plainres.report import find_studies
from plainres.training import RunConfig
from plainres.training.mirror import Mirror, choose_mode, run_id


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m plainres.backfill", description="Mirror recorded runs into W&B.")
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"), help="results folder")
    parser.add_argument("--wandb", default="auto", help="auto, online or offline")
    options = parser.parse_args()
    try:
        mode = choose_mode(options.wandb)
        if mode == "off":
            raise UserError("W&B is off here (WANDB_MODE, or wandb is not installed): say --wandb online or offline")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    failed = 0
    for study in find_studies(options.results):
        for run in study.runs + study.diverged:
            config = RunConfig(**run.config)
            mirror = Mirror(config, mode, options.results / ".wandb")
            mirror.start(run.config | {"provenance": run.info["provenance"]})
            mirror.finish(run.metrics.to_dict("records"), run.info)
            failed += mirror.failed
            print(f"{run_id(config)}: {'failed' if mirror.failed else mode}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
