"""Faults: killed processes, signals, full disks, damaged files, two writers. `make test-faults` kills more often."""

import errno
import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing import get_context

import pytest
import pytorch_lightning as pl
import torch
from helpers import CPU, ROOT, Interrupt, Iterations, assert_same_run, config, context, metrics, train
from rich.console import Console
from train_small import small_config, train_small

from plainres.report import read_study
from plainres.study import StudyContext, parallel
from plainres.training import Record, record, train_run
from plainres.training.checkpoints import list_checkpoints
from plainres.training.lock import Busy, exclusive_writer
from plainres.training.record import write_atomic

pytestmark = pytest.mark.usefixtures("small_demo")
KILLS = int(os.environ.get("KILLS", "4"))
SMALL = [sys.executable, str(ROOT / "tests" / "train_small.py")]
STUDY = [*SMALL, str(ROOT / "experiments" / "cifar10_depth.py"), "--device", "cpu", "--demo", "--depths", "8"]


@pytest.fixture
def undisturbed(finished):
    return finished[0]


@pytest.fixture
def crashed(tmp_path):
    """A results folder whose run crashed after 20 iterations, with the checkpoints of 19 and 20."""
    folder = tmp_path / "crashed"
    with pytest.raises(RuntimeError, match="crash"):
        train(folder, config(), Interrupt(20), checkpoint_seconds=0)
    return folder


def checkpoints(results):
    return list_checkpoints(Record(results, config()).checkpoints)


# Killed


@pytest.mark.slow
def test_killed_at_random_moments_ends_as_if_undisturbed(tmp_path):
    iterations = 64 + 16 * KILLS
    run_config = small_config(iterations)
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["train_small"])

    def start():
        process = processes.Process(target=train_small, args=(tmp_path / "killed", iterations))
        process.start()
        return process

    moments = random.Random(0)
    folder = Record(tmp_path / "killed", run_config).checkpoints
    kills = during_write = 0
    while kills < KILLS:
        process = start()
        known = {path.name for path in list_checkpoints(folder)}
        while process.is_alive() and {path.name for path in list_checkpoints(folder)} <= known:
            time.sleep(0.01)  # until it trains
        left = set(folder.glob("*.tmp"))
        if kills % 2:  # in the middle of writing a checkpoint
            deadline = time.monotonic() + 5
            while set(folder.glob("*.tmp")) <= left and time.monotonic() < deadline:
                pass
        else:
            time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed: raise its iterations"
        kills += 1
        during_write += not set(folder.glob("*.tmp")) <= left
    last = start()
    last.join()
    assert last.exitcode == 0
    print(f"{kills} kills, {during_write} of them while a checkpoint was being written")
    train(tmp_path / "undisturbed", run_config)
    assert_same_run(tmp_path / "killed", tmp_path / "undisturbed", run_config)
    assert not folder.exists()


def test_half_a_checkpoint_goes_with_the_next_one(crashed):
    left = Record(crashed, config()).checkpoints / "iteration-000000021-0.ckpt.tmp"
    left.write_bytes(b"half")
    with pytest.raises(RuntimeError, match="crash"):
        train(crashed, config(), Interrupt(25), checkpoint_seconds=0)
    assert checkpoints(crashed) and not left.exists()


@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "weights.safetensors", "iteration-000000030-"])
def test_crash_before_a_rename_leaves_the_old_file(tmp_path, undisturbed, monkeypatch, name):
    replace = os.replace

    def crash(source, target):
        if target.name.startswith(name):
            raise RuntimeError("crash")
        replace(source, target)

    monkeypatch.setattr(record.os, "replace", crash)
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path, config(), checkpoint_seconds=0)
    monkeypatch.setattr(record.os, "replace", replace)
    train(tmp_path, config())
    assert_same_run(tmp_path, undisturbed, config())


# Signals


def start_study(results, *arguments):
    """The experiment as a process, once it has begun to train."""
    process = subprocess.Popen(
        [*STUDY, "--results", str(results), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if "images/s" in line:
            return process
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])  # SIGUSR1 in the test of SLURM's script
def test_signal_leaves_a_checkpoint_and_the_usual_status(tmp_path, signum):
    process = start_study(tmp_path, "--iterations", "256", "--kinds", "plain")
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, err
    assert f"stopped by {signum.name}, plain-8 seed 0 at iteration" in err
    assert "the same command goes on from there" in err and "Traceback" not in err
    assert len(list(tmp_path.glob("demo/*/plain-8/seed-0/checkpoints/iteration-*.ckpt"))) == 1


def test_second_interrupt_stops_at_once():
    code = (
        "import os, signal, time; from plainres.training.signals import StopRequest\n"
        "with StopRequest():\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('going on', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('not reached', flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and done.stdout == "going on\n"
    assert "SIGINT: finishing the step" in done.stderr


# One writer


def test_second_writer_is_told_who_holds_the_run(tmp_path):
    with exclusive_writer(tmp_path, config()), pytest.raises(Busy) as error:
        train(tmp_path, config())
    message = str(error.value)
    assert f"process {os.getpid()} on {os.uname().nodename} since 2" in message and "resnet-8" in message
    assert Record(tmp_path, config()).status() == "missing"


def test_lock_of_a_dead_process_is_taken_over(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from train_small import small_config;"
        "from plainres.training.lock import exclusive_writer;"
        "lock = exclusive_writer(Path(sys.argv[1]), small_config(64)); lock.__enter__(); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT / "tests")
    assert died.returncode == -9
    assert list((tmp_path / ".locks").iterdir())
    assert train(tmp_path, config())["outcome"] == "finished"


@pytest.mark.slow
def test_two_studies_side_by_side_train_each_run_once(tmp_path):
    command = [*STUDY, "--results", str(tmp_path), "--iterations", "64"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    outputs = [process.communicate(timeout=200)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    ended = Counter(line.split("  ")[0] for out in outputs for line in out.splitlines() if " 64/64 " in line)
    assert ended == {"plain-8 seed 0": 1, "resnet-8 seed 0": 1}
    (study,) = tmp_path.glob("demo/demo-*")
    assert len(read_study(study).runs) == 2 and not read_study(study).others


# Disk


def test_full_disk_keeps_what_is_there_and_the_run_goes_on_later(tmp_path, undisturbed, monkeypatch):
    fsync = os.fsync

    def full(descriptor):
        if os.fstat(descriptor).st_size > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(ValueError, match=r"\.ckpt: cannot be written \(No space left on device\)"):
        train(tmp_path, config(), checkpoint_seconds=0)
    folder = Record(tmp_path, config()).folder
    assert not list(folder.glob("**/*.tmp")) and len(metrics(tmp_path, config())) == 1
    monkeypatch.setattr(record.os, "fsync", fsync)
    train(tmp_path, config())
    assert_same_run(tmp_path, undisturbed, config())


def test_really_full_disk(tmp_path, undisturbed):
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
        assert_same_run(disk, undisturbed, config())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_file_in_the_place_of_a_folder(tmp_path):
    run = Record(tmp_path, config())
    run.folder.mkdir(parents=True)
    run.checkpoints.touch()
    with pytest.raises(ValueError, match="cannot be written"):
        train(tmp_path, config(), checkpoint_seconds=0)


def test_failed_write_leaves_the_old_contents(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")
    monkeypatch.setattr(record.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
    with pytest.raises(ValueError, match=r"cannot be written \(I/O error\)"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


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
def test_damaged_checkpoint_is_named_and_the_one_before_is_used(crashed, undisturbed, damage, capsys):
    before, last = checkpoints(crashed)
    assert before.name.startswith("iteration-000000019-") and last.name.startswith("iteration-000000020-")
    damage(last)
    after = Iterations()
    train(crashed, config(), after)
    assert f"{last}: unusable checkpoint removed" in capsys.readouterr().err
    assert after.done[0] == 20
    assert_same_run(crashed, undisturbed, config())


def test_without_a_usable_checkpoint_the_run_starts_over_and_says_so(crashed, undisturbed, capsys):
    for path in checkpoints(crashed):
        truncate(path)
    after = Iterations()
    train(crashed, config(), after)
    assert "no usable checkpoint is left: starting over" in capsys.readouterr().err
    assert after.done[0] == 1
    assert_same_run(crashed, undisturbed, config())


def tear(text):
    return text[: len(text) - 7]


def drop_column(text):
    return text.replace("train_error,", "", 1)


def put_text(text):
    return text.replace("0.1,", "a tenth,")


@pytest.mark.parametrize("edit", [tear, drop_column, put_text])
def test_metrics_edited_or_torn_are_repaired_on_resuming(crashed, undisturbed, edit):
    path = Record(crashed, config()).folder / "metrics.csv"
    path.write_text(edit(path.read_text()))
    train(crashed, config())
    assert_same_run(crashed, undisturbed, config())


# What happens in training


def test_out_of_gpu_memory_says_what_to_lower(tmp_path):
    class Exhaust(pl.Callback):
        def on_train_batch_end(self, *_):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore")

    with pytest.raises(ValueError, match=r"resnet-8-batch32 with batch size 32 does not fit .* lower the batch size"):
        train(tmp_path, config(), Exhaust())


def test_clock_going_backwards_changes_nothing(tmp_path, undisturbed, monkeypatch):
    now = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    train(tmp_path, config(), checkpoint_seconds=0)
    assert_same_run(tmp_path, undisturbed, config())
    assert metrics(tmp_path, config())["seconds"].is_monotonic_increasing


@pytest.mark.slow
def test_dying_worker_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    """Two runs side by side, one of whose processes is killed: the other finishes, and so does the first, later."""
    popen = subprocess.Popen
    doomed, other = config(shortcut=None), config()

    def small(command, **options):
        return popen([command[0], str(ROOT / "tests" / "worker_small.py"), *command[3:]], **options)

    def start(command, **options):
        if '"shortcut": null' in command[3]:
            return popen(["sh", "-c", "kill -9 $$"], **options)
        return small(command, **options)

    context = StudyContext(data_dir=tmp_path, results=tmp_path, device=CPU)
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    monkeypatch.setattr(parallel.subprocess, "Popen", start)
    outcomes = parallel.side_by_side([doomed, other], context, [("cpu",)] * 2, console)
    assert outcomes == {doomed: ("failed", "the process was killed by SIGKILL"), other: ("finished", "")}
    assert re.search(r"^resnet-8-batch32  0  64/64  [0-9.]+  [0-9.]+  [0-9,]+  0 s$", printed.getvalue(), re.M)
    monkeypatch.setattr(parallel.subprocess, "Popen", small)
    assert parallel.side_by_side([doomed], context, [("cpu",)], console) == {doomed: ("finished", "")}


def test_failure_of_another_thread_has_no_signals_to_restore(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train_run, config(), context(tmp_path)).result()["outcome"] == "finished"
