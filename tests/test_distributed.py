"""Runs on several processes: they compute the same as one process, and nothing is lost if one of them dies."""

import io
import os
import signal
import stat
import subprocess
import sys
import time
from threading import Thread
from types import SimpleNamespace

import pytest
import torch
from helpers import CPU, ROOT, assert_same_run, config, one_line, shrink_demo, shrink_photo_nets, train
from hypothesis import given
from hypothesis import strategies as st
from photos import make_photos
from rich.console import Console
from test_imagenet_training import config as photo_config

from plainres.data.base import shard_range
from plainres.errors import UserError
from plainres.study import StudyContext, local
from plainres.study.launch import run_places
from plainres.study.local import WorkerPool
from plainres.study.options import StudyOptions
from plainres.study.plan import calibrate
from plainres.training import ClassificationModule, Record
from plainres.training.distributed import RankInfo, check_batch_divides
from plainres.training.signals import Stopped, StopRequest

TWO = [("cpu", "cpu")]


@pytest.fixture
def started(monkeypatch):
    """The list of processes that the launcher starts. They use a small demo set."""
    processes, popen = [], subprocess.Popen

    def small(command, **options):
        processes.append(popen([command[0], str(ROOT / "tests" / "worker_small.py")], **options))
        return processes[-1]

    monkeypatch.setattr(local.subprocess, "Popen", small)
    return processes


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run whose batches one process computes as two micro-batches."""
    run = config(micro_batch=16)
    with pytest.MonkeyPatch.context() as patch:
        shrink_demo(patch)
        results = tmp_path_factory.mktemp("alone")
        train(results, run)
    return results, run


@pytest.mark.slow
def test_two_processes_equal_one_though_one_of_them_dies(tmp_path, alone, started):
    expected, run = alone
    context = StudyContext(data_dir=tmp_path, results=tmp_path / "two", device=CPU)
    record = Record.of(context.results, run)

    def kill():
        while len(record.read_rows()) < 20:
            time.sleep(0.05)
        started[1].kill()

    killer = Thread(target=kill)
    killer.start()
    printed = io.StringIO()
    failures = WorkerPool(context, TWO, Console(file=printed, width=200)).train([run])
    killer.join()
    assert failures == {run: "the process was killed by SIGKILL"}
    assert "Traceback" not in printed.getvalue() and "other processes is lost" in printed.getvalue()
    assert record.status(run) == "partial" and len(started) == 2

    assert WorkerPool(context, TWO, Console(quiet=True)).train([run]) == {}
    assert record.read_as(run)["provenance"]["processes"] == 2
    assert_same_run(context.results, expected, run)


@pytest.mark.slow
def test_two_processes_equal_one_on_photographs(tmp_path, request, monkeypatch):
    shrink_photo_nets(monkeypatch)
    shrink_demo(monkeypatch)
    folder = make_photos(tmp_path / "photos", train=43)  # 2 epochs
    run = photo_config(micro_batch=2)
    StudyContext(data_dir=folder, results=tmp_path / "alone", device=CPU).train(run)
    request.getfixturevalue("started")  # only now, because a run also starts git
    context = StudyContext(data_dir=folder, results=tmp_path / "two", device=CPU)
    assert WorkerPool(context, TWO, Console(quiet=True)).train([run]) == {}
    assert_same_run(tmp_path / "two", tmp_path / "alone", run)


SRUN = """#!{python}
# Replaces srun of SLURM: two tasks.
import os, subprocess, sys
from pathlib import Path
variables = dict(
    SLURM_NTASKS="2", SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NUM_NODES="1", SLURM_NNODES="1", SLURM_NODEID="0",
    SLURM_NODELIST="localhost", SLURM_NTASKS_PER_NODE="2", MASTER_ADDR="127.0.0.1", OMP_NUM_THREADS="1",
)
assert sys.argv[1] == "--kill-on-bad-exit=1"
tasks = [
    subprocess.Popen(sys.argv[2:], env=os.environ | variables | dict(SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)))
    for rank in range(2)
]
Path("tasks").write_text(" ".join(str(task.pid) for task in tasks))
sys.exit(max(task.wait() for task in tasks))
"""

SMALL = f"""#!/bin/sh
exec {sys.executable} {ROOT / "tests" / "train_small.py"} "$@"
"""


def make_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.slow
def test_sbatch_script_is_requeued_and_resumes(tmp_path):
    """The script of the README, with replacements of SLURM's commands."""
    make_program(tmp_path / ".venv" / "bin" / "python", SMALL)
    make_program(tmp_path / "bin" / "srun", SRUN.format(python=sys.executable))
    make_program(tmp_path / "bin" / "scontrol", '#!/bin/sh\necho "$@" >> requeued\n')
    make_program(
        tmp_path / "bin" / "scancel", '#!/bin/sh\ntest "$*" = "--signal=USR1 1234" && kill -USR1 $(cat tasks)\n'
    )
    command = ["bash", str(ROOT / "experiments" / "slurm" / "ddp.sbatch"), str(ROOT / "experiments/cifar10_depth.py")]
    command += ["--demo", "--kinds", "plain", "--depths", "8", "--iterations", "64", "--precision", "fp32"]
    command += ["--device", "cpu", "--wandb", "off", "--results", "results"]
    path = os.pathsep.join((str(tmp_path / "bin"), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "SLURM_JOB_ID": "1234", "PYTHONPATH": str(ROOT / "src")}

    def submit(warning):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        job = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
        if warning:
            while not list(tmp_path.glob("results/demo/*/*/*/metrics.csv")):
                assert job.poll() is None, job.stderr.read()
                time.sleep(0.1)
            job.send_signal(signal.SIGUSR1)
        out, err = job.communicate(timeout=300)
        return job.returncode, out, err

    status, _, err = submit(warning=True)
    assert status == 128 + signal.SIGUSR1, err
    assert (tmp_path / "requeued").read_text("utf-8") == "requeue 1234\n"
    assert "Traceback" not in err and err.count("the same command continues from there") == 1
    assert list(tmp_path.glob("results/demo/*/*/*/checkpoints/*.ckpt"))
    status, out, err = submit(warning=False)
    assert status == 0, err
    assert out.count("Figures and tables") == 1  # only one of the two ranks draws
    assert (tmp_path / "requeued").read_text("utf-8") == "requeue 1234\n"
    assert (tmp_path / "results/demo/demo-bn32-64-fp32/plain-8/seed-0/weights.safetensors").exists()


@given(st.integers(0, 1000), st.integers(1, 64))
def test_shards_are_complete_and_even(n, ranks):
    shards = [shard_range(n, (rank, ranks)) for rank in range(ranks)]
    assert [index for shard in shards for index in shard] == list(range(n))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_moving_statistics_are_those_of_the_first_micro_batch():
    images, labels = torch.randn(8, 3, 16, 16), torch.randint(10, (8,))
    modules = [ClassificationModule(config()) for _ in range(2)]
    for module, parts in zip(modules, (((0, 4), (4, 8)), ((0, 4),)), strict=True):
        module.trainer = SimpleNamespace(accumulate_grad_batches=len(parts))
        for index, (begin, end) in enumerate(parts):
            module.training_step((images[begin:end], labels[begin:end]), index)
    for first, second in zip(*(module.net.buffers() for module in modules), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, 3, "batch size 32 cannot be divided among 3 processes"),
        ({"micro_batch": 16}, 4, "use --micro-batch 8, or fewer devices"),
        ({}, 2, "use --micro-batch"),
    ],
)
def test_batches_that_processes_cannot_divide_are_refused(changes, size, message):
    with pytest.raises(UserError, match=message) as refused:
        check_batch_divides(config(**changes), RankInfo(0, size, 0, size))
    assert one_line(f"error: {refused.value}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices_per_run": 0}, "devices-per-run must be 1 or more"),
        ({"devices_per_run": 2, "runs_per_device": 2}, "exclude each other"),
        ({"devices_per_run": 2, "launcher": "ray"}, "a Ray task trains on one device"),
        ({"devices_per_run": 3}, "batch size 128 cannot be divided among 3 processes"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(UserError, match=message) as refused:
        StudyOptions(device="cpu", **options).resolve(64)
    assert one_line(f"error: {refused.value}\n")


def test_places_of_runs(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 5)
    gpus = torch.device("cuda")
    assert run_places(9, gpus, StudyOptions(devices_per_run=2)) == [("cuda:0", "cuda:1"), ("cuda:2", "cuda:3")]
    assert run_places(9, gpus, StudyOptions()) == [(f"cuda:{index}",) for index in range(5)]
    two_on_one = StudyOptions(runs_per_device=2)
    assert run_places(9, torch.device("cuda:1"), two_on_one) == [("cuda:1",), ("cuda:1",)]
    assert run_places(9, CPU, two_on_one) == [("cpu",), ("cpu",)]
    assert run_places(9, CPU, StudyOptions(devices_per_run=3)) == [("cpu",) * 3]
    assert run_places(9, CPU, StudyOptions(launcher="ray")) == [("cpu",)]
    with pytest.raises(UserError, match="--devices-per-run 6 requires as many GPUs, but PyTorch can use 5"):
        run_places(9, gpus, StudyOptions(devices_per_run=6))


@pytest.mark.parametrize(("options", "micro_batch"), [({}, 0), ({"devices_per_run": 4}, 32), ({"micro_batch": 16}, 16)])
def test_bn_normalizes_over_the_share_of_a_device_by_default(options, micro_batch):
    _, common = StudyOptions(device="cpu", **options).resolve(64)
    assert common["micro_batch"] == micro_batch


def test_signal_during_an_exchange_is_not_lost(monkeypatch):
    """It arrives while this process waits for the others: the next exchange includes it."""
    with StopRequest() as stop:

        def reduced(*values):
            if stop.signum is None:
                os.kill(os.getpid(), signal.SIGUSR1)
            return list(values)

        monkeypatch.setattr("plainres.training.signals.all_reduce_max", reduced)
        assert stop.synchronize(due=True) and stop.agreed is None
        stop.raise_if_stopped("still going")
        assert not stop.synchronize()
        with pytest.raises(Stopped, match="SIGUSR1, at the end"):
            stop.raise_if_stopped("at the end")


def test_calibration_of_a_run_with_micro_batches():
    run = photo_config(batch_size=256, micro_batch=32)
    assert calibrate(run, CPU, iterations=1) > 0
