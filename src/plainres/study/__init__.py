"""Studies: which runs they have, which of them are finished, and training the rest."""

from plainres.study.context import StudyContext
from plainres.study.launch import run_study
from plainres.study.options import StudyOptions

__all__ = ["StudyContext", "StudyOptions", "run_study"]
