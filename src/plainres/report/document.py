"""Texts from templates: the report as one Markdown file, beside the page of `report.page`, and the README's section."""

import re
from importlib.resources import files
from pathlib import Path

import jinja2

from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.report import architecture, imagenet, tables
from plainres.report.claims import judge_results
from plainres.report.claims_tables import claims_markdown
from plainres.report.degradation import finding, verdict
from plainres.report.page import write_page
from plainres.report.records import Results, Study
from plainres.report.verdicts import Judged

CAPTIONS = {
    "figure1": "Figure 1: training and test error of the shallowest and deepest plain net.",
    "figure6": "Figure 6: training error (dashed) and test error (bold) against iterations.",
    "figure7": "Figure 7: standard deviation of layer responses, in layer order and sorted.",
    "gradients": "Gradient norms and forward variances, layer by layer.",
    "weights": "Norms of weights relative to their initial norms, and angles to the initial weights, layer by layer.",
    "convergence_problem": "Plain nets with and without BN and He initialization.",
}
README_MARKS = ("<!-- study: drawn by `make figures` -->", "<!-- end of study -->")


def _render(template: str, **content: object) -> str:
    """Fill in a Markdown template. Parts of it that stay empty leave one empty line."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"table": tables.markdown_table, "thousands": "{:,}".format}
    return re.sub(r"\n{3,}", "\n\n", environment.from_string(template).render(content)).strip() + "\n"


def _read(template: str) -> str:
    return (files(__package__) / template).read_text(encoding="utf-8")


def report_markdown(results: Results) -> str:
    """The report on all studies of CIFAR-10, largest budget first, and of ImageNet. Paths are relative to its place."""
    root, studies = results.folder, results.studies
    cifar = [study for study in studies if study.shown and not study.is_imagenet and not study.info.warning]
    cifar.sort(key=lambda study: -study.iterations)
    return _render(
        _read("report.md.jinja").replace("\n", "\n\n"),
        tables=tables,
        architecture=architecture,
        imagenet=imagenet,
        root=root,
        claims=claims_markdown(judge_results(results)),
        cifar=cifar,
        captions=CAPTIONS,
        verdict=verdict,
        budgets=[path.stem for path in sorted(root.glob("budgets-cifar10-*.png"))],
        precisions=tables.precision_differences([study for study in cifar if study.runs]),
        nets=architecture.read_nets(root / architecture.FOLDER),
        photographs=[study for study in studies if study.runs and study.is_imagenet],
        scores=imagenet.tables_markdown(imagenet.read_scores(root)),
        unshown="\n".join(
            f"- {study.name}/{name}: {outcome}, {reason}"
            for study in studies
            if not study.runs
            for name, outcome, reason in study.others
        ),
        ledger=_read("ledger.md"),
    )


def write_report(results: Results) -> list[Path]:
    """Write REPORT.md and report.html into the results folder."""
    markdown = results.folder / "REPORT.md"
    write_atomic(markdown, report_markdown(results))
    return [markdown, write_page(results)]


def _effect(part: Judged, full: bool) -> str:
    """Return the effect at the paper's budget, or that of most seeds below it. Empty if there is none."""
    effects = [effect for effect in part.effects if (effect.share >= 1) is full]
    best = max(effects, key=lambda effect: (effect.interval.n, effect.iterations), default=None)
    if best is None:
        return ""
    return str(best.interval) if best.runs else f"{best.interval.mean:+.2f} (exact)"


def readme_section(study: Study, root: Path, results: Results) -> str:
    """Return the README's section on what a study found, with the verdicts on all; paths are relative to `root`."""
    folder = study.folder.resolve().relative_to(root.resolve())
    verdicts = judge_results(results)
    rows = []
    for name, judged in verdicts.items():
        part = next((part for part in judged.parts if part.effects), None)
        if part:
            unit = "" if part.unit == "points" else f" ({part.unit})"
            effects = {"full": _effect(part, True), "shorter": _effect(part, False)}
            rows.append({"claim": f"{name}{unit}", "level": judged.level, **effects})
    table = tables.table_6(study)
    compared = table[table["difference"] != "-"]
    return _render(
        _read("readme.md.jinja"),
        study=study,
        folder=folder.as_posix(),
        report=(folder.parent / "REPORT.md").as_posix(),
        findings=finding(study),
        deviations=[f"{row.net} {row.difference}" for row in compared.itertuples()],
        rows=rows,
        untested=len(verdicts) - len(rows),
    )


def update_readme(readme: Path, study: Study, results: Results) -> None:
    """Replace what is between the marks of a README by the section on a study, see `readme_section`.

    Raises:
        UserError: If it cannot be read, does not have both marks in order, or is not above the study's folder.
    """
    begin, end = README_MARKS
    try:
        before, _, rest = readme.read_text(encoding="utf-8").partition(begin)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{readme}: cannot be read ({error})") from None
    _, found, after = rest.partition(end)
    if not found:
        raise UserError(f"{readme}: must have the lines {begin!r} and {end!r} in this order")
    if not study.folder.resolve().is_relative_to(readme.parent.resolve()):
        raise UserError(f"{readme}: must be in a folder above the records, which are in {study.folder}")
    write_atomic(readme, f"{before}{begin}\n{readme_section(study, readme.parent, results)}{end}{after}")
