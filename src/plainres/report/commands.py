"""The commands `plainres report` and `plainres claims`, which redraw and judge everything from records."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from plainres.cli import parse_options
from plainres.errors import UserError
from plainres.report.claims import judge_results
from plainres.report.claims_tables import claims_text
from plainres.report.document import update_readme, write_report
from plainres.report.imagenet import read_scores
from plainres.report.records import Study, find_studies, largest_study
from plainres.report.write import write_all


@dataclass(frozen=True)
class Redraw:
    """Redraw figures, tables, verdicts and the report from records."""

    results: tyro.conf.Positional[Path] = Path("results")
    """Results folder."""
    readme: Path | None = None
    """File in which the figure, table and verdict of the largest study are updated."""


@dataclass(frozen=True)
class Judge:
    """Judge the paper's claims on the records, and print the verdicts."""

    results: tyro.conf.Positional[Path] = Path("results")
    """Results folder."""


def report_main() -> int:
    """Run the command line of `plainres report`.

    Raises:
        UserError: If there are no records.
    """
    options = parse_options(Redraw, prog="plainres report")
    studies = write_all(options.results)
    _require_records(studies, options.results)
    for study in studies:
        print(
            f"{study.folder}: {len(study.runs)} finished, {len(study.partial)} partial, {len(study.diverged)} diverged"
        )
        for name, outcome, reason in study.others:
            print(f"  {name}: {outcome} {reason}".rstrip())
    for path in write_report(studies, options.results):
        print(path)
    front = largest_study(studies)
    if options.readme and front:
        update_readme(options.readme, front, studies)
    return 0


def claims_main() -> int:
    """Run the command line of `plainres claims`.

    Raises:
        UserError: If there are no records.
    """
    results = parse_options(Judge, prog="plainres claims").results
    studies = find_studies(results)
    _require_records(studies, results)
    print(claims_text(judge_results(studies, results)))
    return 0


def _require_records(studies: list[Study], results: Path) -> None:
    if not studies and not read_scores(results):
        raise UserError(f"no records below {results.absolute()}: train some with `make demo`")
