"""Where and how the runs of a study are trained. Other processes and machines receive it pickled."""

from dataclasses import dataclass

from plainres.records.record import RunInfo
from plainres.tracking.runs import tracked
from plainres.training import Record, RunConfig, RunContext, train_run


@dataclass(frozen=True, kw_only=True)
class StudyContext(RunContext):
    """Where and how the runs of a study are trained. Nothing here changes their results."""

    wandb_mode: str = "off"  # or "online" or "offline"

    def train(self, config: RunConfig) -> RunInfo:
        """Train one run in this process and track it with W&B; see `train_run`."""
        return train_run(config, self, loggers=tracked(Record.of(self.results, config), config, self.wandb_mode))
