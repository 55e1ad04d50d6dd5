"""Progress of a study: a live table on a terminal, lines elsewhere."""

import io
import os
import re
import time

import pandas as pd
import pytest
from helpers import config
from rich.console import Console

from plainres.files import write_atomic
from plainres.study import watch as watching
from plainres.study.watch import BARS, progress_table, watch
from plainres.training import Record, RunConfig
from plainres.training.checkpoints import checkpoint_path
from plainres.training.schedule import row_ends


def write_rows(results, run_config, rows, errors=None, outcome="running", test_every=16):
    """Write a record with its first rows; the training error is `errors`, or falls from 100%."""
    record = Record.of(results, run_config)
    record.write(run_config, outcome, {})
    ends = row_ends(run_config)[:rows]
    written = [
        {"iteration": end, "train_error": errors or 100 - number, "images_per_second": 100.0}
        | ({"test_error": 70.0} if number % test_every == 0 else {})
        for number, end in enumerate(ends, start=1)
    ]
    record.write_table(record.metrics_csv, pd.DataFrame(written))
    return record


def shown(*arguments, width=200):
    """Return the table as text."""
    console = Console(file=io.StringIO(), width=width)
    console.print(progress_table(*arguments))
    return console.file.getvalue()


def cells_of(table, net):
    """Return the cells of a net's row."""
    (row,) = [row for row in zip(*(column.cells for column in table.columns), strict=True) if row[0] == net]
    return list(row)


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_twins_are_adjacent_and_curves_have_one_scale(tmp_path):
    runs = {net: config(depth=depth, shortcut=kind, iterations=640) for net, depth, kind in (
        ("plain-8-batch32", 8, None), ("plain-20-batch32", 20, None),
        ("resnet-8-batch32", 8, "A"), ("resnet-20-batch32", 20, "A"))}  # fmt: skip
    arguments = (list(runs.values()), tmp_path, 200, time.time() - 1, 120)
    write_rows(tmp_path, runs["plain-8-batch32"], 64, errors=1.0, outcome="finished")
    write_rows(tmp_path, runs["resnet-8-batch32"], 32, errors=99.0)
    text, table = shown(*arguments), progress_table(*arguments)
    assert re.findall(r"(?:plain|resnet)-\d+-batch32", text) == [
        "plain-8-batch32",
        "resnet-8-batch32",
        "plain-20-batch32",
        "resnet-20-batch32",
    ]
    assert cells_of(table, "plain-8-batch32")[3:] == [BARS[0] * 16, "1.0%", "70.0%", "100", "", "finished"]
    iteration, curve, *_, state = cells_of(table, "resnet-8-batch32")[2:]
    assert curve == BARS[-1] * 8 and state == "training" and iteration.startswith("320/")
    assert cells_of(table, "plain-20-batch32")[2:] == ["0/640", "", "", "", "", "", "waiting"]
    assert "1 of 4 runs have ended, after" in text and "of about 2 min" in text


def test_table_is_complete_in_80_columns(tmp_path):
    run_config = RunConfig(depth=110, shortcut="highway", warmup="off", lr=0.01)
    write_rows(tmp_path, run_config, 64, errors=99.9)
    text = shown([run_config], tmp_path, 80, time.time() + 1, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(cell in text for cell in ("images/s", "64,000/64,000", "99.9%", "70.0%", "waiting"))
    first, second = text.splitlines()[3:5]
    assert first.split()[0] + second.strip() == run_config.net


def test_partial_run_of_an_earlier_start_is_waiting_at_its_checkpoint(tmp_path):
    run_config = config(iterations=64_000)
    record = write_rows(tmp_path, run_config, 2)
    write_atomic(checkpoint_path(record.checkpoints, 2_400), b"")
    for path in record.folder.iterdir():
        os.utime(path, (0, 0))

    def cells():
        return cells_of(progress_table([run_config], tmp_path, 200, started=1.0), "resnet-8-batch32")

    assert cells()[2] == "2,400/64,000" and cells()[-1] == "waiting"
    record.write(run_config, "running", {})
    assert cells()[-1] == "training"
    (record.folder / "metrics.csv").unlink()
    assert cells()[2] == "2,400/64,000", "before the first row"


def test_log_has_a_line_per_eighth_of_a_run_and_none_for_earlier_starts(tmp_path, console, monkeypatch):
    monkeypatch.setattr(watching, "REFRESH_SECONDS", 0.01)
    write_rows(tmp_path, config(), 40)
    with watch([config()], tmp_path, console):
        time.sleep(0.1)
        assert console.file.getvalue() == ""
        write_rows(tmp_path, config(), 48)
        time.sleep(0.1)
    assert console.file.getvalue().splitlines() == [
        "resnet-8-batch32 seed 0  48/64  train 52.0%  test 70.0%  100 images/s  5 s left"
    ]


def test_terminal_shows_the_table_until_the_end(tmp_path):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with watch([config()], tmp_path, console):
        write_rows(tmp_path, config(), 64, outcome="finished")
    assert "finished" in console.file.getvalue() and "1 of 1 runs have ended" in console.file.getvalue()
