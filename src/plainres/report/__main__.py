"""`python -m plainres.report [RESULTS] [--readme README.md]`: redraw figures, tables and verdicts from records."""

import argparse
import sys
from pathlib import Path

from plainres.report.write import front_study, update_readme, write_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m plainres.report", description="Redraw everything from records.")
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"), help="results folder")
    parser.add_argument("--readme", type=Path, help="put the best study's figure and table into this file")
    options = parser.parse_args()
    studies = write_all(options.results)
    if not studies:
        print(f"error: no records below {options.results.absolute()}: train some with `make demo`", file=sys.stderr)
        return 2
    for study in studies:
        print(f"{study.folder}: {len(study.runs)} finished, {len(study.others)} not")
        for name, outcome, reason in study.others:
            print(f"  {name}: {outcome} {reason}")
    front = front_study(studies)
    if options.readme and front:
        update_readme(options.readme, front)
    return 0


if __name__ == "__main__":
    sys.exit(main())
