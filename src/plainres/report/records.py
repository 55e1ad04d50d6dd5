"""Reading the records of a study into pandas. The report knows nothing else about the runs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from plainres.catalog import DATASETS, DatasetInfo
from plainres.catalog.datasets import CIFAR10, IMAGENET
from plainres.catalog.shortcuts import KINDS
from plainres.errors import UserError
from plainres.records.files import RUNS
from plainres.records.frames import metrics_frame, overview_frame, probes_frame
from plainres.records.run import Run, hardware_name, read_run

__all__ = ["Run", "Study", "budget_series", "describe_runs", "find_studies", "hardware_name", "read_study"]


@dataclass
class Study:
    """All records below the folder of one study.

    Attributes:
        folder: Folder of the study.
        runs: Finished runs, ordered by kind (plain first), depth, name and seed.
        partial: Runs in progress, in the same order. Figures may show them; means and tables of results never do.
        diverged: Runs whose loss was no longer finite. The same holds for them.
        others: Folder name, outcome and reason of each run that is partial, diverged or unreadable.
    """

    folder: Path
    runs: list[Run] = field(default_factory=list)
    diverged: list[Run] = field(default_factory=list)
    others: list[tuple[str, str, str]] = field(default_factory=list)
    partial: list[Run] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def readable(self) -> list[Run]:
        """Finished, partial and diverged runs."""
        return [*self.runs, *self.partial, *self.diverged]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Metrics of all readable runs, one row per run and interval. See `plainres.records.frames` for the columns."""
        return metrics_frame(self.readable)

    @cached_property
    def probes(self) -> pd.DataFrame:
        """Probes of all readable runs, one row per run, iteration and layer. See `plainres.records.frames`."""
        return probes_frame(self.readable)

    @cached_property
    def overview(self) -> pd.DataFrame:
        """One row per readable run: configuration, final figures and provenance. See `plainres.records.frames`."""
        return overview_frame(self.readable)

    @property
    def first(self) -> Run:
        """First readable run.

        Raises:
            UserError: If no record of the study can be read.
        """
        if not self.readable:
            raise UserError(f"{self.folder} holds no record that can be read: see the reasons in `Study.others`")
        return self.readable[0]

    @property
    def config(self) -> dict:
        """Configuration of the first readable run. The runs of a study differ in net and seed only."""
        return self.first.config

    @property
    def iterations(self) -> int:
        """Number of iterations of each run."""
        return self.config["iterations"]

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
        size = (self.info.num_classes, self.info.image_size)
        photographs = self.info is IMAGENET and (self.config["num_classes"], self.config["image_size"]) == size
        return photographs or (self.info is CIFAR10 and not self.holds_out_images)

    @property
    def holds_out_images(self) -> bool:
        """Whether training images were held out for validation, unlike for the nets that the paper reports."""
        return self.config.get("train_set", "50k") != "50k"

    @property
    def drops(self) -> list[int]:
        """Iterations at which the learning rate falls in every run. Empty if a plateau of the error decides."""
        n = self.iterations
        schedules = {"halves": [n // 2, 3 * n // 4], "thirds": [n // 3, 2 * n // 3]}
        return schedules.get(self.config.get("schedule", "halves"), [])

    def of_net(self, net: str) -> list[Run]:
        """Return the finished runs of one net, by seed."""
        return [run for run in self.runs if run.net == net]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the finished runs."""
        return sorted({run.seed for run in self.runs})

    def describe(self) -> str:
        """Return data, budget, precision and number of seeds in one line, for titles and captions.

        The line describes the finished runs, or all readable ones if none has finished.
        """
        return describe_runs(self.runs or self.readable or [self.first])

    def finals(self) -> pd.DataFrame:
        """Return one row per finished run: net, seed, complexity, final figures, time and hardware."""
        rows = [
            {
                "net": run.net,
                "kind": run.kind,
                "depth": run.depth,
                "shortcut": run.config["shortcut"] or "none",
                "seed": run.seed,
                **run.info["complexity"],
                **run.info["final"],
                "warmup_end": run.info["warmup_end"],
                "seconds": run.info["seconds"],
                "hardware": hardware_name(run.info),
                "commit": run.info["provenance"]["commit"],
            }
            for run in self.runs
        ]
        # A frame without rows has the columns of one with rows, so that nobody has to ask first.
        return pd.DataFrame(rows) if rows else overview_frame([])

    def _repr_html_(self) -> str:
        """Show the study in a notebook: one row per run."""
        columns = ["net", "seed", "outcome", "iterations_done", "last_train_error", "last_test_error"]
        return f"<p>{self.name}: {self.describe()}</p>{self.overview[columns].to_html(index=False)}"


def describe_runs(runs: Sequence[Run]) -> str:
    """Return data, budget or budgets, precision and number of seeds of runs in one line.

    Args:
        runs: At least one run, all on one data set and in one precision.
    """
    study = Study(runs[0].folder.parents[1], list(runs))
    config = study.config
    trained_on = f", {config['train_set']} training images" if len(study.info.train_sets) > 1 else ""
    if study.is_imagenet:
        trained_on = f", {config['image_size']} pixels"
    bn = f" (BN sees {config['micro_batch']})" if config.get("micro_batch") else ""
    budgets = _span(run.config["iterations"] for run in runs)
    batches = _span(run.config["batch_size"] for run in runs)
    seeds = Counter((run.net, run.config["iterations"]) for run in runs)
    per_net = f"{_span(seeds.values())} seed{'s' if max(seeds.values()) > 1 else ''} per net"
    dataset = f"{study.dataset[0].upper()}{study.dataset[1:]}"
    return f"{dataset}{trained_on}, {budgets} iterations of {batches}{bn}, {config['precision']}, {per_net}"


def _span(numbers: Iterable[int]) -> str:
    """Return the range of numbers, such as "1,000 to 64,000", or the number if all are alike."""
    ends = sorted(set(numbers))
    return " to ".join(f"{n:,}" for n in dict.fromkeys((ends[0], ends[-1])))


def join(words: Sequence[str]) -> str:
    """Return words as an enumeration: "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def find_studies(results: Path) -> list[Study]:
    """Read every study below a results folder, ordered by name.

    Args:
        results: Folder that holds `<study>/<net>/seed-<seed>/run.json`.
    """
    folders = sorted({path.parents[2] for path in results.glob(RUNS)})
    return [read_study(folder) for folder in folders]


def budget_series(studies: Sequence[Study]) -> dict[str, list[Study]]:
    """Return the CIFAR studies with finished runs, in series that differ in the budget alone.

    Args:
        studies: Studies in any order.

    Returns:
        Studies by data set, training set, number of images that BN sees (if not the whole batch) and precision, for
        example `cifar10-50k-bf16`.
    """
    series: dict[str, list[Study]] = {}
    for study in studies:
        if study.runs and not study.is_imagenet:
            config = study.config
            bn = [f"bn{config['micro_batch']}"] if config.get("micro_batch") else []
            name = "-".join([config["dataset"], config["train_set"], *bn, config["precision"]])
            series.setdefault(name, []).append(study)
    return series


def read_study(folder: Path) -> Study:
    """Read all records of one study. A record that cannot be used is listed in `Study.others` with its reason.

    Args:
        folder: Folder of the study.
    """
    study = Study(folder)
    for path in sorted(folder.glob("*/seed-*/run.json")):
        name = str(path.parent.relative_to(folder))
        try:
            run = read_run(path.parent)
        except (OSError, ValueError, KeyError, TypeError) as error:
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


def _progress(run: Run) -> str:
    """Return how far a partial run is, with its last errors."""
    parts = [f"{run.iterations_done:,} of {run.config['iterations']:,} iterations"]
    for name, column in (("training", "train_error"), ("test", "test_error")):
        if (error := run.last(column)) == error:  # NaN means that there is none yet
            parts.append(f"last {name} error {error:.2f}%")
    return ", ".join(parts)
