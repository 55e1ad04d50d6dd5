"""What a record says about itself, its data and its weights."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from plainres.data import StudyData
from plainres.data.cifar.files import SOURCES
from plainres.data.imagenet.module import FOLDERS
from plainres.errors import UserError
from plainres.files import read_json
from plainres.nets import load_net
from plainres.nets.weights import Normalized
from plainres.training import RunConfig
from plainres.training.build import make_data
from plainres.training.config import ROWS
from plainres.training.evaluation import evaluate
from plainres.training.schedule import learning_rate_factor, row_ends, warmup_limit
from plainres.verify.published import FAILED, SKIPPED, PublishedRecord, Result, git, judge, printed

# Other hardware rounds differently, most of all in bf16. Three nets that were recorded on an AMD EPYC and evaluated on
# an Intel Xeon with AMX moved by at most 0.02 points (two test images) and 4e-5 of loss. Deeper nets get some room.
# Evaluated in fp32 instead of bf16, the test errors of the nine published nets moved by at most 0.12 points (plain-56
# after 64,000 iterations) and their losses by at most 6e-4.
ERROR_TOLERANCES = {"hardware": 0.05, "precision": 0.3}  # points
LOSS_TOLERANCES = {"hardware": 1e-3, "precision": 5e-3}
UNREADABLE = (UserError, SafetensorError, OSError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError)


def check_files(record: PublishedRecord) -> Result:
    """Check that the files of a record are the committed ones. Only this finds every altered digit of every file."""
    committed = git(record.folder, "ls-files", "--", ".")
    changed = git(record.folder, "diff", "--name-only", "--relative", "HEAD", "--", ".")
    if not committed or changed is None:
        return Result(SKIPPED, "the record is not committed")
    return judge([f"{name} is not the committed one" for name in changed], f"{len(committed)} files as committed")


def check_configuration(record: PublishedRecord) -> Result:
    """Check that the configuration, its hash and the names that follow from it agree."""
    run, config = record.run, record.config
    if config is None:
        return Result(FAILED, f"the configuration is not valid: {record.problem}")
    expected = {"config_hash": config.hash, "study": config.study, "net": config.net}
    problems = [
        f"{name} is {run.get(name)}, and that of the configuration {value}"
        for name, value in expected.items()
        if run.get(name) != value
    ]
    if record.name != config.folder.as_posix():
        problems.append(f"the folder should be {config.folder.as_posix()}")
    return judge(problems, f"hash {config.hash}")


def check_metrics(record: PublishedRecord) -> Result:
    """Check that metrics.csv is complete and agrees with run.json, with the schedule and with itself.

    Errors are counts of images divided by a number of images, which finds most altered digits.
    """
    try:
        rows = record.rows
        problems = list(_metrics_problems(record, rows))
    except UNREADABLE as error:
        return Result(FAILED, f"metrics.csv cannot be read ({error!r})")
    return judge(problems, f"{len(rows)} rows, the last one as in run.json")


def _metrics_problems(record: PublishedRecord, rows: list[dict[str, str]]) -> Iterator[str]:
    config, run, final = record.valid_config, record.run, record.run["final"]
    ends = row_ends(config)
    expected = ends if run["outcome"] == "finished" else ends[: len(rows)]
    if not rows or [row["iteration"] for row in rows] != [str(end) for end in expected]:
        yield f"metrics.csv does not have the {len(expected)} rows up to iteration {expected[-1] if expected else 1}"
        return
    sizes = config.info.sizes.get(config.train_set, {})
    numbers = [{name: float(cell) for name, cell in row.items() if cell} for row in rows]
    start, seconds = 0, 0.0
    for index, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        end = ends[index]
        known = {}
        if "warmup_end" in run or not warmup_limit(config):  # a run that diverged does not say when its warm-up ended
            errors = [number["train_error"] for number in numbers[:index]]
            known["lr"] = config.lr * learning_rate_factor(config, end - 1, end <= run.get("warmup_end", 0), errors)
        if sizes:
            known["epoch"] = end * config.batch_size / sizes["train"]
        for name, value in known.items():
            if row[name] != printed(value):
                yield f"{name} is {row[name]} at iteration {end}, not {printed(value)}"
        images = {"train_error": (end - start) * config.batch_size}
        images |= {f"{part}_error": size for part, size in sizes.items() if part != "train"}
        for name, count in images.items():
            if name in number and not _is_count(number[name], count):
                yield f"{name} {row[name]} at iteration {end} is no number of errors among {count} images"
        if number["seconds"] < seconds:
            yield f"seconds fall at iteration {end}"
        start, seconds = end, number["seconds"]
    for name, cell in rows[-1].items():
        if name in final and printed(final[name]) != cell:
            yield f"{name} is {cell} in the last row and {final[name]} in run.json"
    tested = {int(number["iteration"]): number["test_error"] for number in numbers if "test_error" in number}
    if tested and run["outcome"] == "finished":
        best = tested.get(final["best_test_iteration"])
        if best != min(tested.values()) or printed(final["best_test_error"]) != printed(best):
            yield f"best_test_error is {final['best_test_error']} in run.json and {min(tested.values())} in metrics.csv"
    for name, value in final.items():
        part = next((part for part in sizes if f"{part}_" in name), None)
        if name.endswith("_error") and name != "train_error" and part and not _is_count(value, sizes[part]):
            yield f"{name} {value} in run.json is no number of errors among {sizes[part]} images"


def _is_count(error: float, images: int) -> bool:
    """Return whether an error in percent, rounded to six digits, is a whole number of images."""
    count = error * images / 100
    rounding = 0.5 * 10.0 ** (len(str(int(error))) - 6) * images / 100  # error < 1 has more digits than this assumes
    return abs(count - round(count)) <= 1.01 * rounding


class Data:
    """The data sets of a folder, each of them loaded once.

    Args:
        folder: Folder that holds the data sets.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._loaded: dict[tuple, tuple[StudyData | Result, dict[str, str]]] = {}

    def load(self, config: RunConfig) -> tuple[StudyData | Result, dict[str, str]]:
        """Return the data of a run, with the md5 of each part, or the result that says why they cannot be used."""
        key = (config.dataset, config.train_set, config.num_classes, config.image_size)
        if key not in self._loaded:
            self._loaded[key] = self._load(config)
        return self._loaded[key]

    def _load(self, config: RunConfig) -> tuple[StudyData | Result, dict[str, str]]:
        name = SOURCES[config.dataset].base_folder if config.dataset in SOURCES else None
        name = FOLDERS["train"] if config.family == "imagenet" else name
        if name and not (self.folder / name).is_dir():  # nothing is downloaded here
            return Result(SKIPPED, f"{config.info.title} is not in DATA_DIR ({self.folder} has no {name}/)"), {}
        data = make_data(replace(config, seed=0, iterations=ROWS), self.folder)
        try:
            data.prepare_data()
            data.setup()
        except UserError as error:
            # Any folder of photographs is one of "imagenet", so another one proves nothing about the record.
            return Result(SKIPPED if config.family == "imagenet" else FAILED, str(error)), {}
        return data, {name: part.md5() for name, part in data.parts.items()}

    def check(self, record: PublishedRecord) -> Result:
        """Check that a run was trained on the data that are here."""
        data, here = self.load(record.valid_config)
        if isinstance(data, Result):
            return data
        recorded = record.run["provenance"].get("data_md5", {})
        names = sorted({*recorded, *here})
        problems = [
            f"md5 of {name} is {recorded.get(name)} in run.json and {here.get(name)} here"
            for name in names
            if recorded.get(name) != here.get(name)
        ]
        return judge(problems, f"md5 of {' and '.join(names)}")


def check_weights(record: PublishedRecord, data: StudyData | Result) -> Result:
    """Check that the published weights are those of the record, and give its test error and clean training error.

    Args:
        record: Record of the run.
        data: Data of the run, or the result that says why they cannot be used.
    """
    path = record.folder / "weights.safetensors"
    if not path.exists():
        return Result(SKIPPED, "no weights are published")
    try:
        net = load_net(path)
        problems = _metadata_problems(record, net)
    except UNREADABLE as error:
        return Result(FAILED, f"the weights cannot be loaded ({error})")
    if problems:
        return judge(problems, "")
    if isinstance(data, Result):
        return Result(SKIPPED, f"metadata agree; not evaluated: {data.detail}")
    if not torch.equal(net.mean, data.mean):
        return Result(FAILED, "the mean of the preprocessing is not that of the training images")
    return check_errors(record, net, data)


def _metadata_problems(record: PublishedRecord, net: Normalized) -> list[str]:
    config, recipe = record.valid_config, net.recipe
    on_disk = read_json(record.folder / "run.json")  # the record may hold hardware that was noted later
    problems = [f"{name} is not that of run.json" for name in ("final", "provenance") if recipe[name] != on_disk[name]]
    if RunConfig(**recipe["config"]) != config:
        problems.append("config is not that of run.json")
    expected = config.architecture()
    if any(expected.get(name) != value for name, value in net.architecture.items()):
        problems.append("architecture is not that of the configuration")
    return problems


def check_errors(record: PublishedRecord, net: Normalized, data: StudyData) -> Result:
    """Check that a net has the recorded errors.

    Other hardware and software may change the last digits. A device without kernels for bf16 evaluates in fp32, and
    gets a wider tolerance.

    Args:
        record: Record of the run.
        net: Net with the published weights.
        data: Data of the run.
    """
    final, device = record.run["final"], record.device
    # The layout of the recorded passes. PyTorch's stub of `to` has no memory format beside a device.
    inner = net.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    differences = record.differences()
    differing = "hardware" if record.precision == record.valid_config.precision else "precision"
    most_error, most_loss = ERROR_TOLERANCES[differing], LOSS_TOLERANCES[differing]
    parts = {"test": "test", "clean_train": "train"}
    problems, told = [], []
    with record.recorded_threads():
        for prefix, part in parts.items():
            if f"{prefix}_error" not in final:
                continue
            errors = evaluate(inner, data, part, record.precision)
            for kind, tolerance in (("error", most_error), ("loss", most_loss)):
                name, value = f"{prefix}_{kind}", errors[f"{part}_{kind}"]
                difference = value - final[name]
                told.append(f"{name} {difference:+.3g}" if difference else f"{name} equal")
                if not abs(difference) <= (tolerance if differences else 0):
                    problems.append(f"{name} is {final[name]} in run.json and {value} with these weights")
    within = f" (within {most_error} points and {most_loss}, since {', '.join(differences)})"
    return judge(problems, ", ".join(told) + (within if differences else ""))
