"""Checking published records: what is untouched passes, and every altered file is found by the check it concerns."""

import json
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors
from helpers import config, shrink_demo

from plainres.errors import UserError
from plainres.nets import load_net
from plainres.report.run import NOTED_HARDWARE, hardware_name, read_run
from plainres.report.write import write_all
from plainres.verify import published, replay
from plainres.verify.__main__ import Findings, Verify, check_contents, main, verify
from plainres.verify.checks import Data, check_errors
from plainres.verify.published import FAILED, PASSED, SKIPPED, find_published, read_record
from plainres.verify.redraw import check_drawn
from plainres.verify.replay import ERROR_TOLERANCE, compare_rows, reason_to_skip

RECORD = config().folder
STUDY = config().study


@pytest.fixture(scope="module")
def committed(finished, tmp_path_factory):
    """A repository with one published record, and the figures and tables drawn from it; not to be changed."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copytree(finished[0] / STUDY, root / "results" / STUDY)
    write_all(root / "results")
    author = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "records"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


@pytest.fixture
def results(committed, tmp_path, small_demo):
    """A copy of the results folder in a repository."""
    shutil.copytree(committed, tmp_path / "repository")
    return tmp_path / "repository" / "results"


def check(results: Path) -> dict[str, str]:
    """The status of each check that needs no training and no drawing."""
    findings = Findings()
    check_contents([read_record(results / RECORD)], Data(results), findings)
    return {name: result.status for name, result in findings.found[RECORD.as_posix()].items()}


def failures(results: Path) -> set[str]:
    return {name for name, status in check(results).items() if status == FAILED}


def alter(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def other_digit(cell: str) -> str:
    """A number with another third digit."""
    places = [index for index, character in enumerate(cell) if character.isdigit()]
    place = places[min(2, len(places) - 1)]
    return cell[:place] + str((int(cell[place]) + 1) % 10) + cell[place + 1 :]


def test_untouched_record_passes(results, monkeypatch, capsys):
    monkeypatch.setattr(replay, "calibrate", lambda *_: 1e-12)
    arguments = ["verify", "--results", str(results), "--data-dir", str(results), "--rows", "2"]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 0
    printed = capsys.readouterr().out
    assert "2 rows equal as printed" in printed
    assert "0 failed, 0 skipped" in printed
    for name in ("files", "configuration", "metrics", "data", "weights", "first rows", "tables", "figures"):
        assert f" {name} " in printed


def test_all_published_records_are_found(results):
    assert find_published(results) == [results / RECORD]
    shutil.copytree(results / RECORD, results / RECORD.parent / "seed-7")
    assert find_published(results) == [results / RECORD], "only the first one is committed"
    shutil.rmtree(results.parent / ".git")
    assert len(find_published(results)) == 2


def test_runs_in_progress_are_left_out_unless_named(results):
    alter(results / RECORD / "run.json", '"outcome": "finished"', '"outcome": "running"')
    assert find_published(results) == []
    with pytest.raises(UserError, match="has not ended"):
        read_record(results / RECORD)


@pytest.mark.parametrize("column", ["train_error", "lr", "epoch", "iteration"])
def test_altered_row_is_found(results, column):
    metrics = results / RECORD / "metrics.csv"
    header, *rows = metrics.read_text().splitlines()
    cells = rows[30].split(",")
    place = header.split(",").index(column)
    cells[place] = other_digit(cells[place])
    rows[30] = ",".join(cells)
    metrics.write_text("\n".join([header, *rows]) + "\n")
    assert failures(results) == {"files", "metrics"}


def test_altered_loss_is_found_by_training_again(results):
    record = read_record(results / RECORD)
    cell = record.rows[0]["train_loss"]
    alter(results / RECORD / "metrics.csv", cell, other_digit(cell))
    result = replay.check_first_rows(record, results, 1)
    assert result.status == FAILED and cell in result.detail and "train_loss at iteration 1" in result.detail


@pytest.mark.parametrize("name", ["train_loss", "test_error", "best_test_error", "clean_train_error"])
def test_altered_final_figure_is_found(results, name):
    path = results / RECORD / "run.json"
    value = str(json.loads(path.read_text())["final"][name])
    alter(path, f'"{name}": {value}', f'"{name}": {other_digit(value)}')
    found = failures(results)
    assert "files" in found and "weights" in found  # the weights file holds the final figures too
    assert "metrics" in found or name == "clean_train_error"


def test_altered_configuration_is_found_and_nothing_is_computed_from_it(results):
    path = results / RECORD / "run.json"
    alter(path, '"momentum": 0.9', '"momentum": 0.8')
    statuses = check(results)
    assert statuses["configuration"] == FAILED
    assert statuses["weights"] == statuses["data"] == SKIPPED
    alter(path, '"momentum": 0.8', '"momentum": 8')
    assert check(results)["configuration"] == FAILED


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
    assert failures(results) == {"files", "weights"}
    altered = bytearray(untouched)
    altered[largest] ^= 0x01  # the last bit, which hardly changes the loss
    path.write_bytes(altered)
    assert "files" in failures(results)
    path.write_bytes(untouched[:-4])
    assert failures(results) == {"files", "weights"}


def test_missing_data_set_is_skipped_with_its_reason(results):
    other = config(dataset="cifar10")
    run = json.loads((results / RECORD / "run.json").read_text())
    run |= {"config": asdict(other), "config_hash": other.hash, "study": other.study, "net": other.net}
    shutil.copytree(results / RECORD, results / other.folder)
    (results / other.folder / "run.json").write_text(json.dumps(run))
    (results / other.folder / "weights.safetensors").unlink()
    findings = Findings()
    able = check_contents([read_record(results / other.folder)], Data(results), findings)
    found = findings.found[other.folder.as_posix()]
    assert not able and found["configuration"].status == PASSED
    for name in ("data", "first rows"):
        assert found[name].status == SKIPPED and "CIFAR-10 is not in DATA_DIR" in found[name].detail


def test_other_data_are_found(results, monkeypatch):
    shrink_demo(monkeypatch, train=704)
    assert {"data", "metrics"} <= failures(results)


def test_altered_table_and_figure_are_found(results):
    record = read_record(results / RECORD)
    svg = next((results / STUDY).glob("*.svg"))
    alter(results / STUDY / "runs.csv", "resnet-8", "resnet-9")
    alter(svg, "<path d=", "<path  d=")
    drawn = {name: result for _, name, result in check_drawn(record.results, [record], whole=False)}
    assert drawn["tables"].status == FAILED and "runs.csv" in drawn["tables"].detail
    assert drawn["figures"].status == FAILED and svg.name in drawn["figures"].detail
    for path in (results / STUDY).glob("*.svg"):
        alter(path, "Matplotlib v", "Matplotlib v0.")
    drawn = {name: result for _, name, result in check_drawn(record.results, [record], whole=False)}
    assert drawn["figures"].status == SKIPPED and "Matplotlib 0." in drawn["figures"].detail


@pytest.mark.parametrize("whole", [True, False])
def test_figures_and_tables_with_a_run_in_progress_are_redrawn(results, whole):
    folder = results / RECORD.parent / "seed-7"
    shutil.copytree(results / RECORD, folder)
    (folder / "weights.safetensors").unlink()
    alter(folder / "run.json", '"outcome": "finished"', '"outcome": "running"')
    alter(folder / "run.json", '"seed": 0', '"seed": 7')
    write_all(results)
    subprocess.run(["git", "add", "."], cwd=results, check=True)
    assert "seed-7: partial" in (results / STUDY / "table6.md").read_text()

    def checked() -> dict[tuple[str, str], str]:
        record = read_record(results / RECORD)
        return {(name, check): result.status for name, check, result in check_drawn(results, [record], whole=whole)}

    assert set(checked().values()) == {PASSED}
    alter(results / STUDY / "partial.md", "not results", "results")
    assert checked()[STUDY, "tables"] == FAILED


def test_names_of_clip_paths_and_markers_may_differ_in_figures(results):
    record = read_record(results / RECORD)
    drawing = results / STUDY / "figure7.svg"
    text = drawing.read_text()
    names = sorted(set(re.findall(r'id="([mp][0-9a-f]{10})"', text)))
    assert len(names) > 1
    for number, name in enumerate(names):
        text = text.replace(name, f"{name[0]}{number:010x}")
    drawing.write_text(text)

    def status() -> str:
        drawn = {name: result for _, name, result in check_drawn(record.results, [record], whole=False)}
        return drawn["figures"].status

    assert status() == PASSED
    first, second = re.findall(r'href="#(m[0-9a-f]{10})"', text)[:: text.count('href="#m') - 1]
    assert first != second
    alter(drawing, f'href="#{first}"', f'href="#{second}"')
    assert status() == FAILED


def test_other_hardware_has_a_tolerance():
    recorded = [{"iteration": "31", "lr": "0.1", "train_error": "82.5", "test_error": "", "seconds": "7"}]
    close = [recorded[0] | {"train_error": f"{82.5 + 0.9 * ERROR_TOLERANCE}", "seconds": "9"}]
    assert compare_rows(recorded, [recorded[0] | {"seconds": "9"}], []).status == PASSED
    assert compare_rows(recorded, close, []).status == FAILED
    allowed = compare_rows(recorded, close, ["amx False, here True"])
    assert allowed.status == PASSED and "amx False, here True" in allowed.detail
    for far in ({"train_error": f"{82.5 + 1.1 * ERROR_TOLERANCE}"}, {"lr": "0.01"}, {"test_error": "80"}):
        assert compare_rows(recorded, [recorded[0] | far], ["amx False, here True"]).status == FAILED
    diverged = compare_rows(recorded * 2, recorded, ["amx False, here True"])
    assert diverged.status == FAILED and "diverged after 1 of 2 rows" in diverged.detail


@pytest.mark.parametrize("here", [True, False])
def test_records_without_amx_name_the_way_to_train_without_it(results, here, monkeypatch):
    record = read_record(next(results.glob("*/*/seed-*")))
    hardware = record.hardware | {"amx": False}
    monkeypatch.setattr(published, "describe_hardware", lambda _: hardware | {"amx": here})
    record.run["provenance"]["hardware"] = hardware
    told = record.differences()
    assert any("ONEDNN_MAX_CPU_ISA" in text for text in told) is here


def test_bf16_records_are_checked_in_fp32_on_a_cpu_without_bf16_kernels(results, monkeypatch):
    monkeypatch.setattr(published, "has_bf16_kernels", lambda _: False)
    record = read_record(results / RECORD)
    assert record.precision == "fp32" and reason_to_skip(record) == ""
    in_bf16 = replace(record, config=replace(record.valid_config, precision="bf16"))
    assert in_bf16.precision == "fp32" and "no bf16 kernels" in reason_to_skip(in_bf16)

    net, (data, _) = load_net(record.folder / "weights.safetensors"), Data(results).load(record.valid_config)
    error = record.run["final"]["test_error"]
    for change, in_fp32, status in ((0.2, False, FAILED), (0.2, True, PASSED), (0.4, True, FAILED)):
        record.run["final"]["test_error"] = error + change
        result = check_errors(in_bf16 if in_fp32 else record, net, data)
        assert result.status == status
        assert ("precision bf16, here fp32" in result.detail) is (status == PASSED)
    monkeypatch.setattr(published, "has_bf16_kernels", lambda _: True)
    assert in_bf16.precision == "bf16" and reason_to_skip(in_bf16) == ""


def test_earlier_hardware_that_is_noted_outside_the_record(results, monkeypatch):
    folder = next(results.glob("*/*/seed-*"))
    record = read_record(folder)
    assert record.at_start().hardware == record.hardware
    monkeypatch.setitem(NOTED_HARDWARE, (record.name, "another commit"), (10, {"cpu": "Other"}))
    assert read_record(folder).at_start().hardware == record.hardware
    commit = record.run["provenance"]["commit"]
    monkeypatch.setitem(NOTED_HARDWARE, (record.name, commit), (10, {"cpu": "Other"}))
    assert not failures(results), "a check reads what is on disk"
    noted = read_record(folder)
    assert noted.hardware == record.hardware
    assert noted.at_start().hardware == record.hardware | {"cpu": "Other"}
    assert hardware_name(read_run(folder).info).startswith("Other (")
    path = folder / "run.json"
    path.write_text(json.dumps(record.run | {"provenance": record.run["provenance"] | {"earlier": []}}))
    assert read_record(folder).at_start().hardware == record.hardware, "what the record says itself goes first"


def test_older_highway_records_are_not_trained_again(results):
    record = read_record(results / RECORD)
    assert reason_to_skip(record) == ""
    older = record.run | {"final": {"test_error": 33.6}}
    highway = type(record)(record.folder, older, config(shortcut="highway"))
    assert "2026-11-21" in reason_to_skip(highway)
    assert reason_to_skip(type(record)(record.folder, record.run, config(shortcut="highway"))) == ""


def test_bad_input_is_one_line(results):
    def message(**options) -> str:
        with pytest.raises(UserError) as error:
            verify(Verify(**{"results": results, "data_dir": results} | options), Findings())
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "no such record" in message(records=(results / "nothing",))
    assert "not the record of a run" in message(records=(results / STUDY,))
    assert "no records below" in message(results=results / STUDY)
    assert "rows must be between 0 and 64" in message(rows=65)
    alter(results / RECORD / "run.json", '"outcome": "finished"', '"outcome": "running"')
    assert "has not ended" in message(records=(results / RECORD,))
    alter(results / RECORD / "run.json", "{", "")
    assert "not the record of a run" in message(records=(results / RECORD,))
