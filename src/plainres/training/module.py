"""The LightningModule: one net, trained by the paper's protocol."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from plainres.data import CifarData, ImageNetData
from plainres.data.photo_batches import PhotoBatch
from plainres.training.config import RunConfig
from plainres.training.engine import EagerEngine
from plainres.training.engines import choose_engine
from plainres.training.evaluation import Tally, tally_batch
from plainres.training.ranks import sum_over, take_buffers_of_rank_0
from plainres.training.schedule import (
    WARMUP_ERROR,
    WARMUP_WINDOW,
    chunks,
    has_warmup,
    learning_rate,
    row_ends,
    test_points,
    warmup_cap,
)


class Diverged(Exception):
    """The loss became infinite or not a number."""


class ClassificationModule(pl.LightningModule):
    """Trains a plain or residual net for N iterations, whatever an epoch is.

    One Lightning epoch is the stretch between two passes over the test set; one Lightning step is a chunk of
    iterations, which an engine computes (see `engine`). The module counts iterations itself, and its checkpoint holds
    the position, the rows of metrics so far and the sums of the next one; Lightning's own loop counters, which cannot
    resume inside an epoch, are left out.

    Args:
        config: the run.
        net: maps images (B, 3, H, W) to logits (B, classes).
        engine: "eager", "fast" or "auto".

    Attributes:
        iteration: how many are done.
        warmup_end: the iteration at which the warm-up ended; 0 where there is none, None while it lasts.
        rows: what metrics.csv holds, a dict a row.
        seconds: wall time of the run so far, over all its sittings.
    """

    def __init__(self, config: RunConfig, net: nn.Module, engine: str = "auto"):
        super().__init__()
        self._engine_name = engine
        self.automatic_optimization = False
        self.config = config
        self.net = net.to(memory_format=torch.channels_last)
        if config.precision == "fp64":
            self.net.double()
        self.iteration = 0
        self.warmup_end = None if has_warmup(config) else 0
        self.rows: list[dict] = []
        self.seconds = 0.0
        self.train_seconds = 0.0
        self._clock = 0.0
        self.since_row = Tally()
        self.since_window = Tally()
        self.tested: dict[str, Tally] = {}
        self._row_ends = set(row_ends(config))
        self._test_points = test_points(config)

    @property
    def data(self) -> CifarData | ImageNetData:
        return self.trainer.datamodule

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Only now does the net lie where it will be trained.
        engine = choose_engine(self._engine_name, self.config, self.device)
        self.engine: EagerEngine = engine(self.net, self.config, self.data.inputs, self.manual_backward)
        return self.engine.make_optimizer()

    # Training

    def _next_span(self) -> None:
        """Have the data module yield the iterations up to the next pass over the test set."""
        stop = next(point for point in self._test_points if point > self.iteration)
        self.data.chunks = list(chunks(self.config, self.iteration, stop, self.engine.chunk))

    def on_fit_start(self) -> None:
        self.data.to(self.device)
        self._next_span()

    def on_train_epoch_start(self) -> None:
        self._clock = time.perf_counter()

    def training_step(self, loaded: Tensor | PhotoBatch, _: int) -> None:
        lr = learning_rate(self.config, self.iteration, self.warmup_end is None, self.rows)
        batches = [loaded] if self.config.family == "imagenet" else loaded
        with self.aside():
            self.engine.prepare(self.optimizers(), batches)
        losses, wrong = self.engine.advance(self.optimizers(), batches, lr)
        if self.trainer.world_size > 1:
            losses, wrong = sum_over(torch.stack((losses / self.trainer.world_size, wrong)).double())
        self.iteration += len(batches)
        self.since_row.add(losses, wrong, self.config.batch_size)
        if self.warmup_end is None:
            self.since_window.add(losses, wrong, self.config.batch_size)
            self._warm_up()
        if self.iteration in self._row_ends:
            self._end_row(lr)

    def _warm_up(self) -> None:
        """End the warm-up once the last 100 iterations' error is under 80%, or at its cap (section 4.2)."""
        learned = self.iteration % WARMUP_WINDOW == 0 and self.since_window.error < WARMUP_ERROR
        if learned or self.iteration >= warmup_cap(self.config):
            self.warmup_end = self.iteration
        if self.iteration % WARMUP_WINDOW == 0:
            self.since_window.reset()

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.train_seconds += now - self._clock
        self.seconds += now - self._clock
        self._clock = now

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Count the time of what is done here to the run, but not to the training of its rows."""
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
        """Leave the gradients where a captured graph writes them; every iteration clears them anyway."""

    # Passes over the test set (and the validation set of a 45k split)

    def on_validation_epoch_start(self) -> None:
        self.tested = {part: Tally() for part in self.data.evaluated}
        take_buffers_of_rank_0(self.net)

    def validation_step(self, rows: Tensor, _: int, dataloader_idx: int = 0) -> None:
        part = self.data.evaluated[dataloader_idx]
        tally_batch(self.net, *self.data.inputs(rows, part), self.config.precision, self.tested[part])

    def on_validation_epoch_end(self) -> None:
        for part, tally in self.tested.items():
            tally.sum_over_ranks()
            self.rows[-1] |= {f"{part}_loss": tally.mean_loss, f"{part}_error": tally.error}
            if self.config.family == "imagenet":
                self.rows[-1][f"{part}_top5_error"] = tally.top5_error
        train_seconds = self.train_seconds
        self._count_time()
        self.train_seconds = train_seconds
        if self.iteration == self.config.iterations:
            self.trainer.should_stop = True
        else:
            self._next_span()

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
            **{name: getattr(self, name) for name in self.STATE},
        }

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        state = checkpoint["run"]
        torch.set_rng_state(state["random_state"].cpu())
        for name in self.STATE:
            setattr(self, name, state[name])
        vars(self.since_row).update(state["since_row"])
        vars(self.since_window).update(state["since_window"])
