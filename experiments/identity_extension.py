"""Could the deeper plain net be as good? (section 1: a solution by construction exists)

    python experiments/identity_extension.py results/cifar10-2k-bf16/plain-20/seed-0 56

Takes a recorded plain net, adds layers that are identities until it has the wanted depth, and measures both on the
whole training and test set, beside the trained net of that depth where the study has one. A few minutes on a CPU.
Expected: the constructed net has exactly the shallow net's errors, so the deeper plain net could be as good; training
does not find it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pandas as pd
import tyro

from plainres.cli import run_command
from plainres.data import default_data_dir
from plainres.errors import UserError
from plainres.nets import extend_with_identity, load_net
from plainres.training import RunConfig
from plainres.training.build import make_data
from plainres.training.evaluation import evaluate
from plainres.training.record import write_atomic


@dataclass(frozen=True)
class Options:
    """Extend a recorded plain net by identity layers and measure it."""

    run: tyro.conf.Positional[Path]
    """Record folder of a plain net, with its weights."""
    depth: tyro.conf.Positional[int]
    """Layers of the constructed net, 6n+2."""
    data_dir: Annotated[Path, tyro.conf.arg(help="Folder that holds CIFAR-10.")] = field(
        default_factory=default_data_dir
    )


def main() -> int:
    options = tyro.cli(Options)
    recorded = load_net(options.run / "weights.safetensors")
    config = RunConfig(**recorded.recipe["config"])
    if config.shortcut is not None:
        raise UserError(f"{options.run}: only a plain net is extended: in a residual one identity is no construction")
    data = make_data(config, options.data_dir)
    data.prepare_data()
    data.setup()
    nets = {
        config.net: recorded.net,
        f"plain-{options.depth} by construction": extend_with_identity(recorded.net, options.depth),
    }
    rows = []
    for name, net in nets.items():
        errors = {part: evaluate(net, data, part, "fp32").error for part in ("train", "test")}
        rows.append({"net": name, "clean training error": errors["train"], "test error": errors["test"]})
    trained = options.run.parents[1] / f"plain-{options.depth}" / options.run.name / "run.json"
    if trained.exists() and "final" in (run := json.loads(trained.read_text())):
        final = run["final"]
        errors = {"clean training error": final.get("clean_train_error"), "test error": final["test_error"]}
        rows.append({"net": f"plain-{options.depth} trained"} | errors)
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False, floatfmt=".2f"))
    path = options.run.parents[1] / f"identity_extension_{config.depth}_{options.depth}_seed-{config.seed}.csv"
    write_atomic(path, table.to_csv(index=False, float_format="%.4f"))
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    run_command(main)
