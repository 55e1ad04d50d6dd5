"""How many parameters and multiply-adds do the ImageNet nets have? (Table 1, Figure 3)

    python experiments/complexity.py

Counts the parameters and multiply-adds of the paper's nets and of VGG-16 and VGG-19, prints them next to the paper's
numbers, and draws Figure 3 from the nets themselves. It takes seconds on any CPU and requires no data.

Expected: every count equals the paper's up to rounding, and the 152-layer net has fewer multiply-adds than VGG-16.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torchvision.models import vgg16, vgg19

from plainres.cli import parse_options, run_command
from plainres.files import write_atomic
from plainres.nets import count_complexity, imagenet_net
from plainres.nets.imagenet import BLOCKS_PER_STAGE, BOTTLENECK_DEPTH
from plainres.nets.layer_list import layer_list

IMAGE = (3, 224, 224)


@dataclass(frozen=True)
class Options:
    """Count parameters and multiply-adds of the ImageNet nets, print Table 1 and draw Figure 3."""

    results: Path = Path("results")
    """Results folder. nets.json, Table 1 and Figure 3 are written to complexity/ below it."""


def describe() -> list[dict]:
    """Return the name, the complexity and the list of layers of every net."""
    shallow = [(depth, shortcut, None) for depth in (18, 34) for shortcut in (None, "A", "B", "C")]
    deep = [(depth, "B", stride_in) for stride_in in ("1x1", "3x3") for depth in BLOCKS_PER_STAGE]
    nets = []
    with torch.device("meta"):  # requires no memory and no initialization
        for depth, shortcut, stride_in in [*shallow, *(net for net in deep if net[0] >= BOTTLENECK_DEPTH)]:
            kind, option = ("plain", "") if shortcut is None else ("resnet", "" if shortcut == "A" else f"-{shortcut}")
            facts = {"net": f"{kind}-{depth}{option.lower()}", "depth": depth, "blocks": BLOCKS_PER_STAGE[depth]}
            facts |= {"stride_in": stride_in} if stride_in else {}
            nets.append((facts, imagenet_net(depth, shortcut, stride_in=stride_in or "1x1")))
        nets += [({"net": name}, make()) for name, make in (("VGG-16", vgg16), ("VGG-19", vgg19))]
    return [facts | asdict(count_complexity(net, IMAGE)) | layer_list(net, IMAGE) for facts, net in nets]


def main() -> int:
    # Here, a missing extra is one line.
    from plainres.report.architecture import FOLDER, table_1_markdown
    from plainres.report.write import write_architecture

    options = parse_options(Options, description=__doc__)
    nets = describe()
    folder = options.results / FOLDER
    write_atomic(folder / "nets.json", json.dumps(nets) + "\n")
    print(table_1_markdown(nets))
    write_architecture(options.results)
    print(folder)
    return 0


if __name__ == "__main__":
    run_command(main)
