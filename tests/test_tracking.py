"""The data that W&B receives, read back from its offline file; and that W&B never stops training."""

import inspect
import json
import struct
import sys
import time
from types import SimpleNamespace

import pytest
import wandb
from helpers import CPU, Interrupt, config, metrics, train
from wandb.proto import wandb_internal_pb2 as messages

from plainres.report import find_studies, write_all
from plainres.report.tables import table_6
from plainres.study import StudyContext
from plainres.tracking import backfill, mirror
from plainres.tracking.mirror import resolve_mode, run_id
from plainres.training import Record
from plainres.training.record import UNFINISHED

pytestmark = pytest.mark.usefixtures("small_demo")


def read_offline(path):
    """Return the messages of an offline run: a LevelDB log of protobuf records in blocks of 32 KiB."""
    content, records, pending, at = path.read_bytes(), [], b"", 7
    while at + 7 <= len(content):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if at + 7 + length > len(content):
            break  # the file is still being written
        pending += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or the last part
            record = messages.Record()
            record.ParseFromString(pending)
            records.append(record)
            pending = b""
    return records


def offline_runs(results):
    """Return the messages of every offline run, once W&B's process has written all of them."""
    paths = sorted(results.glob(".wandb/wandb/offline-run-*/*.wandb"))
    deadline = time.monotonic() + 30
    while not all(of_kind(read_offline(path), "exit") for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return [read_offline(path) for path in paths]


def of_kind(records, kind):
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def train_offline(results, **options):
    return StudyContext(data_dir=results, results=results, device=CPU, wandb_mode="offline", **options).train(config())


def history(records):
    return [
        {item.key or item.nested_key[0]: item.value_json for item in row.item} for row in of_kind(records, "history")
    ]


@pytest.mark.slow
def test_a_run_is_mirrored_with_its_identity_curves_and_summary(tmp_path):
    run = train_offline(tmp_path)
    (records,) = offline_runs(tmp_path)
    identity = of_kind(records, "run")[0]
    assert identity.run_id == run_id(config()) == "demo-64-fp32-resnet-8-batch32-s0"
    assert (identity.run_group, identity.job_type, identity.project) == ("resnet-8-batch32", "train", "plainres")
    assert set(identity.tags) == {"demo", "64 iterations"}
    logged = {item.key or item.nested_key[0]: item.value_json for item in identity.config.update}
    assert logged["depth"] == "8" and logged["precision"] == '"fp32"'
    axes = {metric.name or metric.glob_name: metric.step_metric for metric in of_kind(records, "metric")}
    assert axes["*"] == "iteration"
    rows = history(records)
    assert [int(row["iteration"]) for row in rows] == list(range(1, 65))
    recorded = metrics(tmp_path, config())
    assert [float(row["train_error"]) for row in rows] == pytest.approx(recorded["train_error"].tolist(), rel=1e-4)
    assert "test_error" in rows[-1] and "test_error" not in rows[0]
    summary = {}
    for part in of_kind(records, "summary"):
        summary |= {item.key or item.nested_key[0]: item.value_json for item in part.update}
    assert float(summary["final/test_error"]) == pytest.approx(run["final"]["test_error"])
    assert summary["outcome"] == '"finished"'


@pytest.mark.slow
def test_resumed_run_logs_each_row_once_over_its_segments(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crash"):
        patch.setattr(mirror.Mirror, "on_train_batch_end", Interrupt(20).on_train_batch_end)
        train_offline(tmp_path, checkpoint_seconds=0)
    train_offline(tmp_path)
    segments = offline_runs(tmp_path)
    assert len(segments) == 2
    assert {of_kind(records, "run")[0].run_id for records in segments} == {run_id(config())}
    iterations = [int(row["iteration"]) for records in segments for row in history(records)]
    assert iterations == list(range(1, 65))


@pytest.mark.slow
def test_failing_wandb_is_reported_once_and_stops_nothing(tmp_path, monkeypatch, capsys):
    def fail(**_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wandb.init", fail)
    assert train_offline(tmp_path)["outcome"] == "finished"
    assert capsys.readouterr().err.count("W&B failed and is no longer used") == 1


@pytest.mark.slow
def test_run_that_was_only_evaluated_is_mirrored(tmp_path, monkeypatch):
    def crash(*_):
        raise RuntimeError("crash")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crash"):
        patch.setattr("plainres.training.run.with_averaged_bn", crash)
        train(tmp_path, config())
    seen = []
    monkeypatch.setattr("wandb.init", lambda **options: seen.append(options["id"]))
    train_offline(tmp_path)
    train_offline(tmp_path)
    assert seen == [run_id(config())], "once at its end, and not again"


@pytest.mark.slow
def test_sweep_chooses_the_id(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    monkeypatch.setattr("wandb.init", lambda **options: seen.update(options))
    train_offline(tmp_path)
    assert "id" not in seen and seen["group"] == "resnet-8-batch32"
    seen.clear()
    train_offline(tmp_path)
    assert seen["job_type"] == "train", "a finished run is also logged for the agent of the sweep"


def test_row_that_was_held_back_when_a_run_was_killed_is_logged_after_the_restart(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(mirror, "Connection", lambda *_, **__: SimpleNamespace(submit=lambda call: call(wandb_run)))
    wandb_run = SimpleNamespace(define_metric=lambda *_, **__: None, log=lambda row, step: logged.append(step))
    record = Record(tmp_path, config())
    record.write(UNFINISHED, {"provenance": {}})
    rows = [{"iteration": 10 * (i + 1), "train_error": 1.0} for i in range(4)]
    killed = mirror.Mirror(record, "offline", tmp_path)
    killed.start()
    killed.on_train_batch_end(None, SimpleNamespace(rows=rows[:2]))
    resumed = mirror.Mirror(record, "offline", tmp_path)
    resumed.on_train_start(None, SimpleNamespace(rows=rows[:2]))
    resumed.on_train_batch_end(None, SimpleNamespace(rows=rows))
    assert logged == [10, 20, 30]


def test_wandb_has_what_the_login_requires():
    """Other tests replace `wandb.login`, and an error of it only means that runs are mirrored offline."""
    assert "prompt" in inspect.signature(wandb.login).parameters


def test_mode(monkeypatch, capsys):
    monkeypatch.delenv("WANDB_MODE")
    for login, mode in (
        (lambda **_: False, "offline"),
        (lambda **_: True, "online"),
        (lambda **_: 1 / 0, "offline"),
    ):
        monkeypatch.setattr("wandb.login", login)
        assert resolve_mode("auto") == mode
    assert "W&B cannot be reached" in capsys.readouterr().err
    assert resolve_mode("off") == "off"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve_mode("auto") == "off"
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert resolve_mode("auto") == "off"
    assert "wandb is not installed" in capsys.readouterr().err
    with pytest.raises(ValueError, match="not installed: pip install wandb"):
        resolve_mode("online")


@pytest.mark.slow
def test_backfill_mirrors_finished_records(tmp_path, monkeypatch, capsys):
    train(tmp_path, config())
    write_all(tmp_path)
    monkeypatch.setattr(sys, "argv", ["backfill", str(tmp_path), "--wandb", "offline"])
    assert backfill.main() == 0
    assert f"{run_id(config())}: offline" in capsys.readouterr().out
    runs = {of_kind(records, "run")[0].run_id: records for records in offline_runs(tmp_path)}
    assert set(runs) == {run_id(config()), "demo-64-fp32-report"}
    assert len(history(runs[run_id(config())])) == 64
    (shown,) = history(runs["demo-64-fp32-report"])
    assert {"table6", "figures/figure7", "figures/gradients"} <= set(shown)
    (study,) = find_studies(tmp_path)
    (logged,) = tmp_path.glob(".wandb/wandb/offline-run-*/files/media/table/table6_*.json")
    assert json.loads(logged.read_text())["data"] == table_6(study).values.tolist()
    assert Record(tmp_path, config()).status() == "finished" and mirror.PROJECT == "plainres"
