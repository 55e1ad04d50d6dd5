"""Training one net: the LightningModule, the paper's schedule, and the record of a run."""

from plainres.records.config import RunConfig
from plainres.records.record import Record
from plainres.training.module import ClassificationModule
from plainres.training.run import RunContext, train_run

__all__ = ["ClassificationModule", "Record", "RunConfig", "RunContext", "train_run"]
