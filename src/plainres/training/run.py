"""One run, from its configuration to its record."""

import logging
import shutil
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from plainres.data import RunData
from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.nets import count_complexity
from plainres.nets.cifar import CifarNet
from plainres.nets.imagenet import ImageNetNet
from plainres.nets.weights import weights_bytes
from plainres.training.build import image_shape, make_data, make_net, needs_activation_checkpointing
from plainres.training.callbacks import Recorder
from plainres.training.checkpoints import AtomicCheckpointIO, iteration_of, latest_usable
from plainres.training.config import RunConfig
from plainres.training.context import RunContext
from plainres.training.device import describe_hardware, describe_software
from plainres.training.distributed import (
    RankInfo,
    all_reduce_max,
    broadcast_buffers,
    check_batch_divides,
    cluster_environment,
    init_distributed,
    on_rank_zero,
)
from plainres.training.engines import choose_engine
from plainres.training.evaluation import evaluate, with_averaged_bn
from plainres.training.lock import exclusive_writer
from plainres.training.loss import Tally
from plainres.training.module import ClassificationModule, Diverged
from plainres.training.probes import Prober
from plainres.training.record import UNFINISHED, Record
from plainres.training.signals import StopRequest

NOT_COMPARED = ("data_md5", "earlier", "until")  # parts of a provenance that do not say what computed the iterations


def train_run(config: RunConfig, context: RunContext, callbacks: Sequence[pl.Callback] = ()) -> dict:
    """Train one net, resuming where an earlier start stopped, and write its record.

    Several processes that were started together (see `plainres.training.distributed`) train the net together if each
    of them calls this function.

    Args:
        config: Configuration of the run.
        context: Where and how the run is computed.
        callbacks: Additional Lightning callbacks.

    Returns:
        The contents of run.json. `outcome` is `"finished"`, or `"diverged"` if the loss was no longer finite.

    Raises:
        Busy: If another process is training this run.
        Stopped: If SIGINT, SIGTERM or SIGUSR1 arrived. A checkpoint has been written, or the run has ended.
        UserError: If the data or the record cannot be used, the disk is full, or the memory of the device is too
            small.
    """
    ranks = init_distributed(context.device)
    device = ranks.device(context.device)
    check_batch_divides(config, device, ranks)
    record = Record(context.results, config)
    with ExitStack() as stack:

        def begin() -> dict | None:
            stack.enter_context(exclusive_writer(context.results, config))
            return record.read()

        recorded = on_rank_zero(begin)
        stop = stack.enter_context(StopRequest())
        if recorded is not None and recorded["outcome"] != UNFINISHED:
            shutil.rmtree(record.checkpoints, ignore_errors=True)
            return recorded
        try:
            ended = _Run(config, context, record, device, ranks, stop).train(callbacks)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{config.net} with batch size {config.batch_size} does not fit into the memory of {device}: use a "
                f"smaller batch size, or free memory of the device ({str(error).splitlines()[0]})"
            ) from None
        stop.synchronize()
        stop.raise_if_stopped(f"{config.name} has ended")
        return ended


def prepare_data(data: RunData, ranks: RankInfo) -> None:
    """Check or download the data on rank 0 first, then on machines that do not share its disk."""
    on_rank_zero(data.prepare_data)
    if ranks.rank > 0 and ranks.local_rank == 0:
        data.prepare_data()
    all_reduce_max(0)  # waits for all processes


@dataclass(frozen=True)
class _Run:
    """A run that this process has locked and that is not finished."""

    config: RunConfig
    context: RunContext
    record: Record
    device: torch.device
    ranks: RankInfo
    stop: StopRequest

    def train(self, callbacks: Sequence[pl.Callback]) -> dict:
        """Train to the last iteration, evaluate, and write the record; return the contents of run.json."""
        config, record = self.config, self.record
        data = make_data(config, self.context.data_dir, record.folder, self.ranks.shard)
        prepare_data(data, self.ranks)
        data.setup()
        module = ClassificationModule(config, make_net(config), data, self.context.engine)
        # With BN that sees the images of all processes, recomputing activations communicates: all do it, or none.
        needed = needs_activation_checkpointing(module.net, config, self.device, self.ranks.size)
        (checkpointing,) = all_reduce_max(int(needed))
        cast(CifarNet | ImageNetNet, module.net).checkpointing = bool(checkpointing)
        checkpoint = on_rank_zero(lambda: latest_usable(record.checkpoints, config.hash))
        # On rank 0 first: the first record that is written says that the run has begun.
        facts = on_rank_zero(lambda: self._begin(module, data, checkpoint))
        try:
            self._fit(module, checkpoint, callbacks)
            _add_engine(facts["provenance"], module.computed_by())
        except Diverged as error:
            reason = str(error)  # the name `error` is deleted at the end of this block
            _add_engine(facts["provenance"], module.computed_by())

            def write_diverged() -> dict:
                record.write_metrics(module.rows)
                diverged = record.write("diverged", {"reason": reason, "final": _last_figures(module), **facts})
                shutil.rmtree(record.checkpoints, ignore_errors=True)
                return diverged

            return on_rank_zero(write_diverged)

        net = make_net(config)  # the module's own net may have BN layers that communicate
        # PyTorch's stub of `to` has no memory format beside a device.
        net.to(self.device, next(module.net.parameters()).dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.load_state_dict(module.net.state_dict())
        broadcast_buffers(net)
        data.to(self.device)
        final = _last_figures(module) | self._final_errors(net, data)
        facts = {"final": final, "warmup_end": module.warmup_end, "seconds": module.seconds, **facts}
        return on_rank_zero(lambda: self._finish(net, data, facts))

    def _begin(self, module: ClassificationModule, data: RunData, checkpoint: Path | None) -> dict:
        """Write the first run.json, and return what is known about the run before its next iteration.

        Raises:
            UserError: If the run is to resume on other data than it began on.
        """
        recorded = self.record.read() or {}
        facts = {
            "complexity": asdict(count_complexity(module.net, image_shape(self.config))),
            "provenance": {
                **describe_software(),
                "hardware": describe_hardware(self.device),
                "processes": self.ranks.size,
                "engine": choose_engine(self.context.engine, self.config, self.device).name,
                "activation_checkpointing": module.net.checkpointing,
                "data_md5": {name: part.md5() for name, part in data.parts.items()},
            },
        }
        if checkpoint is not None:
            here, before = facts["provenance"], recorded.get("provenance", {})
            self._require_same_data(before.get("data_md5", {}), here["data_md5"])
            # The engine may have fallen back to another one after run.json was written, but before the checkpoint.
            saved = torch.load(checkpoint, map_location="cpu", weights_only=True)["run"].get("computed_by", {})
            here["earlier"] = _earlier_provenance(before | saved, iteration_of(checkpoint))
        self.record.write(UNFINISHED, facts)
        return facts

    def _require_same_data(self, recorded: dict[str, str], here: dict[str, str]) -> None:
        """Raise `UserError` if the MD5 digest of a part of the data is not the recorded one."""
        changed = [name for name, md5 in recorded.items() if here.get(name) != md5]
        if changed:
            raise UserError(
                f"{self.record.folder} began on other data than {self.context.data_dir} holds now (md5 of the part "
                f"{changed[0]!r}: {recorded[changed[0]]} there, {here.get(changed[0])} here): resume it with the same "
                "data, or move the folder away to start over"
            )

    def _fit(self, module: ClassificationModule, checkpoint: Path | None, callbacks: Sequence[pl.Callback]) -> None:
        """Run Lightning's Trainer from a checkpoint, or from the start, to the last iteration."""
        record, ranks = self.record, self.ranks
        if checkpoint is not None and iteration_of(checkpoint) == self.config.iterations:
            saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
            module.load_state_dict(saved["state_dict"])
            module.on_load_checkpoint(saved)
            return
        recorder = Recorder(record, self.context.checkpoint_seconds, self.stop)
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # Lightning 2.6 on torch 2.15.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
            # Batches are gathered from memory, which no worker process could make faster.
            warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
            # Lightning passes this argument on, and its successor exists only in the newest PyTorch.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
            gpu_of_one_process = ranks.size == 1 and self.device.type == "cuda"
            trainer = pl.Trainer(
                accelerator="gpu" if self.device.type == "cuda" else self.device.type,
                # Of several processes, each has a GPU of its own among those that it sees.
                devices=[self.device.index or 0] if gpu_of_one_process else ranks.local_size,
                num_nodes=ranks.size // ranks.local_size,
                # Training does not depend on buffers, and those of rank 0 are recorded: they need no broadcast.
                strategy=DDPStrategy(broadcast_buffers=False) if ranks.size > 1 else "auto",
                sync_batchnorm=ranks.size > 1 and not self.config.micro_batch,
                max_epochs=-1,
                reload_dataloaders_every_n_epochs=1,
                num_sanity_val_steps=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                plugins=[AtomicCheckpointIO(), cluster_environment()],
                callbacks=[Prober(record), recorder, *callbacks],
            )
            trainer.fit(module, ckpt_path=checkpoint)

    def _final_errors(self, net: nn.Module, data: RunData) -> dict:
        """Return errors in percent on the clean training set, and on the test set with averaged BN statistics."""

        def error(evaluated: nn.Module, part: str) -> Tally:
            self.stop.synchronize()
            self.stop.raise_if_stopped(f"{self.config.name} after its last iteration")
            return evaluate(evaluated, data, part, self.config.precision)

        clean = error(net, "train")
        averaged, images = with_averaged_bn(net, data, self.config)
        return {
            "clean_train_loss": clean.mean_loss,
            "clean_train_error": clean.error,
            "averaged_bn_test_error": error(averaged, "test").error,
            "averaged_bn_images": images,
        }

    def _finish(self, net: nn.Module, data: RunData, facts: dict) -> dict:
        """Write the weights and the final run.json, and remove the checkpoints."""
        recipe = {"config": asdict(self.config), "final": facts["final"], "provenance": facts["provenance"]}
        if data.class_names is not None:
            recipe |= {"classes": data.class_names}
        architecture = {"family": self.config.family} | self.config.architecture()
        weights = weights_bytes(net.cpu(), data.mean, architecture, recipe)
        write_atomic(self.record.folder / "weights.safetensors", weights)
        finished = self.record.write("finished", facts)
        shutil.rmtree(self.record.checkpoints, ignore_errors=True)
        return finished


def _earlier_provenance(recorded: dict, iteration: int) -> list[dict]:
    """Return what computed the iterations before a resumed run's checkpoint, start by start.

    Whether this start computes like the ones before it is known only after its iterations, see `_add_engine`.

    Args:
        recorded: Provenance in the record so far.
        iteration: Iteration of the checkpoint.

    Returns:
        Software and hardware of each earlier start, each with the iteration `until` which it computed.
    """
    earlier = recorded.get("earlier", [])
    if earlier and earlier[-1]["until"] == iteration:  # the last start computed no iteration
        return earlier
    return _joined([*earlier, {"until": iteration, **_compared(recorded)}])


def _add_engine(provenance: dict, computed_by: dict[str, str]) -> None:
    """Add the engine that has computed the iterations of this start, which is known only after them.

    Earlier starts that have computed like this one are no longer listed, unless others came between.
    """
    provenance |= computed_by
    if "earlier" in provenance:
        last = {"until": None, **_compared(provenance)}
        provenance["earlier"] = _joined([*provenance["earlier"], last])[:-1]


def _compared(provenance: dict) -> dict:
    """Return the parts of a provenance that tell starts from one another."""
    return {name: value for name, value in provenance.items() if name not in NOT_COMPARED}


def _joined(starts: list[dict]) -> list[dict]:
    """Return starts in order, those that followed one another and computed alike as one."""
    joined: list[dict] = []
    for start in starts:
        if joined and _compared(joined[-1]) == _compared(start):
            joined.pop()
        joined.append(start)
    return joined


def _last_figures(module: ClassificationModule) -> dict:
    """Return the figures of the last row, which are the results, and separately the best test error."""
    row, info = module.rows[-1], module.config.info
    names = ["iteration"] + [f"{part}_{what}" for part in ("train", "test", "val") for what in ("loss", "error")]
    names += ["test_top5_error"] if info.top5 else []
    figures = {name: row[name] for name in names if name in row}
    tested = [row for row in module.rows if "test_error" in row]
    if tested:
        best = min(tested, key=lambda row: row["test_error"])
        figures |= {"best_test_error": best["test_error"], "best_test_iteration": best["iteration"]}
    return figures
