"""The Ray launcher on a real local cluster: the death of a worker changes no result, and a signal stops the study."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import CPU, ROOT, assert_same_run, config, one_line

from plainres.study import StudyContext, cluster
from plainres.training import Record

pytestmark = [pytest.mark.usefixtures("small_demo"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def ray():
    ray = pytest.importorskip("ray", reason="needs the extra `cluster`: make test-cluster")
    paths = os.pathsep.join((str(ROOT / "tests"), str(ROOT / "src")))
    small = {"worker_process_setup_hook": "worker_small.shrink", "env_vars": {"PYTHONPATH": paths}}
    ray.init(num_cpus=2, log_to_driver=False, runtime_env=small)
    yield ray
    ray.shutdown()


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.cluster
def test_study_survives_the_death_of_a_worker(ray, tmp_path, finished):
    from threading import Thread

    doomed, other = config(), config(shortcut=None)
    record = Record.of(tmp_path, doomed)
    killed = []

    def kill():
        wait_for(lambda: len(record.read_rows()) > 20)
        holder = json.loads(next((tmp_path / ".locks").glob("*resnet*.json")).read_text("utf-8"))
        os.kill(holder["process"], signal.SIGKILL)
        killed.append(holder["process"])

    killer = Thread(target=kill)
    killer.start()
    context = StudyContext(data_dir=tmp_path, results=tmp_path, device=CPU)
    failures = cluster.train_on_cluster([doomed, other], context, 2, None)
    killer.join()
    assert killed and failures == {} and Record.of(tmp_path, other).status(other) == "finished"
    assert_same_run(tmp_path, finished[0], doomed)


@pytest.mark.cluster
def test_interrupted_study_writes_checkpoints(tmp_path):
    pytest.importorskip("ray", reason="needs the extra `cluster`: make test-cluster")
    script = str(ROOT / "experiments" / "cifar10_depth.py")
    command = [sys.executable, script, "--demo", "--depths", "8", "--launcher", "ray", "--results", str(tmp_path)]
    command += ["--device", "cpu", "--iterations", "6400", "--wandb", "off"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("demo/*/*/*/metrics.csv")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "stopped by SIGINT" in err, err
    assert list(tmp_path.glob("demo/*/*/*/checkpoints/*.ckpt"))


def test_missing_ray_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="requires ray, not installed") as refused:
        cluster.train_on_cluster([], StudyContext(data_dir=tmp_path, results=tmp_path, device=CPU), 1, None)
    assert one_line(f"error: {refused.value}\n")
