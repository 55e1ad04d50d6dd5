"""The report: the paper's figures and tables beside ours, drawn from records alone, without PyTorch.

Two lines open the records in a notebook, wherever it was started:

    from plainres import report
    study = report.open("results").largest("cifar10")

`study.metrics`, `study.probes` and `study.overview` are tidy pandas frames. `plainres.records.frames` describes their
columns. The functions of `plainres.report.figures` and `plainres.report.layer_figures` draw a study.
"""

# ruff: noqa: E402, because the modules below import what the extra installs
from plainres.extras import require_extra

require_extra("report", "drawing figures and tables")

from plainres.records.record import Record
from plainres.report.records import Frames, Results, Study, open, read_study
from plainres.report.write import write_all, write_study

__all__ = ["Frames", "Record", "Results", "Study", "open", "read_study", "write_all", "write_study"]
