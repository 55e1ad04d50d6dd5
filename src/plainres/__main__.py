"""The command `plainres`, or `python -m plainres`. Each subcommand is imported only when it is called."""

import sys
from dataclasses import make_dataclass
from importlib import import_module
from typing import Annotated, Any, NamedTuple, Union

import tyro

from plainres.cli import parse_options, run_command, run_report_command


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        main: Function that reads the options from `sys.argv` and returns the exit status, as `module:function`.
        description: One line of `plainres --help`.
        torch: Whether it computes, so that signals and lost processes must be handled; see `plainres.cli`.
    """

    main: str
    description: str
    torch: bool = True


COMMANDS = {
    "cifar10-depth": Command(
        "plainres.experiments.cifar10_depth:main", "Train plain and residual nets of several depths."
    ),
    "imagenet-depth": Command("plainres.experiments.imagenet_depth:main", "The same on ImageNet."),
    "train": Command("plainres.experiments.train:main", "Train one net with any settings."),
    "report": Command("plainres.report.commands:report_main", "Redraw figures, tables, report.", torch=False),
    "claims": Command("plainres.report.commands:claims_main", "Judge the paper's claims.", torch=False),
    "verify": Command("plainres.verify:main", "Audit published records."),
    "score": Command("plainres.scoring.commands:score_main", "Score nets on a folder of photographs."),
    "adopt": Command("plainres.scoring.adopt:adopt_main", "Convert a checkpoint with torchvision's names."),
    "bench": Command("plainres.bench:main", "Time a training iteration."),
    "dashboard": Command("plainres.tracking.dashboard:main", "Save the W&B dashboards.", torch=False),
    "backfill": Command("plainres.tracking.backfill:main", "Send records to W&B."),
}


def _subcommands() -> Any:
    """Return a union of empty options, one per subcommand: what `plainres --help` lists."""
    return Union[  # noqa: UP007, which cannot be written with | for a tuple
        tuple(
            Annotated[make_dataclass(name, []), tyro.conf.subcommand(name, description=command.description)]
            for name, command in COMMANDS.items()
        )
    ]


def main() -> None:
    """Run the subcommand that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        parse_options(_subcommands(), prog="plainres", description="Plain against residual nets.")  # exits
    command = COMMANDS[name]
    sys.argv = [f"plainres {name}", *sys.argv[2:]]

    def run() -> int:
        module, function = command.main.split(":")
        return getattr(import_module(module), function)()

    (run_command if command.torch else run_report_command)(run)


if __name__ == "__main__":
    main()
