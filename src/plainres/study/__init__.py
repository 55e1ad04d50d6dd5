"""Studies: which runs they have, which are done, and training the rest."""

from plainres.study.launch import run_study
from plainres.study.options import StudyOptions, run_command
from plainres.study.setting import Setting

__all__ = ["Setting", "StudyOptions", "run_command", "run_study"]
