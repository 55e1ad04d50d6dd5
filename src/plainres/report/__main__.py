"""Command line of the report: `python -m plainres.report [RESULTS]` redraws everything from records."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from plainres.cli import run_report_command
from plainres.errors import UserError
from plainres.files import read_json, write_atomic
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
    before = read_json(path)
    kept = {REPRODUCED: (REPRODUCED,), INDICATIVE: (INDICATIVE, REPRODUCED)}
    return [id for id, verdict in verdicts.items() if verdict.level not in kept.get(before.get(id), (verdict.level,))]


def save_levels(verdicts: dict[str, Verdict], path: Path) -> None:
    """Keep the levels for the next comparison."""
    write_atomic(path, json.dumps({id: verdict.level for id, verdict in verdicts.items()}, indent=2) + "\n")


def print_claims(results: Path, studies: list[Study]) -> int:
    """Print the verdicts. Return 1 if a claim has lost the level that claims.json records, and else update that."""
    verdicts = claims.judge_results(studies, results)
    print(claims.claims_text(verdicts))
    path = results / "claims.json"
    lost = lost_claims(verdicts, path)
    if lost:
        print(
            f"error: {path} has a higher level for claim {', '.join(lost)}: if that follows from new records or from a "
            "test that was changed on purpose, say so in report/ledger.py and delete the file",
            file=sys.stderr,
        )
        return 1
    save_levels(verdicts, path)
    return 0


@dataclass(frozen=True)
class Redraw:
    """Redraw figures, tables, verdicts and the report from records."""

    results: tyro.conf.Positional[Path] = Path("results")
    """Results folder."""
    readme: Path | None = None
    """File in which the figure, table and verdict of the largest study are updated."""
    claims: bool = False
    """Only judge the paper's claims and print the verdicts."""


def main() -> int:
    """Run the command line.

    Returns:
        Exit status: 1 if a claim has lost its level, else 0.

    Raises:
        UserError: If there are no records.
    """
    options = tyro.cli(Redraw, prog="python -m plainres.report")
    studies = write_all(options.results, draw=not options.claims)
    if not studies and not read_scores(options.results):
        raise UserError(f"no records below {options.results.absolute()}: train some with `make demo`")
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
        update_readme(options.readme, front, studies)
    return 0


if __name__ == "__main__":
    run_report_command(main)
