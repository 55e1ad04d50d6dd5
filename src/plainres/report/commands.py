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
from plainres.report.records import Results, largest_study
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
    results = write_all(options.results)
    _require_records(results)
    for study in results.studies:
        print(
            f"{study.folder}: {len(study.runs)} finished, {len(study.partial)} partial, {len(study.diverged)} diverged"
        )
        for name, outcome, reason in study.others:
            print(f"  {name}: {outcome} {reason}".rstrip())
    for path in write_report(results):
        print(path)
    front = largest_study(results.studies)
    if options.readme and front:
        update_readme(options.readme, front, results)
    return 0


def claims_main() -> int:
    """Run the command line of `plainres claims`.

    Raises:
        UserError: If there are no records.
    """
    results = Results(parse_options(Judge, prog="plainres claims").results)
    _require_records(results)
    print(claims_text(judge_results(results)))
    return 0


def _require_records(results: Results) -> None:
    if not results.studies and not read_scores(results.folder):
        raise UserError(f"no records below {results.folder.absolute()}: train some with `make demo`")
