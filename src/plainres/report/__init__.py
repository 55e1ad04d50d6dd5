"""The report: published figures beside ours, drawn from records alone, without torch."""

from plainres.report.records import Run, Study, find_studies, read_study
from plainres.report.write import write_all, write_study

__all__ = ["Run", "Study", "find_studies", "read_study", "write_all", "write_study"]
