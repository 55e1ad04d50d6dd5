"""Writing figures, tables and verdicts from records into the results folder."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from plainres.files import write_atomic
from plainres.report import architecture, imagenet
from plainres.report.claims import judge_results
from plainres.report.degradation import verdict
from plainres.report.drawing import in_our_style
from plainres.report.figures import figure_1, figure_6, figure_budgets
from plainres.report.first_updates import figure_first_updates
from plainres.report.forest import figure_claims
from plainres.report.layer_figures import convergence_problem, figure_7, gradients, weights
from plainres.report.records import Study, budget_series, find_studies
from plainres.report.tables import partial_markdown, table_6, table_6_markdown

FIGURES = {
    "figure1": figure_1,
    "figure6": figure_6,
    "figure7": figure_7,
    "gradients": gradients,
    "weights": weights,
    "convergence_problem": convergence_problem,
}
IMAGENET_FIGURES = {"figure4": imagenet.figure_4, "gradients": gradients, "weights": weights}


@in_our_style
def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as `<stem>.png` and `<stem>.svg`, with the same bytes each time, close it, and return the paths."""
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    with plt.rc_context({"svg.hashsalt": stem.name}):
        pixels, reduced, drawing = io.BytesIO(), io.BytesIO(), io.BytesIO()
        figure.savefig(pixels, format="png")
        figure.set_layout_engine("none")  # keeps the places that it has found, which takes as long as drawing
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


def write_study(study: Study) -> list[Path]:
    """Write the figures, tables and verdict of a study into its folder, from its records alone, and return all paths.

    The study has at least one finished or partial run. Runs in progress are drawn in the figures and listed in
    `partial.md`. A study without finished runs has no other table.
    """
    drawn = {name: draw(study) for name, draw in (IMAGENET_FIGURES if study.is_imagenet else FIGURES).items()}
    written = [path for name, figure in drawn.items() if figure for path in save_figure(figure, study.folder / name)]
    texts = {"partial.md": partial_markdown(study)}
    if study.runs:
        texts["runs.csv"] = study.finals().to_csv(index=False, float_format="%.6g")
    if study.runs and study.is_imagenet:
        texts["finals.md"] = imagenet.finals_markdown(study)
    elif study.runs:
        texts["table6.md"] = table_6_markdown(study)
        texts["table6.csv"] = table_6(study).to_csv(index=False)
        texts["verdict.md"] = verdict(study)
    for path, text in ((study.folder / name, text) for name, text in texts.items()):
        if text:
            write_atomic(path, text)
            written.append(path)
        else:
            path.unlink(missing_ok=True)
    return written


def study_markdown(study: Study) -> str:
    """Return the table of final errors, the verdict and the runs in progress of a study as Markdown."""
    parts = [partial_markdown(study)]
    if study.runs and study.is_imagenet:
        parts = [imagenet.finals_markdown(study), *parts]
    elif study.runs:
        parts = [table_6_markdown(study), verdict(study, described=False), *parts]
    return "\n".join(filter(None, parts))


def write_budgets(studies: Sequence[Study], results: Path) -> None:
    """Draw error against budget, one figure per series of studies with several budgets; see `budget_series`."""
    for name, several in budget_series(studies).items():
        if figure := figure_budgets(several):
            save_figure(figure, results / f"budgets-{name}")


def write_architecture(results: Path) -> list[Path]:
    """Write Table 1 and Figure 3 from `complexity/nets.json`, if the results folder has it, and return the paths."""
    folder = results / architecture.FOLDER
    nets = architecture.read_nets(folder)
    if not nets:
        return []
    write_atomic(folder / "table1.md", architecture.table_1_markdown(nets))
    return [folder / "table1.md", *save_figure(architecture.figure_3(nets), folder / "figure3")]


def write_all(results: Path) -> list[Study]:
    """Draw every study that has a finished or partial run, and what concerns several, and return all, by name."""
    studies = find_studies(results)
    for study in studies:
        if study.shown:
            write_study(study)
    write_budgets(studies, results)
    write_architecture(results)
    if scores := imagenet.read_scores(results):
        write_atomic(results / imagenet.SCORES / "tables.md", imagenet.tables_markdown(scores))
    drawn = {"claims": figure_claims(judge_results(studies, results)), "first_updates": figure_first_updates(studies)}
    for name, figure in drawn.items():
        if figure:
            save_figure(figure, results / name)
    return studies
