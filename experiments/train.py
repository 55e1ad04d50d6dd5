"""What are the errors of one net? Train any net of the study with any settings.

    python experiments/train.py --depth 56 --shortcut none --seeds 0 1 --iterations 8000
    python experiments/train.py --depth 20 --lr 0.03 --train-set 45k      # choose settings on held-out images
    python experiments/train.py --depth 20 --plan                         # expected time on this CPU

Without `--iterations`, a GPU trains for the paper's 64,000 iterations, and a CPU for 1,000.

The W&B sweeps in `experiments/sweeps/` run this script. On one core of an AMD EPYC with AVX-512 BF16, 8,000 iterations
of ResNet-20 took 34 minutes, and those of ResNet-56 took 184 minutes beside other programs (`seconds` in the last row
of metrics.csv, results/cifar10-8k-bf16).
"""

import re
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Annotated, Any

import tyro

from plainres.cli import parse_options, run_command
from plainres.experiment import run_experiment
from plainres.study import StudyOptions
from plainres.training import RunConfig

CPU_ITERATIONS = 1_000
# Options of every study, and what only photographs have: see imagenet_depth.py.
NOT_HERE = {f.name for f in fields(StudyOptions)} | {"seed", "num_classes", "image_size", "stride_in", "schedule"}
SETTINGS = [f for f in fields(RunConfig) if f.name not in NOT_HERE]


def options_class() -> Any:
    """Return the options of every study, extended by the fields of `RunConfig` with their types, defaults and help."""
    descriptions = dict(re.findall(r"^ {8}(\w+): (.+(?:\n {12}.+)*)", RunConfig.__doc__ or "", re.MULTILINE))
    changed = {"depth": (int, 20), "shortcut": (str, "A")}  # `none` is the plain net
    settings = []
    for setting in SETTINGS:
        kind, default = changed.get(setting.name, (setting.type, setting.default))
        assert default is not MISSING
        help_text = " ".join(descriptions[setting.name].replace("`", "").split())
        settings.append((setting.name, Annotated[kind, tyro.conf.arg(help=help_text)], field(default=default)))
    return make_dataclass("Options", settings, bases=(StudyOptions,), frozen=True, kw_only=True)


def main() -> int:
    options = parse_options(options_class(), description=__doc__)
    device, common = options.resolve(CPU_ITERATIONS, batch_size=options.batch_size)
    settings = {setting.name: getattr(options, setting.name) for setting in SETTINGS}
    settings["shortcut"] = None if options.shortcut == "none" else options.shortcut
    return run_experiment([RunConfig(seed=seed, **settings, **common) for seed in options.seeds], options, device)


if __name__ == "__main__":
    run_command(main)
