"""The whole report as one Markdown file and one self-contained HTML page."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from markdown_it import MarkdownIt

from plainres.report import architecture, imagenet
from plainres.report.claims import claims_table, judge
from plainres.report.degradation import verdict
from plainres.report.records import Study
from plainres.report.statistics import comparisons, precision_differences, summary
from plainres.report.tables import convergence_speed, markdown_table, table_6_markdown

CAPTIONS = {
    "figure1": "Figure 1: training and test error of the shallowest and deepest plain net.",
    "figure6": "Figure 6: training error (dashed) and test error (bold) against iterations.",
    "figure7": "Figure 7: standard deviation of layer responses, in layer order and sorted.",
    "gradients": "Gradient norms and forward variances, layer by layer.",
    "convergence_problem": "Plain nets with and without BN and He initialization.",
}
# Where the protocol departs from the paper, or fills what it does not say.
LEDGER = (
    ("Batch seen by BN", "64 on each of two GPUs", "all 128, unless the study's name says bn64"),
    ("Initialization", "He's; of which layers is not said", "convolutions and classifier, normal, fan-in"),
    ("Warm-up of 110 layers", "0.01 until the training error is under 80%", "the same, at most N/8 iterations"),
    (
        "BN statistics in testing",
        "averages over a large training batch (authors' release)",
        "moving averages; errors with averages over training images recorded beside them",
    ),
    ("Precision", "fp32", "in each study's name; bf16 is autocast with fp32 weights, statistics and loss"),
    ("Weight decay", "1e-4, on which parameters is not said", "1e-4 on every parameter"),
    ("Training set", "chosen on 45k/5k, reported nets on the training set", "50k; 45k/5k on request"),
    ("Padding", "4 pixels, value not said", "zeros after subtracting the mean"),
    ("Momentum", "0.9, Caffe's form (rate inside the velocity)", "0.9, PyTorch's form (rate outside), no Nesterov"),
    ("Option A", "zero padding, where is not said", "half before, half after; subsampling by slicing"),
    ("ResNet-110", "best of five and mean", "mean of our seeds against the paper's mean"),
)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #222; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.85rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.6rem; text-align: left; vertical-align: top; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
"""


def provenance(study: Study) -> pd.DataFrame:
    """A row a finished run: where, when in the code's history and how long it was trained."""
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
    """One study: its figures, Table 6, statistics, convergence and provenance, as Markdown."""
    folder = study.folder.relative_to(root).as_posix()
    parts = [f"## {study.name}", verdict(study).strip()]
    for name, caption in CAPTIONS.items():
        if (study.folder / f"{name}.png").exists():
            parts.append(f"![{caption}]({folder}/{name}.png)")
    parts += [table_6_markdown(study).strip()]
    parts += ["### Statistics", markdown_table(summary(study))]
    pairs = comparisons(study)
    if len(pairs):
        parts += ["Differences in points, paired by seed, with 95% t intervals:", markdown_table(pairs)]
    if study.info.paper_tables:
        parts += [
            "Iterations until the training error is first under a threshold:",
            markdown_table(convergence_speed(study)),
        ]
    parts += ["### Provenance", markdown_table(provenance(study))]
    return "\n\n".join(parts)


def _budget_section(root: Path) -> list[str]:
    """The figures of error against budget, where several budgets were trained."""
    figures = sorted(root.glob("budgets-cifar10-*.png"))
    if not figures:
        return []
    images = [f"![Final error against the budget: {path.stem}]({path.name})" for path in figures]
    return [
        "## Is it only slow?",
        "The same nets at growing budgets, the learning rate falling at N/2 and 3N/4.",
        *images,
    ]


def _precision_section(studies: Sequence[Study]) -> list[str]:
    """bf16 against fp32, where nets were trained in both."""
    table = precision_differences(studies)
    if table.empty:
        return []
    told = "bf16 less fp32, in points, of the same net, initial weights and batches, with 95% t intervals over seeds."
    return ["## Precision", told, markdown_table(table)]


def _imagenet_section(studies: Sequence[Study], root: Path) -> list[str]:
    """What the nets of photographs cost and, where there are records, what they learned and score."""
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


def report_markdown(studies: Sequence[Study], root: Path) -> str:
    """The report on all studies of CIFAR-10, largest budget first, and on ImageNet; paths are relative to `root`."""
    real = sorted(
        (s for s in studies if s.runs and s.info.family == "cifar" and not s.info.warning), key=lambda s: -s.iterations
    )
    ledger = pd.DataFrame(LEDGER, columns=["what", "paper", "here"])
    return (
        "\n\n".join(
            [
                "# plainres: what the records say",
                "Drawn by `make report` from the records in this folder; errors are in percent, at the last iteration.",
                "## Claims of the paper",
                markdown_table(claims_table(judge(studies, imagenet.read_scores(root)))),
                *(study_section(study, root) for study in real),
                *_budget_section(root),
                *_precision_section(real),
                *_imagenet_section(studies, root),
                "## Deviations from the paper",
                markdown_table(ledger),
            ]
        )
        + "\n"
    )


def report_html(markdown: str, root: Path) -> str:
    """The report as one page that needs no other file: figures are inlined."""

    def inline(match: re.Match) -> str:
        image = base64.b64encode((root / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{image}"'

    body = MarkdownIt("commonmark").enable("table").render(markdown)
    body = re.sub(r'src="([^":]+\.png)"', inline, body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>plainres</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )


def write_report(studies: Sequence[Study], root: Path) -> list[Path]:
    """Write REPORT.md and report.html into the results folder `root`."""
    markdown = report_markdown(studies, root)
    written = [root / "REPORT.md", root / "report.html"]
    for path, text in zip(written, (markdown, report_html(markdown, root)), strict=True):
        path.write_text(text)
    return written
