"""The command `plainres dashboard`: the W&B workspace and report of the study as code.

Both are saved into a W&B project that contains runs, from training or from `plainres backfill`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

# ruff: noqa: E402, because the modules below import what the extra installs
from plainres.extras import require_extra

require_extra("dashboard", "plainres dashboard")

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from plainres.cli import parse_options
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.tracking.runs import PROJECT

TITLE = "Plain against residual nets"
KINDS = {"plain": "Plain nets: deeper is worse", "residual": "Residual nets: deeper is better"}
TITLES = {
    "train_error": "training error (%)",
    "test_error": "test error (%)",
    "train_loss": "training loss",
    "lr": "learning rate",
    "images_per_second": "images per second",
}


def curves(*metrics: str) -> list:
    """Return plots of columns of metrics.csv against the iteration: the mean of the seeds of each net."""
    return [
        wr.LinePlot(title=TITLES[metric], x="iteration", y=[metric], groupby_aggfunc="mean", smoothing_factor=0)
        for metric in metrics
    ]


def bars(*metrics: str) -> list:
    """Return bar charts of final errors with one bar per net: the mean of its seeds."""
    return [
        wr.BarPlot(
            title=f"{TITLES[metric]}, last iteration",
            metrics=[f"final/{metric}"],
            groupby="config.net",
            groupby_aggfunc="mean",
        )
        for metric in metrics
    ]


def figures(*names: str) -> list:
    """Return panels with figures that the report has drawn."""
    return [wr.MediaBrowser(title=name, media_keys=[f"figures/{name}"], num_columns=1) for name in names]


def sections() -> dict[str, list]:
    """Return the panels below the curves of the errors, by title. Table 6 compares the errors with the paper's."""
    return {
        "Final errors": bars("train_error", "test_error"),
        "Compared with the paper": [wr.WeavePanelSummaryTable(table_name="table6"), *figures("figure6", "figure1")],
        "Layer responses and gradients": figures("figure7", "gradients"),
        "Training": curves("train_loss", "lr", "images_per_second"),
    }


def filters(study: str | None, **config: str) -> "expr.And":
    """Return the condition that runs belong to a study, if one is given, and have these values in their config."""
    conditions = config if study is None else config | {"study": study}
    return expr.And(*[expr.Config(key) == value for key, value in conditions.items()])


def workspace(entity: str, project: str, study: str | None) -> "ws.Workspace":
    """Return a saved view of the runs of a study, or of all, with one line per net: the mean over its seeds."""
    panels = {"Degradation": curves("train_error", "test_error")} | sections()
    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        settings=ws.WorkspaceSettings(x_axis="iteration", smoothing_weight=0, max_runs=100),
        runset_settings=ws.RunsetSettings(filters=filters(study), groupby=[expr.Config("net")]),
        sections=[ws.Section(title, panels=shown, is_open=True) for title, shown in panels.items()],
    )


def report(entity: str, project: str, study: str | None) -> "wr.Report":
    """Return a page to share: the question, the curves of plain and of residual nets, and the other panels."""
    blocks = [
        wr.P(
            "A deeper net could copy a shallower one and make its additional layers identities, so it should not "
            "have a higher training error. Deep plain nets do; residual nets do not."
        )
    ]
    for kind, title in KINDS.items():
        runs = wr.Runset(name=kind, filters=filters(study, kind=kind), groupby=["config.net"])
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[runs], panels=curves("train_error", "test_error"))]
    for title, panels in sections().items():
        grouped = [] if isinstance(panels[-1], wr.MediaBrowser) else ["config.net"]  # figures have a run of their own
        runs = wr.Runset(name="runs", filters=filters(study), groupby=grouped)
        blocks += [wr.H2(title), wr.PanelGrid(runsets=[runs], panels=panels)]
    description = f"Study {study}" if study else "All studies of the project"
    return wr.Report(entity=entity, project=project, title=TITLE, description=description, blocks=blocks)


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
    options = parse_options(Options, prog="plainres dashboard")
    if not options.entity:
        raise UserError("--entity is missing: give a W&B user or team, or use `make dashboard ENTITY=...`")
    where = (options.entity, options.project, options.study)
    views = {"workspace": workspace(*where), "report": report(*where)}
    if options.check:
        # Only this private method of W&B's makes what `save` would send.
        sent = {
            name: view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, view in views.items()
        }
        write_atomic(options.check, json.dumps(sent, indent=2) + "\n")
        print(options.check)
        return 0
    for name, view in views.items():
        try:
            print(f"{name}: {view.save().url}")
        except Exception as error:  # W&B, the network and missing permissions raise many types
            raise UserError(f"W&B did not accept the {name}: {error} (is `wandb login` done?)") from None
    return 0
