"""The data that W&B receives, read back from its offline file; and that W&B never stops training."""

import inspect
import json
import os
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import wandb
from helpers import CPU, Interrupt, config, metrics, one_line, train
from wandb.proto import wandb_internal_pb2 as messages

from plainres.errors import UserError
from plainres.experiment import run_experiment
from plainres.records.lock import Busy, exclusive_writer
from plainres.report import Results, write_all
from plainres.report.tables import table_6
from plainres.study import StudyContext, StudyOptions
from plainres.tracking import backfill, runs
from plainres.tracking.runs import resolve_mode, run_id
from plainres.training import Record, checkpoints

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
    *trained, tested = rows
    assert [int(row["iteration"]) for row in trained] == list(range(1, 65))
    recorded = metrics(tmp_path, config())
    assert [float(row["train_error"]) for row in trained] == pytest.approx(recorded["train_error"].tolist(), rel=1e-4)
    assert float(tested["iteration"]) == 64 and float(tested["test_error"]) == run["final"]["test_error"]
    summary = {}
    for part in of_kind(records, "summary"):
        summary |= {item.key or item.nested_key[0]: item.value_json for item in part.update}
    assert float(summary["final/test_error"]) == pytest.approx(run["final"]["test_error"])
    assert summary["outcome"] == '"finished"'


@pytest.mark.slow
def test_resumed_run_logs_into_another_segment_of_its_wandb_run(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="crash"):
        patch.setattr(checkpoints.Checkpointer, "on_train_batch_end", Interrupt(20).on_train_batch_end)
        train_offline(tmp_path)
    train_offline(tmp_path)
    segments = offline_runs(tmp_path)
    assert {of_kind(records, "run")[0].run_id for records in segments} == {run_id(config())}
    first, second = ([int(row["iteration"]) for row in history(records)] for records in segments)
    assert first == list(range(1, 21)) and second == [*range(1, 65), 64], "there was no checkpoint"


def test_run_that_another_process_trains_is_not_tracked(tmp_path, monkeypatch):
    monkeypatch.setattr("wandb.init", lambda **_: pytest.fail("it would resume the W&B run of the other process"))
    with exclusive_writer(tmp_path, config()), pytest.raises(Busy):
        train_offline(tmp_path)


def refuse(**_options):
    raise OSError(28, "No space left on device")


@pytest.mark.slow
def test_run_goes_on_without_wandb_if_it_cannot_be_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("wandb.init", refuse)
    assert train_offline(tmp_path)["outcome"] == "finished"
    assert capsys.readouterr().err.count("W&B is not used offline: OSError") == 1


def test_run_is_tracked_offline_if_wandb_cannot_be_reached(tmp_path, monkeypatch, capsys):
    started = []

    def init(**options):
        started.append(options["mode"])
        if options["mode"] == "online":
            raise wandb.errors.CommError("Run initialization has timed out\nPlease try again")
        return SimpleNamespace(define_metric=lambda *_, **__: None)

    monkeypatch.setattr("wandb.init", init)
    assert runs.start_run("online", tmp_path) is not None and started == ["online", "offline"]
    assert capsys.readouterr().err == "W&B is not used online: CommError: Run initialization has timed out\n"


def test_error_of_wandb_during_training_is_reported_once(capsys):
    logger = runs.TolerantWandbLogger(experiment=SimpleNamespace(log=refuse))
    for step in range(3):
        logger.log_metrics({"train_error": 50.0}, step)
    assert logger.failed and capsys.readouterr().err.count("W&B failed and is no longer used") == 1


def test_error_of_wandb_at_the_end_is_one_line_and_leaves_no_run_open(finished, monkeypatch, capsys):
    ended = []
    config_of_wandb = SimpleNamespace(update=refuse)
    run = SimpleNamespace(config=config_of_wandb, finish=lambda exit_code: ended.append(exit_code))
    monkeypatch.setattr(runs, "start_run", lambda *_, **__: run)
    with runs.tracked(Record.of(finished[0], config()), config(), "offline"):
        pass
    assert ended == [1] and capsys.readouterr().err.count("\n") == 1


def test_error_of_wandb_while_it_finishes_is_reported(finished, monkeypatch, capsys):
    accepts = SimpleNamespace(update=lambda *_, **__: None)
    run = SimpleNamespace(config=accepts, summary=accepts, finish=refuse)
    monkeypatch.setattr(runs, "start_run", lambda *_, **__: run)
    with runs.tracked(Record.of(finished[0], config()), config(), "offline") as (logger,):
        pass
    assert logger.failed and capsys.readouterr().err.count("W&B failed at the end") == 1


@pytest.mark.slow
def test_sweep_chooses_the_id(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    monkeypatch.setattr("wandb.init", lambda **options: seen.update(options))
    train_offline(tmp_path)
    assert "id" not in seen and seen["group"] == "resnet-8-batch32"
    seen.clear()
    monkeypatch.setattr("plainres.study.launch.calibrate", lambda *_: 1e-12)
    options = StudyOptions(results=tmp_path, data_dir=tmp_path, wandb="offline")
    assert run_experiment([config()], options, CPU) == 0
    assert seen["job_type"] == "train", "a finished run is also logged for the agent of the sweep"


def test_wandb_has_what_the_login_requires():
    """Other tests replace `wandb.login`, and an error of it only means that runs are mirrored offline."""
    assert "prompt" in inspect.signature(wandb.login).parameters


@pytest.fixture
def settings(monkeypatch):
    """A function that sets WANDB_MODE, which W&B reads once per process."""

    def use(mode):
        monkeypatch.setattr("wandb.setup", lambda: SimpleNamespace(settings=wandb.Settings(mode=mode)))

    return use


def test_mode_follows_the_login_where_wandb_says_online(settings, monkeypatch, capsys):
    settings("online")
    for login, mode in (
        (lambda **_: False, "offline"),
        (lambda **_: True, "online"),
        (lambda **_: 1 / 0, "offline"),
    ):
        monkeypatch.setattr("wandb.login", login)
        assert resolve_mode("auto") == mode
    assert "W&B cannot be used now" in capsys.readouterr().err
    assert resolve_mode("off") == "off"


@pytest.mark.parametrize(
    ("setting", "mode"),
    [("offline", "offline"), ("dryrun", "offline"), ("disabled", "off"), ("run", "online"), ("shared", "online")],
)
def test_settings_of_wandb_mean_what_they_mean_to_wandb(setting, mode, settings, monkeypatch):
    settings(setting)
    monkeypatch.setattr("wandb.login", lambda **_: True)
    assert resolve_mode("auto") == mode


def test_setting_that_wandb_does_not_know_is_one_line(settings, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    monkeypatch.setattr("wandb.setup", lambda: wandb.Settings(mode="sometimes"))
    with pytest.raises(UserError, match="WANDB_MODE is 'sometimes'") as refused:
        resolve_mode("auto")
    assert one_line(f"error: {refused.value}\n")


def test_missing_wandb_is_an_error_only_if_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert resolve_mode("auto") == "off"
    assert "wandb is not installed" in capsys.readouterr().err
    with pytest.raises(ValueError, match="not installed: pip install wandb"):
        resolve_mode("online")


def test_missing_home_is_one_line_instead_of_the_log_of_wandb(tmp_path):
    code = "from plainres.tracking.runs import resolve_mode; print(resolve_mode('auto'))"
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "WANDB_CACHE_DIR")}
    environment |= {"WANDB_MODE": "offline", "MPLCONFIGDIR": str(tmp_path), "HOME": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "offline\n"
    assert done.stderr.startswith("there is no home folder that can be written (HOME): W&B keeps its log")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_backfill_mirrors_finished_records(tmp_path, monkeypatch, capsys):
    train(tmp_path, config())
    write_all(tmp_path)
    monkeypatch.setattr(sys, "argv", ["backfill", str(tmp_path), "--wandb", "offline"])
    assert backfill.main() == 0
    assert f"{run_id(config())}: offline" in capsys.readouterr().out
    sent = {of_kind(records, "run")[0].run_id: records for records in offline_runs(tmp_path)}
    assert set(sent) == {run_id(config()), "demo-64-fp32-report"}
    assert len(history(sent[run_id(config())])) == 64
    (shown,) = history(sent["demo-64-fp32-report"])
    assert {"table6", "figures/figure7", "figures/gradients"} <= set(shown)
    (study,) = Results(tmp_path).studies
    (logged,) = tmp_path.glob(".wandb/wandb/offline-run-*/files/media/table/table6_*.json")
    assert json.loads(logged.read_text("utf-8"))["data"] == table_6(study).values.tolist()
    assert Record.of(tmp_path, config()).status(config()) == "finished" and runs.PROJECT == "plainres"
