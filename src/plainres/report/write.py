"""Redrawing everything from records."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from plainres.catalog.datasets import CIFAR10
from plainres.report import architecture, imagenet
from plainres.report.claims import judge_results
from plainres.report.degradation import verdict
from plainres.report.figures import figure_1, figure_6, figure_budgets
from plainres.report.forest import figure_claims
from plainres.report.layer_figures import convergence_problem, figure_7, gradients
from plainres.report.records import Study, find_studies
from plainres.report.tables import table_6, table_6_markdown

FIGURES = {
    "figure1": figure_1,
    "figure6": figure_6,
    "figure7": figure_7,
    "gradients": gradients,
    "convergence_problem": convergence_problem,
}
IMAGENET_FIGURES = {"figure4": imagenet.figure_4, "gradients": gradients}
README_MARKS = ("<!-- study: drawn by `make figures` -->", "<!-- end of study -->")


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as PNG and SVG, byte for byte alike each time, and close it."""
    paths = []
    with plt.rc_context({"svg.hashsalt": stem.name, "svg.fonttype": "none"}):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            paths.append(stem.with_suffix(suffix))
            figure.savefig(paths[-1], dpi=150, metadata=metadata)
    plt.close(figure)
    return paths


def save_figures(study: Study) -> list[Path]:
    """Draw every figure that the study has records for into its folder."""
    drawn = {name: draw(study) for name, draw in (IMAGENET_FIGURES if study.is_imagenet else FIGURES).items()}
    return [path for name, figure in drawn.items() if figure for path in save_figure(figure, study.folder / name)]


def write_budgets(studies: Sequence[Study], results: Path) -> None:
    """Draw the figures of error against budget: one for each data set, split and precision with several budgets."""
    series: dict[str, list[Study]] = {}
    for study in studies:
        if not study.runs or study.is_imagenet:
            continue
        config = study.runs[0].config
        series.setdefault(f"budgets-{config['dataset']}-{config['train_set']}-{config['precision']}", []).append(study)
    for name, several in series.items():
        figure = figure_budgets(several)
        if figure:
            save_figure(figure, results / name)


def write_study(study: Study) -> list[Path]:
    """Write a study's figures, tables, runs.csv and verdict into its folder, from its records alone."""
    texts = {"runs.csv": study.finals().to_csv(index=False, float_format="%.6g")}
    if study.is_imagenet:
        texts["finals.md"] = imagenet.finals_markdown(study)
    else:
        texts |= {
            "table6.md": table_6_markdown(study),
            "table6.csv": table_6(study).to_csv(index=False),
            "verdict.md": verdict(study),
        }
    written = save_figures(study)
    for name, text in texts.items():
        path = study.folder / name
        path.write_text(text)
        written.append(path)
    return written


def write_architecture(results: Path) -> list[Path]:
    """Write Table 1 and Figure 3 from results/complexity/nets.json; nothing where there is none."""
    folder = results / architecture.FOLDER
    if not (folder / "nets.json").exists():
        return []
    nets = architecture.read_nets(folder)
    (folder / "table1.md").write_text(architecture.table_1_markdown(nets))
    return [folder / "table1.md", *save_figure(architecture.figure_3(nets), folder / "figure3")]


def study_markdown(study: Study) -> str:
    """A study's table of final errors and what it says, as Markdown."""
    if study.is_imagenet:
        return imagenet.finals_markdown(study)
    return f"{table_6_markdown(study)}\n{verdict(study)}"


def write_scores(results: Path) -> list[Path]:
    """Write Tables 2 to 5 from the scores below a results folder; nothing where there are none."""
    scores = imagenet.read_scores(results)
    if not scores:
        return []
    path = results / imagenet.SCORES / "tables.md"
    path.write_text(imagenet.tables_markdown(scores))
    return [path]


def front_study(studies: list[Study]) -> Study | None:
    """The study that the README shows: on CIFAR-10, plain nets of two depths, the largest budget, the most runs."""

    def worth(study: Study) -> tuple[bool, int, int]:
        plain = {run.config["depth"] for run in study.runs if run.kind == "plain"}
        return len(plain) > 1, study.iterations, len(study.runs)

    real = [study for study in studies if study.runs and study.info is CIFAR10]
    return max(real, key=worth, default=None)


def readme_section(study: Study, root: Path) -> str:
    """The README's figure, table and verdict of a study, with paths relative to `root`."""
    folder = study.folder.resolve().relative_to(root.resolve()).as_posix()
    return "\n".join(
        [
            f"![Training and test error of plain and residual nets]({folder}/figure6.png)",
            "",
            table_6_markdown(study).strip(),
            "",
            verdict(study).strip(),
        ]
    )


def update_readme(readme: Path, study: Study) -> None:
    """Put a study's section between the README's marks."""
    begin, end = README_MARKS
    before, _, rest = readme.read_text().partition(begin)
    _, _, after = rest.partition(end)
    readme.write_text(f"{before}{begin}\n{readme_section(study, readme.parent)}\n{end}{after}")


def write_all(results: Path, draw: bool = True) -> list[Study]:
    """Redraw every study below a results folder that has a finished run; returns all studies found."""
    studies = find_studies(results)
    for study in studies:
        if draw and study.runs:
            write_study(study)
    if draw:
        write_budgets(studies, results)
        write_architecture(results)
        write_scores(results)
        if claims_plot := figure_claims(judge_results(studies, results)):
            save_figure(claims_plot, results / "claims")
    return studies
