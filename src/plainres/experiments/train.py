"""Runs of one net, with any of the settings of a run."""

import re
from dataclasses import MISSING, field, fields, make_dataclass
from inspect import getdoc
from typing import Annotated, Any

import tyro

from plainres.cli import parse_options
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig

CPU_ITERATIONS = 1_000
# Options of every study, and what only photographs have: see plainres.study.imagenet.
NOT_HERE = {f.name for f in fields(StudyOptions)} | {"seed", "num_classes", "image_size", "stride_in", "schedule"}
SETTINGS = [f for f in fields(RunConfig) if f.name not in NOT_HERE]


def options_class() -> Any:
    """Return the options of every study, extended by the fields of `RunConfig` with their types, defaults and help."""
    # Python 3.13 removes the indentation of docstrings, and `getdoc` that of earlier versions.
    descriptions = dict(re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", getdoc(RunConfig) or "", re.MULTILINE))
    changed = {"depth": (int, 20), "shortcut": (str, "A")}  # `none` is the plain net
    settings = []
    for setting in SETTINGS:
        kind, default = changed.get(setting.name, (setting.type, setting.default))
        assert default is not MISSING
        help_text = " ".join(descriptions[setting.name].replace("`", "").split())
        settings.append((setting.name, Annotated[kind, tyro.conf.arg(help=help_text)], field(default=default)))
    return make_dataclass("Options", settings, bases=(StudyOptions,), frozen=True, kw_only=True)


def main(description: str | None = None) -> int:
    """Run the command line; see `plainres.cli.parse_options` for the description."""
    options = parse_options(options_class(), description=description or "Train any net of the study with any settings.")
    device, common = options.resolve(CPU_ITERATIONS, batch_size=options.batch_size)
    settings = {setting.name: getattr(options, setting.name) for setting in SETTINGS}
    settings["shortcut"] = None if options.shortcut == "none" else options.shortcut
    return run_experiment([RunConfig(seed=seed, **settings, **common) for seed in options.seeds], options, device)
