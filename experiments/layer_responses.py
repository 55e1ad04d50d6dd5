"""How much does each layer change the signal? (section 4.2, Figure 7)

    python experiments/layer_responses.py results/cifar10-1k-bf16      # records that were made without probes

Runs probe themselves while they train and write probes.csv. This measures recorded weights instead, and the same net
as it was initialized: iteration 0 and the last one. Seconds a net on a CPU. Expected: residual nets respond less than
their plain twins, deeper ones less still, and no gradient vanishes in plain nets.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from plainres.cli import run_command
from plainres.data import default_data_dir
from plainres.errors import UserError
from plainres.nets import load_net
from plainres.report import read_study, write_study
from plainres.training import Record, RunConfig
from plainres.training.build import make_data, make_net
from plainres.training.probes import probe, write_probes


@dataclass(frozen=True)
class Options:
    """Probe the recorded weights of a study's runs that have no probes.csv yet."""

    study: tyro.conf.Positional[Path]
    """Folder of the study."""
    data_dir: Annotated[Path, tyro.conf.arg(help="Folder that holds CIFAR-10.")] = field(
        default_factory=default_data_dir
    )


def main() -> int:
    options = tyro.cli(Options)
    folders = sorted(path.parent for path in options.study.glob("*/seed-*/weights.safetensors"))
    if not folders:
        raise UserError(f"{options.study}: no run there has weights (weights.safetensors)")
    for folder in folders:
        if (folder / "probes.csv").exists():
            continue
        recorded = load_net(folder / "weights.safetensors")
        config = RunConfig(**recorded.recipe["config"])
        data = make_data(config, options.data_dir)
        data.prepare_data()
        data.setup()
        rows = probe(make_net(config), data, 0, config.precision)
        rows += probe(recorded.net, data, config.iterations, config.precision)
        write_probes(Record(options.study.parent, config), rows)
        print(f"{folder}/probes.csv")
    study = read_study(options.study)
    for path in write_study(study):
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
