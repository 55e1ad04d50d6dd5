"""The tutorials of the documentation do what they say: their code runs, and their outputs are those of the records."""

import doctest
import os
import re
import subprocess
import sys

import pytest
from helpers import ROOT

from plainres import report
from plainres.experiments import cifar10_depth
from plainres.report import write

TUTORIALS = sorted((ROOT / "docs").glob("tutorial_*.md"))


def code(name):
    """Return the Python of a tutorial that is no doctest."""
    (block,) = re.findall(
        r"```python\n((?!>>>).*?)```", (ROOT / "docs" / f"tutorial_{name}.md").read_text("utf-8"), re.S
    )
    return block


def run(source, **changes):
    """Run code with some of its text replaced, and return its variables."""
    for old, new in changes.values():
        assert old in source
        source = source.replace(old, new)
    variables = {}
    exec(source, variables)
    return variables


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_outputs_are_those_of_the_records(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    failed, attempted = doctest.testfile(str(path), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert attempted and not failed


def test_demo_writes_what_the_tutorial_opens(tmp_path, monkeypatch, small_demo, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write, "FIGURES", {"figure6": write.FIGURES["figure6"]})
    short = {
        "iterations": 64,
        "depths": (8,),
        "kinds": ("plain",),
        "runs_per_device": 1,
        "device": "cpu",
        "wandb": "off",
    }
    assert cifar10_depth.study(cifar10_depth.Options(demo=True, **short)) == 0
    study = report.open(tmp_path / "results" / "demo")["demo-64-fp32"]
    assert list(study.overview["net"]) == ["plain-8"]
    assert (study.folder / "figure6.png").exists()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "experiments/cifar10_depth.py --demo" in makefile
    assert "```sh\nmake demo\n```" in (ROOT / "docs" / "tutorial_degradation.md").read_text("utf-8")


@pytest.mark.slow
def test_twins_are_trained_and_tracked_offline(tmp_path):
    source = "import pytest, helpers; helpers.shrink_demo(pytest.MonkeyPatch())\n" + code("lightning")
    for old, new in (("depth=32", "depth=8"), ("1_200", "64")):
        assert old in source
        source = source.replace(old, new)
    # In a process of its own, because W&B keeps the settings of the first run of a process, also in the environment.
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    # Where the locale's encoding lacks a character of Lightning's summary, W&B's capture of the output fails.
    own |= {"WANDB_MODE": "offline", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, "-c", source + "\nassert errors.keys() == {'plain-32', 'resnet-32'}"]
    subprocess.run(command, cwd=tmp_path, env=own, check=True)
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 2


def test_layers_are_measured(small_demo):
    layers = run(code("layers"), data=('"cifar10"', '"demo"'))["layers"]
    assert layers.groupby("net")["layer"].max().to_dict() == {"plain-56": 55, "resnet-56": 55}
    assert (layers["response_std"] > 0).all()


@pytest.mark.slow
def test_measured_responses_are_those_of_the_record(real_data_dir):
    layers = run(code("layers"))["layers"].set_index(["net", "layer"])
    probes = report.open(ROOT / "results")["cifar10-64k-bf16"].probes
    recorded = probes[probes["iteration"] == 64_000].set_index(["net", "layer"])["response_std"]
    measured = layers["response_std"]
    assert (measured / recorded.loc[measured.index]).between(0.98, 1.02).all()
