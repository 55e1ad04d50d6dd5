"""One run, from its configuration to its record."""

import logging
import shutil
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from plainres.data import StudyData
from plainres.errors import UserError, first_line
from plainres.files import write_atomic
from plainres.nets import count_complexity
from plainres.nets.weights import weights_bytes
from plainres.records.config import PRECISIONS, RunConfig
from plainres.records.lock import exclusive_writer
from plainres.records.provenance import describe_hardware, describe_software, earlier_starts
from plainres.records.record import UNFINISHED, Record, RunInfo
from plainres.training.accelerate import CudaGraphs
from plainres.training.build import image_shape, make_data, needs_activation_checkpointing
from plainres.training.checkpoints import AtomicCheckpointIO, Checkpointer, iteration_of, latest_usable
from plainres.training.distributed import (
    RankInfo,
    all_reduce_max,
    check_batch_divides,
    cluster_environment,
    get_rank_info,
    init_distributed,
    on_rank_zero,
)
from plainres.training.evaluation import evaluate, with_averaged_bn
from plainres.training.module import ClassificationModule, Diverged
from plainres.training.probes import Prober
from plainres.training.record import RecordLogger
from plainres.training.schedule import validation_interval
from plainres.training.signals import Stopped, StopRequest


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Where and how runs are computed. Nothing here changes their results."""

    data_dir: Path
    results: Path  # the record of a run goes to `results / config.folder`
    device: torch.device
    compile: bool = True  # train with CUDA graphs where that is possible
    checkpoint_seconds: float = 30.0  # shortest time between two checkpoints


def train_run(
    config: RunConfig,
    context: RunContext,
    callbacks: Sequence[pl.Callback] = (),
    loggers: AbstractContextManager[Sequence[Logger]] | None = None,
) -> RunInfo:
    """Train one net, resuming where an earlier start stopped, and write its record.

    Several processes that were started together (see `plainres.training.distributed`) train the net together if each
    of them calls this function. The callbacks and loggers are added to those that write the record. The context
    of the loggers is entered once it is known that no other process trains the run.

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
    check_batch_divides(config, ranks)
    record = Record.of(context.results, config)
    with ExitStack() as stack:

        def begin() -> RunInfo | None:
            stack.enter_context(exclusive_writer(context.results, config))
            return record.read_as(config)

        recorded = on_rank_zero(begin)
        entered = stack.enter_context(loggers or nullcontext(()))
        stop = stack.enter_context(StopRequest())
        if recorded is not None and recorded["outcome"] != UNFINISHED:
            shutil.rmtree(record.checkpoints, ignore_errors=True)
            return recorded
        try:
            ended = _Run(config, context, record, device, ranks, stop, callbacks, entered).train()
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{config.net} with batch size {config.batch_size} does not fit into the memory of {device}: use a "
                f"smaller batch size, or free memory of the device ({first_line(error)})"
            ) from None
        except Exception as error:
            # A stop that has been asked for stops the study, whatever has ended the run.
            if stop.signum is not None and not isinstance(error, Stopped):
                raise Stopped(f"{config.name} failed while it was stopping: {error}", stop.signum) from error
            if not str(error).startswith("DataLoader"):
                raise
            for worker in active_children():  # it may hang, and ignores SIGTERM
                worker.kill()
            raise UserError(
                f"{config.name}: a process that loads images has died or hangs ({first_line(error)}): if "
                "/dev/shm is full, give the container more shared memory (--shm-size)"
            ) from None
        stop.synchronize()
        stop.raise_if_stopped(f"{config.name} has ended")
        return ended


def prepare_data(data: StudyData) -> None:
    """Check or download the data on rank 0 first, then on machines that do not share its disk."""
    on_rank_zero(data.prepare_data)
    ranks = get_rank_info()
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
    callbacks: Sequence[pl.Callback]
    loggers: Sequence[Logger]

    def train(self) -> RunInfo:
        """Train to the last iteration, evaluate, and write the record; return the contents of run.json."""
        config, record = self.config, self.record
        data = make_data(config, self.context.data_dir, record.folder)
        prepare_data(data)
        data.setup()
        module = ClassificationModule(config)
        # In all processes or in none, because run.json has one value.
        needed = needs_activation_checkpointing(module.net, config, self.device, self.ranks.size)
        module.net.checkpointing = any(all_reduce_max(int(needed)))
        checkpoint = on_rank_zero(lambda: latest_usable(record.checkpoints, config.hash))
        # On rank 0 first: the first record that is written says that the run has begun.
        facts = on_rank_zero(lambda: self._begin(module, data, checkpoint))
        metrics = RecordLogger(record, config, len(data.parts["train"]))
        outcome, results = "finished", dict[str, Any]()
        try:
            self._fit(module, data, metrics, checkpoint)
        except Diverged as error:
            outcome, results["reason"] = "diverged", str(error)
        # Only now it is known whether the graphs could be captured.
        facts["provenance"]["cuda_graphs"] = module.train_forward != module.net.__call__
        results["final"] = on_rank_zero(lambda: _last_figures(metrics.rows))
        if outcome == "finished":
            net = module.net.to(self.device)  # Lightning has moved it to the CPU
            results["final"] |= self._final_errors(net, data)
            results |= {"warmup_end": module.warmup_end, "seconds": module.seconds}
            on_rank_zero(lambda: self._write_weights(net, data, results["final"], facts["provenance"]))
        run = on_rank_zero(lambda: record.write(config, outcome, results | facts))
        shutil.rmtree(record.checkpoints, ignore_errors=True)
        return run

    def _begin(self, module: ClassificationModule, data: StudyData, checkpoint: Path | None) -> dict:
        """Write the first run.json, and return what is known about the run before its next iteration."""
        before = (self.record.read_as(self.config) or {}).get("provenance", {})
        here: dict = {
            **describe_software(),
            "hardware": describe_hardware(self.device),
            "processes": self.ranks.size,
            "cuda_graphs": self._uses_graphs(),
            "activation_checkpointing": module.net.checkpointing,
            "data_md5": {name: part.md5() for name, part in data.parts.items()},
        }
        if checkpoint is not None:
            for name, md5 in before.get("data_md5", {}).items():
                if md5 != (found := here["data_md5"].get(name)):
                    raise UserError(
                        f"{self.record.folder} began on other data than {self.context.data_dir} holds now (md5 of the "
                        f"part {name!r}: {md5} there, {found} here): resume it with the same data, or move the folder "
                        "away to start over"
                    )
            here["earlier"] = earlier_starts(before, here, iteration_of(checkpoint))
        complexity = asdict(count_complexity(module.net, image_shape(self.config)))
        facts = {"complexity": complexity, "provenance": here}
        self.record.write(self.config, UNFINISHED, facts)
        return facts

    def _uses_graphs(self) -> bool:
        """Whether to train with CUDA graphs: on a single GPU, with whole batches of images in memory."""
        c = self.config
        alone = self.device.type == "cuda" and self.ranks.size == 1
        return self.context.compile and alone and c.family == "cifar" and not c.micro_batch

    def _fit(
        self, module: ClassificationModule, data: StudyData, metrics: RecordLogger, checkpoint: Path | None
    ) -> None:
        config, ranks = self.config, self.ranks
        share = config.batch_size // ranks.size
        micro_batches = share // (config.micro_batch or share)
        own = [Prober(self.record, config, data), Checkpointer(metrics, self.context.checkpoint_seconds, self.stop)]
        if self._uses_graphs():
            own.append(CudaGraphs())
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # Lightning 2.6 on torch 2.15.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
            # Lightning passes this argument on, and its successor exists only in the newest PyTorch.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
            gpu_of_one_process = ranks.size == 1 and self.device.type == "cuda"
            trainer = pl.Trainer(
                accelerator=self.device.type,
                # Of several processes, each has a GPU of its own among those that it sees.
                devices=[self.device.index or 0] if gpu_of_one_process else ranks.local_size,
                num_nodes=ranks.size // ranks.local_size,
                # Training does not depend on buffers, and those of rank 0 are recorded: they need no broadcast.
                strategy=DDPStrategy(broadcast_buffers=False) if ranks.size > 1 else "auto",
                precision=PRECISIONS[config.precision],
                max_steps=config.iterations,
                accumulate_grad_batches=micro_batches,
                val_check_interval=validation_interval(config) * micro_batches,
                check_val_every_n_epoch=None,
                num_sanity_val_steps=0,
                log_every_n_steps=1,  # the module logs its rows itself; Lightning would warn of short epochs
                logger=[metrics, *self.loggers],
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                plugins=[AtomicCheckpointIO(), cluster_environment()],
                callbacks=[*own, *self.callbacks],
            )
            trainer.fit(module, data, ckpt_path=checkpoint)

    def _final_errors(self, net: nn.Module, data: StudyData) -> dict:
        """Return errors in percent on the clean training set, and on the test set with averaged BN statistics."""

        def errors(evaluated: nn.Module, part: str) -> dict[str, float]:
            self.stop.synchronize()
            self.stop.raise_if_stopped(f"{self.config.name} after its last iteration")
            return evaluate(evaluated, data, part, self.config.precision)

        clean = errors(net, "train")
        averaged, images = with_averaged_bn(net, data, self.config)
        return {
            "clean_train_loss": clean["train_loss"],
            "clean_train_error": clean["train_error"],
            "averaged_bn_test_error": errors(averaged, "test")["test_error"],
            "averaged_bn_images": images,
        }

    def _write_weights(self, net: nn.Module, data: StudyData, final: dict, provenance: dict) -> None:
        recipe: dict = {"config": asdict(self.config), "final": final, "provenance": provenance}
        if data.class_names is not None:
            recipe |= {"classes": data.class_names}
        architecture = {"family": self.config.family} | self.config.architecture()
        write_atomic(self.record.weights, weights_bytes(net.cpu(), data.mean, architecture, recipe))


def _last_figures(rows: Sequence[dict]) -> dict:
    """Return the figures of the last row, which are the results, and separately the best test error."""
    names = ["iteration"] + [f"{part}_{what}" for part in ("train", "test", "val") for what in ("loss", "error")]
    figures = {name: rows[-1][name] for name in [*names, "test_top5_error"] if name in rows[-1]}
    tested = [row for row in rows if "test_error" in row]
    if tested:
        best = min(tested, key=lambda row: row["test_error"])
        figures |= {"best_test_error": best["test_error"], "best_test_iteration": best["iteration"]}
    return figures
