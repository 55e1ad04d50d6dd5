"""Progress of a study: a live table on a terminal, lines elsewhere."""

import io
import os
import re
import time

import pytest
from helpers import config
from rich.console import Console

from plainres.files import write_atomic
from plainres.study.watch import BARS, Watch
from plainres.training import Record, RunConfig
from plainres.training.checkpoints import checkpoint_path
from plainres.training.schedule import row_ends


def write_rows(results, run_config, rows, errors=None, outcome="running", test_every=16):
    """Write a record with its first rows; the training error is `errors`, or falls from 100%."""
    record = Record(results, run_config)
    record.write(outcome, {})
    ends = row_ends(run_config)[:rows]
    record.write_metrics(
        [
            {"iteration": end, "train_error": errors or 100 - number, "images_per_second": 100.0}
            | ({"test_error": 70.0} if number % test_every == 0 else {})
            for number, end in enumerate(ends, start=1)
        ]
    )
    return record


def shown(watch, width=200):
    """Return the table as text."""
    console = Console(file=io.StringIO(), width=width)
    console.print(watch.table())
    return console.file.getvalue()


def cells_of(watch, net):
    """Return the cells of a net's row."""
    (row,) = [row for row in zip(*(column.cells for column in watch.table().columns), strict=True) if row[0] == net]
    return list(row)


def iterations_shown(watch):
    return int(cells_of(watch, "resnet-8-batch32")[2].split("/")[0].replace(",", ""))


def age(record, seconds):
    """Date all files of a record back."""
    written = time.time() - seconds
    for path in record.folder.rglob("*"):
        os.utime(path, (written, written))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_twins_are_adjacent_and_curves_have_one_scale(tmp_path, console):
    runs = {net: config(depth=depth, shortcut=kind, iterations=640) for net, depth, kind in (
        ("plain-8-batch32", 8, None), ("plain-20-batch32", 20, None),
        ("resnet-8-batch32", 8, "A"), ("resnet-20-batch32", 20, "A"))}  # fmt: skip
    watch = Watch(list(runs.values()), tmp_path, console, expected=120)
    write_rows(tmp_path, runs["plain-8-batch32"], 64, errors=1.0, outcome="finished")
    write_rows(tmp_path, runs["resnet-8-batch32"], 32, errors=99.0)
    text = shown(watch)
    assert re.findall(r"(?:plain|resnet)-\d+-batch32", text) == [
        "plain-8-batch32",
        "resnet-8-batch32",
        "plain-20-batch32",
        "resnet-20-batch32",
    ]
    assert cells_of(watch, "plain-8-batch32")[3:] == [BARS[0] * 16, "1.0%", "70.0%", "100", "", "finished"]
    iteration, curve, *_, state = cells_of(watch, "resnet-8-batch32")[2:]
    assert curve == BARS[-1] * 8 and state == "training" and iteration.startswith("320/")
    assert cells_of(watch, "plain-20-batch32")[2:] == ["0/640", "", "", "", "", "", "waiting"]
    assert "1 of 4 runs have ended, after" in text and "of about 2 min" in text


def test_table_is_complete_in_80_columns(tmp_path):
    run_config = RunConfig(depth=110, shortcut="highway", warmup="off", lr=0.01)
    write_rows(tmp_path, run_config, 64, errors=99.9)
    text = shown(Watch([run_config], tmp_path, Console(file=io.StringIO(), width=80)), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(cell in text for cell in ("images/s", "64,000/64,000", "99.9%", "70.0%", "waiting"))
    first, second = text.splitlines()[3:5]
    assert first.split()[0] + second.strip() == run_config.net


def test_iterations_are_extrapolated_at_most_to_the_next_row(tmp_path, console):
    run_config = config(iterations=64_000)
    watch = Watch([run_config], tmp_path, console)
    watch.started = 0
    record = write_rows(tmp_path, run_config, 2)
    for seconds, expected in ((160, 2_500), (10_000, 3_000)):  # 32 images per iteration, 100 images per second
        age(record, seconds)
        assert iterations_shown(watch) == pytest.approx(expected, abs=5)


def test_resumed_run_is_extrapolated_from_its_checkpoint_and_its_new_start(tmp_path, console):
    run_config = config(iterations=64_000)
    record = write_rows(tmp_path, run_config, 2)
    write_atomic(checkpoint_path(record.checkpoints, 2_400), b"")
    age(record, 86_400)
    watch = Watch([run_config], tmp_path, console)
    assert iterations_shown(watch) == 2_400, "waiting"
    record.write("running", {})
    assert iterations_shown(watch) == pytest.approx(2_400, abs=5)
    (record.folder / "metrics.csv").unlink()
    assert iterations_shown(watch) == 2_400, "before the first row"


def test_partial_run_of_an_earlier_start_is_waiting(tmp_path, console):
    record = write_rows(tmp_path, config(), 10)
    for path in record.folder.iterdir():
        os.utime(path, (0, 0))
    watch = Watch([config()], tmp_path, console)
    assert cells_of(watch, "resnet-8-batch32")[-1] == "waiting"
    record.write("running", {})
    (record.folder / "metrics.csv.tmp").symlink_to(tmp_path / "gone")  # renamed between listing and looking at it
    assert cells_of(watch, "resnet-8-batch32")[-1] == "training"


def test_log_has_a_line_per_eighth_of_a_run_and_none_for_earlier_starts(tmp_path, console):
    write_rows(tmp_path, config(), 40)
    with Watch([config()], tmp_path, console) as watch:
        watch._show()
        assert console.file.getvalue() == ""
        write_rows(tmp_path, config(), 48)
        watch._show()
        watch._show()
    assert console.file.getvalue().splitlines() == [
        "resnet-8-batch32 seed 0  48/64  train 52.0%  test 70.0%  100 images/s  5 s left"
    ]


def test_terminal_shows_the_table_until_the_end(tmp_path):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with Watch([config()], tmp_path, console):
        write_rows(tmp_path, config(), 64, outcome="finished")
    assert "finished" in console.file.getvalue() and "1 of 1 runs have ended" in console.file.getvalue()
