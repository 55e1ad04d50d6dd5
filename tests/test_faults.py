"""Faults: killed processes, signals, full disks, damaged files and concurrent writers.

The environment variable KILLS sets how often a training run is killed. `make test-faults` sets it to 40.
"""

import errno
import io
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from helpers import CPU, ROOT, Interrupt, Iterations, assert_same_run, config, context, metrics, train
from rich.console import Console
from train_small import small_config, train_small

from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.records.lock import Busy, exclusive_writer
from plainres.records.record import UNFINISHED
from plainres.report import read_study
from plainres.study import StudyContext, StudyOptions, launch, local, run_study
from plainres.study.local import WorkerPool
from plainres.study.watch import watch
from plainres.training import Record, probes, train_run
from plainres.training.checkpoints import list_checkpoints
from plainres.training.signals import Stopped

pytestmark = pytest.mark.usefixtures("small_demo")
KILLS = int(os.environ.get("KILLS", "2"))
# Each kill costs the start of a process: seconds on a quiet machine, up to half a minute on a busy one.
KILL_TIMEOUT = 300 + 30 * KILLS
SMALL = [sys.executable, str(ROOT / "tests" / "train_small.py")]
STUDY = [*SMALL, str(ROOT / "experiments" / "cifar10_depth.py"), "--device", "cpu", "--demo", "--depths", "8"]


@pytest.fixture
def uninterrupted(finished):
    return finished[0]


@pytest.fixture
def crashed(tmp_path):
    """A results folder whose run crashed after iteration 20, with checkpoints of iterations 19 and 20."""
    folder = tmp_path / "crashed"
    with pytest.raises(RuntimeError, match="crash"):
        train(folder, config(), Interrupt(20), checkpoint_seconds=0)
    return folder


def checkpoints(results):
    return list_checkpoints(Record.of(results, config()).checkpoints)


# Killed processes


@pytest.mark.slow
@pytest.mark.timeout(KILL_TIMEOUT)
def test_run_killed_at_random_moments_ends_like_an_uninterrupted_one(tmp_path):
    iterations = 64 + 16 * KILLS
    run_config = small_config(iterations)
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["train_small"])

    def start_training():
        process = processes.Process(target=train_small, args=(tmp_path / "killed", iterations))
        process.start()
        return process

    moments = random.Random(0)
    folder = Record.of(tmp_path / "killed", run_config).checkpoints
    killed_while_writing = 0
    for kill in range(KILLS):
        process = start_training()
        known = {path.name for path in list_checkpoints(folder)}
        while process.is_alive() and {path.name for path in list_checkpoints(folder)} <= known:
            time.sleep(0.01)  # wait until it has written its first checkpoint
        leftovers = set(folder.glob("*.tmp"))
        if kill % 2:  # kill it while it writes a checkpoint
            deadline = time.monotonic() + 5
            while set(folder.glob("*.tmp")) <= leftovers and time.monotonic() < deadline:
                pass
        else:
            time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed: give it more iterations"
        killed_while_writing += not set(folder.glob("*.tmp")) <= leftovers
    last = start_training()
    last.join()
    assert last.exitcode == 0
    print(f"killed {KILLS} times, {killed_while_writing} of them while a checkpoint was being written")
    train(tmp_path / "uninterrupted", run_config)
    assert_same_run(tmp_path / "killed", tmp_path / "uninterrupted", run_config)
    assert not folder.exists()


def test_incomplete_checkpoint_is_removed_with_the_next_one(crashed):
    record = Record.of(crashed, config())
    incomplete = [record.checkpoints / "iteration-000000021-0.ckpt.tmp", record.folder / "metrics.csv.0.tmp"]
    for path in incomplete:
        path.write_bytes(b"half")
    with pytest.raises(RuntimeError, match="crash"):
        train(crashed, config(), Interrupt(25), checkpoint_seconds=0)
    assert checkpoints(crashed) and not any(path.exists() for path in incomplete)


def test_several_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    """As when the processes of several studies draw the same figures in the end."""
    contents = [bytes([writer]) * 100_000 for writer in range(4)]

    def write(content):
        for _ in range(25):
            write_atomic(tmp_path / "figure.png", content)
            assert (tmp_path / "figure.png").read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "weights.safetensors", "iteration-000000030-"])
def test_run_resumes_after_a_crash_before_a_rename(tmp_path, uninterrupted, monkeypatch, name):
    replace = os.replace

    def crash(source, target):
        if target.name.startswith(name):
            raise RuntimeError("crash")
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path, config(), checkpoint_seconds=0)
    monkeypatch.setattr(os, "replace", replace)
    train(tmp_path, config())
    assert_same_run(tmp_path, uninterrupted, config())


# Signals


@pytest.mark.slow
def test_ctrl_c_stops_a_study_with_a_checkpoint_and_the_usual_status(tmp_path):
    """Others send SIGTERM to a study on photographs, and SIGUSR1 to one on SLURM."""
    command = [*STUDY, "--results", str(tmp_path), "--iterations", "256", "--kinds", "plain"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert any("images/s" in line for line in process.stdout), process.stderr.read()  # it trains
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "stopped by SIGINT, plain-8 seed 0 at iteration" in err
    assert "the same command continues from there" in err and "Traceback" not in err
    assert len(list(tmp_path.glob("demo/*/plain-8/seed-0/checkpoints/iteration-*.ckpt"))) == 1


@pytest.mark.parametrize("changes", [{}, {"lr": 1e30}])
def test_signal_at_the_end_of_a_run_stops_what_would_follow(tmp_path, changes, monkeypatch):
    write = Record.write

    def write_and_signal(self, config, outcome, facts):
        if outcome != UNFINISHED:
            os.kill(os.getpid(), signal.SIGTERM)
        return write(self, config, outcome, facts)

    monkeypatch.setattr(Record, "write", write_and_signal)
    with pytest.raises(Stopped, match="has ended") as stopped:
        train(tmp_path, config(**changes))
    assert stopped.value.exit_status == 128 + signal.SIGTERM
    assert Record.of(tmp_path, config(**changes)).status(config(**changes)) == ("diverged" if changes else "finished")


def test_signal_during_the_first_probe_waits_for_a_checkpoint(tmp_path, monkeypatch):
    """Lightning's own handler of SIGTERM would end the process with status 0 after the first micro-batch."""

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        return []

    monkeypatch.setattr(probes, "probe", stop)
    with pytest.raises(Stopped, match="at iteration 1 of 64"):
        train(tmp_path, config(micro_batch=16))
    assert Record.of(tmp_path, config(micro_batch=16)).status(config(micro_batch=16)) == "partial"


INTERRUPTED_TWICE = (
    "import os, signal, time; from plainres.training.signals import StopRequest\n"
    "with StopRequest():\n"
    "    os.kill(os.getpid(), signal.SIGINT); print('continuing', flush=True)\n"
    "    os.kill(os.getpid(), signal.SIGINT); print('not reached', flush=True)"
)


def test_second_interrupt_ends_the_process_at_once():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_TWICE], capture_output=True, text=True)
    assert done.returncode == 130 and done.stdout == "continuing\n"
    assert "SIGINT: finishing the current step" in done.stderr and "\x1b" not in done.stderr


def test_second_interrupt_shows_the_cursor_that_a_live_table_has_hidden():
    terminal, end = pty.openpty()
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_TWICE], stdout=subprocess.DEVNULL, stderr=end)
    assert done.returncode == 130 and os.read(terminal, 4096).endswith(b"\x1b[?25h")
    os.close(terminal)
    os.close(end)


# Concurrent writers


def test_error_for_a_second_writer_names_the_first(tmp_path):
    with exclusive_writer(tmp_path, config()), pytest.raises(Busy) as error:
        train(tmp_path, config())
    message = str(error.value)
    assert f"process {os.getpid()} on {os.uname().nodename} since 2" in message and "resnet-8" in message
    assert Record.of(tmp_path, config()).status(config()) == "missing"


def test_lock_of_a_dead_process_is_free(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from plainres.records.config import RunConfig;"
        "from plainres.records.lock import exclusive_writer; run = RunConfig(**eval(sys.argv[2]));"
        "lock = exclusive_writer(Path(sys.argv[1]), run); lock.__enter__(); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(asdict(config()))])
    assert died.returncode == -9
    left = set((tmp_path / ".locks").iterdir())
    assert train(tmp_path, config())["outcome"] == "finished"
    assert left and set((tmp_path / ".locks").iterdir()) <= left, "of the same lock"


@pytest.mark.slow
def test_two_concurrent_studies_train_each_run_once(tmp_path):
    command = [*STUDY, "--results", str(tmp_path), "--iterations", "64", "--runs-per-device", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TRAINING_LOG": str(tmp_path / "trained")}
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    outputs = [process.communicate(timeout=280)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert sorted((tmp_path / "trained").read_text("utf-8").split("\n")) == ["", "plain-8 seed 0", "resnet-8 seed 0"]
    for out in outputs:  # both show the progress of all runs, whichever of them trains one
        assert len([line for line in out.splitlines() if " 64/64 " in line]) == 2
    (study,) = tmp_path.glob("demo/demo-*")
    assert len(read_study(study).runs) == 2 and not read_study(study).others


# Full disks and files that cannot be written


def test_run_resumes_after_the_disk_was_full(tmp_path, uninterrupted, monkeypatch):
    fsync = os.fsync

    def full(descriptor):
        if os.fstat(descriptor).st_size > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"\.ckpt: cannot be written \(No space left on device\)"):
        train(tmp_path, config(), checkpoint_seconds=0)
    folder = Record.of(tmp_path, config()).folder
    assert not list(folder.glob("**/*.tmp")) and len(metrics(tmp_path, config())) == 1
    monkeypatch.setattr(os, "fsync", fsync)
    train(tmp_path, config())
    assert_same_run(tmp_path, uninterrupted, config())


def test_run_resumes_after_a_real_disk_was_full(tmp_path, uninterrupted):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mount.stderr.strip()}")
    try:
        with pytest.raises(ValueError, match="No space left on device"):
            train(disk, config(), checkpoint_seconds=0)
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        train(disk, config())
        assert_same_run(disk, uninterrupted, config())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_file_with_the_name_of_the_checkpoint_folder_is_an_error(tmp_path):
    run = Record.of(tmp_path, config())
    run.folder.mkdir(parents=True)
    run.checkpoints.touch()
    with pytest.raises(ValueError, match="cannot be written"):
        train(tmp_path, config(), checkpoint_seconds=0)


def test_failed_write_keeps_the_old_contents(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def fail(*_):
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ValueError, match=r"cannot be written \(I/O error\)"):
        write_atomic(path, "new")
    assert path.read_text("utf-8") == "old" and os.listdir(tmp_path) == ["file"]


# Damaged files


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def alter(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def alter_last(path):
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def garble(path):
    path.write_bytes(b"not a checkpoint")


@pytest.mark.parametrize("damage", [truncate, alter, alter_last, empty, garble])
def test_run_resumes_from_the_checkpoint_before_a_damaged_one(crashed, uninterrupted, damage, capsys):
    before, last = checkpoints(crashed)
    assert before.name.startswith("iteration-000000019-") and last.name.startswith("iteration-000000020-")
    damage(last)
    trained = Iterations()
    train(crashed, config(), trained)
    assert f"{last}: unusable checkpoint removed" in capsys.readouterr().err
    assert trained.done[0] == 20
    assert_same_run(crashed, uninterrupted, config())


def test_run_without_a_usable_checkpoint_starts_over(crashed, uninterrupted, capsys):
    for path in checkpoints(crashed):
        truncate(path)
    trained = Iterations()
    train(crashed, config(), trained)
    assert "no usable checkpoint is left; the run starts over" in capsys.readouterr().err
    assert trained.done[0] == 1
    assert_same_run(crashed, uninterrupted, config())


def test_checkpoint_that_cannot_be_read_now_is_kept(crashed, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, "I/O error")

    kept = checkpoints(crashed)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(UserError, match=r"the checkpoint cannot be read \(I/O error\)"):
            train(crashed, config())
    assert checkpoints(crashed) == kept


def cut_off(text):
    return text[: len(text) - 7]


def drop_column(text):
    return text.replace("train_error,", "", 1)


def replace_number(text):
    return text.replace("0.1,", "a tenth,")


@pytest.mark.parametrize("edit", [cut_off, drop_column, replace_number])
def test_damaged_metrics_are_repaired_on_resuming(crashed, uninterrupted, edit):
    path = Record.of(crashed, config()).folder / "metrics.csv"
    path.write_text(edit(path.read_text("utf-8")))
    train(crashed, config())
    assert_same_run(crashed, uninterrupted, config())


# Failures during training


def test_error_for_exhausted_gpu_memory_advises_a_smaller_batch(tmp_path):
    class Exhaust(pl.Callback):
        def on_train_batch_end(self, *_):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore")

    with pytest.raises(ValueError, match=r"resnet-8-batch32 with batch size 32 does not fit .* use a smaller"):
        train(tmp_path, config(), Exhaust())


def test_clock_that_goes_backwards_has_no_influence(tmp_path, uninterrupted, monkeypatch):
    now = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    train(tmp_path, config(), checkpoint_seconds=0)
    assert_same_run(tmp_path, uninterrupted, config())
    assert metrics(tmp_path, config())["seconds"].is_monotonic_increasing


def test_interrupt_reaches_workers_as_sigterm_first(tmp_path):
    """A worker that is still importing PyTorch would print a traceback for SIGINT."""
    sent = []
    where = StudyContext(data_dir=tmp_path, results=tmp_path, device=CPU)
    training = WorkerPool(where, [("cpu",)], Console(quiet=True))
    training.running.add(Mock(send_signal=sent.append))
    training._forward(signal.SIGINT)
    training.stop.signum = signal.SIGINT
    training._forward(signal.SIGINT)
    assert sent == [signal.SIGTERM, signal.SIGINT]


@pytest.mark.slow
def test_killed_worker_does_not_affect_other_runs(tmp_path, monkeypatch):
    """Of two concurrent runs, one has its process killed: the other finishes, and the first can be resumed."""
    popen = subprocess.Popen
    doomed, other = config(shortcut=None), config()

    def small(command, **options):
        return popen([command[0], str(ROOT / "tests" / "worker_small.py")], **options)

    def start(command, **options):
        if command[3] == doomed.name:
            return popen(["sh", "-c", "kill -9 $$"], **options)
        return small(command, **options)

    context = StudyContext(data_dir=tmp_path, results=tmp_path, device=CPU)
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    monkeypatch.setattr(local.subprocess, "Popen", start)
    with watch([doomed, other], tmp_path, console):
        failures = WorkerPool(context, [("cpu",)] * 2, console).train([doomed, other])
    assert failures == {doomed: "the process was killed by SIGKILL"}
    assert re.search(
        r"^resnet-8-batch32 seed 0  64/64  train .+%  test .+%  .+ images/s  0 s left$", printed.getvalue(), re.M
    )
    monkeypatch.setattr(local.subprocess, "Popen", small)
    assert WorkerPool(context, [("cpu",)], console).train([doomed]) == {}
    assert Record.of(tmp_path, doomed).status(doomed) == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("runs_per_device", [1, 2])
def test_run_that_another_process_trains_waits_behind_the_others(runs_per_device, tmp_path, monkeypatch, capsys):
    popen, started = subprocess.Popen, []
    busy, other = config(shortcut=None), config()
    context = StudyContext(data_dir=tmp_path, results=tmp_path, device=CPU)

    def small(command, **options):
        if command[0] != sys.executable:  # git, which a run asks for its commit
            return popen(command, **options)
        started.append(command[3])
        return popen([command[0], str(ROOT / "tests" / "worker_small.py")], **options)

    monkeypatch.setattr(local.subprocess, "Popen", small)
    monkeypatch.setattr(launch, "calibrate", lambda *_: 1e-12)
    monkeypatch.setattr(launch, "BUSY_SECONDS", 0.01)
    with ThreadPoolExecutor(1) as pool:
        with exclusive_writer(tmp_path, busy):
            study = pool.submit(run_study, [busy, other], context, StudyOptions(runs_per_device=runs_per_device))
            deadline = time.monotonic() + 100
            while Record.of(tmp_path, other).status(other) != "finished" and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.5)  # some questions whether the run is still busy
            assert Record.of(tmp_path, busy).status(busy) == "missing" and not study.done()
        assert study.result() == 0
    assert Record.of(tmp_path, busy).status(busy) == "finished"
    if runs_per_device == 2:
        assert sorted(started) == sorted([busy.name, other.name, busy.name]), "no process waits for it"
    assert capsys.readouterr().out.count("is being trained by") == 1


def test_run_outside_the_main_thread_handles_no_signals(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train_run, config(), context(tmp_path)).result()["outcome"] == "finished"
