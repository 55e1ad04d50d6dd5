"""Command line of the report: `python -m plainres.report [RESULTS]` redraws everything from records."""

import argparse
import json
import sys
from pathlib import Path

from plainres.report import claims
from plainres.report.document import write_report
from plainres.report.imagenet import read_scores
from plainres.report.parts import INDICATIVE, REPRODUCED
from plainres.report.records import Study
from plainres.report.verdicts import Verdict
from plainres.report.write import front_study, update_readme, write_all


def lost_claims(verdicts: dict[str, Verdict], path: Path) -> list[str]:
    """Return the claims that an earlier `save_levels` had as reproduced or indicative and that have lost that level."""
    if not path.exists():
        return []
    before = json.loads(path.read_text())
    kept = {REPRODUCED: (REPRODUCED,), INDICATIVE: (INDICATIVE, REPRODUCED)}
    return [id for id, verdict in verdicts.items() if verdict.level not in kept.get(before.get(id), (verdict.level,))]


def save_levels(verdicts: dict[str, Verdict], path: Path) -> None:
    """Keep the levels for the next comparison."""
    path.write_text(json.dumps({id: verdict.level for id, verdict in verdicts.items()}, indent=2) + "\n")


def print_claims(results: Path, studies: list[Study]) -> int:
    """Print the verdicts. Return 1 if a claim has lost the level that claims.json records, and else update that."""
    verdicts = claims.judge_results(studies, results)
    print(claims.claims_text(verdicts))
    path = results / "claims.json"
    lost = lost_claims(verdicts, path)
    if lost:
        print(
            f"error: {path} has a higher level for claim {', '.join(lost)}: if a test was changed on purpose, say so "
            "in report/ledger.py and delete the file",
            file=sys.stderr,
        )
        return 1
    save_levels(verdicts, path)
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
