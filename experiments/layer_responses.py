"""How strongly does each layer respond? (section 4.2, Figure 7)

    python experiments/layer_responses.py results/local/cifar10-1k-bf16

Runs write probes.csv while they train. For records without probes.csv, this script measures the layer responses of the
recorded weights, and of the net as it was initialized, that is at the last iteration and at iteration 0. It takes
seconds per net on a CPU.

Expected from the paper: the layers of residual nets have smaller responses than those of plain nets, and deeper
residual nets have smaller responses than shallower ones.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro

from plainres.cli import parse_options, run_command
from plainres.data import default_data_dir
from plainres.errors import UserError
from plainres.records.record import Record
from plainres.training.build import load_recorded, make_data, make_net
from plainres.training.probes import initial_weights, probe


@dataclass(frozen=True)
class Options:
    """Measure the layer responses of the runs of a study that have no probes.csv."""

    study: tyro.conf.Positional[Path]
    """Folder of the study, for example results/cifar10-1k-bf16."""
    data_dir: Annotated[Path, tyro.conf.arg(help="Folder that holds CIFAR-10.")] = field(
        default_factory=default_data_dir
    )


def main() -> int:
    from plainres.report import read_study, write_study  # here, a missing extra is one line

    options = parse_options(Options, description=__doc__)
    folders = sorted(path.parent for path in options.study.glob("*/seed-*/weights.safetensors"))
    if not folders:
        raise UserError(f"{options.study}: there are no runs with weights (*/seed-*/weights.safetensors)")
    for folder in folders:
        record = Record(folder)
        if record.probes_csv.exists():
            continue
        recorded, config = load_recorded(folder)
        data = make_data(config, options.data_dir)
        data.prepare_data()
        data.setup()
        initial = initial_weights(config)
        rows = probe(make_net(config), initial, data, 0, config.precision)
        rows += probe(recorded.net, initial, data, config.iterations, config.precision)
        record.write_table(record.probes_csv, pd.DataFrame(rows))
        print(f"{folder}/probes.csv")
    study = read_study(options.study)
    for path in write_study(study):
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
