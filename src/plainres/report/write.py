"""Writing figures, tables and verdicts from records into the results folder."""

import io
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from plainres.files import write_atomic
from plainres.report import architecture, imagenet
from plainres.report.claims import judge_results
from plainres.report.claims_tables import save_claims
from plainres.report.degradation import verdict
from plainres.report.drawing import in_our_style
from plainres.report.figures import figure_1, figure_6, figure_budgets
from plainres.report.first_updates import figure_first_updates
from plainres.report.forest import figure_claims
from plainres.report.layer_figures import convergence_problem, figure_7, gradients, weights
from plainres.report.records import Results, Study, budget_series
from plainres.report.tables import table_6_markdown

FIGURES = {
    "figure1": figure_1,
    "figure6": figure_6,
    "figure7": figure_7,
    "gradients": gradients,
    "weights": weights,
    "convergence_problem": convergence_problem,
}
IMAGENET_FIGURES = {"figure4": imagenet.figure_4}


@in_our_style
def save_figure(figure: Figure, path: Path) -> Path:
    """Save a figure as PNG, with the same bytes each time, close it, and return the path."""
    pixels, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(pixels, format="png")
    plt.close(figure)
    # A palette makes the files three times smaller. Pillow's default method would drop the colors of few pixels.
    image = Image.open(pixels).convert("RGB")
    image.quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(reduced, "PNG", optimize=True)
    write_atomic(path, reduced.getvalue())
    return path


def write_study(study: Study) -> list[Path]:
    """Write the figures of a study, and `study.md` if a run has finished, into its folder, and return all paths.

    The study has at least one finished or partial run. Figures show runs in progress, too.
    """
    drawn = {name: draw(study) for name, draw in (IMAGENET_FIGURES if study.is_imagenet else FIGURES).items()}
    paths = [save_figure(figure, study.folder / f"{name}.png") for name, figure in drawn.items() if figure]
    if study.runs:
        paths.append(study.folder / "study.md")
        write_atomic(paths[-1], study_markdown(study))
    return paths


def study_markdown(study: Study) -> str:
    """Return the table of final errors of a study with finished runs, and its verdict, as Markdown."""
    if study.is_imagenet:
        return imagenet.finals_markdown(study)
    return f"{table_6_markdown(study)}\n{verdict(study, described=False)}"


def write_budgets(results: Results) -> None:
    """Draw error against budget, one figure per series of studies with several budgets; see `budget_series`."""
    for name, several in budget_series(results.studies).items():
        if figure := figure_budgets(several):
            save_figure(figure, results.folder / f"budgets-{name}.png")


def write_architecture(results: Path) -> None:
    """Write Table 1 and Figure 3 from `complexity/nets.json`, if the results folder has it."""
    folder = results / architecture.FOLDER
    if nets := architecture.read_nets(folder):
        write_atomic(folder / "table1.md", architecture.table_1_markdown(nets))
        save_figure(architecture.figure_3(nets), folder / "figure3.png")


def write_all(folder: Path) -> Results:
    """Draw every study of a results folder that has a finished or partial run, and what concerns several."""
    results = Results(folder)
    for study in results.studies:
        if study.shown:
            write_study(study)
    write_budgets(results)
    write_architecture(folder)
    if scores := imagenet.read_scores(folder):
        write_atomic(folder / imagenet.SCORES / "tables.md", imagenet.tables_markdown(scores))
    verdicts = judge_results(results)
    save_claims(verdicts, folder / "claims.json")
    drawn = {"claims": figure_claims(verdicts), "first_updates": figure_first_updates(results.studies)}
    for name, figure in drawn.items():
        if figure:
            save_figure(figure, folder / f"{name}.png")
    return results
