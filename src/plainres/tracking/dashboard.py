"""The W&B workspace and report of the study as code: `python -m plainres.tracking.dashboard --entity ENTITY`.

Both are saved into a W&B project that contains runs, from training or from `plainres.tracking.backfill`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from plainres.cli import parse_options, run_command
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.report.write import FIGURES
from plainres.tracking.runs import PROJECT

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
    """The workspace and the report of one W&B project.

    Attributes:
        entity: W&B user or team.
        project: W&B project.
        study: Name of the only study that is shown, for example `cifar10-64k-bf16`. None shows all studies.
    """

    entity: str
    project: str = PROJECT
    study: str | None = None

    def _filters(self, **config: str) -> "expr.And":
        if self.study:
            config["study"] = self.study
        return expr.And(*[expr.Config(key) == value for key, value in config.items()])

    def workspace(self) -> "ws.Workspace":
        """Return a saved view of the runs with one line per net: the mean over its seeds and their spread."""
        return ws.Workspace(
            entity=self.entity,
            project=self.project,
            name=TITLE,
            settings=ws.WorkspaceSettings(x_axis="iteration", smoothing_weight=0, max_runs=100),
            runset_settings=ws.RunsetSettings(filters=self._filters(), groupby=[expr.Config("net")]),
            sections=[
                ws.Section("Degradation", panels=[curve("train_error"), curve("test_error")], is_open=True),
                ws.Section("Final errors", panels=[bars("train_error"), bars("test_error")], is_open=True),
                ws.Section(
                    "Compared with the paper", panels=[table(), figure("figure6"), figure("figure1")], is_open=True
                ),
                ws.Section("Layer responses", panels=[figure("figure7"), figure("gradients")]),
                ws.Section("Training", panels=[curve("train_loss"), curve("lr"), curve("images_per_second")]),
            ],
        )

    def report(self) -> "wr.Report":
        """Return a page to share: the question, plain and residual nets, the table and the layer responses."""

        def runs(name: str, **config: str) -> wr.Runset:
            return wr.Runset(name=name, filters=self._filters(**config), groupby=["config.net"])

        blocks = [
            wr.P(
                "A deeper net could copy a shallower one and make its additional layers identities, so it should not "
                "have a higher training error. Deep plain nets do; residual nets do not."
            )
        ]
        for kind, title in KINDS.items():
            blocks += [
                wr.H2(title),
                wr.PanelGrid(runsets=[runs(kind, kind=kind)], panels=[curve("train_error"), curve("test_error")]),
            ]
        all_runs = wr.Runset(name="all runs")
        return wr.Report(
            entity=self.entity,
            project=self.project,
            title=TITLE,
            description=f"Study {self.study}" if self.study else "All studies of the project",
            blocks=[
                *blocks,
                wr.H2("Errors at the last iteration"),
                wr.PanelGrid(runsets=[runs("trained nets")], panels=[bars("train_error"), bars("test_error")]),
                wr.H2("Compared with the paper"),
                wr.PanelGrid(runsets=[all_runs], panels=[table(), figure("figure6")]),
                wr.H2("Layer responses and gradients"),
                wr.PanelGrid(runsets=[all_runs], panels=[figure("figure7"), figure("gradients")]),
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
    """Return a plot of a column of metrics.csv against the iteration."""
    return wr.LinePlot(title=TITLES[metric], x="iteration", y=[metric], groupby_aggfunc="mean", smoothing_factor=0)


def bars(metric: str) -> "wr.BarPlot":
    """Return a bar chart of a final error with one bar per net."""
    title = f"{TITLES[metric]}, last iteration"
    return wr.BarPlot(title=title, metrics=[f"final/{metric}"], groupby="config.net", groupby_aggfunc="mean")


def figure(name: str) -> "wr.MediaBrowser":
    """Return a panel with a figure that the report has drawn."""
    assert name in FIGURES
    return wr.MediaBrowser(title=name, media_keys=[f"figures/{name}"], num_columns=1)


def table() -> "wr.WeavePanelSummaryTable":
    """Return a panel with Table 6, which compares the errors with the paper's."""
    return wr.WeavePanelSummaryTable(table_name="table6")


def specification(view: "ws.Workspace | wr.Report") -> dict:
    """Return what `save` would send to W&B, validated by W&B's own models."""
    return json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Save the W&B workspace and report that compare plain with residual nets."""

    entity: str = ""
    """W&B user or team (required)."""
    project: str = PROJECT
    """W&B project."""
    study: str | None = None
    """Show only the runs of this study, for example cifar10-64k-bf16."""
    check: Path | None = None
    """Send nothing to W&B, and write to this file what would be sent."""


def main() -> int:
    """Save the dashboards to W&B, or write their specifications to a file."""
    options = parse_options(Options, prog="python -m plainres.tracking.dashboard")
    if ws is None:
        raise UserError(
            "dashboards require wandb-workspaces: pip install 'plainres[dashboard]' or use `make dashboard`"
        )
    if not options.entity:
        raise UserError("--entity is missing: give a W&B user or team, or use `make dashboard ENTITY=...`")
    dashboard = Dashboard(options.entity, options.project, options.study)
    views = {"workspace": dashboard.workspace(), "report": dashboard.report()}
    if options.check:
        specifications = {name: specification(view) for name, view in views.items()}
        write_atomic(options.check, json.dumps(specifications, indent=2) + "\n")
        print(options.check)
        return 0
    for name, view in views.items():
        try:
            print(f"{name}: {view.save().url}")
        except Exception as error:  # W&B, the network and missing permissions raise many types
            raise UserError(f"W&B did not accept the {name}: {error} (is `wandb login` done?)") from None
    return 0


if __name__ == "__main__":
    run_command(main)
