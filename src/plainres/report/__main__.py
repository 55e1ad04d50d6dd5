"""Command line of the report: `plainres report [RESULTS]` redraws everything from records."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from plainres.cli import parse_options, run_report_command
from plainres.errors import UserError
from plainres.report.claims import judge_results
from plainres.report.claims_tables import claims_text, lost_claims, save_claims
from plainres.report.document import write_report
from plainres.report.imagenet import read_scores
from plainres.report.records import Study
from plainres.report.write import front_study, update_readme, write_all


def print_claims(results: Path, studies: list[Study]) -> int:
    """Print the verdicts. Return 1 if a claim has lost the level that claims.json records, and else update that."""
    verdicts = judge_results(studies, results)
    print(claims_text(verdicts))
    path = results / "claims.json"
    if lost := lost_claims(verdicts, path):
        print(
            f"error: {path} has a higher level for {', '.join(lost)}: if that follows from new records or from a "
            "rule that was changed on purpose, say so in report/ledger.py and delete the file",
            file=sys.stderr,
        )
        return 1
    save_claims(verdicts, path)
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


@dataclass(frozen=True)
class Judge:
    """Judge the paper's claims on the records, and print the verdicts. Fails if a claim has lost its level."""

    results: tyro.conf.Positional[Path] = Path("results")
    """Results folder."""


def main() -> int:
    """Run the command line.

    Returns:
        Exit status: 1 if a claim has lost its level, else 0.

    Raises:
        UserError: If there are no records.
    """
    options = parse_options(Redraw, prog="plainres report")
    return redraw(options)


def claims_main() -> int:
    """Run the command line of `plainres claims`; see `main`."""
    options = parse_options(Judge, prog="plainres claims")
    return redraw(Redraw(options.results, claims=True))


def redraw(options: Redraw) -> int:
    """Redraw what the options say; see `main`."""
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
