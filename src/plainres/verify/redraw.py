"""Drawing figures and tables from committed records again."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import numpy as np
from matplotlib.image import imread

from plainres.report import architecture, imagenet
from plainres.report.records import read_study
from plainres.report.write import FIGURES, IMAGENET_FIGURES, write_all, write_study
from plainres.verify.published import SKIPPED, PublishedRecord, Result, find_published, judge

PICTURES = (".png", ".svg")
DRAWN = ("*.md", "*.png", "*.svg")
HASHED = re.compile(r'(?<=[#"])[a-z][0-9a-f]{10}(?=[")])')  # as in id="p0123456789" and url(#p0123456789)


def check_drawn(results: Path, records: Sequence[PublishedRecord], whole: bool) -> list[tuple[str, str, Result]]:
    """Redraw the figures and tables of the studies of some records, and compare them with those in the results folder.

    They are drawn into a copy of the results folder that holds only the published records, those of runs in progress
    included, and the given ones.

    Args:
        results: Results folder.
        records: Records whose studies are redrawn.
        whole: Whether these are all records, so that figures of several studies can be compared as well.

    Returns:
        Name of the study (or of the results folder), name of the check, and its result.
    """
    studies = sorted({record.folder.parents[1].name for record in records})
    checked = []
    with TemporaryDirectory() as temporary:
        copy = Path(temporary) / results.name
        published = {folder.resolve() for folder in find_published(results, in_progress=True)}
        for folder in published | {record.folder for record in records}:
            ignored = shutil.ignore_patterns("checkpoints", "*.safetensors")
            shutil.copytree(folder, copy / folder.relative_to(results), ignore=ignored)
        if whole:
            for name in (architecture.FOLDER, imagenet.SCORES):
                if (results / name).is_dir():
                    shutil.copytree(results / name, copy / name, ignore=shutil.ignore_patterns(*DRAWN))
        given = {path for path in copy.rglob("*") if path.is_file()}
        if whole:
            write_all(copy)
        else:
            for name in studies:
                study = read_study(copy / name)
                if study.runs:
                    write_study(study)
        written = sorted({path for path in copy.rglob("*") if path.is_file()} - given)
        for name in [*studies, results.name]:
            own = [path.relative_to(copy) for path in written]
            own = [path for path in own if (path.parts[0] == name if name in studies else path.parts[0] not in studies)]
            if not own and name == results.name:
                continue
            checked.append((name, "tables", _compare_tables(results, copy, own)))
            drawn = results / name if name in studies else None
            checked.append((name, "figures", _compare_figures(results, copy, own, drawn)))
    return checked


def _compare_tables(results: Path, copy: Path, names: Sequence[Path]) -> Result:
    names = [name for name in names if name.suffix not in PICTURES]
    problems = []
    for name in names:
        if not (results / name).is_file():
            problems.append(f"{name} is missing")
        elif (results / name).read_bytes() != (copy / name).read_bytes():
            problems.append(f"{name} is not what the records say")
    return judge(problems, f"{len(names)} files equal") if names else Result(SKIPPED, "there is none")


def _compare_figures(results: Path, copy: Path, names: Sequence[Path], folder: Path | None) -> Result:
    names = [name for name in names if name.suffix in PICTURES]
    problems = [f"{name} is missing" for name in names if not (results / name).is_file()]
    for stale in [folder / f"{stem}.svg" for stem in {*FIGURES, *IMAGENET_FIGURES}] if folder else []:
        if stale.exists() and stale.relative_to(results) not in names:
            problems.append(f"{stale.relative_to(results)} is not drawn from these records")
    versions = set()
    for name in [name for name in names if (results / name).is_file()]:
        version = _drawn_with((results / name).with_suffix(".svg"))
        if version != matplotlib.__version__:
            versions.add(version)
        elif not _same_picture(results / name, copy / name):
            problems.append(f"{name} is not what the records say")
    if versions and not problems:
        told = " and ".join(sorted(versions))
        return Result(SKIPPED, f"drawn with Matplotlib {told}, here {matplotlib.__version__}, which draws differently")
    return judge(problems, f"{len(names)} files equal") if names or problems else Result(SKIPPED, "there is none")


def _drawn_with(svg: Path) -> str:
    """Return the version of Matplotlib that an SVG file names."""
    named = re.search(r"Matplotlib v([\w.+]+)", svg.read_text()) if svg.is_file() else None
    return named[1].rstrip(",") if named else "of an unknown version"


def _same_picture(committed: Path, redrawn: Path) -> bool:
    """Compare the texts of two SVG files, or the pixels of two PNG files, whose compression may differ.

    Matplotlib names the clip paths and markers of an SVG file by hashes of their coordinates, whose last digit depends
    on the CPU, although the file gives fewer digits of them. Their names are therefore replaced by numbers.
    """
    if committed.suffix == ".svg":
        return _number_names(committed.read_text()) == _number_names(redrawn.read_text())
    return np.array_equal(imread(committed), imread(redrawn))


def _number_names(svg: str) -> str:
    """Replace the hashes among the names of an SVG file by their order of appearance."""
    numbers: dict[str, int] = {}
    return HASHED.sub(lambda name: str(numbers.setdefault(name[0], len(numbers))), svg)
