"""What the page says: the finding, every study with its charts, tables and records, and the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plainres.catalog.datasets import CIFAR10
from plainres.records.run import Run, hardware_name
from plainres.report import imagenet
from plainres.report.degradation import about_seeds, finding, verdict
from plainres.report.figures import paper_nets
from plainres.report.ledger import TABLES
from plainres.report.page.tables import (
    PIPELINE_CHECK,
    Table,
    from_frame,
    imagenet_table,
    results_table,
    statistics_tables,
)
from plainres.report.partial import partial_table
from plainres.report.records import Study
from plainres.report.results import largest_study
from plainres.report.statistics import by_seed

VERSIONS = ("torch", "python", "pytorch_lightning", "engine", "cuda", "processes")


@dataclass(frozen=True)
class Tile:
    """How an error changes from the shallowest to the deepest net of one kind.

    Attributes:
        kind: Kind of the nets.
        shallow: Name of the shallowest net.
        deep: Name of the deepest net.
        before: Mean training error of the former, in percent.
        after: Mean training error of the latter, in percent.
    """

    kind: str
    shallow: str
    deep: str
    before: float
    after: float


@dataclass(frozen=True)
class Headline:
    """What the page opens with.

    Attributes:
        sentences: The finding.
        tiles: The training errors that the finding is about.
        study: The study that it rests on. None if no run has finished.
    """

    sentences: list[str]
    tiles: list[Tile]
    study: Study | None

    @property
    def limits(self) -> str:
        """What the finding was measured on, which seeds it lacks, and why it cannot be compared with the paper."""
        if self.study is None:
            return ""
        paper = self.study.info.paper_iterations
        short = (
            f"This is {self.study.iterations / paper:.1%} of the paper's {paper:,} iterations: final errors cannot be "
            "compared with the paper's."
        )
        parts = [f"{self.study.describe()}.", short if self.study.iterations < paper else "", about_seeds(self.study)]
        return " ".join(filter(None, parts))


def front(studies: Sequence[Study]) -> Study | None:
    """Return the study that the page opens with: the largest one on CIFAR-10, else on any data set.

    Args:
        studies: Studies in any order.
    """
    datasets = dict.fromkeys([CIFAR10.name, *(study.config["dataset"] for study in studies if study.readable)])
    return next((found for name in datasets if (found := largest_study(studies, name))), None)


def headline(studies: Sequence[Study]) -> Headline:
    """Return the finding of the front study.

    Args:
        studies: Studies in any order.
    """
    study = front(studies)
    if study is None:
        return Headline(["No run has finished yet, so there is no finding."], [], None)
    tiles = []
    for kind in ("plain", "residual"):
        nets = [net for net in paper_nets(study, kind) if study.of_net(net)]
        if len(nets) > 1:
            before, after = (float(by_seed(study, net, "train_error").mean()) for net in (nets[0], nets[-1]))
            tiles.append(Tile(kind, nets[0], nets[-1], before, after))
    return Headline(finding(study), tiles, study)


def record_facts(run: Run) -> dict[str, str]:
    """Return what a record says of its run: outcome, duration, hardware, versions, commit, data and configuration.

    Args:
        run: Readable run.
    """
    provenance = run.info.get("provenance", {})
    seconds = run.info.get("seconds", run.last("seconds"))
    facts = {
        "outcome": f"{run.outcome}, {run.iterations_done:,} of {run.config['iterations']:,} iterations",
        "last training error": _percent(run.last("train_error")),
        "last test error": _percent(run.last("test_error")),
        "training time": "unknown" if pd.isna(seconds) else f"{seconds / 60:,.0f} minutes",
    }
    if provenance:
        facts["hardware"] = hardware_name(run.info)
        altered = " (altered since)" if provenance.get("dirty") else ""
        facts["commit"] = f"{(provenance.get('commit') or 'unknown')[:12]}{altered}"
        facts["versions"] = _listed({name: provenance.get(name) for name in VERSIONS})
        facts["data (md5)"] = _listed(provenance.get("data_md5") or {})
    facts["configuration"] = _listed(run.config)
    facts["hash of the configuration"] = run.info.get("config_hash", "")
    return {name: value for name, value in facts.items() if value}


def _percent(error: float) -> str:
    return "" if pd.isna(error) else f"{error:.2f}%"


def _listed(values: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value not in (None, ""))


@dataclass(frozen=True)
class StudyContent:
    """One study on the page.

    Attributes:
        study: The study, with at least one readable run.
    """

    study: Study

    @property
    def label(self) -> str:
        """Name of the study in the list of studies, with what must be known before choosing it."""
        runs = [f"{n} {word}" for n, word in self._counts() if n]
        warning = f", {self.study.info.warning}" if self.study.info.warning else ""
        return f"{self.study.name} ({', '.join(runs)}{warning})"

    def _counts(self) -> list[tuple[int, str]]:
        study = self.study
        plural = "" if len(study.runs) == 1 else "s"
        return [
            (len(study.runs), f"run{plural}"),
            (len(study.partial), "in progress"),
            (len(study.diverged), "diverged"),
        ]

    @property
    def figure(self) -> str:
        """The paper's figure that the curves correspond to."""
        return "Figure 4" if self.study.is_imagenet else "Figure 6"

    @property
    def text(self) -> str:
        """What the study says about degradation. Empty without finished runs of nets for CIFAR."""
        return verdict(self.study).strip() if self.study.runs and not self.study.is_imagenet else ""

    @property
    def warning(self) -> str:
        """What the study must not be taken for. Empty if it is a result of the paper's protocol."""
        if self.study.info.warning:
            return f"{self.study.info.warning}."
        if self.study.is_imagenet and not imagenet.is_result(self.study):
            return PIPELINE_CHECK
        if running := len(self.study.partial):
            return f"{running} run{'s are' if running > 1 else ' is'} in progress: drawn pale, and not results."
        return ""

    @property
    def partial(self) -> Table | None:
        """The runs in progress. None if there are none."""
        if not self.study.partial:
            return None
        note = "The learning rate may still have to fall, so these errors say little about the final ones."
        return from_frame("Runs in progress: not results", partial_table(self.study), note)

    @property
    def tables(self) -> list[Table]:
        """Tables of results. Empty without finished runs."""
        if not self.study.runs:
            return []
        return [imagenet_table(self.study) if self.study.is_imagenet else results_table(self.study)]

    @property
    def statistics(self) -> list[Table]:
        """The tables behind the results. Empty without finished runs of nets for CIFAR."""
        return statistics_tables(self.study) if self.study.runs and not self.study.is_imagenet else []

    @property
    def records(self) -> list[tuple[Run, dict[str, str]]]:
        """Every readable run with the facts of its record."""
        return [(run, record_facts(run)) for run in self.study.readable]


def ordered_studies(studies: Sequence[Study]) -> list[StudyContent]:
    """Return the studies with readable runs: those on CIFAR-10 first, and the largest budget first.

    Args:
        studies: Studies in any order.
    """
    readable = [study for study in studies if study.readable]
    readable.sort(key=lambda study: (study.info is not CIFAR10, study.is_imagenet, -study.iterations, study.name))
    return [StudyContent(study) for study in readable]


def ledger_tables() -> list[Table]:
    """Return deviations from the paper, notes on records, dated thresholds and changes of the claims' tests."""
    return [Table(title, [*columns], [[*row] for row in entries]) for title, entries, columns in TABLES]


def unreadable(studies: Sequence[Study], results: Path) -> list[str]:
    """Return a line for every record that cannot be read, with the reason.

    Args:
        studies: Studies in any order.
        results: Results folder.
    """
    return [
        f"{study.folder.relative_to(results).as_posix()}/{name}: {reason}"
        for study in studies
        for name, outcome, reason in study.others
        if outcome == "unreadable"
    ]
