"""Plain and residual nets of several depths on ImageNet."""

from dataclasses import dataclass

from plainres.cli import parse_options
from plainres.experiment import run_experiment
from plainres.study.imagenet import ImageNetOptions
from plainres.training import RunConfig

PAIRED = (18, 34)
BOTTLENECKS = (50, 101, 152)


@dataclass(frozen=True, kw_only=True)
class Options(ImageNetOptions):
    """Train the paper's plain and residual ImageNet nets, and draw Figure 4."""

    depths: tuple[int, ...] = ()
    """Depths of the nets: 18, 34, 50, 101, 152. Default: all, or 18 and 34 with --check."""


def main(description: str | None = None) -> int:
    """Run the command line; see `plainres.cli.parse_options` for the description."""
    options = parse_options(Options, description=description)
    device, common = options.resolve_imagenet()
    depths = options.depths or (PAIRED if options.check else PAIRED + BOTTLENECKS)
    configs = [
        RunConfig(depth=depth, shortcut=shortcut, seed=seed, **common)
        for seed in options.seeds
        for depth in depths
        for shortcut in ((None, "A") if depth in PAIRED else ("B",))
    ]
    return run_experiment(configs, options, device)
