"""The audit of a record: whether its files, its data, its weights and training from its seed give what it says."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch

from plainres.data import StudyData
from plainres.data.cifar_files import SOURCES
from plainres.errors import UserError
from plainres.nets import load_net
from plainres.nets.weights import Normalized
from plainres.records.config import ROWS
from plainres.records.provenance import describe_hardware, git
from plainres.records.record import RUNS, UNFINISHED, Record, RunInfo
from plainres.training import RunConfig, RunContext, train_run
from plainres.training.build import make_data
from plainres.training.device import choose_device, has_bf16_kernels
from plainres.training.evaluation import evaluate
from plainres.training.schedule import row_ends

# Everything about the hardware that may change the last digits. The number of threads is set to the recorded one.
HARDWARE = ("device", "gpu", "cpu", "cpu_capability", "amx")
# Points of error, and loss. Other hardware rounds differently, most of all in bf16. Three nets that were recorded on an
# AMD EPYC and evaluated on an Intel Xeon with AMX moved by at most 0.02 points (two test images) and 4e-5 of loss.
# Deeper nets get some room. Evaluated in fp32 instead of bf16, the test errors of the nine published nets moved by at
# most 0.12 points (plain-56 after 64,000 iterations) and their losses by at most 6e-4.
WEIGHTS_TOLERANCES = {"hardware": (0.05, 1e-3), "precision": (0.3, 5e-3)}
# Training amplifies rounding, and the first iterations of deep nets most of all. With and without AMX, the first rows
# of the same seed differed by up to 4.6 points of error and 12% of the loss (residual nets of 44 and 56 layers). Until
# 2026-11-22 the tolerances were 3 points and 5%, which six records of such nets exceeded.
ROW_ERROR_TOLERANCE = 10.0  # points
ROW_LOSS_TOLERANCE = 0.25  # relative
TIMES = ["images_per_second", "seconds"]


@dataclass
class Audit:
    """What the audit of one record has found.

    Attributes:
        name: Path of the record below the results folder.
        problems: What does not hold.
        compared: What was compared.
        left_out: What was not compared, and why.
    """

    name: str
    problems: list[str] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`"failed"`, `"passed"`, or `"skipped"` for a run in progress."""
        return "failed" if self.problems else "passed" if self.compared else "skipped"

    def add(self, compared: str, problems: Sequence[str]) -> bool:
        """Add the result of a comparison, and return whether it found no problem."""
        self.problems += problems
        if not problems:
            self.compared.append(compared)
        return not problems


class Machine:
    """How this machine computes again what another one, which the provenance describes, may have computed.

    Attributes:
        device: A GPU if the run was computed on one and this machine has one, and otherwise the CPU.
        precision: Precision of the run, or fp32 if the device has no kernels for bf16.
        differences: What differs between the two machines and may change digits.
        threads: Number of threads that the run was computed with.
    """

    def __init__(self, config: RunConfig, provenance: dict):
        recorded = provenance["hardware"]
        self.device = choose_device("cuda" if recorded["device"] == "cuda" and torch.cuda.is_available() else "cpu")
        self.precision = config.precision
        if config.precision == "bf16" and not has_bf16_kernels(self.device):
            self.precision = "fp32"
        here = describe_hardware(self.device)
        pairs = {name: (recorded.get(name), here.get(name)) for name in HARDWARE}
        pairs["torch"] = (provenance["torch"], torch.__version__)
        pairs["precision"] = (config.precision, self.precision)
        self.differences = [f"{name} {there}, here {value}" for name, (there, value) in pairs.items() if there != value]
        if pairs["amx"] == (False, True):
            self.differences.append("ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 leaves out AMX")
        if self.device.type == "cuda":
            self.differences.append("kernels on CUDA add in no fixed order")
        self.threads = recorded.get("threads", here["threads"])


def find_committed(results: Path) -> list[Path]:
    """Return the folders of all records that are committed, or of all records if none is committed."""
    # The asterisks of git match slashes too.
    committed = [Path(line) for line in git(results, "ls-files", "--", RUNS) or [] if line.count("/") == 3]
    return [path.parent for path in [results / path for path in committed] or sorted(results.glob(RUNS))]


def audit_record(folder: Path, data_dir: Path, rows: int = 1) -> Audit:
    """Audit the record of a run. A run in progress is skipped.

    Args:
        folder: Folder of the record, `<results>/<study>/<net>/seed-<s>`.
        data_dir: Folder that holds the data sets. Nothing is downloaded.
        rows: Number of first rows, of 64, to train again. With 0, published weights are not evaluated either.

    Raises:
        Stopped: If a signal arrives while rows are trained.
    """
    folder = folder.resolve()
    audit = Audit("/".join(folder.parts[-3:]))
    try:
        record = Record(folder)
        run = record.read_info()
        if run["outcome"] == UNFINISHED:
            audit.left_out.append("everything (the run is in progress)")
            return audit
        _check_files(audit, folder)
        config = RunConfig(**run["config"])
        if not _check_names(audit, run, config):
            audit.left_out.append("the rest (the configuration does not hold)")
            return audit
        recorded = record.metrics
        complete = _check_rows(audit, run, config, recorded)
        last, start = Machine(config, run["provenance"]), first_start(record)
    except (OSError, LookupError, TypeError, ValueError) as error:
        audit.problems.append(f"the record cannot be read ({type(error).__name__}: {error})")
        return audit
    data = _load_data(audit, run, config, data_dir)
    net = _load_weights(audit, record.weights, run, config)
    if not rows:
        audit.left_out.append("errors of the weights and first rows (ROWS=0)" if net else "first rows (ROWS=0)")
    elif data is None or not complete:
        audit.left_out.append("errors of the weights and first rows (data or metrics.csv do not hold)")
    else:
        threads = torch.get_num_threads()
        try:
            if net:
                _check_errors(audit, net, run["final"], config, last, data)
            _check_first_rows(audit, recorded[:rows], config, start, data_dir)
        finally:
            torch.set_num_threads(threads)
    return audit


def first_start(record: Record) -> dict:
    """Return the provenance of the first rows of a run, which may have been resumed on other hardware."""
    provenance = record.info["provenance"]
    return provenance | next(iter(provenance.get("earlier", [])), {})


def _check_files(audit: Audit, folder: Path) -> None:
    """Check that the files are the committed ones, by git's hashes. Only this finds every altered digit."""
    committed = git(folder, "ls-files", "--", ".")
    changed = git(folder, "diff", "--name-only", "--relative", "HEAD", "--", ".")
    if not committed or changed is None:
        audit.left_out.append("files (not committed)")
    else:
        problems = [f"{name} is not the committed one" for name in changed]
        audit.add(f"{len(committed)} files as committed", problems)


def _check_names(audit: Audit, run: RunInfo, config: RunConfig) -> bool:
    expected = {"config_hash": config.hash, "study": config.study, "net": config.net}
    problems = [
        f"{name} is {run.get(name)}, and that of the configuration {value}"
        for name, value in expected.items()
        if run.get(name) != value
    ]
    if audit.name != config.folder.as_posix():
        problems.append(f"the folder should be {config.folder.as_posix()}")
    return audit.add(f"hash {config.hash}", problems)


def _check_rows(audit: Audit, run: RunInfo, config: RunConfig, rows: pd.DataFrame) -> bool:
    """Check that metrics.csv is complete, and that run.json has the figures of its last row and its best test error."""
    final, ends = run["final"], row_ends(config)
    expected = ends if run["outcome"] == "finished" else ends[: len(rows)]
    if rows.empty or rows["iteration"].tolist() != expected:
        return audit.add("", [f"metrics.csv does not have the {len(expected)} rows of this run"])
    figures = rows.iloc[-1].to_dict()
    if rows["test_error"].notna().any():
        best = rows.loc[rows["test_error"].idxmin()]
        figures |= {"best_test_error": best["test_error"], "best_test_iteration": best["iteration"]}
    problems = [
        f"{name} is {cell:.6g} in metrics.csv and {final[name]} in run.json"
        for name, cell in figures.items()
        if name in final and f"{cell:.6g}" != f"{final[name]:.6g}"
    ]
    return audit.add(f"{len(rows)} rows", problems)


@lru_cache(maxsize=3)
def _md5(part: Any) -> str:  # hashed by identity
    return part.md5()


def _load_data(audit: Audit, run: RunInfo, config: RunConfig, data_dir: Path) -> StudyData | None:
    """Return the data of a run, or None if they are not those that it was trained on, or not there."""
    if (
        config.dataset in SOURCES and not (data_dir / SOURCES[config.dataset].base_folder).exists()
    ):  # nothing is downloaded here
        audit.left_out.append(f"data ({config.info.title} is not in {data_dir})")
        return None
    data = make_data(replace(config, seed=0, iterations=ROWS), data_dir)
    try:
        data.prepare_data()
        data.setup()
    except UserError as error:
        # Any folder of photographs is one of "imagenet", so that another one proves nothing about the record.
        (audit.left_out if config.family == "imagenet" else audit.problems).append(f"data ({error})")
        return None
    recorded = run["provenance"].get("data_md5", {})
    here = {name: _md5(part) for name, part in data.parts.items()}
    problems = [
        f"md5 of {name} is {recorded.get(name)} in run.json and {here.get(name)} here"
        for name in sorted({*recorded, *here})
        if recorded.get(name) != here.get(name)
    ]
    return data if audit.add(f"md5 of {' and '.join(sorted(here))}", problems) else None


def _load_weights(audit: Audit, path: Path, run: RunInfo, config: RunConfig) -> Normalized | None:
    """Return the net with the published weights, or None if there are none, or not those of this record."""
    if not path.exists():
        audit.left_out.append("weights (none published)")
        return None
    try:
        net = load_net(path)
    except UserError as error:
        audit.problems.append(str(error))
        return None
    problems = [
        f"{name} in {path.name} is not that of run.json"
        for name in ("config", "final", "provenance")
        if net.recipe.get(name) != run[name]
    ]
    architecture = config.architecture()
    if any(architecture.get(name) != value for name, value in net.architecture.items()):
        problems.append(f"architecture in {path.name} is not that of the configuration")
    return net if audit.add(f"recipe of {path.name}", problems) else None


def _check_errors(
    audit: Audit, net: Normalized, final: dict, config: RunConfig, machine: Machine, data: StudyData
) -> None:
    """Check that published weights have the recorded errors on the test set and on the clean training set."""
    if not torch.equal(net.mean, data.mean):
        audit.problems.append("mean in weights.safetensors is not that of the training images")
        return
    # The layout of the recorded passes. PyTorch's stub of `to` has no memory format beside a device.
    inner = net.net.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    found: dict[str, float] = {}
    torch.set_num_threads(machine.threads)  # which decides in which order sums are taken
    for part, prefix in (("test", ""), ("train", "clean_")):
        errors = evaluate(inner, data, part, machine.precision)
        found |= {prefix + name: value for name, value in errors.items() if prefix + name in final}
    kind = "hardware" if machine.precision == config.precision else "precision"
    most_error, most_loss = WEIGHTS_TOLERANCES[kind] if machine.differences else (0.0, 0.0)
    problems = [
        f"{name} is {final[name]} in run.json and {value} with these weights"
        for name, value in found.items()
        if not abs(value - final[name]) <= (most_loss if name.endswith("_loss") else most_error)
    ]
    told = ", ".join(f"{name} {value - final[name]:+.3g}" for name, value in found.items())
    within = f" (within {most_error} points and {most_loss}, since {', '.join(machine.differences)})"
    audit.add(f"errors of the weights: {told}{within if machine.differences else ''}", problems)


class Reached(Exception):
    """The rows that were asked for have been trained."""


class StopAfter(pl.Callback):
    """Raises `Reached` when the iteration after the given one begins, and so after the validation between them."""

    def __init__(self, iteration: int):
        self.iteration = iteration

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step >= self.iteration:
            raise Reached


def _check_first_rows(audit: Audit, recorded: pd.DataFrame, config: RunConfig, start: dict, data_dir: Path) -> None:
    """Train rows again from the seed, and compare them with those that were recorded with the provenance `start`."""
    machine = Machine(config, start)
    if machine.precision != config.precision:
        audit.left_out.append("first rows (PyTorch has no bf16 kernels for this CPU, and training would take hours)")
        return
    torch.set_num_threads(machine.threads)
    with TemporaryDirectory() as results:
        context = RunContext(
            data_dir=data_dir, results=Path(results), device=machine.device, checkpoint_seconds=math.inf
        )
        try:
            with suppress(Reached):
                train_run(config, context, [StopAfter(int(recorded["iteration"].iloc[-1]))])
            trained = Record.of(Path(results), config).metrics[: len(recorded)]
        except UserError as error:
            audit.left_out.append(f"first rows ({error})")
            return
    differences = list(machine.differences)
    if start.get("processes", 1) > 1:
        differences.append(f"{start['processes']} processes, here 1")
    if "cuda_graphs" not in start and start.get("engine", "eager") == "eager":  # before 2026-11-29
        differences.append("SGD was not fused")
    audit.add(*compare_rows(recorded, trained, differences))


def compare_rows(recorded: pd.DataFrame, trained: pd.DataFrame, differences: Sequence[str]) -> tuple[str, list[str]]:
    """Compare rows of metrics.csv, except for times.

    `differences` are reasons why digits may differ. Without any, the rows must be equal as they are printed. Otherwise
    rounding differs, which training amplifies, and only a large difference says anything.

    Returns:
        What was compared, and the problems.
    """
    count = f"{len(recorded)} row{'s' if len(recorded) > 1 else ''} trained again"
    if len(trained) < len(recorded):
        return count, [f"trained again, the run diverged after {len(trained)} of {len(recorded)} rows"]
    old, new = (rows.set_index("iteration") for rows in (recorded, trained))
    old = old.drop(columns=TIMES, errors="ignore")
    new = new.reindex_like(old)
    apart = (new - old).abs().mask(old.eq(new) | (old.isna() & new.isna()), 0.0).fillna(math.inf)
    most = pd.DataFrame(0.0, old.index, old.columns)
    if differences:
        most[[name for name in old if name.endswith("_error")]] = ROW_ERROR_TOLERANCE
        losses = [name for name in old if name.endswith("_loss")]
        most[losses] = ROW_LOSS_TOLERANCE * old[losses].abs().fillna(0.0)
    problems = [
        f"{name} at iteration {iteration} is {old.at[iteration, name]:.6g}, trained again {new.at[iteration, name]:.6g}"
        for iteration, name in apart.gt(most).stack().loc[lambda far: far].index
    ]
    largest = apart.max().loc[lambda far: far > 0]
    if largest.empty:
        return f"{count}: equal as printed", problems
    told = ", ".join(f"{name} differs by {far:.3g}" for name, far in largest.items())
    within = f"within {ROW_ERROR_TOLERANCE:g} points and {ROW_LOSS_TOLERANCE:.0%} of the loss"
    return f"{count}: {told} ({within}, since {', '.join(differences)})", problems
