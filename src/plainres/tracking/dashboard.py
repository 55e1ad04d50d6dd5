"""`python -m plainres.tracking.dashboard --entity E`: the W&B workspace and report that show degradation at a glance.

Both are written here as code and saved into a project that trainings or `plainres.tracking.backfill` have filled.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from plainres.cli import run_command
from plainres.errors import UserError
from plainres.report.write import FIGURES
from plainres.tracking.mirror import PROJECT

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr
except ImportError:
    wr = ws = expr = None

TITLE = "Plain against residual nets"
KINDS = {"plain": "Plain nets: deeper is worse", "residual": "Residual nets: deeper is better"}


@dataclass(frozen=True)
class Dashboard:
    """What the workspace and the report are about.

    Attributes:
        entity: the W&B user or team.
        project: the W&B project.
        study: only runs of this study (`cifar10-64k-bf16`), None for all.
    """

    entity: str
    project: str = PROJECT
    study: str | None = None

    def _filters(self, **wanted: str) -> "expr.And":
        if self.study:
            wanted["study"] = self.study
        return expr.And(*[expr.Config(key) == value for key, value in wanted.items()])

    def workspace(self) -> "ws.Workspace":
        """A saved view of the project's runs, one line a net: mean over its seeds, and their spread."""
        return ws.Workspace(
            entity=self.entity,
            project=self.project,
            name=TITLE,
            settings=ws.WorkspaceSettings(x_axis="iteration", smoothing_weight=0, max_runs=100),
            runset_settings=ws.RunsetSettings(filters=self._filters(), groupby=[expr.Config("net")]),
            sections=[
                ws.Section("Degradation", panels=[curve("train_error"), curve("test_error")], is_open=True),
                ws.Section("Final errors", panels=[bars("train_error"), bars("test_error")], is_open=True),
                ws.Section("Beside the paper", panels=[table(), figure("figure6"), figure("figure1")], is_open=True),
                ws.Section("Layer responses", panels=[figure("figure7"), figure("gradients")]),
                ws.Section("Training", panels=[curve("train_loss"), curve("lr"), curve("images_per_second")]),
            ],
        )

    def report(self) -> "wr.Report":
        """A page to send to somebody: the question, both kinds side by side, the table and the layer responses."""

        def runs(name: str, **wanted: str) -> wr.Runset:
            return wr.Runset(name=name, filters=self._filters(**wanted), groupby=["config.net"])

        blocks = [
            wr.P(
                "A deeper net could copy a shallower one and let the added layers do nothing, so it should be no "
                "worse. Plain nets are, on their own training set; nets with shortcuts are not."
            )
        ]
        for kind, title in KINDS.items():
            blocks += [
                wr.H2(title),
                wr.PanelGrid(runsets=[runs(kind, kind=kind)], panels=[curve("train_error"), curve("test_error")]),
            ]
        everything = wr.Runset(name="all runs")
        return wr.Report(
            entity=self.entity,
            project=self.project,
            title=TITLE,
            description=f"Study {self.study}" if self.study else "All studies of the project",
            blocks=[
                *blocks,
                wr.H2("Errors at the last iteration"),
                wr.PanelGrid(runsets=[runs("trained nets")], panels=[bars("train_error"), bars("test_error")]),
                wr.H2("Beside the paper"),
                wr.PanelGrid(runsets=[everything], panels=[table(), figure("figure6")]),
                wr.H2("What the layers do"),
                wr.PanelGrid(runsets=[everything], panels=[figure("figure7"), figure("gradients")]),
                wr.H2("Throughput"),
                wr.PanelGrid(runsets=[runs("trained nets")], panels=[curve("images_per_second")]),
            ],
        )


TITLES = {
    "train_error": "training error (%)",
    "test_error": "test error (%)",
    "train_loss": "training loss",
    "lr": "learning rate",
    "images_per_second": "images per second",
}


def curve(metric: str) -> "wr.LinePlot":
    """A column of metrics.csv against the iteration."""
    return wr.LinePlot(title=TITLES[metric], x="iteration", y=[metric], groupby_aggfunc="mean", smoothing_factor=0)


def bars(metric: str) -> "wr.BarPlot":
    """A final figure, a bar a net."""
    title = f"{TITLES[metric]}, last iteration"
    return wr.BarPlot(title=title, metrics=[f"final/{metric}"], groupby="config.net", groupby_aggfunc="mean")


def figure(name: str) -> "wr.MediaBrowser":
    """A figure that the report has drawn."""
    assert name in FIGURES
    return wr.MediaBrowser(title=name, media_keys=[f"figures/{name}"], num_columns=1)


def table() -> "wr.WeavePanelSummaryTable":
    """Table 6 beside the paper's."""
    return wr.WeavePanelSummaryTable(table_name="table6")


def specification(view: "ws.Workspace | wr.Report") -> dict:
    """What `save` would send to W&B, checked by its own models."""
    return json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m plainres.tracking.dashboard", description=__doc__.splitlines()[0])
    parser.add_argument("--entity", default="", help="W&B user or team")
    parser.add_argument("--project", default=PROJECT, help=f"W&B project (default: {PROJECT})")
    parser.add_argument("--study", help="only runs of this study, such as cifar10-64k-bf16")
    parser.add_argument("--check", type=Path, metavar="FILE", help="save nothing to W&B; write what would be sent")
    options = parser.parse_args()
    if ws is None:
        raise UserError("dashboards need wandb-workspaces: pip install 'plainres[dashboard]', or use `make dashboard`")
    if not options.entity:
        raise UserError("whose dashboard? say --entity, or `make dashboard ENTITY=...` (a W&B user or team)")
    dashboard = Dashboard(options.entity, options.project, options.study)
    views = {"workspace": dashboard.workspace(), "report": dashboard.report()}
    if options.check:
        sent = {name: specification(view) for name, view in views.items()}
        options.check.write_text(json.dumps(sent, indent=2) + "\n")
        print(options.check)
        return 0
    for name, view in views.items():
        try:
            print(f"{name}: {view.save().url}")
        except Exception as error:  # of W&B, of the network, of permissions: whatever they raise
            raise UserError(f"W&B did not take the {name}: {error} (is `wandb login` done?)") from None
    return 0


if __name__ == "__main__":
    run_command(main)
