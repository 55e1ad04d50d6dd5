"""The command lines of the experiments: plan, resume, skip, failures, invalid values, and the fallback to the demo."""

import importlib.util
import json
import shutil
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from helpers import ROOT, one_line

from plainres.cli import run_command
from plainres.experiments import cifar10_depth
from plainres.files import write_atomic
from plainres.nets import cifar_net
from plainres.nets.weights import weights_bytes
from plainres.study import StudyOptions, context, launch, plan
from plainres.training import Record, RunConfig
from plainres.training.checkpoints import checkpoint_path
from plainres.training.distributed import RankInfo

pytestmark = pytest.mark.usefixtures("small_demo")


def load_script(name, monkeypatch):
    """Import an experiment as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


def run_script(module, arguments, monkeypatch, capsys):
    """Run the command line of an experiment in this process; return its status, stdout and stderr."""
    monkeypatch.setattr(launch, "calibrate", lambda *_: 1e-12)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_command(module.main)
    return ended.value.code, *capsys.readouterr()


@pytest.fixture
def experiment(monkeypatch, capsys, tmp_path):
    """A function that runs experiments/cifar10_depth.py with nets and budgets that take seconds."""
    module = load_script("cifar10_depth", monkeypatch)
    monkeypatch.setattr(cifar10_depth, "DEMO", {"plain": (8,), "residual": (8,)})
    monkeypatch.setattr(cifar10_depth, "DEMO_ITERATIONS", 64)
    common = ["--device", "cpu", "--runs-per-device", "1", "--results", str(tmp_path)]
    return lambda *arguments: run_script(module, [*common, *arguments], monkeypatch, capsys)


def test_plan_trains_nothing(experiment, tmp_path):
    status, out, _ = experiment("--demo", "--plan")
    assert status == 0
    assert "plain-8" in out and "missing" in out and "2 of 2 runs to train" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kernels", [True, False])
def test_bf16_on_a_cpu_without_kernels_for_it_is_advised_against(experiment, monkeypatch, kernels):
    monkeypatch.setattr(launch, "has_bf16_kernels", lambda _: kernels)
    monkeypatch.setattr(launch, "calibrate", lambda *_: 1e-12)
    _, out, _ = experiment("--demo", "--plan", "--precision", "bf16")
    assert ("no bf16 kernels for this CPU" in out) is not kernels
    _, out, _ = experiment("--demo", "--plan", "--precision", "fp32")
    assert "no bf16 kernels" not in out


@pytest.mark.slow
def test_study_ends_with_figures_and_is_not_repeated(experiment, tmp_path, monkeypatch):
    status, out, _ = experiment("--demo")
    assert status == 0
    assert "demo set" in out and "says nothing about CIFAR-10" in out
    folder = tmp_path / "demo" / "demo-64-bf16"
    if not folder.exists():
        folder = tmp_path / "demo" / "demo-64-fp32"
    for name in ("figure6.png", "study.md"):
        assert (folder / name).stat().st_size > 0
    monkeypatch.setattr(context, "train_run", None)
    status, out, _ = experiment("--demo")
    assert status == 0 and out.count("│ finished │") == 2


@pytest.fixture
def trained(monkeypatch):
    """Replace training: the list `names` of nets that were trained, their `outcome`, and `errors` by net."""
    seen = SimpleNamespace(names=[], outcome="finished", errors={})

    def train(config, where, **_):
        seen.names.append(config.net)
        if config.net in seen.errors:
            raise seen.errors[config.net]
        return Record.of(where.results, config).write(config, seen.outcome, {"reason": "training loss is nan"})

    monkeypatch.setattr(context, "train_run", train)
    return seen


def test_failed_run_does_not_stop_the_study(experiment, trained):
    trained.errors["plain-8"] = RuntimeError("cosmic ray")
    status, out, _ = experiment("--demo")
    assert status == 1
    assert trained.names == ["plain-8", "resnet-8"]
    assert "1 of 2 runs did not finish" in out and "RuntimeError: cosmic ray" in out


def test_diverged_run_is_reported(experiment, trained):
    trained.outcome = "diverged"
    status, out, _ = experiment("--demo", "--kinds", "plain")
    assert status == 1 and "diverged" in out and "training loss is nan" in out


def test_record_of_another_configuration_blocks_only_its_run(experiment, trained, tmp_path):
    config = RunConfig(depth=8, shortcut=None, iterations=64, dataset="demo", batch_size=64, precision="fp32")
    folder = tmp_path / "demo" / config.folder
    folder.mkdir(parents=True)
    recorded = {"outcome": "finished", "config_hash": "x", "config": asdict(config) | {"momentum": 0.5}}
    (folder / "run.json").write_text(json.dumps(recorded))
    status, out, _ = experiment("--demo", "--precision", "fp32")
    assert status == 1 and trained.names == ["resnet-8"]
    assert "momentum is 0.5 there and 0.9 here" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depths", "21"], "depth must be 6n+2"),
        (["--iterations", "63"], "iterations must be between 64 and 1,000,000, not 63"),
        (["--iterations", "99999999999"], "iterations must be between 64 and 1,000,000, not 99,999,999,999"),
        (["--seeds"], "no runs were chosen"),
        (["--kinds"], "no runs were chosen"),
        (["--device", "tpu"], "device must be auto, cpu, cuda"),
        (["--demo", "--train-set", "45k"], "no validation split"),
        (["--seeds", "-1"], "seed must be"),
    ],
)
def test_bad_values_are_one_line(experiment, arguments, message):
    status, _, err = experiment(*arguments)
    assert status == 2 and one_line(err) and message in err


@pytest.mark.parametrize(
    "arguments", [["--iterations", "many"], ["--precision", "fp16"], ["--kinds", "dense"], ["--depths", "deep"]]
)
def test_invalid_arguments_are_refused_before_anything_is_written(experiment, arguments, tmp_path):
    status, _, err = experiment(*arguments)
    assert status == 2 and arguments[0] in err and arguments[1] in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_missing_gpu_is_reported(experiment, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    status, _, err = experiment("--device", "cuda")
    assert status == 2 and one_line(err) and "PyTorch sees 0 CUDA devices" in err


def test_results_folder_that_cannot_be_written(experiment, tmp_path):
    (tmp_path / "file").touch()
    status, _, err = experiment("--demo", "--results", str(tmp_path / "file"))
    assert status == 2 and one_line(err) and "cannot be written" in err


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refuse(*_arguments, **_options):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", refuse)
    return ["--data-dir", str(tmp_path / "nowhere")]


def test_strict_stops_without_data(experiment, offline, monkeypatch):
    monkeypatch.setenv("STRICT", "1")
    status, _, err = experiment("--depths", "8", "--iterations", "64", *offline)
    assert status == 2 and "could not be downloaded" in err and "DATA_DIR=" in err


@pytest.mark.slow
def test_missing_data_falls_back_to_the_demo_set(experiment, offline, tmp_path, monkeypatch):
    trained = []
    train = context.train_run
    monkeypatch.setattr(context, "train_run", lambda *a, **k: trained.append(a) or train(*a, **k))
    chosen = ("--seeds", "3", "--kinds", "plain", "--no-compile", "--wandb", "off")
    status, out, err = experiment("--depths", "32", "--iterations", "64000", "--train-set", "45k", *chosen, *offline)
    assert status == 0
    assert [(run.seed, where.compile, where.wandb_mode) for run, where in trained] == [(3, False, "off")]
    assert err.count("could not be downloaded") == 2
    assert "DEMO SET, not CIFAR-10" in err.splitlines()[-1]
    assert "Table 6 (DEMO SET, not CIFAR-10)" in out
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.parametrize(
    ("name", "nets"),
    [
        ("shortcuts", ["plain-20", "resnet-56", "resnet-20-b", "resnet-56-c", "highway-56", "preact-20", "preact-56"]),
        ("early_explosion", ["plain-20", "plain-56", "plain-20-clip1", "plain-56-clip1", "plain-56-warmup"]),
        ("convergence_problem", ["plain-20-nobn-naive", "plain-56-nobn", "plain-20-naive", "plain-56"]),
        ("budget", ["plain-20", "resnet-56", "plain-56-lr0.03", "plain-56-lr0.01", "plain-56-clip1"]),
    ],
)
def test_other_experiments_plan_their_runs(name, nets, monkeypatch, capsys, tmp_path):
    arguments = ["--plan", "--device", "cpu", "--results", str(tmp_path)]
    status, out, _ = run_script(load_script(name, monkeypatch), arguments, monkeypatch, capsys)
    assert status == 0
    assert all(f"│ {net} " in out for net in nets)


@pytest.mark.parametrize("arguments", [["--iterations", "8000"], ["--budgets"]])
def test_budgets_are_chosen_by_their_own_option(arguments, monkeypatch, capsys):
    status, _, err = run_script(load_script("budget", monkeypatch), [*arguments, "--plan"], monkeypatch, capsys)
    assert status == 2 and one_line(err) and "--budgets" in err


@pytest.mark.parametrize("name", ["identity_extension", "layer_responses"])
def test_experiments_on_records_report_missing_weights(name, monkeypatch, capsys, tmp_path):
    arguments = [str(tmp_path), "56"][: 2 if name == "identity_extension" else 1]
    status, _, err = run_script(load_script(name, monkeypatch), arguments, monkeypatch, capsys)
    assert status == 2 and one_line(err) and "weights" in err


def test_experiments_on_records_refuse_weights_from_elsewhere(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "study" / "plain-8" / "seed-0"
    folder.mkdir(parents=True)
    architecture = {"family": "cifar", "depth": 8, "shortcut": None}
    weights = weights_bytes(cifar_net(8, None), torch.zeros(3, 1, 1), architecture, {"size": 32})
    (folder / "weights.safetensors").write_bytes(weights)
    for name, arguments in (
        ("identity_extension", [str(folder), "14"]),
        ("layer_responses", [str(tmp_path / "study")]),
    ):
        status, _, err = run_script(load_script(name, monkeypatch), arguments, monkeypatch, capsys)
        assert status == 2 and one_line(err) and "the weights come from elsewhere" in err


@pytest.mark.parametrize(("option", "least"), [("workers", 0), ("batches", 1), ("batch-size", 1), ("rounds", 1)])
def test_loading_benchmark_refuses_numbers_that_are_too_small(option, least, monkeypatch, capsys):
    script = load_script("imagenet_loading", monkeypatch)
    status, _, err = run_script(script, [f"--{option}", str(least - 1)], monkeypatch, capsys)
    assert status == 2 and one_line(err) and f"--{option} must be {least} or more, not {least - 1}" in err


def test_layer_responses_are_those_that_the_run_probed(finished, monkeypatch, capsys, tmp_path):
    results, _ = finished
    (record,) = results.glob("*/*/seed-*")
    copied = tmp_path / "renamed" / record.relative_to(record.parents[1])
    shutil.copytree(record, copied)
    (copied / "probes.csv").unlink()
    arguments = [str(copied.parents[1]), "--data-dir", str(tmp_path)]
    status, _, _ = run_script(load_script("layer_responses", monkeypatch), arguments, monkeypatch, capsys)
    assert status == 0
    recorded, measured = (pd.read_csv(folder / "probes.csv") for folder in (record, copied))
    ends = recorded[recorded["iteration"].isin(measured["iteration"])].reset_index(drop=True)
    assert measured["iteration"].nunique() == 2
    pd.testing.assert_frame_equal(measured, ends, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [64, 96, 256])
def test_each_process_normalizes_over_its_share_of_the_batch(batch_size, monkeypatch, capsys, tmp_path):
    arguments = ["--plan", "--device", "cpu", "--devices-per-run", "2", "--batch-size", str(batch_size)]
    arguments += ["--iterations", "64", "--results", str(tmp_path)]
    status, out, _ = run_script(load_script("train", monkeypatch), arguments, monkeypatch, capsys)
    assert status == 0 and f"-bn{batch_size // 2}-" in out


def test_gradient_precision_compares_with_fp64(monkeypatch, capsys, tmp_path):
    arguments = ["--dataset", "demo", "--depths", "8", "--seeds", "0", "--results", str(tmp_path)]
    status, out, _ = run_script(load_script("gradient_precision", monkeypatch), arguments, monkeypatch, capsys)
    assert status == 0 and "plain-8" in out and "resnet-8" in out
    table = pd.read_csv(tmp_path / "gradient_precision.csv")
    assert table.groupby(["net", "precision"]).size().to_dict() == {
        (net, precision): 7 for net in ("plain-8-batch128", "resnet-8-batch128") for precision in ("bf16", "fp32")
    }
    cosine = table.set_index(["precision", "net", "layer"])["cosine"]
    assert (cosine["fp32"] > 0.999).all() and (cosine["bf16"] < cosine["fp32"]).all() and (cosine["bf16"] > 0).all()


@pytest.mark.parametrize("option", ["--seeds", "--depths"])
def test_gradient_precision_without_nets_leaves_its_table_alone(option, monkeypatch, capsys, tmp_path):
    path = tmp_path / "gradient_precision.csv"
    path.write_text("as before")
    script = load_script("gradient_precision", monkeypatch)
    status, _, err = run_script(script, [option, "--results", str(tmp_path)], monkeypatch, capsys)
    assert status == 2 and one_line(err) and "no nets were chosen" in err and path.read_text("utf-8") == "as before"


def test_gradient_precision_keeps_rows_of_other_hardware(monkeypatch, capsys, tmp_path):
    path = tmp_path / "gradient_precision.csv"
    arguments = ["--dataset", "demo", "--depths", "8", "--seeds", "0", "--results", str(tmp_path)]
    run_script(load_script("gradient_precision", monkeypatch), arguments, monkeypatch, capsys)
    first = pd.read_csv(path)
    first.assign(cpu="another CPU", cosine=0.5).to_csv(path, index=False)
    for _ in range(2):
        run_script(load_script("gradient_precision", monkeypatch), arguments, monkeypatch, capsys)
    table = pd.read_csv(path)
    assert table["cpu"].value_counts().to_dict() == {"another CPU": len(first), first["cpu"].iloc[0]: len(first)}
    assert (table.query("cpu == 'another CPU'")["cosine"] == 0.5).all()
    pd.testing.assert_frame_equal(table.query("cpu != 'another CPU'").reset_index(drop=True), first)


def test_status_of_a_run_before_and_after_its_start(tmp_path):
    config = RunConfig(depth=8, iterations=64, dataset="demo")
    record = Record.of(tmp_path, config)
    assert record.status(config) == "missing"
    record.write(config, "running", {})
    assert record.status(config) == "partial"


def test_plan_deducts_what_a_checkpoint_contains(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "BN_IMAGES", 0)
    plain = RunConfig(depth=8, iterations=64, dataset="demo", batch_size=64, shortcut=None)
    record = Record.of(tmp_path / "demo", plain)
    record.write(plain, "running", {})
    for iteration in (16, 48):
        write_atomic(checkpoint_path(record.checkpoints, iteration), b"")
    _, out, _ = experiment("--demo", "--plan", "--precision", "fp32")
    assert "48/64" in out and " 0/64" in out
    (run,) = plan.plan_study([plain], tmp_path / "demo")
    seconds = plan.estimate_seconds(run, 1, {"train": 0, "test": 0})
    assert seconds == (64 - 48) * plain.batch_size * plan.multiply_adds(plain)


@pytest.mark.parametrize(
    ("runs", "cores", "gigabytes", "expected"),
    [(4, 2, 24, 2), (1, 8, 24, 1), (9, 8, 24, 8), (9, 8, 7, 2), (4, 8, 1, 1)],
)
def test_runs_at_a_time_follow_cores_runs_and_memory(runs, cores, gigabytes, expected, monkeypatch):
    monkeypatch.setattr(launch, "available_cores", lambda: cores)
    monkeypatch.setattr(launch, "available_memory", lambda: gigabytes * 2**30)
    assert launch.runs_at_a_time(runs) == expected


def test_expected_total_of_runs_side_by_side(monkeypatch):
    monkeypatch.setattr(launch, "available_cores", lambda: 2)
    two = [("cpu",), ("cpu",)]
    assert launch.expected_total([10, 10, 20, 20], two) == 30
    assert launch.expected_total([10, 50], two) == 50
    assert launch.expected_total([40], [("cpu", "cpu")]) == 20
    assert launch.expected_total([10, 10, 20, 20], two * 4) == 30, "eight processes share two cores"
    gpus = [("cuda:0",), ("cuda:1",)]
    assert launch.expected_total([10, 20, 90], gpus) == 90
    assert launch.expected_total([30, 30, 60], gpus) == 60
    assert launch.expected_total([30, 30, 60], gpus * 2) == 60, "runs on the same GPU share it"
    assert launch.expected_total([40], [("cuda:0", "cuda:1")]) == 20


def test_processes_that_were_started_together_have_one_place(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "init_distributed", lambda _: RankInfo(0, 16, 0, 8))
    seen = []
    monkeypatch.setattr(launch, "print_expected", lambda *arguments: seen.append(arguments))
    config = RunConfig(depth=8, iterations=64, dataset="demo", batch_size=64)
    where = context.StudyContext(data_dir=tmp_path, results=tmp_path, device=torch.device("cuda"))
    assert launch.run_study([config], where, StudyOptions(plan=True)) == 0
    ((_, _, places, _),) = seen
    assert [len(place) for place in places] == [16]
    assert launch.expected_total([1000], places) == 62.5
