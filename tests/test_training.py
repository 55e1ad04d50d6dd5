"""Runs on a small demo set: their arithmetic, records, resuming and errors."""

import json
import subprocess

import pytest
import torch
from helpers import CPU, Interrupt, Iterations, assert_same_run, config, metrics, train
from torch.nn.functional import cross_entropy

from plainres.audit import first_start
from plainres.catalog.datasets import DEMO
from plainres.data import CifarData, demo_set
from plainres.errors import UserError
from plainres.nets import load_net
from plainres.records.provenance import describe_software
from plainres.records.record import hardware_name
from plainres.training import Record, RunConfig, evaluation, module, run
from plainres.training.build import make_net
from plainres.training.device import has_bf16_kernels
from plainres.training.schedule import learning_rate_factor

pytestmark = pytest.mark.usefixtures("small_demo")


def test_training_equals_an_explicit_loop(tmp_path, tiny_demo):
    """The loop computes batches, learning rates, momentum and the decay of every parameter with tensor operations."""
    run_config = config(precision="fp64", weight_decay=0.01, batch_size=8)
    train(tmp_path, run_config)
    net = make_net(run_config).double()
    data = CifarData(dataset="demo", iterations=64, batch_size=8)
    data.setup()
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    losses, errors = [], []
    for iteration, rows in enumerate(data.table):
        images, labels = data.inputs(rows)
        logits = net(images.double())
        loss = cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, v, g in zip(net.parameters(), velocity, gradients, strict=True):
                v.mul_(0.9).add_(g + 0.01 * p)
                p -= run_config.lr * learning_rate_factor(run_config, iteration) * v
        losses.append(loss.item())
        errors.append(100 * (logits.argmax(1) != labels).float().mean().item())
    recorded = metrics(tmp_path, run_config)
    assert recorded["train_loss"].tolist() == pytest.approx(losses, rel=1e-5)
    assert recorded["train_error"].tolist() == pytest.approx(errors, rel=1e-5)


def test_record_is_complete(finished):
    results, run = finished
    folder = results / "demo-64-fp32" / "resnet-8-batch32" / "seed-0"
    assert {path.name for path in folder.iterdir()} == {"run.json", "metrics.csv", "probes.csv", "weights.safetensors"}
    assert json.loads((folder / "run.json").read_text("utf-8")) == run
    assert run["outcome"] == "finished" and run["config_hash"] == config().hash
    assert run["complexity"]["parameters"] == 75_290
    assert run["final"]["iteration"] == 64
    assert {"commit", "dirty", "torch", "hardware", "data_md5"} <= run["provenance"].keys()
    rows = metrics(results, config())
    assert rows["iteration"].tolist() == list(range(1, 65))
    assert rows["lr"].tolist() == pytest.approx([0.1] * 32 + [0.01] * 16 + [0.001] * 16)
    assert rows["epoch"].iloc[-1] == pytest.approx(64 * 32 / 640, rel=1e-3)
    assert rows["test_error"].notna().sum() == 1
    assert rows["test_error"].iloc[-1] == pytest.approx(run["final"]["test_error"], abs=1e-3)
    assert rows["seconds"].is_monotonic_increasing


def test_recorded_weights_give_the_recorded_test_error(finished):
    results, run = finished
    net = load_net(results / config().folder / "weights.safetensors")
    data = CifarData(dataset="demo", iterations=64)
    data.setup()
    wrong = total = 0
    for rows in data.views("test"):
        images, labels = data.inputs(rows, "test")
        wrong += (net(images + data.mean).argmax(1) != labels).sum().item()
        total += len(labels)
    assert 100 * wrong / total == pytest.approx(run["final"]["test_error"], abs=1.3)
    assert net.recipe["config"]["depth"] == 8


def test_averaged_bn_statistics_are_those_of_augmented_training_images(tmp_path, monkeypatch):
    data = CifarData(dataset="demo", iterations=64, batch_size=32)
    data.setup()
    net = make_net(config())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    averaged, images = evaluation.with_averaged_bn(net, data, config())
    assert images == 96
    signals = [net.conv1(data.inputs(rows)[0]) for rows in data.table[:3]]
    mean = torch.stack([signal.mean((0, 2, 3)) for signal in signals]).mean(0)
    variance = torch.stack([signal.var((0, 2, 3)) for signal in signals]).mean(0)
    torch.testing.assert_close(averaged.bn1.running_mean, mean)
    torch.testing.assert_close(averaged.bn1.running_var, variance)
    assert not averaged.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_time_of_probes_counts_towards_the_run_but_not_its_throughput(monkeypatch):
    now = 10.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    timed = module.ClassificationModule(config())
    timed.on_fit_start()
    now = 12.0
    with timed.outside_rows():
        now = 15.0
    now = 16.0
    with timed.outside_rows():
        pass
    assert (timed.seconds, timed.row_seconds) == (6.0, 3.0)


def crash(*_):
    raise RuntimeError("crash")


def test_finished_run_is_not_trained_again(finished):
    results, run = finished
    assert train(results, config(), Interrupt(1)) == run


@pytest.mark.parametrize("crash_at", [1, 63])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, crash_at, finished):
    uninterrupted, _ = finished
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path, config(), Interrupt(crash_at), checkpoint_seconds=0)
    assert Record.of(tmp_path, config()).status(config()) == "partial"
    trained = Iterations()
    assert train(tmp_path, config(), trained)["outcome"] == "finished"
    assert trained.done == list(range(crash_at + 1, 65))
    assert_same_run(tmp_path, uninterrupted, config())


@pytest.mark.parametrize(
    ("limit", "used"), [("AVX512_CORE_BF16", False), ("avx512_core_amx", True), ("DEFAULT", True), (None, True)]
)
def test_hardware_names_amx_only_if_it_may_be_used(limit, used, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert run.describe_hardware(CPU)["amx"] is used


def test_record_names_everything_that_computed_a_resumed_run(tmp_path, monkeypatch):
    first = run.describe_hardware(CPU) | {"cpu": "First", "cpu_capability": "AVX2", "amx": False}
    monkeypatch.setattr(run, "describe_hardware", lambda _: first)
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path, config(), Interrupt(33), checkpoint_seconds=0)
    monkeypatch.setattr(run, "describe_hardware", lambda _: first | {"cpu": "Other"})
    for iteration in (40, 50):  # the second restart changes nothing
        with pytest.raises(RuntimeError, match="crash"):
            train(tmp_path, config(), Interrupt(iteration), checkpoint_seconds=0)
    recorded = train(tmp_path, config())
    (earlier,) = recorded["provenance"]["earlier"]
    assert earlier["until"] == 33 and earlier["hardware"] == first and earlier["torch"] == torch.__version__
    assert hardware_name(recorded) == "First (AVX2, one thread), then Other (AVX2, one thread)"
    assert recorded["provenance"]["hardware"]["cpu"] == "Other"
    assert first_start(Record.of(tmp_path, config()))["hardware"] == first


def test_commit_is_not_that_of_a_repository_around_an_installed_copy(tmp_path, monkeypatch):
    assert describe_software()["commit"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "other"]):
        names = ["-c", "user.name=A", "-c", "user.email=a@b"]
        subprocess.run(["git", *names, *command], cwd=tmp_path, check=True)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    copy = tmp_path / "a" / "b" / "c" / "provenance.py"
    copy.touch()
    monkeypatch.setattr("plainres.records.provenance.__file__", str(copy))
    software = describe_software()
    assert software["commit"] is None and software["dirty"] is None


def test_run_does_not_resume_on_other_data(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path, config(), Interrupt(33), checkpoint_seconds=0)
    before = Record.of(tmp_path, config()).read_as(config())
    monkeypatch.setitem(DEMO.sizes, "50k", {"train": 640, "test": 150})
    with pytest.raises(UserError, match=r"began on other data than .*md5 of the part 'test'.*move the folder away"):
        train(tmp_path, config())
    assert Record.of(tmp_path, config()).read_as(config()) == before


@pytest.mark.slow
def test_seed_determines_all_results(finished, tmp_path):
    _, run = finished
    assert train(tmp_path, config())["final"] == run["final"]
    assert train(tmp_path, config(seed=1))["final"] != run["final"]


def test_plain_twin_is_a_separate_run(tmp_path):
    plain = train(tmp_path, config(shortcut=None))
    assert plain["net"] == "plain-8-batch32"
    assert plain["complexity"]["parameters"] == 75_290


def test_45k_split_is_evaluated_on_validation_and_test_images(tmp_path, monkeypatch):
    monkeypatch.setattr("plainres.data.cifar.load_cifar", lambda *_, train: demo_set(640 if train else 160, int(train)))
    monkeypatch.setattr("plainres.data.cifar.require_cifar", lambda *_: None)
    monkeypatch.setattr("plainres.data.cifar_files.VALIDATION_IMAGES", 100)
    split = config(dataset="cifar10", train_set="45k")
    run = train(tmp_path, split)
    rows = metrics(tmp_path, split)
    assert run["study"] == "cifar10-45k-64-fp32"
    assert rows["epoch"].iloc[-1] == pytest.approx(64 * 32 / 540, rel=1e-3)
    assert rows["val_error"].iloc[-1] == pytest.approx(run["final"]["val_error"], abs=1e-3)
    assert rows["val_error"].iloc[-1] != rows["test_error"].iloc[-1]


def test_warm_up_ends_at_its_limit_at_the_latest(tmp_path, tiny_demo):
    deep = config(batch_size=2, warmup="on")
    assert train(tmp_path, deep)["warmup_end"] == 8
    assert metrics(tmp_path, deep)["lr"].tolist()[:10] == pytest.approx([0.01] * 8 + [0.1] * 2)


def test_diverged_run_is_recorded_as_such(tmp_path):
    run = train(tmp_path, config(lr=1e30), checkpoint_seconds=0)
    assert run["outcome"] == "diverged"
    assert not Record.of(tmp_path, config(lr=1e30)).checkpoints.exists()
    assert "training loss is" in run["reason"]
    assert Record.of(tmp_path, config(lr=1e30)).status(config(lr=1e30)) == "diverged"
    assert not metrics(tmp_path, config(lr=1e30)).empty


def test_record_of_another_configuration_is_an_error(finished, tmp_path):
    results, _ = finished
    folder = tmp_path / config().folder
    folder.mkdir(parents=True)
    recorded = json.loads((results / config().folder / "run.json").read_text("utf-8"))
    recorded["config"]["momentum"] = 0.5
    recorded["config_hash"] = "0" * 12
    (folder / "run.json").write_text(json.dumps(recorded))
    with pytest.raises(ValueError, match=r"momentum is 0\.5 there and 0\.9 here"):
        train(tmp_path, config())


def test_error_for_an_unreadable_record_names_it(tmp_path):
    folder = tmp_path / config().folder
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"outcome": "fin')
    with pytest.raises(ValueError, match=r"run.json: not a readable record"):
        train(tmp_path, config())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 21}, r"depth must be 6n\+2"),
        ({"shortcut": "D"}, "shortcut must be one of none, A, B, C, highway, preact, not D"),
        ({"precision": "fp16"}, "precision must be one of fp64, fp32, bf16, not fp16"),
        ({"iterations": 63}, "iterations must be between 64 and 1,000,000, not 63"),
        ({"dataset": "mnist"}, "data set must be one of"),
        ({"train_set": "10k"}, "training set must be one of"),
        ({"seed": -1}, "seed must be"),
        ({"batch_size": 0}, "batch size must be 1 or more, not 0"),
        ({"lr": -1.0}, "learning rate must be 0 or more, not -1"),
        ({"weight_decay": float("nan")}, "weight decay must be 0 or more, not nan"),
        ({"clip": -1.0}, "clip must be 0 or more, not -1"),
        ({"momentum": 1.0}, "momentum must be at least 0 and less than 1, not 1"),
    ],
)
def test_invalid_configurations_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_folders_of_records():
    def path(**changes):
        return RunConfig(depth=56, **changes).folder.as_posix()

    assert path(precision="bf16") == "cifar10-64k-bf16/resnet-56/seed-0"
    assert path(shortcut=None, seed=3, iterations=1_500) == "cifar10-1500-fp32/plain-56/seed-3"
    assert path(shortcut="B", train_set="45k", iterations=2_000) == "cifar10-45k-2k-fp32/resnet-56-b/seed-0"
    assert path(shortcut=None, lr=0.01) == "cifar10-64k-fp32/plain-56-lr0.01/seed-0"


@pytest.mark.skipif(not has_bf16_kernels(CPU), reason="PyTorch has no bf16 kernels for this CPU")
def test_run_in_bf16_learns(tmp_path):
    run = train(tmp_path, config(precision="bf16"))
    assert run["outcome"] == "finished"
    rows = metrics(tmp_path, config(precision="bf16"))
    assert rows["train_loss"].tail(16).mean() < rows["train_loss"].head(16).mean()
