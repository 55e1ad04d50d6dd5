"""Studies: which runs they have, which are done, and training the rest."""

from plainres.study.launch import run_study
from plainres.study.options import StudyOptions, run_command

__all__ = ["StudyOptions", "run_command", "run_study"]
