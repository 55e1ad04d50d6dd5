"""The LightningModule: one net, trained by the paper's protocol."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from plainres.data import RunData
from plainres.training.config import RunConfig
from plainres.training.distributed import all_reduce_sum, broadcast_buffers
from plainres.training.engines import EagerEngine, choose_engine
from plainres.training.loss import Tally, predict
from plainres.training.schedule import (
    WARMUP_ERROR,
    WARMUP_WINDOW,
    learning_rate,
    row_ends,
    split_into_spans,
    test_points,
    warmup_limit,
)


class Diverged(Exception):
    """The loss became infinite or not a number."""


class ClassificationModule(pl.LightningModule):
    """Trains a plain or residual net for N iterations.

    One Lightning epoch lasts from one pass over the test set to the next one, so Lightning's epochs are not passes
    over the training set. One Lightning step is a span of iterations, which an engine computes (see
    `plainres.training.engines`). The module counts iterations itself. Its checkpoint holds the position, the rows of
    metrics so far and the sums of the next row, and leaves out Lightning's own loop counters, which cannot resume
    inside an epoch.

    Args:
        config: Configuration of the run.
        net: Net that maps images (B, 3, H, W) to logits (B, num_classes).
        data: Data module of the run after `setup`.
        engine: `"eager"`, `"fast"` or `"auto"`.

    Attributes:
        iteration: Number of iterations done.
        warmup_end: Iteration at which the warm-up ended. 0 if there is none, and None while it lasts.
        rows: Contents of metrics.csv, one dict per row.
        seconds: Wall time of the run so far, including earlier starts of a resumed run.
    """

    def __init__(self, config: RunConfig, net: nn.Module, data: RunData, engine: str = "auto"):
        super().__init__()
        self._engine_name = engine
        self.automatic_optimization = False
        self.config = config
        self.data = data
        self.net = net.to(memory_format=torch.channels_last)
        if config.precision == "fp64":
            self.net.double()
        self.iteration = 0
        self.warmup_end = None if warmup_limit(config) else 0
        self.rows: list[dict] = []
        self.seconds = 0.0
        self.train_seconds = 0.0
        self._clock = 0.0
        self.since_row = Tally()
        self.since_window = Tally()
        self.tested: dict[str, Tally] = {}
        self._loaded_computed_by: dict[str, str] = {}
        self._row_ends = set(row_ends(config))
        self._test_points = test_points(config)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # The net is on its device only now.
        engine = choose_engine(self._engine_name, self.config, self.device)
        self.engine: EagerEngine = engine(self.net, self.config, self.data.inputs, self.manual_backward)
        return self.engine.make_optimizer()

    # Training

    def on_fit_start(self) -> None:
        self.data.to(self.device)

    def train_dataloader(self) -> Iterable[Any]:
        """Return the batches up to the next pass over the test set. Lightning asks for them at every such pass."""
        stop = next((point for point in self._test_points if point > self.iteration), self.config.iterations)
        spans = split_into_spans(self.config, self.iteration, stop, self.engine.longest_span)
        return self.data.train_batches(list(spans))

    def val_dataloader(self) -> list[Iterable[Any]]:
        return [self.data.views(part) for part in self.data.evaluated]

    def on_train_epoch_start(self) -> None:
        self._clock = time.perf_counter()

    def training_step(self, loaded: Any, _: int) -> None:
        lr = learning_rate(self.config, self.iteration, self.warmup_end is None, self.rows)
        batches = self.data.iterations_of(loaded)
        optimizer: Any = self.optimizers()  # Lightning's wrapper of the one optimizer
        with self.outside_rows():
            self.engine.prepare(optimizer, batches)
        losses, wrong = self.engine.advance(optimizer, batches, lr)
        if self.trainer.world_size > 1:
            losses, wrong = all_reduce_sum(torch.stack((losses / self.trainer.world_size, wrong)).double())
        self.iteration += len(batches)
        self.since_row.add(losses, wrong, self.config.batch_size)
        if self.warmup_end is None:
            self.since_window.add(losses, wrong, self.config.batch_size)
            self._update_warmup()
        if self.iteration in self._row_ends:
            self._end_row(lr)

    def _update_warmup(self) -> None:
        """End the warm-up once the error of the last 100 iterations is below 80%, or at its limit (section 4.2)."""
        learned = self.iteration % WARMUP_WINDOW == 0 and self.since_window.error < WARMUP_ERROR
        if learned or self.iteration >= warmup_limit(self.config):
            self.warmup_end = self.iteration
        if self.iteration % WARMUP_WINDOW == 0:
            self.since_window.reset()

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.train_seconds += now - self._clock
        self.seconds += now - self._clock
        self._clock = now

    @contextmanager
    def outside_rows(self) -> Iterator[None]:
        """Count the time spent inside towards the run, but not towards the images per second of its rows."""
        begin = time.perf_counter()
        yield
        spent = time.perf_counter() - begin
        self.seconds += spent
        self._clock += spent

    def _end_row(self, lr: float) -> None:
        self._count_time()
        tally = self.since_row
        self.rows.append(
            {
                "iteration": self.iteration,
                "epoch": self.iteration * self.config.batch_size / len(self.data.parts["train"]),
                "lr": lr,
                "train_loss": tally.mean_loss,
                "train_error": tally.error,
                "images_per_second": tally.images / self.train_seconds,
                "seconds": self.seconds,
            }
        )
        if not torch.isfinite(torch.tensor(tally.mean_loss)):
            raise Diverged(f"training loss is {tally.mean_loss} at iteration {self.iteration}")
        tally.reset()
        self.train_seconds = 0.0

    def on_validation_model_zero_grad(self) -> None:
        """Keep the gradients in the memory that a captured graph writes to. Every iteration clears them anyway."""

    # Passes over the test set, and over the validation set of the 45k split

    def on_validation_epoch_start(self) -> None:
        self.tested = {part: Tally() for part in self.data.evaluated}
        broadcast_buffers(self.net)

    def validation_step(self, batch: Any, _: int, dataloader_idx: int = 0) -> None:
        part = self.data.evaluated[dataloader_idx]
        images, labels = self.data.inputs(batch, part)
        self.tested[part].add_logits(predict(self.net, images, self.config.precision), labels)

    def on_validation_epoch_end(self) -> None:
        for part, tally in self.tested.items():
            tally.all_reduce()
            self.rows[-1] |= tally.errors(part, self.config.info.top5)
        train_seconds = self.train_seconds
        self._count_time()
        self.train_seconds = train_seconds
        if self.iteration == self.config.iterations:
            self.trainer.should_stop = True

    def computed_by(self) -> dict[str, str]:
        """Return the engine of the latest iterations, and why it is not the chosen one if it is not.

        If an earlier start computed all iterations, that start's checkpoint tells. Empty if nothing does.
        """
        engine = getattr(self, "engine", None)
        if engine is None:
            return self._loaded_computed_by
        return {"engine": engine.name} | ({"engine_fallback": engine.fallback} if engine.fallback else {})

    # Checkpoints

    STATE = ("iteration", "warmup_end", "rows", "seconds", "train_seconds")

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        self._count_time()
        checkpoint.pop("loops")
        checkpoint["run"] = {
            "config_hash": self.config.hash,
            "random_state": torch.get_rng_state(),
            "since_row": vars(self.since_row),
            "since_window": vars(self.since_window),
            "computed_by": self.computed_by(),
            **{name: getattr(self, name) for name in self.STATE},
        }

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        state = checkpoint["run"]
        torch.set_rng_state(state["random_state"].cpu())
        for name in self.STATE:
            setattr(self, name, state[name])
        self._loaded_computed_by = state.get("computed_by", {})  # older checkpoints lack it
        vars(self.since_row).update(state["since_row"])
        vars(self.since_window).update(state["since_window"])
