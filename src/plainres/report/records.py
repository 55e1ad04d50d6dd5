"""Reading the records of runs into pandas: everything the report knows, it knows from here."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from plainres.catalog import DATASETS, SHORTCUTS, DatasetInfo
from plainres.catalog.shortcuts import KINDS

NEEDED = ("iteration", "train_error")
PROBED = ("iteration", "layer")


@dataclass(frozen=True)
class Run:
    """One readable record.

    Attributes:
        info: what run.json holds.
        metrics: what metrics.csv holds, a row an interval; empty before the first one.
        probes: what probes.csv holds, a row a layer and probed iteration; empty where there is none.
    """

    folder: Path
    info: dict
    metrics: pd.DataFrame
    probes: pd.DataFrame

    @property
    def net(self) -> str:
        return self.info["net"]

    @property
    def outcome(self) -> str:
        return self.info["outcome"]

    @property
    def config(self) -> dict:
        return self.info["config"]

    @property
    def kind(self) -> str:
        """Kind of the net's shortcuts, such as `"plain"` or `"residual"`."""
        return SHORTCUTS[self.config["shortcut"]].kind


@dataclass
class Study:
    """All records below one study's folder: those that finished, and those that did not with the reason.

    Attributes:
        runs: finished runs, plain first, by depth, name and seed.
        diverged: runs whose loss was no longer finite; figures may show them, means never hold them.
        others: (folder name, outcome, reason) of runs that are partial, diverged or unreadable.
    """

    folder: Path
    runs: list[Run] = field(default_factory=list)
    diverged: list[Run] = field(default_factory=list)
    others: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def iterations(self) -> int:
        return self.runs[0].config["iterations"]

    @property
    def dataset(self) -> str:
        """Title of the data set. Folders of photographs other than ILSVRC-2012 are named by their number of classes."""
        classes = self.runs[0].config.get("num_classes", self.info.num_classes)
        return self.info.title if classes == self.info.num_classes else f"photographs of {classes} classes"

    @property
    def info(self) -> DatasetInfo:
        """Description of the data set."""
        return DATASETS[self.runs[0].config["dataset"]]

    @property
    def is_imagenet(self) -> bool:
        """Whether its nets are those of photographs, whatever their classes."""
        return self.info.family == "imagenet"

    @property
    def drops(self) -> list[int]:
        """The iterations at which the learning rate falls in every run; none where a plateau decides."""
        n = self.iterations
        schedules = {"halves": [n // 2, 3 * n // 4], "thirds": [n // 3, 2 * n // 3]}
        return schedules.get(self.runs[0].config.get("schedule", "halves"), [])

    def of_net(self, net: str) -> list[Run]:
        """The finished runs of one net, by seed."""
        return [run for run in self.runs if run.net == net]

    @property
    def seeds(self) -> list[int]:
        return sorted({run.config["seed"] for run in self.runs})

    def describe(self) -> str:
        """Data, budget (or budgets), precision, seeds and hardware in one line, for titles and captions."""
        config = self.runs[0].config
        hardware = {hardware_name(run.info) for run in self.runs}
        seeds = ", ".join(map(str, self.seeds))
        *most, last = (f"{n:,}" for n in sorted({run.config["iterations"] for run in self.runs}))
        budgets = f"{', '.join(most)} and {last}" if most else last
        batches = " and ".join(map(str, sorted({run.config["batch_size"] for run in self.runs})))
        trained_on = f"{config['train_set']} training images, " if len(self.info.train_sets) > 1 else ""
        if self.is_imagenet:
            trained_on = f"{config['image_size']} pixels, "
        bn = f" (BN sees {config['micro_batch']})" if config.get("micro_batch") else ""
        return (
            f"{self.dataset}, {trained_on}{budgets} iterations of {batches}{bn}, "
            f"{config['precision']}, seed{'s' if len(self.seeds) > 1 else ''} {seeds}, {' and '.join(sorted(hardware))}"
        )

    def finals(self) -> pd.DataFrame:
        """A row a finished run: net, kind, depth, shortcut, seed, complexity, every final figure, seconds, hardware."""
        rows = [
            {
                "net": run.net,
                "kind": run.kind,
                "depth": run.config["depth"],
                "shortcut": run.config["shortcut"] or "none",
                "seed": run.config["seed"],
                **run.info["complexity"],
                **run.info["final"],
                "warmup_end": run.info["warmup_end"],
                "seconds": run.info["seconds"],
                "hardware": hardware_name(run.info),
                "commit": run.info["provenance"]["commit"],
            }
            for run in self.runs
        ]
        return pd.DataFrame(rows)


def hardware_name(recorded: dict) -> str:
    """What a record says it was computed on: the GPU, or the CPU with its threads, and how many processes."""
    hardware, processes = recorded["provenance"]["hardware"], recorded["provenance"].get("processes", 1)
    name = hardware.get("gpu") or f"{hardware['cpu']} ({hardware['threads']} threads)"
    return name if processes == 1 else f"{processes} x {name}"


def find_studies(results: Path) -> list[Study]:
    """Every study in a results folder, by name: its folders that hold <net>/seed-<s>/run.json."""
    folders = sorted({path.parents[2] for path in results.glob("*/*/seed-*/run.json")})
    return [read_study(folder) for folder in folders]


def read_study(folder: Path) -> Study:
    """Read all records of one study; a record that cannot be used is listed with its reason, never dropped silently."""
    study = Study(folder)
    for path in sorted(folder.glob("*/seed-*/run.json")):
        name = str(path.parent.relative_to(folder))
        try:
            run = _read_run(path.parent)
        except (OSError, ValueError, KeyError, TypeError) as error:
            study.others.append((name, "unreadable", f"{type(error).__name__}: {error}"))
            continue
        if run.outcome == "finished":
            study.runs.append(run)
        elif run.outcome == "running":
            done = int(run.metrics["iteration"].max()) if len(run.metrics) else 0
            study.others.append((name, "partial", f"{done:,} of {run.config['iterations']:,} iterations"))
        else:
            study.diverged.append(run)
            study.others.append((name, run.outcome, run.info.get("reason", "")))
    study.runs.sort(key=lambda run: (KINDS.index(run.kind), run.config["depth"], run.net, run.config["seed"]))
    return study


def _read_run(folder: Path) -> Run:
    info = json.loads((folder / "run.json").read_text())
    for key in ("net", "outcome", "config"):
        info[key]
    metrics_csv = folder / "metrics.csv"
    metrics = pd.read_csv(metrics_csv) if metrics_csv.exists() else pd.DataFrame(columns=[*NEEDED, "test_error"])
    for column in NEEDED:
        metrics[column] = pd.to_numeric(metrics[column])
    if info["outcome"] == "finished":
        for key in ("final", "complexity", "provenance", "seconds"):
            info[key]
        if metrics["iteration"].max() != info["config"]["iterations"]:
            raise ValueError(f"{metrics_csv.name} does not reach the last iteration")
    probes_csv = folder / "probes.csv"
    probes = pd.read_csv(probes_csv) if probes_csv.exists() else pd.DataFrame(columns=PROBED)
    for column in set(probes.columns) - {"name"}:
        probes[column] = pd.to_numeric(probes[column])
    probes[[*PROBED]]  # raises a KeyError that names a missing column
    return Run(folder, info, metrics, probes)
