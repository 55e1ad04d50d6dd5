"""Runs on photographs: their records, exact resuming within an epoch, micro-batches and invalid configurations."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from helpers import ROOT, shrink_photo_nets
from photos import CLASSES, make_photos
from safetensors.torch import load_file

from plainres.data import ImageNetData
from plainres.data.imagenet import TrainBatches
from plainres.data.photos import Photos
from plainres.errors import UserError
from plainres.nets import load_net
from plainres.scoring import score
from plainres.scoring.models import labels_for, load_model
from plainres.training import RunConfig, RunContext, train_run
from plainres.training.signals import Stopped

CPU = torch.device("cpu")


def config(**changes) -> RunConfig:
    small = {"depth": 18, "dataset": "imagenet", "image_size": 32, "num_classes": 3, "batch_size": 4, "iterations": 64}
    return RunConfig(**small | {"lr": 0.02} | changes)


class Signal(pl.Callback):
    """Sends SIGUSR1 to the process after a number of iterations, so that the run stops with a checkpoint."""

    def __init__(self, iteration):
        self.iteration = iteration

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == self.iteration:
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of the photographs, and the record of one finished run."""
    root = tmp_path_factory.mktemp("imagenet")
    folder = make_photos(root / "photos", train=21)  # 5 epochs: each one starts processes that load photographs
    (folder / "train" / "n02" / "1.JPEG").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        shrink_photo_nets(patch)
        train_run(config(), RunContext(data_dir=folder, results=root, device=CPU))
        yield folder, root / config().folder


@pytest.mark.slow
def test_resumed_run_equals_an_uninterrupted_one(run, tmp_path):
    photos, uninterrupted = run
    context = RunContext(data_dir=photos, results=tmp_path, device=CPU)
    with pytest.raises(Stopped):
        train_run(config(), context, (Signal(41),))
    train_run(config(), context)
    folders = (uninterrupted, tmp_path / config().folder)
    first, second = (load_file(folder / "weights.safetensors") for folder in folders)
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [pd.read_csv(folder / "metrics.csv").drop(columns=["images_per_second", "seconds"]) for folder in folders]
    pd.testing.assert_frame_equal(*rows)


def test_record_has_the_top_5_error_and_lists_unreadable_images(run):
    _, uninterrupted = run
    rows = pd.read_csv(uninterrupted / "metrics.csv")
    assert rows["test_top5_error"].dropna().tolist() == [0]  # there are only three classes
    assert rows["train_loss"].iloc[-8:].mean() < rows["train_loss"].iloc[:8].mean()
    assert rows["epoch"].iloc[-1] == pytest.approx(64 * 4 / 63, rel=1e-3)
    (line,) = (uninterrupted / "unreadable.tsv").read_text("utf-8").splitlines()
    assert "n02/1.JPEG\t" in line


def test_recorded_weights_give_the_recorded_test_error(run):
    folder, uninterrupted = run
    path = uninterrupted / "weights.safetensors"
    model, photos = load_model(path), Photos(folder / "val")
    assert load_net(path).recipe["classes"] == list(CLASSES)
    scores = score([model], photos, labels_for(model, photos, path), "center", 32, CPU)
    recorded = pd.read_csv(uninterrupted / "metrics.csv")["test_error"].iloc[-1]
    assert scores.top1_error == pytest.approx(recorded, abs=1e-3)


def test_names_of_studies_and_nets():
    assert str(config(num_classes=1000, image_size=224, iterations=600_000, batch_size=256, lr=0.1).folder) == (
        "imagenet-600k-fp32/resnet-18/seed-0"
    )
    plateau = config(depth=50, shortcut="B", stride_in="3x3", schedule="plateau", batch_size=256, lr=0.1)
    assert plateau.study == "imagenet-3-classes-32px-plateau-64-fp32"
    assert plateau.net == "resnet-50-b-stride3x3"
    assert config(stride_in="3x3").hash == config().hash, "nets without bottlenecks do not depend on it"


@pytest.mark.slow
def test_worker_that_hangs_ends_the_run_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("plainres.data.imagenet.WORKER_TIMEOUT", 1)
    monkeypatch.setattr(TrainBatches, "__getitem__", lambda *_: time.sleep(600))
    folder = make_photos(tmp_path / "photos")
    with pytest.raises(UserError, match=r"a process that loads images has died or hangs .*--shm-size"):
        train_run(config(), RunContext(data_dir=folder, results=tmp_path, device=CPU))
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_sigterm_to_the_process_group_writes_a_checkpoint_and_starts_no_other_run(tmp_path):
    """As a container or SLURM stops a job: the signal reaches the processes that load photographs, too."""
    folder = make_photos(tmp_path / "photos")
    command = [sys.executable, str(ROOT / "experiments" / "imagenet_depth.py"), "--data-dir", str(folder), "--check"]
    command += ["--depths", "18", "--runs-per-device", "1", "--device", "cpu", "--precision", "fp32", "--wandb", "off"]
    command += ["--results", str(tmp_path)]
    study = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list(tmp_path.glob("imagenet-*/*/*/metrics.csv")):
        assert study.poll() is None, study.stderr.read()
        time.sleep(0.1)
    os.killpg(study.pid, signal.SIGTERM)
    _, err = study.communicate(timeout=120)
    assert study.returncode == 128 + signal.SIGTERM and "Traceback" not in err, err
    assert [path.parents[2].name for path in tmp_path.glob("imagenet-*/*/*/checkpoints/*")] == [
        "plain-18-batch16-lr0.02"
    ]


def test_number_of_classes_must_match_the_folders(tmp_path):
    folder = make_photos(tmp_path / "photos", train=1, val=1)
    with pytest.raises(UserError, match="has 3 classes, but the net has 1000"):
        ImageNetData(folder, num_classes=1000).prepare_data()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 20}, "depth of an ImageNet net must be one of 18, 34, 50, 101, 152, not 20"),
        ({"shortcut": "highway"}, "shortcut of an ImageNet net must be one of none, A, B, C"),
        ({"image_size": 16}, "image size must be 32 or more"),
        ({"norm": "none"}, "batch normalization"),
        ({"train_set": "45k"}, "no validation split"),
        ({"schedule": "cosine"}, "schedule must be one of halves, thirds, plateau"),
        ({"stride_in": "5x5"}, "stride_in of an ImageNet net must be one of"),
    ],
)
def test_invalid_configurations_are_rejected(changes, message):
    with pytest.raises(UserError, match=message):
        config(**changes)


def test_gradients_summed_over_micro_batches_equal_those_of_the_batch(tmp_path, tiny_demo):
    """The net has no BN, which normalizes each micro-batch on its own."""
    rows = []
    for micro_batch in (0, 8, 2):
        run = RunConfig(
            depth=8, norm="none", precision="fp64", batch_size=8, micro_batch=micro_batch, dataset="demo", iterations=64
        )
        train_run(run, RunContext(data_dir=tmp_path, results=tmp_path, device=CPU))
        rows.append(pd.read_csv(tmp_path / run.folder / "metrics.csv")[["train_loss", "train_error", "test_loss"]])
    pd.testing.assert_frame_equal(rows[0], rows[1], rtol=0)
    pd.testing.assert_frame_equal(rows[0], rows[2], rtol=1e-5)


def test_micro_batches_must_divide_the_batch():
    with pytest.raises(UserError, match="micro-batch 3 must divide the batch size 8"):
        RunConfig(depth=8, batch_size=8, micro_batch=3)
    run = RunConfig(depth=8, batch_size=8, micro_batch=4)
    assert (run.study, run.net) == ("cifar10-bn4-64k-fp32", "resnet-8-batch8")
