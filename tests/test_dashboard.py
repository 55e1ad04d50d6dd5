"""The W&B workspace and report as W&B's own models would send them."""

import json
import sys

import pytest

from plainres.errors import UserError
from plainres.report.write import FIGURES
from plainres.training.record import COLUMNS

pytest.importorskip("wandb_workspaces", reason="needs the extra `dashboard`: make dashboard")
from plainres.tracking import dashboard


def run_dashboard(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dashboard", *arguments])
    return dashboard.main()


def panels(section):
    """Yield the metrics or media keys, and the x axis, of each panel."""
    for panel in section["panels"]:
        config = panel["config"]
        yield config.get("metrics") or config.get("mediaKeys") or [panel["viewType"]], config.get("xAxis")


def test_specification_shows_what_runs_log(tmp_path, monkeypatch, capsys):
    sent = tmp_path / "sent.json"
    assert run_dashboard(monkeypatch, "--entity", "us", "--study", "cifar10-64k-bf16", "--check", str(sent)) == 0
    views = json.loads(sent.read_text("utf-8"))
    workspace, report = views["workspace"], views["report"]
    sections = workspace["spec"]["section"]["panelBankConfig"]["sections"]
    shown = [panel for section in sections for panel in panels(section)]
    grids = [block["metadata"] for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]
    shown += [panel for grid in grids for panel in panels(grid["panelBankSectionConfig"])]
    logged = {*COLUMNS, "test_error", *(f"final/{name}" for name in [*COLUMNS, "test_error"])}
    logged |= {f"figures/{name}" for name in FIGURES} | {"Weave"}
    assert shown and all(key in logged for keys, _ in shown for key in keys)
    assert {axis for keys, axis in shown if keys == ["train_error"]} == {"iteration"}
    kinds = [
        condition["value"]
        for grid in grids
        for runs in grid["runSets"]
        for condition in runs["filters"]["filters"]
        if condition["key"]["name"] == "kind"
    ]
    assert kinds == ["plain", "residual"]


def test_missing_entity_is_reported(monkeypatch):
    with pytest.raises(UserError, match="--entity is missing"):
        run_dashboard(monkeypatch)
