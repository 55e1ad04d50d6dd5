"""Records as tidy pandas frames in long form: one row per observation, one column per variable.

Each of the three functions takes runs and returns one frame. `Study` and `Results` offer the same frames as attributes:

    study.metrics[study.metrics["outcome"] == "finished"].groupby(["net", "iteration"])["train_error"].mean()

All frames begin with the columns of `IDENTITY`, in the overview followed by the fields of
`plainres.records.config.RunConfig`. The tables below describe the others. A column that no record has is there, with
missing values. Columns that records have and these tables do not come last.
"""

from collections.abc import Iterable, Sequence

import pandas as pd

from plainres.records.config import CONFIG_DEFAULTS
from plainres.records.record import Record, hardware_name

IDENTITY = {
    "study": "Name of the study, for example cifar10-64k-bf16.",
    "net": "Name of the net, for example resnet-56.",
    "kind": "Kind of the net's shortcuts: plain, residual, highway or pre-activation.",
    "depth": "Number of layers.",
    "shortcut": "Shortcut option: none, A, B, C, highway or preact.",
    "seed": "Seed of the initial weights and of the batches.",
    "outcome": "finished, running (the record is partial) or diverged. Means belong to finished runs only.",
}
METRICS = {
    "iteration": "Number of iterations done when the row was written.",
    "epoch": "The same in passes over the training set.",
    "lr": "Learning rate of the last of these iterations.",
    "train_loss": "Mean training loss since the row before, over augmented images.",
    "train_error": "Training error since the row before, over augmented images, in percent.",
    "images_per_second": "Training speed since the row before.",
    "seconds": "Training time so far.",
    "test_loss": "Loss on the whole test set. Missing in rows without a test pass.",
    "test_error": "Error on the whole test set, in percent.",
    "test_top5_error": "Top-5 error on the whole test set, in percent (ImageNet only).",
    "val_loss": "Loss on the held-out training images, where there are some.",
    "val_error": "Error on the held-out training images, in percent.",
    "val_top5_error": "Top-5 error on the held-out training images, in percent (ImageNet only).",
}
PROBES = {
    "iteration": "Number of iterations done when the net was probed; 0 is the initial net.",
    "layer": "Number of the 3x3 convolution, from 1 at the input.",
    "name": "Name of the convolution in the PyTorch module.",
    "response_std": "Standard deviation of the layer's output after BN and before the nonlinearity (Figure 7).",
    "forward_variance": "Variance of the layer's output before BN.",
    "gradient_norm": "Norm of the loss gradient with respect to the weights.",
    "response_gradient_norm": "Norm of the loss gradient with respect to the layer's output after BN.",
    "weight_norm": "Norm of the weights.",
    "relative_weight_norm": "Norm of the weights, divided by their initial norm.",
    "weight_angle": "Angle between the weights and the initial weights, in degrees.",
}
OVERVIEW = {
    "iterations_done": "Number of iterations that its metrics cover.",
    "image_size": "Height and width of the training images, in pixels, where the record has it.",
    "num_classes": "Number of classes, where the record has it.",
    "parameters": "Number of parameters.",
    "multiply_adds": "Multiply-adds of convolutions and linear layers for one image.",
    "last_train_error": "Last training error in the metrics, in percent, whatever the outcome.",
    "last_test_error": "Last test error in the metrics, in percent, whatever the outcome.",
    "train_loss": "Training loss of the last interval (this and what follows: finished runs only).",
    "train_error": "Training error of the last interval, over augmented images, in percent.",
    "test_loss": "Test loss after the last iteration.",
    "test_error": "Test error after the last iteration, in percent.",
    "test_top5_error": "Top-5 test error after the last iteration, in percent.",
    "best_test_error": "Lowest test error of all test passes, in percent. Selected on the test set: not a result.",
    "best_test_iteration": "Iteration of that test pass.",
    "clean_train_loss": "Loss on the training set without augmentation, in evaluation mode.",
    "clean_train_error": "Error on the training set without augmentation, in evaluation mode, in percent.",
    "averaged_bn_test_error": "Test error with BN statistics averaged over augmented training images, in percent.",
    "averaged_bn_images": "Number of images that these BN statistics are averaged over.",
    "exact_bn_test_error": "The same over images without augmentation, in records made before 2026-11-21.",
    "exact_bn_images": "Number of these images, where the record has it.",
    "exact_bn_clean_train_error": "Clean training error with these BN statistics, in percent, in the first records.",
    "warmup_end": "Iteration at which the warm-up ended; 0 without one.",
    "seconds": "Training time.",
    "hardware": "GPU, or CPU with its instruction set and number of threads.",
    "engine": "Training engine of records before 2026-11-29: eager or fast.",
    "torch": "Version of PyTorch.",
    "commit": "Commit of the code.",
    "dirty": "Whether the code had changes that were not committed.",
}


def metrics_frame(runs: Sequence[Record]) -> pd.DataFrame:
    """Return the metrics of runs, one row per run and interval, with the columns of `IDENTITY` and `METRICS`."""
    return _stack(runs, "metrics", METRICS)


def probes_frame(runs: Sequence[Record]) -> pd.DataFrame:
    """Return the probes of runs, one row per run, iteration and layer, with the columns of `IDENTITY` and `PROBES`."""
    return _stack(runs, "probes", PROBES)


def overview_frame(runs: Sequence[Record]) -> pd.DataFrame:
    """Return one row per run, with the columns of `IDENTITY`, the fields of `RunConfig`, and `OVERVIEW`.

    They hold the configuration, the complexity of the net, the final figures and the provenance.
    """
    rows = []
    for run in runs:
        provenance = run.info.get("provenance", {})
        final = run.info["final"] if run.outcome == "finished" else {}
        rows.append(
            CONFIG_DEFAULTS
            | run.config
            | _identity(run)
            | run.info.get("complexity", {})
            | {key: value for key, value in final.items() if key != "iteration"}
            | {key: provenance.get(key) for key in ("engine", "torch", "commit", "dirty")}
            | {
                "iterations_done": run.iterations_done,
                "last_train_error": run.last("train_error"),
                "last_test_error": run.last("test_error"),
                "warmup_end": run.info.get("warmup_end"),
                "seconds": run.info.get("seconds", run.last("seconds")),
                "hardware": hardware_name(run.info) if provenance else None,
            }
        )
    return _ordered(pd.DataFrame(rows), [*CONFIG_DEFAULTS, *OVERVIEW])


def _identity(run: Record) -> dict:
    return {
        "study": run.folder.parents[1].name,
        "net": run.net,
        "kind": run.kind,
        "depth": run.depth,
        "shortcut": run.config["shortcut"] or "none",
        "seed": run.seed,
        "outcome": run.outcome,
    }


def _stack(runs: Sequence[Record], table: str, columns: dict[str, str]) -> pd.DataFrame:
    """Stack one table of each run and say in each row which run it belongs to."""
    tables = [getattr(run, table).assign(**_identity(run)) for run in runs if len(getattr(run, table))]
    return _ordered(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), columns)


def _ordered(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    known = [*dict.fromkeys([*IDENTITY, *columns])]
    return frame.reindex(columns=[*known, *(column for column in frame if column not in known)])
