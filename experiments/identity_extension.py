"""Could a deeper plain net be as good as a shallower one? (section 1: a solution by construction exists)

    python experiments/identity_extension.py results/cifar10-2k-bf16/plain-20/seed-0 56

Extends a recorded plain net to the given depth with layers that are identities, evaluates both nets on the whole
training and test set, and compares them with the trained net of that depth, if the study has one. It takes a few
minutes on two CPU cores.

Expected: the constructed net has exactly the errors of the shallow net. Therefore, a deeper plain net with these errors
exists, whatever training finds.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro

from plainres.cli import parse_options, run_command
from plainres.data import default_data_dir
from plainres.files import read_json, write_atomic
from plainres.nets import extend_with_identity
from plainres.training.build import load_recorded, make_data
from plainres.training.evaluation import evaluate


@dataclass(frozen=True)
class Options:
    """Extend a recorded plain net with identity layers, and evaluate it."""

    run: tyro.conf.Positional[Path]
    """Folder of the record of a plain net, including its weights."""
    depth: tyro.conf.Positional[int]
    """Depth of the constructed net, 6n+2."""
    data_dir: Annotated[Path, tyro.conf.arg(help="Folder that holds CIFAR-10.")] = field(
        default_factory=default_data_dir
    )


def main() -> int:
    options = parse_options(Options, description=__doc__)
    folder = options.run.resolve()
    recorded, config = load_recorded(folder)
    data = make_data(config, options.data_dir)
    data.prepare_data()
    data.setup()
    nets = {
        config.net: recorded.net,
        f"plain-{options.depth} by construction": extend_with_identity(recorded.net, options.depth),
    }
    rows = []
    for name, net in nets.items():
        errors = {part: evaluate(net, data, part, "fp32")[f"{part}_error"] for part in ("train", "test")}
        rows.append({"net": name, "clean training error": errors["train"], "test error": errors["test"]})
    trained = folder.parents[1] / f"plain-{options.depth}" / folder.name / "run.json"
    if trained.exists() and "final" in (run := read_json(trained)):
        final = run["final"]
        errors = {"clean training error": final.get("clean_train_error"), "test error": final.get("test_error")}
        rows.append({"net": f"plain-{options.depth} trained"} | errors)
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False, floatfmt=".2f"))
    path = folder.parents[1] / f"identity_extension_{config.depth}_{options.depth}_seed-{config.seed}.csv"
    write_atomic(path, table.to_csv(index=False, float_format="%.4f"))
    print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
