"""The records of a results folder as objects and as tidy pandas frames. The report knows nothing else about the runs.

from plainres import report

study = report.open("results").largest("cifar10")
study.metrics, study.probes, study.overview  # pandas frames, described in plainres.records.frames
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from plainres.catalog import DATASETS, DatasetInfo
from plainres.catalog.datasets import CIFAR10
from plainres.catalog.shortcuts import KINDS
from plainres.errors import UserError
from plainres.files import expand_user
from plainres.records.config import learning_rate_drops
from plainres.records.frames import metrics_frame, overview_frame, probes_frame
from plainres.records.record import RUNS, Record

ERRORS = {"train_error": "training", "test_error": "test"}  # columns of the metrics, and their names in texts


class Frames:
    """The runs of one or several studies as frames, whose columns `plainres.records.frames` describes.

    `readable` are the finished, partial and diverged runs.
    """

    readable: Sequence[Record]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per run and interval of the training."""
        return metrics_frame(self.readable)

    @cached_property
    def probes(self) -> pd.DataFrame:
        """One row per run, iteration and layer."""
        return probes_frame(self.readable)

    @cached_property
    def overview(self) -> pd.DataFrame:
        """One row per run: configuration, final figures and provenance."""
        return overview_frame(self.readable)


@dataclass
class Study(Frames):
    """All records below the folder of one study.

    Attributes:
        folder: Folder of the study.
        runs: Finished runs, ordered by kind (plain first), depth, name and seed.
        partial: Runs in progress, in the same order. Figures may show them; means and tables of results never do.
        diverged: Runs whose loss was no longer finite. The same holds for them.
        others: Folder name, outcome and reason of each run that is partial, diverged or unreadable.
    """

    folder: Path
    runs: list[Record] = field(default_factory=list)
    diverged: list[Record] = field(default_factory=list)
    others: list[tuple[str, str, str]] = field(default_factory=list)
    partial: list[Record] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def readable(self) -> list[Record]:
        """Finished, partial and diverged runs."""
        return [*self.runs, *self.partial, *self.diverged]

    @property
    def shown(self) -> list[Record]:
        """Finished runs and runs in progress, which figures show."""
        return [*self.runs, *self.partial]

    @property
    def config(self) -> dict:
        """Configuration of the first readable run. The runs of a study differ in net and seed only.

        Raises:
            UserError: If no record of the study can be read.
        """
        if not self.readable:
            raise UserError(f"{self.folder} holds no record that can be read: see the reasons in `Study.others`")
        return self.readable[0].config

    @property
    def iterations(self) -> int:
        """Number of iterations of each run."""
        return self.config["iterations"]

    @property
    def share(self) -> float:
        """Number of iterations as a share of the paper's."""
        return self.iterations / self.info.paper_iterations

    @property
    def dataset(self) -> str:
        """Title of the data set. Photographs other than those of ILSVRC-2012 are named by their number of classes."""
        classes = self.config.get("num_classes", self.info.num_classes)
        return self.info.title if classes == self.info.num_classes else f"photographs of {classes} classes"

    @property
    def info(self) -> DatasetInfo:
        """Description of the data set."""
        return DATASETS[self.config["dataset"]]

    @property
    def is_imagenet(self) -> bool:
        """Whether the nets are those for photographs, whatever the number of classes."""
        return self.info.family == "imagenet"

    @property
    def is_the_papers(self) -> bool:
        """Whether the training set is the paper's: all of CIFAR-10, or photographs of 1,000 classes at 224 pixels."""
        if self.is_imagenet:
            return all(self.config[key] == getattr(self.info, key) for key in ("num_classes", "image_size"))
        return self.info is CIFAR10 and not self.holds_out_images

    @property
    def holds_out_images(self) -> bool:
        """Whether training images were held out for validation, unlike for the nets that the paper reports."""
        return self.config.get("train_set", "50k") != "50k"

    @property
    def drops(self) -> list[int]:
        """Iterations at which the learning rate falls in every run. Empty if a plateau of the error decides."""
        return learning_rate_drops(self.config.get("schedule", "halves"), self.iterations)

    def of_net(self, net: str) -> list[Record]:
        """Return the finished runs of one net, by seed."""
        return [run for run in self.runs if run.net == net]

    def describe(self, runs: Sequence[Record] = ()) -> str:
        """Return data, budget or budgets, precision and number of seeds of runs in one line, for titles and captions.

        By default the runs are the finished ones, or all if none has finished.
        """
        config = self.config
        runs = runs or self.runs or self.readable
        trained_on = f", {config['train_set']} training images" if len(self.info.train_sets) > 1 else ""
        if self.is_imagenet:
            trained_on = f", {config['image_size']} pixels"
        bn = f" (BN sees {config['micro_batch']})" if config.get("micro_batch") else ""
        budgets, batches = (_span(run.config[key] for run in runs) for key in ("iterations", "batch_size"))
        seeds = Counter((run.net, run.config["iterations"]) for run in runs)
        per_net = f"{_span(seeds.values())} seed{'s' if max(seeds.values()) > 1 else ''} per net"
        precisions = " and ".join(sorted({run.config["precision"] for run in runs}))
        dataset = f"{self.dataset[0].upper()}{self.dataset[1:]}"
        return f"{dataset}{trained_on}, {budgets} iterations of {batches}{bn}, {precisions}, {per_net}"

    @property
    def finals(self) -> pd.DataFrame:
        """The rows of `overview` of the finished runs."""
        return self.overview[self.overview["outcome"] == "finished"]


def _span(numbers: Iterable[int]) -> str:
    """Return the range of numbers, such as "1,000 to 64,000", or the number if all are alike."""
    ends = sorted(set(numbers))
    return " to ".join(f"{n:,}" for n in dict.fromkeys((ends[0], ends[-1])))


class Results(Frames):
    """All studies of a results folder.

    Attributes:
        folder: Results folder.
        studies: Studies, ordered by name. `results["cifar10-8k-bf16"]` returns one of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.studies = [read_study(path) for path in sorted({path.parents[2] for path in folder.glob(RUNS)})]

    @property
    def names(self) -> list[str]:
        """Names of the studies."""
        return [study.name for study in self.studies]

    @property
    def readable(self) -> list[Record]:
        """Finished, partial and diverged runs of all studies."""
        return [run for study in self.studies for run in study.readable]

    def __getitem__(self, name: str) -> Study:
        """Return the study of a name. If there is none, the UserError has the names that there are."""
        for study in self.studies:
            if study.name == name:
                return study
        raise UserError(f"no study {name!r} in {self.folder}: there are {', '.join(self.names)}")

    def largest(self, dataset: str = CIFAR10.name) -> Study:
        """Return what `largest_study` does, as the README does for CIFAR-10.

        Raises:
            UserError: If no run on the data set has finished.
        """
        study = largest_study(self.studies, dataset)
        if study is None:
            raise UserError(f"no finished run on {dataset} in {self.folder}: there are {', '.join(self.names)}")
        return study


def largest_study(studies: Sequence[Study], dataset: str = CIFAR10.name) -> Study | None:
    """Return the study on a data set with plain nets of two depths, the largest budget, all training images, most runs.

    The criteria apply in this order. `dataset` is a key of `plainres.catalog.DATASETS`. Returns None if no run on it
    has finished.
    """

    def rank(study: Study) -> tuple[bool, int, bool, int]:
        plain_depths = {run.depth for run in study.runs if run.kind == "plain"}
        return len(plain_depths) > 1, study.iterations, not study.holds_out_images, len(study.runs)

    return max((s for s in studies if s.runs and s.config["dataset"] == dataset), key=rank, default=None)


def budget_series(studies: Sequence[Study]) -> dict[str, list[Study]]:
    """Return the CIFAR studies with finished runs, in series that differ in the budget alone.

    The keys are data set, training set, number of images that BN sees (if not the whole batch) and precision, for
    example `cifar10-50k-bf16`.
    """
    series: dict[str, list[Study]] = {}
    for study in studies:
        if study.runs and not study.is_imagenet:
            config = study.config
            bn = f"-bn{config['micro_batch']}" if config.get("micro_batch") else ""
            name = f"{config['dataset']}-{config['train_set']}{bn}-{config['precision']}"
            series.setdefault(name, []).append(study)
    return series


def open(results: str | Path = "results") -> Results:
    """Open a results folder.

    Args:
        results: Results folder. A relative path is looked up in the working directory, then in each folder above it,
            then in the checkout that this package belongs to. The first folder that holds records is opened.

    Raises:
        UserError: If no folder of that name holds records.
    """
    path = expand_user(results)
    here, package = Path.cwd(), Path(__file__).resolve().parents[1]
    for root in (here, *here.parents, *package.parents):
        folder = root / path  # an absolute path stays as it is
        if any(folder.glob(RUNS)):
            return Results(folder)
    where = "" if path.is_absolute() else f" in {here}, in {package.parent} or in a folder above them"
    raise UserError(f"no records in a folder {path}{where}: train some with `make demo`, or pass another path")


def read_study(folder: Path) -> Study:
    """Read all records of one study. A record that cannot be used is listed in `Study.others` with its reason."""
    study = Study(folder)
    for path in sorted(folder.glob("*/seed-*/run.json")):
        name = str(path.parent.relative_to(folder))
        try:
            run = Record(path.parent)
            run.check()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            study.others.append((name, "unreadable", f"{type(error).__name__}: {error}"))
            continue
        if run.outcome == "finished":
            study.runs.append(run)
        elif run.outcome == "running":
            study.partial.append(run)
            study.others.append((name, "partial", _progress(run)))
        else:
            study.diverged.append(run)
            study.others.append((name, run.outcome, run.info.get("reason", "")))
    for runs in (study.runs, study.partial, study.diverged):
        runs.sort(key=lambda run: (KINDS.index(run.kind), run.depth, run.net, run.seed))
    return study


def _progress(run: Record) -> str:
    """Return how far a partial run is, with its last errors."""
    parts = [f"{run.iterations_done:,} of {run.config['iterations']:,} iterations"]
    for column, name in ERRORS.items():
        if (error := run.last(column)) == error:  # NaN means that there is none yet
            parts.append(f"last {name} error {error:.2f}%")
    return ", ".join(parts)
