"""Checking published records: what is untouched passes, and every altered file is found by the check it concerns."""

import copy
import json
import math
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import safetensors
from helpers import config, shrink_demo

from plainres import audit as audit_module
from plainres.audit import (
    ROW_ERROR_TOLERANCE,
    Audit,
    audit_record,
    compare_rows,
    find_committed,
    first_start,
)
from plainres.errors import UserError
from plainres.records.record import NOTED_HARDWARE, Record, hardware_name
from plainres.verify import Verify, verify

RECORD = config().folder
FILES = {f"{name} is not the committed one" for name in ("metrics.csv", "run.json", "weights.safetensors")}


@pytest.fixture(scope="module")
def committed(finished, tmp_path_factory):
    """A repository with one published record; not to be changed."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copytree(finished[0] / config().study, root / "results" / config().study)
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "records"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@pytest.fixture
def results(committed, tmp_path, small_demo):
    """A copy of the results folder in a repository."""
    shutil.copytree(committed, tmp_path / "repository")
    return tmp_path / "repository" / "results"


def audit(results: Path, rows: int = 1) -> Audit:
    return audit_record(results / RECORD, results, rows)


def problems(results: Path, rows: int = 1) -> list[str]:
    """What does not hold, except that altered files are not the committed ones, which is asserted."""
    found = audit(results, rows).problems
    assert FILES & set(found), "every altered file is found"
    return [problem for problem in found if problem not in FILES]


def alter(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def other_digit(cell: str) -> str:
    """A number with another third digit."""
    places = [index for index, character in enumerate(cell) if character.isdigit()]
    place = places[min(2, len(places) - 1)]
    return cell[:place] + str((int(cell[place]) + 1) % 10) + cell[place + 1 :]


def test_untouched_record_passes(results, capsys):
    assert verify(Verify(results=results, data_dir=results, rows=2)) == 0
    line, summary = capsys.readouterr().out.splitlines()
    assert line.startswith(f"passed {RECORD.as_posix()}: ") and "left out" not in line
    for compared in (
        "4 files as committed",
        f"hash {config().hash}",
        "64 rows",
        "md5 of test and train",
        "recipe of weights.safetensors",
        "errors of the weights: test_loss +0, test_error +0, clean_train_loss +0, clean_train_error +0",
        "2 rows trained again: equal as printed",
    ):
        assert f"{compared};" in f"{line};"
    assert summary == "1 passed, 0 failed, 0 skipped"


def test_without_rows_nothing_is_computed_again(results, monkeypatch):
    for name in ("train_run", "evaluate"):
        monkeypatch.delattr(audit_module, name)
    assert audit(results, rows=0).left_out == ["errors of the weights and first rows (ROWS=0)"]


def test_all_problems_of_all_records_are_listed(results, capsys):
    shutil.copytree(results / RECORD, results / RECORD.parent / "seed-7")
    subprocess.run(["git", "add", "."], cwd=results, check=True)
    (results / RECORD / "run.json").write_text("{")
    assert verify(Verify(results=results, data_dir=results, rows=0)) == 1
    failed, damaged, other, *altered, summary = capsys.readouterr().out.splitlines()
    assert failed.startswith(f"failed {RECORD}") and "cannot be read (JSONDecodeError" in damaged
    assert other.startswith(f"failed {RECORD.parent}/seed-7")
    assert "metrics.csv is not the committed one" in altered[0] and f"the folder should be {RECORD}" in altered[-1]
    assert summary == "0 passed, 2 failed, 0 skipped"


def test_all_published_records_are_found(results):
    assert find_committed(results) == [results / RECORD]
    shutil.copytree(results / RECORD, results / RECORD.parent / "seed-7")
    assert find_committed(results) == [results / RECORD], "only the first one is committed"
    shutil.rmtree(results.parent / ".git")
    assert len(find_committed(results)) == 2
    assert audit(results, rows=0).left_out[0] == "files (not committed)"


def test_runs_in_progress_are_skipped(results, capsys):
    alter(results / RECORD / "run.json", '"outcome": "finished"', '"outcome": "running"')
    assert verify(Verify(results=results, data_dir=results)) == 0
    assert capsys.readouterr().out.endswith("0 passed, 0 failed, 1 skipped\n")


@pytest.mark.parametrize(("row", "column"), [(30, "iteration"), (30, "train_error"), (63, "train_error")])
def test_altered_row_is_found(results, row, column):
    metrics = results / RECORD / "metrics.csv"
    header, *rows = metrics.read_text("utf-8").splitlines()
    cells = rows[row].split(",")
    place = header.split(",").index(column)
    cells[place] = other_digit(cells[place])
    rows[row] = ",".join(cells)
    metrics.write_text("\n".join([header, *rows]) + "\n")
    found = problems(results, rows=0)
    assert len(found) == (column == "iteration" or row == 63), "git alone finds an altered error in the middle"


def test_altered_loss_is_found_by_training_again(results):
    cell = f"{Record(results / RECORD).metrics['train_loss'][0]:.6g}"
    alter(results / RECORD / "metrics.csv", cell, other_digit(cell))
    (problem,) = problems(results)
    assert problem == f"train_loss at iteration 1 is {other_digit(cell)}, trained again {cell}"


@pytest.mark.parametrize("name", ["train_loss", "test_error", "best_test_error", "clean_train_error"])
def test_altered_final_figure_is_found(results, name):
    path = results / RECORD / "run.json"
    value = str(json.loads(path.read_text("utf-8"))["final"][name])
    alter(path, f'"{name}": {value}', f'"{name}": {other_digit(value)}')
    found = problems(results, rows=0)
    assert "final in weights.safetensors is not that of run.json" in found
    assert any(problem.startswith(f"{name} is ") for problem in found) or name == "clean_train_error"


@pytest.mark.parametrize("name", ["test_loss", "clean_train_error"])
def test_recorded_figures_must_be_those_of_the_weights(results, name, monkeypatch):
    evaluate = audit_module.evaluate

    def evaluated(*arguments):
        return {key: value + (key in name and 0.01) for key, value in evaluate(*arguments).items()}

    monkeypatch.setattr(audit_module, "evaluate", evaluated)
    (problem,) = audit(results).problems
    assert problem.startswith(f"{name} is ") and problem.endswith(" with these weights")


def test_altered_configuration_is_found_and_nothing_is_computed_from_it(results):
    path = results / RECORD / "run.json"
    alter(path, '"momentum": 0.9', '"momentum": 0.8')
    assert any(problem.startswith("config_hash is ") for problem in problems(results))
    assert audit(results).left_out == ["the rest (the configuration does not hold)"]
    alter(path, '"momentum": 0.8', '"momentum": 8')
    (problem,) = problems(results)
    assert "momentum must be at least 0" in problem


def test_altered_byte_of_weights_is_found(results):
    path = results / RECORD / "weights.safetensors"
    untouched = bytearray(path.read_bytes())
    with safetensors.safe_open(path, "pt") as file:
        weight = file.get_tensor("net.fc.weight")
    begin = bytes(untouched).index(weight.numpy().tobytes())
    largest = begin + 4 * int(weight.abs().argmax())
    altered = bytearray(untouched)
    altered[largest + 3] ^= 0x80  # the sign of the largest weight of the classifier
    path.write_bytes(altered)
    assert any(problem.endswith("with these weights") for problem in problems(results))
    altered = bytearray(untouched)
    altered[largest] ^= 0x01  # the last bit, which hardly changes the loss
    path.write_bytes(altered)
    problems(results)
    path.write_bytes(untouched[:-4])
    (problem,) = problems(results)
    assert "not a weights file" in problem


@pytest.fixture
def on_cifar10(results):
    """The folder of a record that says it was trained on CIFAR-10."""
    other = config(dataset="cifar10")
    run = json.loads((results / RECORD / "run.json").read_text("utf-8"))
    run |= {"config": asdict(other), "config_hash": other.hash, "study": other.study, "net": other.net}
    shutil.copytree(results / RECORD, results / other.folder)
    (results / other.folder / "run.json").write_text(json.dumps(run))
    (results / other.folder / "weights.safetensors").unlink()
    return results / other.folder


def test_missing_data_set_is_skipped_with_its_reason(on_cifar10, tmp_path):
    found = audit_record(on_cifar10, tmp_path)
    assert found.status == "passed"
    data, rest = found.left_out[1], found.left_out[-1]
    assert data == f"data (CIFAR-10 is not in {tmp_path})" and "first rows" in rest


def test_damaged_data_set_is_a_problem(on_cifar10, tmp_path):
    damaged = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    damaged.parent.mkdir()
    damaged.write_bytes(b"not a batch")
    (problem,) = audit_record(on_cifar10, tmp_path).problems
    assert str(damaged) in problem and "md5" in problem


def test_other_data_are_found(results, monkeypatch):
    shrink_demo(monkeypatch, train=704)
    found = audit(results)
    assert len(found.problems) == 1 and found.problems[0].startswith("md5 of train is ")
    assert any("first rows" in left_out for left_out in found.left_out)


def test_other_hardware_has_a_tolerance():
    columns = {"iteration": [31], "lr": 0.1, "train_error": 82.5, "test_error": math.nan, "images_per_second": 9.0}
    recorded = pd.DataFrame(columns | {"seconds": 7.0})
    close = recorded.assign(train_error=82.5 + 0.9 * ROW_ERROR_TOLERANCE, seconds=9.0)
    amx = ["amx False, here True"]
    assert not compare_rows(recorded, recorded.assign(seconds=9.0), [])[1]
    assert compare_rows(recorded, close, [])[1]
    told, found = compare_rows(recorded, close, amx)
    assert not found and "amx False, here True" in told
    for far in ({"train_error": 82.5 + 1.1 * ROW_ERROR_TOLERANCE}, {"lr": 0.01}, {"test_error": 80.0}):
        assert compare_rows(recorded, recorded.assign(**far), amx)[1]
    assert "diverged after 1 of 2 rows" in compare_rows(pd.concat([recorded] * 2), recorded, amx)[1][0]


@pytest.mark.parametrize("here", [True, False])
def test_records_without_amx_name_the_way_to_train_without_it(finished, here, monkeypatch):
    provenance = finished[1]["provenance"]
    hardware = provenance["hardware"] | {"amx": False}
    monkeypatch.setattr(audit_module, "describe_hardware", lambda _: hardware | {"amx": here})
    told = audit_module.Machine(config(), provenance | {"hardware": hardware}).differences
    assert any("ONEDNN_MAX_CPU_ISA" in text for text in told) is here


@pytest.mark.parametrize(("change", "status"), [(0.2, "passed"), (0.4, "failed")])
def test_bf16_records_are_evaluated_in_fp32_on_a_cpu_without_bf16_kernels(results, monkeypatch, change, status):
    in_bf16 = config(precision="bf16")
    shutil.copytree(results / RECORD, results / in_bf16.folder)
    path = results / in_bf16.folder / "run.json"
    run = json.loads(path.read_text("utf-8"))
    run |= {"config": asdict(in_bf16), "config_hash": in_bf16.hash, "study": in_bf16.study}
    path.write_text(json.dumps(run))
    evaluate, load_net = audit_module.evaluate, audit_module.load_net

    def evaluated(net, data, part, precision):
        assert precision == "fp32"
        return {
            key: value + (key == "test_error" and change) for key, value in evaluate(net, data, part, "fp32").items()
        }

    def load_in_bf16(path):
        net = load_net(path)
        net.recipe["config"] = asdict(in_bf16)
        return net

    monkeypatch.setattr(audit_module, "evaluate", evaluated)
    monkeypatch.setattr(audit_module, "load_net", load_in_bf16)
    monkeypatch.setattr(audit_module, "has_bf16_kernels", lambda _: False)
    found = audit_record(results / in_bf16.folder, results)
    assert found.status == status
    assert any("no bf16 kernels" in left_out for left_out in found.left_out)
    assert any("precision bf16, here fp32" in compared for compared in found.compared) is (status == "passed")


def test_earlier_hardware_that_is_noted_outside_the_record(results, finished, monkeypatch):
    folder, recorded = results / RECORD, copy.deepcopy(finished[1])
    hardware, commit = recorded["provenance"]["hardware"], recorded["provenance"]["commit"]
    assert first_start(Record(folder))["hardware"] == hardware
    monkeypatch.setitem(NOTED_HARDWARE, (RECORD.as_posix(), "another commit"), (10, {"cpu": "Other"}))
    assert first_start(Record(folder))["hardware"] == hardware
    monkeypatch.setitem(NOTED_HARDWARE, (RECORD.as_posix(), commit), (10, {"cpu": "Other"}))
    assert first_start(Record(folder))["hardware"] == hardware | {"cpu": "Other"}
    found = audit(results)
    assert found.status == "passed", "what is noted is not compared with what is on disk"
    assert "since cpu Other, here" not in found.compared[-2], "the weights are those of the last start"
    assert hardware_name(Record(folder).info).startswith("Other (")
    recorded["provenance"]["earlier"] = []
    (folder / "run.json").write_text(json.dumps(recorded))
    assert first_start(Record(folder))["hardware"] == hardware, "what the record says itself goes first"


def test_bad_input_is_one_line(results):
    def message(**options) -> str:
        with pytest.raises(UserError) as error:
            verify(Verify(**{"results": results, "data_dir": results} | options))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "not the record of a run" in message(records=(results / "nothing",))
    assert "no records below" in message(results=results / config().study)
    assert "rows must be between 0 and 64" in message(rows=65)
