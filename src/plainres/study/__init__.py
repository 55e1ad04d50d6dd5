"""Studies: planning which runs are needed, training those that are missing, and resuming those that are partial."""

from plainres.study.context import StudyContext
from plainres.study.launch import run_study
from plainres.study.options import StudyOptions

__all__ = ["StudyContext", "StudyOptions", "run_study"]
