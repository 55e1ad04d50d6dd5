"""How exact are the gradients at initialization? (section 4.1: with batch normalization they are "healthy")

    python experiments/gradient_precision.py                     # 20 and 56 layers, with and without shortcuts
    python experiments/gradient_precision.py --results results   # the committed table

Computes the gradient of the loss at initialization in fp32 and in bf16, as runs do, and compares it with the gradient
in fp64, for every 3x3 layer. Rounding perturbs a signal at each layer, and plain nets with batch normalization amplify
perturbations exponentially with depth, as they do with gradients (Yang et al., "A Mean Field Theory of Batch
Normalization", 2019). The cosine of the angle between both gradients is 1 if rounding changes nothing, and about 0 if
the computed gradient says nothing about the exact one. It takes about two minutes of one CPU core.

How a CPU rounds depends on its instruction set. The table therefore names the hardware of each row, and a run on
another kind of CPU adds its rows to those that are there. results/gradient_precision.csv has three seeds;
docs/findings.md prints and discusses them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import tyro
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from plainres.cli import parse_options, run_command
from plainres.data import StudyData, default_data_dir
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.records.provenance import describe_hardware
from plainres.study.options import LOCAL_RESULTS
from plainres.training import RunConfig
from plainres.training.build import make_data, make_net
from plainres.training.evaluation import predict
from plainres.training.probes import GRADIENT_IMAGES, layers_3x3

FIRST_LAYERS = 10
HARDWARE = ("cpu", "cpu_capability", "amx")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare the gradients at initialization in fp32 and bf16 with those in fp64."""

    depths: tuple[int, ...] = (20, 56)
    """Depths, each 6n+2."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the initial weights."""
    dataset: str = "cifar10"
    """Data set, for example cifar10 or demo."""
    data_dir: Annotated[Path, tyro.conf.arg(help="Folder that holds the data set.")] = field(
        default_factory=default_data_dir
    )
    results: Path = LOCAL_RESULTS
    """Folder of gradient_precision.csv. Rows of other nets, seeds and hardware in it are kept."""


def first_gradients(config: RunConfig, data: StudyData, precision: str) -> list[Tensor]:
    """Return the gradients of an untrained net with respect to the weights of its 3x3 layers, in fp64.

    Args:
        config: Configuration of the net.
        data: Data module after `setup`. The gradients are those of its first training images, without augmentation.
        precision: Precision in which the gradients are computed.
    """
    net = make_net(config).to(torch.float64 if precision == "fp64" else torch.float32)
    ((images, labels),) = data.batches(data.first(GRADIENT_IMAGES), "train", torch.device("cpu"))
    loss = cross_entropy(predict(net, images, precision), labels)
    weights = [conv.weight for conv, _ in layers_3x3(net).values()]
    return [gradient.double() for gradient in torch.autograd.grad(loss, weights)]


def compare_gradients(config: RunConfig, data_dir: Path) -> list[dict]:
    """Compare the gradients of an untrained net in fp32 and in bf16 with those in fp64.

    Args:
        config: Configuration of the net. Its precision is ignored.
        data_dir: Folder that holds its data set.

    Returns:
        One dict per precision and 3x3 layer: the cosine between the gradient with respect to the weights and the
        exact one, and the ratio of their norms.
    """
    data = make_data(config, data_dir)
    data.prepare_data()
    data.setup()
    exact = first_gradients(config, data, "fp64")
    rows = []
    for precision in ("fp32", "bf16"):
        pairs = zip(first_gradients(config, data, precision), exact, strict=True)
        for layer, (computed, gradient) in enumerate(pairs, start=1):
            rows.append(
                {
                    "net": config.net,
                    "seed": config.seed,
                    "precision": precision,
                    "layer": layer,
                    "cosine": cosine_similarity(computed.flatten(), gradient.flatten(), dim=0).item(),
                    "norm ratio": (computed.norm() / gradient.norm()).item(),
                }
            )
    return rows


def add_rows(path: Path, new: pd.DataFrame) -> None:
    """Write rows into a table. They replace rows of the same net, seed and hardware that it has; others are kept."""
    row = ["net", "seed", "precision", "layer", "dataset", *HARDWARE]
    if path.exists():
        new = pd.concat([pd.read_csv(path), new]).drop_duplicates(row, keep="last")
    write_atomic(path, new.to_csv(index=False, float_format="%.4f"))


def main() -> int:
    options = parse_options(Options, description=__doc__)
    if not options.depths or not options.seeds:
        raise UserError("no nets were chosen: give at least one value to each of --depths and --seeds")
    rows = []
    for shortcut in (None, "A"):
        for depth in options.depths:
            for seed in options.seeds:
                config = RunConfig(dataset=options.dataset, depth=depth, shortcut=shortcut, seed=seed)
                rows += compare_gradients(config, options.data_dir)
    hardware = describe_hardware(torch.device("cpu"))
    table = pd.DataFrame(rows).assign(dataset=options.dataset, **{key: hardware[key] for key in HARDWARE})
    path = options.results / "gradient_precision.csv"
    add_rows(path, table)
    print(f"Cosine between computed and exact gradient, median over the first {FIRST_LAYERS} layers:")
    medians = table[table["layer"] <= FIRST_LAYERS].groupby(["net", "seed", "precision"])["cosine"].median()
    print(medians.unstack("precision").reset_index().to_markdown(index=False, floatfmt=".2f"))
    print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
