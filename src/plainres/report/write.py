"""Writing figures, tables and verdicts from records into the results folder."""

import io
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jinja2
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from plainres.catalog.datasets import CIFAR10
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.report import architecture, imagenet
from plainres.report.claims import judge_results
from plainres.report.degradation import finding, verdict
from plainres.report.drawing import in_our_style
from plainres.report.figures import figure_1, figure_6, figure_budgets
from plainres.report.forest import figure_claims
from plainres.report.layer_figures import convergence_problem, figure_7, gradients, weights
from plainres.report.partial import partial_markdown
from plainres.report.records import Study, budget_series, find_studies
from plainres.report.results import largest_study
from plainres.report.tables import table_6, table_6_markdown
from plainres.report.verdicts import Judged

FIGURES = {
    "figure1": figure_1,
    "figure6": figure_6,
    "figure7": figure_7,
    "gradients": gradients,
    "weights": weights,
    "convergence_problem": convergence_problem,
}
IMAGENET_FIGURES = {"figure4": imagenet.figure_4, "gradients": gradients, "weights": weights}
README_MARKS = ("<!-- study: drawn by `make figures` -->", "<!-- end of study -->")


@in_our_style
def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as PNG and SVG, with the same bytes each time, and close it.

    Args:
        figure: Figure to save.
        stem: Path of the files without suffix.

    Returns:
        The two paths.
    """
    png, svg = (stem.with_suffix(suffix) for suffix in (".png", ".svg"))
    with plt.rc_context({"svg.hashsalt": stem.name}):
        pixels, reduced, drawing = io.BytesIO(), io.BytesIO(), io.BytesIO()
        figure.savefig(pixels, format="png")
        # A palette makes the files three times smaller. Pillow's default method would drop the colors of few pixels.
        quantized = (
            Image.open(pixels).convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        quantized.save(reduced, "PNG", optimize=True)
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    plt.close(figure)
    write_atomic(png, reduced.getvalue())
    write_atomic(svg, _number_names(drawing.getvalue().decode()))
    return [png, svg]


def _number_names(svg: str) -> str:
    """Number the clip paths and markers of an SVG file in their order.

    Matplotlib names them by hashes of coordinates, whose last digit depends on the CPU.
    """
    names = dict.fromkeys(re.findall(r'(?<= id=")[a-z][0-9a-f]{10}(?=")', svg))
    numbers = {name: f"{name[0]}{number}" for number, name in enumerate(names)}
    return re.sub(r'(?<=[#"])[a-z][0-9a-f]{10}(?=[")])', lambda found: numbers.get(found[0], found[0]), svg)


def save_figures(study: Study) -> list[Path]:
    """Draw every figure that a study has records for into its folder, and return the paths."""
    drawn = {name: draw(study) for name, draw in (IMAGENET_FIGURES if study.is_imagenet else FIGURES).items()}
    return [path for name, figure in drawn.items() if figure for path in save_figure(figure, study.folder / name)]


def write_budgets(studies: Sequence[Study], results: Path) -> None:
    """Draw error against budget, one figure per series of studies with several budgets; see `budget_series`.

    Args:
        studies: Studies from `find_studies`.
        results: Results folder, which the figures go into.
    """
    for name, several in budget_series(studies).items():
        figure = figure_budgets(several)
        if figure:
            save_figure(figure, results / f"budgets-{name}")


def write_study(study: Study) -> list[Path]:
    """Write the figures, tables and verdict of a study into its folder, from its records alone.

    Runs in progress are drawn in the figures and listed in `partial.md`. A study without finished runs has no other
    table.

    Args:
        study: Study with at least one finished or partial run.

    Returns:
        The paths of all files.
    """
    texts = {}
    if study.runs:
        texts["runs.csv"] = study.finals().to_csv(index=False, float_format="%.6g")
    if study.runs and study.is_imagenet:
        texts["finals.md"] = imagenet.finals_markdown(study)
    elif study.runs:
        texts |= {
            "table6.md": table_6_markdown(study),
            "table6.csv": table_6(study).to_csv(index=False),
            "verdict.md": verdict(study),
        }
    if study.partial:
        texts["partial.md"] = partial_markdown(study)
    else:
        (study.folder / "partial.md").unlink(missing_ok=True)
    written = save_figures(study)
    for name, text in texts.items():
        path = study.folder / name
        write_atomic(path, text)
        written.append(path)
    return written


def write_architecture(results: Path) -> list[Path]:
    """Write Table 1 and Figure 3 from `complexity/nets.json`, if the results folder has it, and return the paths."""
    folder = results / architecture.FOLDER
    if not (folder / "nets.json").exists():
        return []
    nets = architecture.read_nets(folder)
    write_atomic(folder / "table1.md", architecture.table_1_markdown(nets))
    return [folder / "table1.md", *save_figure(architecture.figure_3(nets), folder / "figure3")]


def study_markdown(study: Study) -> str:
    """Return the table of final errors, the verdict and the runs in progress of a study as Markdown."""
    parts = [partial_markdown(study)] if study.partial else []
    if not study.runs:
        return "\n".join(parts)
    if study.is_imagenet:
        return "\n".join([imagenet.finals_markdown(study), *parts])
    return "\n".join([table_6_markdown(study), verdict(study, described=False), *parts])


def write_scores(results: Path) -> list[Path]:
    """Write Tables 2 to 5 from the scores below a results folder, if there are any, and return the paths."""
    scores = imagenet.read_scores(results)
    if not scores:
        return []
    path = results / imagenet.SCORES / "tables.md"
    write_atomic(path, imagenet.tables_markdown(scores))
    return [path]


def front_study(studies: Sequence[Study]) -> Study | None:
    """Return the study that the README shows, which is the largest one on CIFAR-10. None if no run has finished."""
    return largest_study(studies, CIFAR10.name)


def _effect(part: Judged, full: bool) -> str:
    """Return the effect at the paper's budget, or that of most seeds below it. Empty if there is none."""
    effects = [effect for effect in part.effects if (effect.share >= 1) is full]
    best = max(effects, key=lambda effect: (effect.interval.n, effect.iterations), default=None)
    if best is None:
        return ""
    return str(best.interval) if best.runs else f"{best.interval.mean:+.2f} (exact)"


def readme_section(study: Study, root: Path, studies: Sequence[Study]) -> str:
    """Return the README's section on what was found, from the template `readme.md.jinja`.

    Args:
        study: Study to show, from `front_study`.
        root: Folder of the README. Paths in the section are relative to it.
        studies: All studies.
    """
    folder = study.folder.resolve().relative_to(root.resolve())
    verdicts = judge_results(studies, study.folder.resolve().parent)
    rows = []
    for name, judged in verdicts.items():
        part = next((part for part in judged.parts if part.effects), None)
        if part:
            unit = "" if part.unit == "points" else f" ({part.unit})"
            effects = {"full": _effect(part, True), "shorter": _effect(part, False)}
            rows.append({"claim": f"{name}{unit}", "level": judged.level, **effects})
    table = table_6(study)
    compared = table[table["difference"] != "-"] if study.iterations >= study.info.paper_iterations else table[:0]
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=False)
    environment.filters["thousands"] = "{:,}".format
    return environment.from_string((files(__package__) / "readme.md.jinja").read_text(encoding="utf-8")).render(
        study=study,
        folder=folder.as_posix(),
        report=(folder.parent / "REPORT.md").as_posix(),
        findings=finding(study),
        deviations=[f"{row.net} {row.difference}" for row in compared.itertuples()],
        rows=rows,
        untested=len(verdicts) - len(rows),
    )


def update_readme(readme: Path, study: Study, studies: Sequence[Study]) -> None:
    """Replace what is between the marks of a README by the section on a study.

    Args:
        readme: Path of the README.
        study: Study to show, from `front_study`.
        studies: All studies.

    Raises:
        UserError: If there is no such file, if it is not encoded in UTF-8, if it does not have both marks once and in
            order, or if the study is not below its folder.
    """
    begin, end = README_MARKS
    try:
        text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    except UnicodeDecodeError as error:
        raise UserError(f"{readme}: must be encoded in UTF-8 ({error})") from None
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"{readme}: must have the lines {begin!r} and {end!r} once and in this order")
    if not study.folder.resolve().is_relative_to(readme.parent.resolve()):
        raise UserError(f"{readme}: must be in a folder above the records, which are in {study.folder}")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    write_atomic(readme, f"{before}{begin}\n{readme_section(study, readme.parent, studies)}\n{end}{after}")


def write_all(results: Path) -> list[Study]:
    """Redraw every study of a results folder that has a finished or partial run.

    Args:
        results: Results folder.

    Returns:
        All studies, ordered by name.
    """
    studies = find_studies(results)
    for study in studies:
        if study.runs or study.partial:
            write_study(study)
    write_budgets(studies, results)
    write_architecture(results)
    write_scores(results)
    if claims_plot := figure_claims(judge_results(studies, results)):
        save_figure(claims_plot, results / "claims")
    return studies
