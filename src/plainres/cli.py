"""How commands run: the one place that decides on exit statuses and on what a user sees of an error."""

import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from plainres.errors import UserError

USAGE_ERROR = 2
INTERRUPTED = 130


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run the main function of a command that may train, and exit with its status.

    A `UserError` is printed as one line on stderr and gives status 2. A run that a signal has stopped gives 128 plus
    the number of the signal, and an interrupt outside a run gives 130. Any other exception keeps its traceback.

    Args:
        main: Function that returns the exit status.
    """
    from plainres.training.distributed import exit_process, get_rank_info, report_lost_rank
    from plainres.training.signals import Stopped

    status = USAGE_ERROR
    try:
        with report_lost_rank():
            status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except Stopped as stopped:
        if get_rank_info().rank == 0:  # a launcher of several processes must see only one failing status
            print(f"{stopped}; the same command continues from there", file=sys.stderr)
            status = stopped.exit_status
        else:
            status = 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception:
        if get_rank_info().size == 1:
            raise
        traceback.print_exc()
    exit_process(status)


def run_report_command(main: Callable[[], int]) -> NoReturn:
    """Run the main function of a command that works from records alone, without importing PyTorch.

    Exit statuses are those of `run_command`.

    Args:
        main: Function that returns the exit status.
    """
    status = USAGE_ERROR
    try:
        status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)
