"""Training the first rows of a record again from its seed."""

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytorch_lightning as pl

from plainres.errors import UserError
from plainres.study.plan import calibrate, estimate_seconds
from plainres.training import RunContext, train_run
from plainres.training.config import ROWS
from plainres.training.module import ClassificationModule
from plainres.training.schedule import row_ends, validation_interval
from plainres.verify.checks import Data
from plainres.verify.published import FAILED, SKIPPED, PublishedRecord, Result, judge, read_rows

TIMES = ("images_per_second", "seconds")
# Training amplifies rounding, and the first iterations of deep nets most of all. With and without AMX, the first rows
# of the same seed differed by up to 4.6 points of error and 12% of the loss (residual nets of 44 and 56 layers). Until
# 2026-11-22 the tolerances were 3 points and 5%, which six records of such nets exceeded.
ERROR_TOLERANCE = 10.0  # points
LOSS_TOLERANCE = 0.25  # relative


class Reached(Exception):
    """The rows that were asked for have been trained."""


class StopAfter(pl.Callback):
    """Raises `Reached` once a run has its first rows, with the test errors that belong to them.

    Args:
        rows: Number of rows.
    """

    def __init__(self, rows: int):
        self.rows = rows

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        if trainer.global_step % validation_interval(module.config):
            self._stop(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self._stop(trainer, module)

    def _stop(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        if trainer.global_step >= row_ends(module.config)[self.rows - 1]:
            raise Reached


def reason_to_skip(record: PublishedRecord) -> str:
    """Return why the first rows of a record cannot be trained again, or an empty text."""
    if record.valid_config.kind == "highway" and "averaged_bn_test_error" not in record.run["final"]:
        return "recorded before 2026-11-21, when the initialization of highway gates changed"
    if record.precision != record.valid_config.precision:
        return "PyTorch has no bf16 kernels for this CPU, so training in bf16 would take many times as long as in fp32"
    return ""


def estimate(records: Sequence[PublishedRecord], data: Data, rows: int) -> list[tuple[float, PublishedRecord]]:
    """Return the records with the expected seconds of their first rows, the cheapest first.

    A few iterations are timed for each kind of run.

    Args:
        records: Records, whose data sets are usable.
        data: Data sets.
        rows: Number of rows.
    """
    speeds, costs = {}, []
    for record in records:
        started = record.at_start()
        config = started.valid_config
        loaded, _ = data.load(config)
        assert not isinstance(loaded, Result)
        sizes = {name: len(part) for name, part in loaded.parts.items()}
        kind = (config.dataset, config.image_size, config.precision, started.hardware.get("threads"))
        if kind not in speeds:
            with started.recorded_threads():
                speeds[kind] = calibrate(config, started.device)
        costs.append((estimate_seconds(config, speeds[kind], sizes) * rows / ROWS, record))
    return sorted(costs, key=lambda cost: cost[0])


def check_first_rows(record: PublishedRecord, data_dir: Path, rows: int) -> Result:
    """Train the first rows of a run again and compare them with the recorded ones.

    They must be equal as they are printed if hardware, threads, processes and PyTorch are the recorded ones.
    Otherwise rounding differs, which training amplifies, and only a large difference says anything.

    Args:
        record: Record of the run.
        data_dir: Folder that holds its data set.
        rows: Number of rows.
    """
    record = record.at_start()
    recorded = record.rows[:rows]
    with TemporaryDirectory() as folder, record.recorded_threads():
        context = RunContext(
            data_dir=data_dir,
            results=Path(folder),
            device=record.device,
            checkpoint_seconds=math.inf,
        )
        try:
            with suppress(Reached):
                train_run(record.valid_config, context, [StopAfter(rows)])
            trained = read_rows(Path(folder) / record.valid_config.folder / "metrics.csv")
        except UserError as error:
            return Result(SKIPPED, str(error))
    differences = record.differences()
    processes = record.run["provenance"].get("processes", 1)
    provenance = record.run["provenance"]
    if "cuda_graphs" not in provenance and provenance.get("engine", "eager") == "eager":  # before 2026-11-29
        differences.append("SGD was not fused")
    if processes > 1:
        differences.append(f"{processes} processes, here 1")
    return compare_rows(recorded, trained, differences)


def compare_rows(
    recorded: Sequence[dict[str, str]], trained: Sequence[dict[str, str]], differences: Sequence[str]
) -> Result:
    """Compare rows of metrics.csv, except for times.

    Args:
        recorded: Recorded rows.
        trained: Rows that were trained again. Fewer than recorded ones if training diverged.
        differences: Reasons why digits may differ. Without any, the rows must be equal as they are printed.
    """
    if len(trained) < len(recorded):
        return Result(FAILED, f"trained again, the run diverged after {len(trained)} of {len(recorded)} rows")
    problems: list[str] = []
    largest: dict[str, float] = {}
    for old, new in zip(recorded, trained[: len(recorded)], strict=True):
        for name in old:
            if name in TIMES or old[name] == new.get(name):
                continue
            complete = old[name] and new.get(name)
            far = abs(float(new[name]) - float(old[name])) if complete else math.inf
            tolerance = ERROR_TOLERANCE if name.endswith("_error") else None
            if name.endswith("_loss") and complete:
                tolerance = LOSS_TOLERANCE * abs(float(old[name]))
            largest[name] = max(far, largest.get(name, 0.0))
            if not differences or tolerance is None or not far <= tolerance:
                problems.append(f"{name} at iteration {old['iteration']} is {old[name]}, trained again {new.get(name)}")
    count = f"{len(recorded)} row{'s' if len(recorded) > 1 else ''}"
    if not largest:
        return judge(problems, f"{count} equal as printed")
    told = ", ".join(f"{name} differs by {far:.3g}" for name, far in largest.items())
    within = f"within {ERROR_TOLERANCE:g} points and {LOSS_TOLERANCE:.0%} of the loss, since {', '.join(differences)}"
    return judge(problems, f"{count}: {told} ({within})")
