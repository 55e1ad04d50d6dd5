"""Command line of the report: `python -m plainres.report [RESULTS]` redraws everything from records."""

import argparse
import sys
from pathlib import Path

from plainres.report import claims
from plainres.report.document import write_report
from plainres.report.imagenet import read_scores
from plainres.report.records import Study
from plainres.report.write import front_study, update_readme, write_all


def print_claims(results: Path, studies: list[Study]) -> int:
    """Print the verdicts; status 1 if one that claims.json has as reproduced no longer is, else it is updated."""
    verdicts = claims.judge(studies, read_scores(results))
    for claim in claims.CLAIMS:
        verdict = verdicts[claim.number]
        print(f"{claim.number:2}. {claim.text} ({claim.evidence})")
        print(f"    {verdict.status.upper()}{f', by {verdict.basis}' if verdict.basis else ''}: {verdict.effect}\n")
    path = results / "claims.json"
    lost = claims.lost(verdicts, path)
    if lost:
        numbers = ", ".join(map(str, lost))
        print(f"error: no longer reproduced, though {path} says so: claim {numbers}", file=sys.stderr)
        return 1
    claims.save(verdicts, path)
    return 0


def main() -> int:
    """Run the command line and return its exit status: 2 if there are no records, 1 if a claim is lost, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m plainres.report", description="Redraw figures, tables, verdicts and the report from records."
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"), help="results folder")
    parser.add_argument("--readme", type=Path, help="update the figure, table and verdict in this file")
    parser.add_argument("--claims", action="store_true", help="only judge the paper's claims and print the verdicts")
    options = parser.parse_args()
    studies = write_all(options.results, draw=not options.claims)
    if not studies and not read_scores(options.results):
        print(f"error: no records below {options.results.absolute()}: train some with `make demo`", file=sys.stderr)
        return 2
    if options.claims:
        return print_claims(options.results, studies)
    for study in studies:
        print(
            f"{study.folder}: {len(study.runs)} finished, {len(study.partial)} partial, {len(study.diverged)} diverged"
        )
        for name, outcome, reason in study.others:
            print(f"  {name}: {outcome} {reason}".rstrip())
    for path in write_report(studies, options.results):
        print(path)
    front = front_study(studies)
    if options.readme and front:
        update_readme(options.readme, front)
    return 0


if __name__ == "__main__":
    sys.exit(main())
