"""How commands run: the one place that reads options, decides on exit statuses and on what a user sees of an error."""

import io
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from plainres.errors import UserError
from plainres.files import expand_user

USAGE_ERROR = 2
INTERRUPTED = 130

T = TypeVar("T")
_registry = ConstructorRegistry()


@_registry.primitive_rule
def _path_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """Shells leave the `~` of `--results=~/runs` as it is."""
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda arguments: expand_user(arguments[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


def parse_options(options: type[T], prog: str | None = None, description: str | None = None) -> T:
    """Read the options of the command line, and exit with status 2 if they are wrong.

    A `~` at the beginning of a path is the user's home folder. From here on, characters that the locale's encoding
    lacks are printed as question marks; by default, they are errors. `options` is a dataclass, or a union of them, one
    per subcommand. `description` is by default its docstring.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return tyro.cli(options, prog=prog, description=description, registry=_registry)


def _status(main: Callable[[], int]) -> int:
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED


def run_report_command(main: Callable[[], int]) -> NoReturn:
    """Run the main function of a command that works from records alone, and exit with the status that it returns.

    A `UserError` is printed as one line on stderr and gives status 2, and an interrupt gives 130.
    """
    sys.exit(_status(main))


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run the main function of a command that may train, and exit with its status, see `run_report_command`.

    A run that a signal has stopped gives 128 plus the number of the signal. Any other exception keeps its traceback.
    """
    from plainres.training.distributed import exit_process, get_rank_info, report_lost_rank
    from plainres.training.signals import Stopped

    def run() -> int:
        try:
            with report_lost_rank():
                return main()
        except Stopped as stopped:
            if get_rank_info().rank > 0:  # a launcher of several processes must see only one failing status
                return 0
            print(f"{stopped}; the same command continues from there", file=sys.stderr)
            return stopped.exit_status
        except Exception as error:
            if isinstance(error, UserError) or get_rank_info().size == 1:
                raise
            traceback.print_exc()
            return USAGE_ERROR

    exit_process(_status(run))
