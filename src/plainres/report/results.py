"""The results folder as one object, for notebooks.

from plainres import report

study = report.open("results").largest("cifar10")
study.metrics, study.probes, study.overview  # pandas frames, described in plainres.records.frames
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from plainres.errors import UserError
from plainres.files import expand_user
from plainres.records.files import RUNS
from plainres.records.frames import metrics_frame, overview_frame, probes_frame
from plainres.records.run import Run
from plainres.report.records import Study, find_studies


class Results:
    """All studies of a results folder.

    Args:
        folder: Results folder.

    Attributes:
        folder: Results folder.
        studies: Studies, ordered by name. `results["cifar10-8k-bf16"]` returns one of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.studies = find_studies(folder)

    @property
    def names(self) -> list[str]:
        """Names of the studies."""
        return [study.name for study in self.studies]

    def __getitem__(self, name: str) -> Study:
        """Return the study of a name.

        Raises:
            UserError: If there is no such study.
        """
        for study in self.studies:
            if study.name == name:
                return study
        raise UserError(f"no study {name!r} in {self.folder}: there are {', '.join(self.names)}")

    def __iter__(self) -> Iterator[Study]:
        return iter(self.studies)

    def __len__(self) -> int:
        return len(self.studies)

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r}, studies: {', '.join(self.names)})"

    def largest(self, dataset: str = "cifar10") -> Study:
        """Return the study on a data set that shows most, as the README does. See `largest_study`.

        Args:
            dataset: Key of `plainres.catalog.DATASETS`.

        Raises:
            UserError: If no run on the data set has finished.
        """
        study = largest_study(self.studies, dataset)
        if study is None:
            raise UserError(f"no finished run on {dataset} in {self.folder}: there are {', '.join(self.names)}")
        return study

    @property
    def _runs(self) -> list[Run]:
        return [run for study in self.studies for run in study.readable]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Metrics of all readable runs, one row per run and interval. See `plainres.records.frames` for the columns."""
        return metrics_frame(self._runs)

    @cached_property
    def probes(self) -> pd.DataFrame:
        """Probes of all readable runs, one row per run, iteration and layer. See `plainres.records.frames`."""
        return probes_frame(self._runs)

    @cached_property
    def overview(self) -> pd.DataFrame:
        """One row per readable run: configuration, final figures and provenance. See `plainres.records.frames`."""
        return overview_frame(self._runs)


def largest_study(studies: Sequence[Study], dataset: str) -> Study | None:
    """Return the study with plain nets of two depths, the largest budget, all training images and the most runs.

    The criteria apply in this order.

    Args:
        studies: Studies to choose from. Those without a finished run do not count.
        dataset: Key of `plainres.catalog.DATASETS`.

    Returns:
        None if no run on the data set has finished.
    """

    def rank(study: Study) -> tuple[bool, int, bool, int]:
        plain_depths = {run.depth for run in study.runs if run.kind == "plain"}
        return len(plain_depths) > 1, study.iterations, not study.holds_out_images, len(study.runs)

    return max((s for s in studies if s.runs and s.config["dataset"] == dataset), key=rank, default=None)


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
