"""Score checkpoints on a folder of photographs: `python -m plainres.scoring score|adopt --help`."""

import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from plainres.cli import run_command
from plainres.data import default_data_dir
from plainres.data.imagenet.batches import BadImages
from plainres.data.imagenet.module import BAD_LIMIT
from plainres.data.imagenet.photos import Photos
from plainres.errors import UserError
from plainres.nets.weights import Normalized
from plainres.scoring.models import adopt, labels_for, load_model
from plainres.scoring.scores import score
from plainres.scoring.views import VIEWS
from plainres.study.options import LOCAL_RESULTS
from plainres.training import RunConfig
from plainres.training.device import choose_device, describe_hardware, describe_software
from plainres.training.record import write_atomic

SIZE = 224


@dataclass(frozen=True, kw_only=True)
class Score:
    """Top-1 and top-5 errors of one net, or of several as an ensemble, on a folder; writes a record to RESULTS/scores,
    from which `make figures` draws Tables 2 to 5.

    The ways: center (the centre crop), 10-crop (Tables 2 and 3), multi-scale (fully convolutional at five scales,
    Tables 4 and 5).
    """

    weights: tyro.conf.Positional[tuple[Path, ...]]
    """weights.safetensors of runs, or what `adopt` made. Several are tested together."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder that holds `val/<class>/*`. Default: the environment's DATA_DIR."""
    part: Literal["val", "train"] = "val"
    """Which of its folders."""
    ways: tuple[Literal["center", "10-crop", "multi-scale"], ...] = tuple(VIEWS)
    results: Path = LOCAL_RESULTS
    """Folder for the records."""
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = 2
    """Processes that decode."""
    bad_limit: int = BAD_LIMIT
    """How many unreadable images are let pass."""


@dataclass(frozen=True, kw_only=True)
class Adopt:
    """Store a state dict with torchvision's names as a weights file, its normalization with it (never guessed).

    Torchvision's own weights: --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --stride-in 3x3.
    """

    state: tyro.conf.Positional[Path]
    """File with the state dict."""
    depth: int
    """Layers; the file is held to it."""
    mean: tuple[float, float, float]
    """That training subtracted from red, green and blue (between 0 and 1)."""
    std: tuple[float, float, float]
    """That training divided by; 1 1 1 for none."""
    stride_in: Literal["1x1", "3x3"]
    """Where the stride of its bottlenecks stands."""
    size: int = SIZE
    """Of the crops it was trained on."""
    out: Path
    """The weights file to write (*.safetensors)."""


def describe_model(path: Path, model: Normalized) -> dict:
    """What a score's record says of a net."""
    own = RunConfig(**model.recipe["config"]) if "config" in model.recipe else None
    run = (
        {"name": own.net, "study": own.study, "iterations": own.iterations, "seed": own.seed}
        if own
        else {"name": model.recipe["name"]}
    )
    return {
        **run,
        "depth": model.architecture["depth"],
        "shortcut": model.architecture["shortcut"],
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def score_command(options: Score) -> int:
    if not options.weights:
        raise UserError("name the weights files to score")
    device = choose_device(options.device)
    models = [load_model(path) for path in options.weights]
    photos = Photos(options.data_dir / options.part)
    labels = [labels_for(model, photos, path) for path, model in zip(options.weights, models, strict=True)]
    sizes = {model.recipe.get("size") or model.recipe["config"]["image_size"] for model in models}
    if len(sizes) > 1 or any(not of.equal(labels[0]) for of in labels):
        raise UserError("nets of one ensemble must have been trained on the same classes and size of crop")
    nets = [describe_model(path, model) for path, model in zip(options.weights, models, strict=True)]
    label = nets[0]["name"] if len(nets) == 1 else f"ensemble-of-{len(nets)}"
    digest = hashlib.sha256("".join(net["weights_sha256"] for net in nets).encode()).hexdigest()[:8]
    for way in options.ways:
        begin = time.perf_counter()
        bad = BadImages(options.bad_limit)
        scores = score(
            models,
            photos,
            labels[0],
            way,
            *sizes,
            device,
            precision=options.precision,
            workers=options.workers,
            bad=bad,
        )
        record = {
            "way": way,
            **asdict(scores),
            "nets": nets,
            "size": next(iter(sizes)),
            "precision": options.precision,
            "data": {"part": options.part, "classes": len(photos.classes), "md5": photos.md5()},
            "seconds": round(time.perf_counter() - begin, 1),
            "provenance": {**describe_software(), "hardware": describe_hardware(device)},
        }
        path = options.results / "scores" / f"{label}-{digest}-{way}.json"
        write_atomic(path, json.dumps(record, indent=2) + "\n")
        print(f"{way:12} top-1 {scores.top1_error:6.2f}%  top-5 {scores.top5_error:6.2f}%  {path}", flush=True)
        if scores.skipped:
            print(f"{scores.skipped} unreadable images are not in these figures", file=sys.stderr)
    return 0


def adopt_command(options: Adopt) -> int:
    content = adopt(options.state, options.depth, options.mean, options.std, options.stride_in, options.size)
    write_atomic(options.out, content)
    print(options.out)
    return 0


def main() -> int:
    command = tyro.cli(
        Annotated[Score, tyro.conf.subcommand("score")] | Annotated[Adopt, tyro.conf.subcommand("adopt")],
        prog="python -m plainres.scoring",
        description=__doc__,
    )
    return score_command(command) if isinstance(command, Score) else adopt_command(command)


if __name__ == "__main__":
    run_command(main)
