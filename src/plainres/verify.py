"""The command `plainres verify`, which audits published records."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console

from plainres.audit import audit_record, find_committed
from plainres.cli import parse_options
from plainres.data import default_data_dir
from plainres.errors import UserError
from plainres.records.config import ROWS
from plainres.training.signals import Stopped

COLOURS = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Audit published records, one line each. The exit status is 1 if something does not hold.

    The files are the committed ones. Configuration, hash and names agree. metrics.csv is complete and ends as run.json
    says. The recorded md5s are those of the data here. The published weights give the recorded errors. Training again
    from the seed gives the recorded first rows, within wide tolerances where the hardware rounds differently. With
    ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment, a CPU with AMX trains bf16 records that were computed
    without AMX again digit by digit. On a CPU without bf16 kernels, the weights of bf16 records are evaluated in fp32,
    and their first rows are left out. That figures and tables are those of the records is not audited here:
    `make figures` redraws them, and git shows what has changed.
    """

    records: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of records, `results/<study>/<net>/seed-<s>`. Default: all that are committed below --results."""
    rows: int = 1
    """Number of first rows, of 64, to train again. With 0, nothing is computed again, and weights are not evaluated."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder that holds the data sets. Default: the environment's DATA_DIR, else ./data."""
    results: Path = Path("results")
    """Results folder, if no records are named."""


def verify(options: Verify) -> int:
    """Audit records, print a line per record and a summary, and return the exit status.

    Raises:
        UserError: If there is nothing to audit, or an option is out of range.
    """
    if not 0 <= options.rows <= ROWS:
        raise UserError(f"rows must be between 0 and {ROWS}, not {options.rows}")
    folders = options.records or find_committed(options.results)
    if not folders:
        raise UserError(f"no records below {options.results.absolute()}: name some, or the results folder (--results)")
    for folder in folders:
        if not (folder / "run.json").is_file():
            raise UserError(f"{folder}: not the record of a run (it holds no run.json)")
    console, counts, stopped = Console(highlight=False, soft_wrap=True, markup=False), Counter[str](), 0
    try:
        for folder in folders:
            with console.status(f"auditing {folder}"):
                audit = audit_record(folder, options.data_dir, options.rows)
            left_out = [f"left out: {', '.join(audit.left_out)}"] if audit.left_out else []
            console.print(f"{audit.status} {audit.name}: {'; '.join([*audit.compared, *left_out])}")
            for problem in audit.problems:
                console.print(f"    {problem}", style=COLOURS["failed"])
            counts[audit.status] += 1
    except Stopped as error:
        console.print("stopped by a signal: these are the results so far", style=COLOURS["skipped"])
        stopped = error.exit_status
    console.print(", ".join(f"{counts[status]} {status}" for status in COLOURS))
    return stopped or int(counts["failed"] > 0)


def main() -> int:
    """Run the command line; see `verify`."""
    return verify(parse_options(Verify, prog="plainres verify", description=Verify.__doc__))
