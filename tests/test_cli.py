"""What all commands have in common: paths among their options, messages of errors."""

import sys
from pathlib import Path

import pytest
from helpers import ROOT

from plainres import report
from plainres.cli import parse_options
from plainres.data import CifarData, default_data_dir
from plainres.errors import UserError, first_line
from plainres.nets import load_net
from plainres.report.__main__ import Redraw
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
    assert [path.name for path in files if "tyro.cli(" in path.read_text()] == ["cli.py"]


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
