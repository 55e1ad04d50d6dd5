"""One run, from its configuration to its record."""

import logging
import shutil
import warnings
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from plainres.data import CifarData, ImageNetData
from plainres.errors import UserError
from plainres.nets import count_complexity
from plainres.nets.weights import weights_bytes
from plainres.training.build import architecture, image_shape, make_data, make_net, must_checkpoint
from plainres.training.callbacks import ProgressBar, Recorder
from plainres.training.checkpoints import AtomicCheckpointIO, iteration_of, latest_usable
from plainres.training.config import RunConfig
from plainres.training.device import describe_hardware, describe_software
from plainres.training.engines import choose_engine
from plainres.training.evaluation import BN_IMAGES, Tally, evaluate, with_exact_bn
from plainres.training.lock import sole_writer
from plainres.training.mirror import MIRRORED, Mirror, in_sweep, mirror_record
from plainres.training.module import ClassificationModule, Diverged
from plainres.training.probes import Prober
from plainres.training.ranks import (
    Ranks,
    check_share,
    cluster_environment,
    join,
    largest,
    lead,
    take_buffers_of_rank_0,
)
from plainres.training.record import UNFINISHED, Record, write_atomic
from plainres.training.stop import StopRequest

CHECKPOINT_SECONDS = 30.0


def train_run(
    config: RunConfig,
    data_dir: Path,
    results: Path,
    device: torch.device,
    callbacks: tuple[pl.Callback, ...] = (),
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    wandb_mode: str = "off",
    engine: str = "auto",
) -> dict:
    """Train one net, resuming where an earlier sitting stopped, and leave its record below `results`.

    Several processes that were started together (see `ranks`) train it together, if each calls this.

    Args:
        config: the run.
        data_dir: folder that holds CIFAR-10.
        results: results folder; the record goes to `results / config.folder`.
        device: where to train.
        callbacks: further Lightning callbacks.
        checkpoint_seconds: least time between checkpoints.
        wandb_mode: "online", "offline" or "off", see `mirror`.
        engine: what computes it: "eager", "fast" or "auto"; see `engine`.

    Returns:
        What run.json holds: `outcome` is "finished", or "diverged" where the loss was no longer finite.

    Raises:
        Busy: another process is training this run.
        Stopped: SIGINT, SIGTERM or SIGUSR1 came; a checkpoint is written.
        UserError: data or record cannot be used, the disk is full, or the device's memory too small.
    """
    ranks = join(device)
    device = ranks.device(device)
    check_share(config, device, ranks)
    record = Record(results, config)
    if ranks.rank > 0:
        wandb_mode = "off"
    with ExitStack() as held:

        def begin() -> dict | None:
            held.enter_context(sole_writer(results, config))
            return record.read()

        recorded = lead(begin)
        stop = held.enter_context(StopRequest())
        if recorded is not None and recorded["outcome"] != UNFINISHED:
            shutil.rmtree(record.checkpoints, ignore_errors=True)
            # A sweep's agent has a W&B run of its own for this one.
            if wandb_mode != "off" and in_sweep():
                mirror_record(record, wandb_mode, results / MIRRORED)
            return recorded
        mirrors = [Mirror(record, wandb_mode, results / MIRRORED)] if wandb_mode != "off" else []
        watchers = (*callbacks, *mirrors)
        try:
            return _train(config, data_dir, record, device, ranks, watchers, checkpoint_seconds, stop, engine)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{config.net} with batch size {config.batch_size} does not fit into the memory of {device}: lower the "
                f"batch size, or free the device ({str(error).splitlines()[0]})"
            ) from None
        finally:
            for mirror in mirrors:
                mirror.finish()


def _train(
    config: RunConfig,
    data_dir: Path,
    record: Record,
    device: torch.device,
    ranks: Ranks,
    callbacks: tuple[pl.Callback, ...],
    checkpoint_seconds: float,
    stop: StopRequest,
    engine: str,
) -> dict:
    data = make_data(config, data_dir, record.folder, ranks.share)
    prepare(data, ranks)
    data.setup()
    module = ClassificationModule(config, make_net(config), engine)
    # Recomputing BN that sees all processes' images is one more exchange: all do it, or none.
    (checkpointing,) = largest(int(must_checkpoint(module.net, config, device, ranks.size)))
    module.net.checkpointing = bool(checkpointing)

    def begin() -> dict:
        facts = _facts(module, data, device, ranks, engine)
        record.write(UNFINISHED, facts)
        return facts

    facts = lead(begin)
    try:
        bar = [ProgressBar()] if ranks.rank == 0 else []
        watchers = (Prober(record), Recorder(record, checkpoint_seconds, stop), *bar, *callbacks)
        _fit(module, data, record, device, ranks, watchers)
    except Diverged as error:
        reason = str(error)  # the name ends with this block

        def write_diverged() -> dict:
            record.write_metrics(module.rows)
            return record.write("diverged", {"reason": reason, "final": _last(module), **facts})

        return lead(write_diverged)

    net = make_net(config)  # not the module's, whose BN may speak to other processes
    net.to(device, next(module.net.parameters()).dtype, memory_format=torch.channels_last)
    net.load_state_dict(module.net.state_dict())
    take_buffers_of_rank_0(net)
    data.to(device)
    final = _last(module) | _final_errors(net, data, config, stop)
    facts = {"final": final, "warmup_end": module.warmup_end, "seconds": module.seconds, **facts}
    return lead(lambda: _finish(record, net, data, facts))


def prepare(data: CifarData | ImageNetData, ranks: Ranks) -> None:
    """Have the data on disk: rank 0's first, then that of machines which do not share it."""
    lead(data.prepare_data)
    if ranks.rank > 0 and ranks.local_rank == 0:
        data.prepare_data()
    largest(0)  # waits for all


def _facts(
    module: ClassificationModule, data: CifarData | ImageNetData, device: torch.device, ranks: Ranks, engine: str
) -> dict:
    """What a record says of a run before its first iteration."""
    return {
        "complexity": asdict(count_complexity(module.net, image_shape(module.config))),
        "provenance": {
            **describe_software(),
            "hardware": describe_hardware(device),
            "processes": ranks.size,
            "engine": choose_engine(engine, module.config, device).name,
            "activation_checkpointing": module.net.checkpointing,
            "data_md5": {name: part.md5() for name, part in data.parts.items()},
        },
    }


def _finish(record: Record, net: nn.Module, data: CifarData | ImageNetData, facts: dict) -> dict:
    """Write weights and record, and remove the checkpoints."""
    config = record.config
    recipe = {"config": asdict(config), "final": facts["final"], "provenance": facts["provenance"]}
    if config.family == "imagenet":
        recipe |= {"classes": data.parts["train"].classes}
    family = {"family": config.family} | architecture(config)
    write_atomic(record.folder / "weights.safetensors", weights_bytes(net.cpu(), data.mean, family, recipe))
    finished = record.write("finished", facts)
    shutil.rmtree(record.checkpoints, ignore_errors=True)
    return finished


def _fit(
    module: ClassificationModule,
    data: CifarData | ImageNetData,
    record: Record,
    device: torch.device,
    ranks: Ranks,
    callbacks: tuple[pl.Callback, ...],
) -> None:
    """Run Lightning's Trainer from the last usable checkpoint, or from the start, to the last iteration."""
    checkpoint = lead(lambda: latest_usable(record.checkpoints, module.config.hash))
    if checkpoint is not None and iteration_of(checkpoint) == module.config.iterations:
        held = torch.load(checkpoint, map_location="cpu", weights_only=True)
        module.load_state_dict(held["state_dict"])
        module.on_load_checkpoint(held)
        return
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Lightning 2.6 on torch 2.15
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        # Batches are gathered from memory: no worker could make that faster.
        warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        # Lightning passes it on; its successor is only in the newest PyTorch.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            # Several processes have a GPU each, of those they see.
            devices=ranks.local_size if ranks.size > 1 or device.type == "cpu" else [device.index or 0],
            num_nodes=ranks.size // ranks.local_size,
            # Buffers need no broadcast: rank 0's are recorded, and training depends on none.
            strategy=DDPStrategy(broadcast_buffers=False) if ranks.size > 1 else "auto",
            sync_batchnorm=ranks.size > 1 and not module.config.micro_batch,
            max_epochs=-1,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            plugins=[AtomicCheckpointIO(), cluster_environment()],
            callbacks=list(callbacks),
        )
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)


def _last(module: ClassificationModule) -> dict:
    """The headline, the last row's figures, and the best ones apart from it."""
    names = ("iteration", "train_loss", "train_error", "test_loss", "test_error", "val_loss", "val_error")
    names += ("test_top5_error",)
    last = {name: module.rows[-1][name] for name in names if name in module.rows[-1]}
    tested = [row for row in module.rows if "test_error" in row]
    if tested:
        best = min(tested, key=lambda row: row["test_error"])
        last |= {"best_test_error": best["test_error"], "best_test_iteration": best["iteration"]}
    return last


def _final_errors(net: nn.Module, data: CifarData | ImageNetData, config: RunConfig, stop: StopRequest) -> dict:
    """Errors in percent on the clean training set, and on the test set with averaged BN statistics."""

    def error(of: nn.Module, part: str) -> Tally:
        stop.agree()
        stop.check(f"{config.name} after its last iteration")
        return evaluate(of, data, part, config.precision)

    clean = error(net, "train")
    exact = with_exact_bn(net, data, config.precision)
    return {
        "clean_train_loss": clean.mean_loss,
        "clean_train_error": clean.error,
        "exact_bn_test_error": error(exact, "test").error,
        "exact_bn_images": min(BN_IMAGES, len(data.parts["train"])),
    }
