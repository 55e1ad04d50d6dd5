"""The W&B sweeps: the schema of W&B's sweep engine, and the command line that its agent builds.

`data/wandb_sweep_schema.json` is `sweeps/config/schema.json` of the package sweeps 0.3.0 (MIT licence), which cannot
be installed together with numpy 2.
"""

import itertools
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers import one_line
from test_study import load_script, run_script
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

ROOT = Path(__file__).parents[1]
SWEEPS = sorted((ROOT / "experiments/sweeps").glob("*.yaml"))
SCHEMA = json.loads((ROOT / "tests/data/wandb_sweep_schema.json").read_text("utf-8"))


def grid(sweep):
    """Yield every combination of the parameters of a sweep, as its agent receives them."""
    values = {name: spec.get("values", [spec.get("value")]) for name, spec in sweep["parameters"].items()}
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def arguments(sweep, parameters):
    """Return the arguments that the agent passes to the program."""
    filled = create_sweep_command_args({"args": {name: {"value": value} for name, value in parameters.items()}})
    command = create_sweep_command(sweep["command"])
    assert command[2:3] == ["${program}"] and command[-1] == "${args}"
    return [*command[3:-1], *filled["args"]]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweep_is_valid_and_each_of_its_runs_can_be_planned(path, monkeypatch, capsys, tmp_path):
    sweep = yaml.safe_load(path.read_text("utf-8"))
    jsonschema.validate(sweep, SCHEMA)
    assert sweep["name"] == path.stem and (ROOT / sweep["program"]).is_file()
    monkeypatch.setattr("plainres.study.launch.calibrate", lambda *_: 1e-12)
    monkeypatch.setattr("plainres.study.plan.multiply_adds", lambda _: 1)
    script, titles = load_script(Path(sweep["program"]).stem, monkeypatch), set()
    for parameters in grid(sweep):
        line = [*arguments(sweep, parameters), "--plan", "--device", "cpu", "--results", str(tmp_path)]
        status, out, _ = run_script(script, line, monkeypatch, capsys)
        assert status == 0
        (row,) = [row for row in out.splitlines() if "missing" in row]
        titles.add((out.splitlines()[0], row))
    assert len(titles) == len(list(grid(sweep))), "every combination is a different run"


def test_schema_refuses_an_invalid_sweep():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"method": "grid", "parameters": {"lr": {"values": []}}}, SCHEMA)


@pytest.mark.usefixtures("small_demo")
@pytest.mark.slow
def test_arguments_of_the_agent_train_and_an_invalid_value_is_one_line(monkeypatch, capsys, tmp_path):
    script = load_script("train", monkeypatch)
    line = ["--dataset=demo", "--iterations=64", "--batch_size=32", "--wandb=off", "--results", str(tmp_path)]
    status, out, _ = run_script(script, [*line, "--depth=8", "--shortcut=none"], monkeypatch, capsys)
    assert status == 0 and "plain-8-batch32" in out
    status, _, err = run_script(script, [*line, "--depth=9"], monkeypatch, capsys)
    assert status == 2 and one_line(err) and "6n+2" in err
