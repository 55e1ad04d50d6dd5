"""The command `plainres score`: nets and ensembles on a folder of photographs."""

import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from plainres.cli import parse_options
from plainres.data import default_data_dir
from plainres.data.imagenet import BAD_LIMIT, BadImages
from plainres.data.photos import Photos
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.nets.weights import Normalized
from plainres.records.provenance import describe_hardware, describe_software
from plainres.scoring.models import labels_for, load_model
from plainres.scoring.scores import score
from plainres.study.options import LOCAL_RESULTS
from plainres.training import RunConfig
from plainres.training.device import choose_device


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score one net, or several nets as an ensemble.

    Each kind of view gives one record in RESULTS/scores, from which `make figures` draws Tables 2 to 5.
    """

    weights: tyro.conf.Positional[tuple[Path, ...]]
    """Weights files of runs, or files written by `adopt`. Several files form an ensemble."""
    data_dir: Path = field(default_factory=default_data_dir)
    """Folder that contains val/<class>/*. Default: the environment variable DATA_DIR, or ./data."""
    part: Literal["val", "train"] = "val"
    """Subfolder to score on."""
    views: tuple[Literal["center", "10-crop", "multi-scale"], ...] = ("center", "10-crop", "multi-scale")
    """Views of each photograph: center (the center crop), 10-crop (Tables 2 and 3), or multi-scale (fully convolutional
    at five scales, Tables 4 and 5)."""
    results: Path = LOCAL_RESULTS
    """Folder for the records."""
    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:<index>."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the forward pass."""
    workers: int = 2
    """Number of processes that decode photographs."""
    bad_limit: int = BAD_LIMIT
    """Number of unreadable images that are accepted."""


def describe_model(path: Path, model: Normalized) -> dict:
    """Return the description of a net in the record of a score."""
    if "config" in model.recipe:
        config = RunConfig(**model.recipe["config"])
        origin = {"name": config.net, "study": config.study, "iterations": config.iterations, "seed": config.seed}
    else:
        origin = {"name": model.recipe["name"]}
    return {
        **origin,
        "depth": model.architecture["depth"],
        "shortcut": model.architecture["shortcut"],
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def score_file_name(record: dict) -> str:
    """Return the name of the file for a score, which its nets, views, photographs and precision determine."""
    nets, data = record["nets"], record["data"]
    label = nets[0]["name"] if len(nets) == 1 else f"ensemble-of-{len(nets)}"
    scored = [*(net["weights_sha256"] for net in nets), data["part"], data["md5"], record["precision"]]
    return f"{label}-{hashlib.sha256(' '.join(scored).encode()).hexdigest()[:8]}-{record['way']}.json"


def score_main() -> int:
    """Run `plainres score`: score the nets with each of the views, and write one record per kind of view."""
    options = parse_options(Score, prog="plainres score")
    if options.workers < 0:
        raise UserError(f"--workers must be 0 or more, not {options.workers}")
    if not options.weights:
        raise UserError("no weights files are given: name one, or several for an ensemble")
    device = choose_device(options.device)
    models = [load_model(path) for path in options.weights]
    photos = Photos(options.data_dir / options.part)
    labels = [labels_for(model, photos, path) for path, model in zip(options.weights, models, strict=True)]
    sizes = {model.recipe.get("size") or model.recipe["config"]["image_size"] for model in models}
    if len(sizes) > 1 or any(not other.equal(labels[0]) for other in labels):
        raise UserError("the nets of an ensemble must have been trained on the same classes and crop size")
    (size,) = sizes
    nets = [describe_model(path, model) for path, model in zip(options.weights, models, strict=True)]
    for view in options.views:
        begin = time.perf_counter()
        bad = BadImages(options.bad_limit)
        scores = score(
            models,
            photos,
            labels[0],
            view,
            size,
            device,
            precision=options.precision,
            workers=options.workers,
            bad=bad,
        )
        record = {
            "way": view,  # the key of the records since their first version
            **asdict(scores),
            "nets": nets,
            "size": size,
            "precision": options.precision,
            "data": {"part": options.part, "classes": len(photos.classes), "md5": photos.md5()},
            "seconds": round(time.perf_counter() - begin, 1),
            "provenance": {**describe_software(), "hardware": describe_hardware(device)},
        }
        path = options.results / "scores" / score_file_name(record)
        write_atomic(path, json.dumps(record, indent=2) + "\n")
        print(f"{view:12} top-1 {scores.top1_error:6.2f}%  top-5 {scores.top5_error:6.2f}%  {path}", flush=True)
        if scores.skipped:
            print(f"{scores.skipped} unreadable images were not scored", file=sys.stderr)
    return 0
