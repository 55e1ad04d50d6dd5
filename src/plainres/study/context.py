"""Where and how the runs of a study are trained, in a form that other processes and machines can receive."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from plainres.tracking.runs import tracked
from plainres.training import Record, RunConfig, RunContext, train_run


@dataclass(frozen=True, kw_only=True)
class StudyContext(RunContext):
    """Where and how the runs of a study are trained. Nothing here changes their results.

    Attributes:
        wandb_mode: `"online"`, `"offline"` or `"off"`.
    """

    wandb_mode: str = "off"

    def train(self, config: RunConfig) -> dict:
        """Train one run in this process and track it with W&B; see `train_run`."""
        with tracked(Record(self.results, config), self.wandb_mode) as loggers:
            return train_run(config, self, loggers=loggers)

    def on(self, device: str) -> "StudyContext":
        """Return the same context on another device. `"cuda"` without an index means all GPUs."""
        return replace(self, device=torch.device(device))

    def to_task(self, config: RunConfig) -> str:
        """Return this context and a run as JSON, for another process or machine."""
        return json.dumps({"config": asdict(config), "context": asdict(self)}, default=str)


def from_task(task: str) -> tuple[StudyContext, RunConfig]:
    """Return what `StudyContext.to_task` has written."""
    loaded = json.loads(task)
    fields = loaded["context"]
    paths = {name: Path(fields[name]) for name in ("data_dir", "results")}
    return StudyContext(**fields | paths | {"device": torch.device(fields["device"])}), RunConfig(**loaded["config"])
