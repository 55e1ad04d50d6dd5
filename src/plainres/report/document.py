"""The whole report as one Markdown file, beside the page of `plainres.report.page`."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from plainres.files import write_atomic
from plainres.report import architecture, imagenet
from plainres.report.claims import judge_results
from plainres.report.claims_tables import claims_markdown
from plainres.report.degradation import verdict
from plainres.report.ledger import TABLES
from plainres.report.page import write_page
from plainres.report.partial import partial_markdown
from plainres.report.records import Study
from plainres.report.tables import (
    PRECISION_NOTE,
    comparisons,
    convergence_speed,
    markdown_table,
    precision_differences,
    summary,
    table_6_markdown,
)

CAPTIONS = {
    "figure1": "Figure 1: training and test error of the shallowest and deepest plain net.",
    "figure6": "Figure 6: training error (dashed) and test error (bold) against iterations.",
    "figure7": "Figure 7: standard deviation of layer responses, in layer order and sorted.",
    "gradients": "Gradient norms and forward variances, layer by layer.",
    "weights": "Norms of weights relative to their initial norms, and angles to the initial weights, layer by layer.",
    "convergence_problem": "Plain nets with and without BN and He initialization.",
}


def provenance(study: Study) -> pd.DataFrame:
    """One row per finished run: hardware, versions, commit and duration."""
    finals = study.finals()
    return pd.DataFrame(
        {
            "net": finals["net"],
            "seed": finals["seed"],
            "hardware": finals["hardware"],
            "torch": [run.info["provenance"]["torch"] for run in study.runs],
            "commit": [(run.info["provenance"]["commit"] or "unknown")[:12] for run in study.runs],
            "altered since": ["yes" if run.info["provenance"]["dirty"] else "no" for run in study.runs],
            "minutes": [f"{seconds / 60:.1f}" for seconds in finals["seconds"]],
        }
    )


def study_section(study: Study, root: Path) -> str:
    """Return the section on one study as Markdown: figures, Table 6, statistics, convergence and provenance.

    A study without finished runs has figures and the table of its runs in progress only.
    """
    folder = study.folder.relative_to(root).as_posix()
    parts = [f"## {study.name}", *([verdict(study).strip()] if study.runs else [])]
    for name, caption in CAPTIONS.items():
        if (study.folder / f"{name}.png").exists():
            parts.append(f"![{caption}]({folder}/{name}.png)")
    if study.partial:
        parts.append(partial_markdown(study).strip())
    if not study.runs:
        return "\n\n".join(parts)
    parts += [table_6_markdown(study).strip()]
    parts += ["### Statistics", markdown_table(summary(study))]
    pairs = comparisons(study)
    if len(pairs):
        parts += ["Differences in points with 95% intervals:", markdown_table(pairs)]
    if study.info.paper_tables:
        parts += [
            "Iterations until the training error is first under a threshold (mean over seeds; - if a seed never is):",
            markdown_table(convergence_speed(study)),
        ]
    parts += ["### Provenance", markdown_table(provenance(study))]
    return "\n\n".join(parts)


def _budget_section(root: Path) -> list[str]:
    """The figures of error against budget, where several budgets were trained."""
    figures = sorted(root.glob("budgets-cifar10-*.png"))
    if not figures:
        return []
    images = [
        f"![Final error against the length of the training: {path.stem.removeprefix('budgets-')}]({path.name})"
        for path in figures
    ]
    return [
        "## Is it only slow?",
        "The same nets at growing budgets, the learning rate falling at N/2 and 3N/4.",
        *images,
    ]


def _precision_section(studies: Sequence[Study]) -> list[str]:
    """bf16 compared with fp32, where nets were trained in both."""
    table = precision_differences(studies)
    if table.empty:
        return []
    return ["## Precision", PRECISION_NOTE, markdown_table(table)]


def _imagenet_section(studies: Sequence[Study], root: Path) -> list[str]:
    """What the ImageNet nets cost and, where there are records, their errors and scores."""
    costs, scores = root / architecture.FOLDER, imagenet.read_scores(root)
    parts = []
    if (costs / "nets.json").exists():
        parts += ["## ImageNet nets", architecture.table_1_markdown(architecture.read_nets(costs)).strip()]
        parts += [f"![Figure 3: VGG-19, plain-34 and ResNet-34.]({architecture.FOLDER}/figure3.png)"]
    for study in studies:
        if study.runs and study.is_imagenet:
            folder = study.folder.relative_to(root).as_posix()
            parts.append(f"## {study.name}")
            if (study.folder / "figure4.png").exists():
                parts.append(f"![Figure 4: training and validation error.]({folder}/figure4.png)")
            parts += [imagenet.finals_markdown(study).strip(), "### Provenance", markdown_table(provenance(study))]
    return [*parts, imagenet.tables_markdown(scores).strip()] if scores else parts


def _unshown_section(studies: Sequence[Study], root: Path) -> list[str]:
    """The records of studies in which no run has finished or is in progress."""
    lines = [
        f"- {study.folder.relative_to(root).as_posix()}/{name}: {outcome}, {reason}"
        for study in studies
        if not (study.runs or study.partial)
        for name, outcome, reason in study.others
    ]
    return ["## Studies without results", "\n".join(lines)] if lines else []


def _claims_figure(root: Path) -> list[str]:
    """The forest plot of the claims' effects, where it has been drawn."""
    if not (root / "claims.png").exists():
        return []
    return ["![Effects of the claims with their 95% intervals, beside the published figures.](claims.png)"]


def ledger_sections() -> list[str]:
    """Deviations from the paper, notes on records, dated thresholds and changes of the claims' tests, as Markdown."""
    parts = []
    for title, entries, columns in TABLES:
        parts += [f"### {title}", markdown_table(pd.DataFrame(entries, columns=columns))]
    return parts


def report_markdown(studies: Sequence[Study], root: Path) -> str:
    """The report on all studies of CIFAR-10, largest budget first, and on ImageNet; paths are relative to `root`."""
    real = sorted(
        (s for s in studies if (s.runs or s.partial) and s.info.family == "cifar" and not s.info.warning),
        key=lambda s: -s.iterations,
    )
    verdicts = judge_results(studies, root)
    return (
        "\n\n".join(
            [
                "# plainres: what the records say",
                "Drawn by `make report` from the records in this folder; errors are in percent, at the last iteration.",
                "## Claims of the paper",
                claims_markdown(verdicts),
                *_claims_figure(root),
                *(study_section(study, root) for study in real),
                *_budget_section(root),
                *_precision_section([study for study in real if study.runs]),
                *_imagenet_section(studies, root),
                *_unshown_section(studies, root),
                "## Ledger",
                *ledger_sections(),
            ]
        )
        + "\n"
    )


def write_report(studies: Sequence[Study], root: Path) -> list[Path]:
    """Write REPORT.md and report.html into the results folder `root`."""
    markdown = root / "REPORT.md"
    write_atomic(markdown, report_markdown(studies, root))
    return [markdown, write_page(studies, root)]
