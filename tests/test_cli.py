"""What all commands have in common: paths among their options, messages of errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, one_line, run_plainres

from plainres import __main__ as commands
from plainres import report
from plainres.cli import parse_options
from plainres.data import CifarData, default_data_dir
from plainres.errors import UserError, first_line
from plainres.nets import load_net
from plainres.report.commands import Redraw
from plainres.study.options import StudyOptions
from plainres.verify import Verify


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def parse(monkeypatch, options, *arguments):
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    return parse_options(options)


@pytest.mark.parametrize(
    ("options", "arguments", "name", "expected"),
    [
        (StudyOptions, ["--results=~/runs"], "results", "runs"),
        (StudyOptions, ["--data-dir", "~/datasets"], "data_dir", "datasets"),
        (Redraw, ["~"], "results", ""),
        (Redraw, ["--readme=~/README.md"], "readme", "README.md"),
    ],
    ids=str,
)
def test_home_folder_in_an_option(options, arguments, name, expected, home, monkeypatch):
    assert getattr(parse(monkeypatch, options, *arguments), name) == home / expected


def test_home_folder_among_several_paths(home, monkeypatch):
    assert parse(monkeypatch, Verify, "~/a", "b~", "/c/~").records == (home / "a", Path("b~"), Path("/c/~"))


@pytest.mark.parametrize(
    ("options", "argument"),
    [(StudyOptions, "--results=~nobody-here/a"), (Redraw, "--readme=~nobody-here"), (Verify, "~nobody-here/a")],
)
def test_unknown_user_in_an_option_is_a_usage_error(options, argument, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_info:
        parse(monkeypatch, options, argument)
    assert exit_info.value.code == 2 and "~nobody-here" in capsys.readouterr().err


def test_paths_in_the_environment_and_in_python_have_a_home_folder_too(home, monkeypatch):
    monkeypatch.setenv("DATA_DIR", "~/datasets")
    assert default_data_dir() == parse(monkeypatch, StudyOptions).data_dir == home / "datasets"
    monkeypatch.setenv("DATA_DIR", "~nobody-here")
    unknown = "there is no home folder of ~nobody-here"
    for read in (default_data_dir, lambda: parse(monkeypatch, StudyOptions)):
        with pytest.raises(UserError, match=unknown):
            read()
    for opened in (report.open, load_net, CifarData):
        with pytest.raises(UserError, match=unknown):
            opened("~nobody-here/file")


def test_every_command_reads_its_options_in_the_same_way():
    files = [path for folder in ("src", "experiments") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in files if "tyro.cli(" in path.read_text("utf-8")] == ["cli.py"]


def test_help_lists_every_command_without_importing_torch():
    code = "import sys; from plainres.__main__ import main; sys.argv[1:] = ['--help']\ntry: main()\nfinally: "
    code += "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in commands.COMMANDS)


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_a_help(name, monkeypatch, capsys):
    status, out, _ = run_plainres(monkeypatch, capsys, name, "--help")
    assert status == 0 and out.startswith(f"usage: plainres {name} ")


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_unknown_command_is_a_usage_error(arguments, monkeypatch, capsys):
    status, _, err = run_plainres(monkeypatch, capsys, *arguments)
    assert status == 2 and "cifar10-depth" in err


def test_commands_pass_on_options_and_status(tmp_path, monkeypatch, capsys):
    for name in ("report", "claims", "verify"):
        option = ["--results"] if name == "verify" else []
        status, _, err = run_plainres(monkeypatch, capsys, name, *option, str(tmp_path))
        assert status == 2 and one_line(err) and f"no records below {tmp_path}" in err


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        (["-m", "plainres", "claims"], "vl_convert", "report"),
        (["-m", "plainres", "dashboard"], "wandb_workspaces", "dashboard"),
        (["experiments/train.py", "--plan"], "altair", "report"),
    ],
)
def test_missing_extra_is_one_line_that_names_it(command, missing, extra, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 2 and one_line(done.stderr)
    assert missing.replace("_", "-") in done.stderr and f"pip install 'plainres[{extra}]'" in done.stderr


def test_package_that_is_installed_but_broken_is_not_called_missing(tmp_path, monkeypatch, capsys):
    (tmp_path / "wandb_workspaces").mkdir()
    (tmp_path / "wandb_workspaces" / "__init__.py").write_text("import wandb_gql_of_nobody")
    monkeypatch.syspath_prepend(tmp_path)
    loaded = ("wandb_workspaces", "plainres.tracking.dashboard")
    for name in [name for name in sys.modules if name.startswith(loaded)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "argv", ["plainres", "dashboard"])
    with pytest.raises(ModuleNotFoundError, match="wandb_gql_of_nobody"):
        commands.main()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one \n"), "one"),
        (TimeoutError(), "TimeoutError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_every_error_has_a_first_line(error, expected):
    assert first_line(error) == expected
