"""The LightningModule: a plain or residual net, trained by the paper's protocol."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from plainres.nets.activation_checkpointing import freeze_bn_statistics
from plainres.records.config import RunConfig
from plainres.training.build import make_net
from plainres.training.device import keep_freed_memory
from plainres.training.evaluation import SUM_DTYPE, Errors
from plainres.training.schedule import WARMUP_ERROR, WARMUP_WINDOW, learning_rate_factor, row_ends, warmup_limit

Batch = tuple[Tensor, Tensor]  # images float32 (B, 3, H, W) with the mean subtracted, and labels int64 (B,)


class Diverged(Exception):
    """The loss became infinite or not a number."""


class ClassificationModule(pl.LightningModule):
    """Trains a plain or residual net for N iterations (section 4.2).

    An iteration is an optimizer step, so `Trainer.global_step` counts iterations. Training stops after N of them, for
    which the learning rate schedule is made. Metrics are logged 64 times, at the ends of rows of N / 64 iterations:
    `train_loss` and `train_error` are means over the augmented images since the last row, as they were trained on.
    Validation logs `test_loss` and `test_error` and, with the 45k split, `val_loss` and `val_error`. Errors are in
    percent.

    Args:
        config: Configuration of the run.
        settings: Fields of a `RunConfig` instead, for example `depth=56, shortcut=None`.

    Attributes:
        net: Net that maps images (B, 3, H, W) to logits (B, num_classes), initialized with the seed of the run.
        train_forward: Function that training calls instead of `net`, for example a faster implementation of it.
        warmup_end: Iteration at which the warm-up ended. 0 if there is none, and None while it lasts.
        seconds: Wall time of the run so far, including earlier starts of a resumed run.

    Raises:
        UserError: If a setting is out of its range.
        Diverged: By `Trainer.fit`, if the loss of a row is not finite.
    """

    def __init__(self, config: RunConfig | None = None, **settings: Any):
        super().__init__()
        self.config = config or RunConfig(**settings)
        self.save_hyperparameters(asdict(self.config))
        self.net = make_net(self.config).to(memory_format=torch.channels_last)
        self.train_forward: Callable[[Tensor], Tensor] = self.net.__call__
        self.since_row, self.since_window = Errors("train"), Errors("train")
        for errors in (self.since_row, self.since_window):
            errors.persistent(True)  # a resumed run continues the sums
        top5 = self.config.info.top5
        self.test_errors = nn.ModuleList(Errors(part, top5) for part in ("test", "val"))  # per dataloader
        self.warmup_end = None if warmup_limit(self.config) else 0
        self.row_errors: list[float] = []
        self.seconds = self.row_seconds = 0.0
        self._clock = 0.0
        self._row_ends = set(row_ends(self.config))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, 3, H, W) from which the mean has been subtracted."""
        return self._logits(self.net, images)

    def _logits(self, net: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        logits = net(images.to(self.dtype))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[dict]]:
        c = self.config
        optimizer = torch.optim.SGD(
            self.parameters(), lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay, fused=True
        )
        schedule = LambdaLR(optimizer, lambda i: learning_rate_factor(c, i, self.warmup_end is None, self.row_errors))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: Any = None,
    ) -> None:
        plugin = self.trainer.precision_plugin
        algorithm = gradient_clip_algorithm or GradClipAlgorithmType.NORM
        # Mixed precision refuses fused optimizers, because those rescale gradients themselves. Only fp16 has a scaler.
        clip = Precision.clip_gradients if getattr(plugin, "scaler", None) is None else type(plugin).clip_gradients
        clip(plugin, optimizer, gradient_clip_val or self.config.clip, algorithm)

    # Training

    def on_fit_start(self) -> None:
        self._clock = time.perf_counter()
        if self.global_rank > 0:  # the sums in a checkpoint are those of all processes, and rank 0 continues them
            self.since_row.reset()
            self.since_window.reset()
        if self.device.type == "cpu":
            keep_freed_memory()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        # Of several micro-batches only the first updates the moving statistics of BN, so that it does not matter how
        # many devices share them.
        first = batch_idx % self.trainer.accumulate_grad_batches == 0
        with nullcontext() if first else freeze_bn_statistics(self.net):
            logits = self._logits(self.train_forward, images)
        loss = cross_entropy(logits, labels)
        self.since_row.update(loss, logits, labels)
        if self.warmup_end is None:
            self.since_window.update(loss, logits, labels)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # The last hook of an iteration before the scheduler steps, which depends on warm-up and rows.
        iteration = self.trainer.global_step + 1
        if self.warmup_end is None:
            self._update_warmup(iteration)
        if iteration in self._row_ends:
            self._end_row(iteration, optimizer.param_groups[0]["lr"])

    def _update_warmup(self, iteration: int) -> None:
        # It ends once the error of the last 100 iterations is below 80%, or at its limit (section 4.2).
        full = iteration % WARMUP_WINDOW == 0
        learned = full and self.since_window.compute()["train_error"] < WARMUP_ERROR
        if learned or iteration >= warmup_limit(self.config):
            self.warmup_end = iteration
        if full:
            self.since_window.reset()

    def _end_row(self, iteration: int, lr: float) -> None:
        with self.since_row.sync_context():
            images = self.since_row.images.item()
        errors = self.since_row.compute()
        self.since_row.reset()
        self.row_errors.append(errors["train_error"])
        speed = images / (self.row_seconds + self._lap())
        self.row_seconds = 0.0
        row = {"iteration": iteration, "lr": lr, **errors, "images_per_second": speed, "seconds": self.seconds}
        # Callbacks get the row from `self.log`, but loggers directly: from it, they would get it again, rounded to
        # fp32, every `log_every_n_steps`.
        self._log(row, logger=False)
        for logger in self.loggers:
            logger.log_metrics(row, step=self.trainer.global_step)
        if not math.isfinite(errors["train_loss"]):
            raise Diverged(f"training loss is {errors['train_loss']} at iteration {iteration}")

    def _log(self, values: dict[str, float], logger: bool | None = None) -> None:
        for name, value in values.items():
            exact = torch.tensor(value, dtype=SUM_DTYPE, device=self.device)
            self.log(name, exact, logger=logger, prog_bar=name.endswith("_error"), sync_dist=True)

    def on_train_batch_end(self, *_: object) -> None:
        # A Trainer with default flags would go on: its limit counts epochs.
        if self.trainer.global_step >= self.config.iterations:
            self.trainer.should_stop = True

    # The clock. Validation and probes count towards the run, but not towards the images per second of its rows.

    def _lap(self) -> float:
        """Return the seconds since the last call, and add them to those of the run."""
        now = time.perf_counter()
        elapsed, self._clock = now - (self._clock or now), now
        self.seconds += elapsed
        return elapsed

    @contextmanager
    def outside_rows(self) -> Iterator[None]:
        """Count the time spent inside towards the run, but not towards the images per second of its rows."""
        self.row_seconds += self._lap()
        try:
            yield
        finally:
            self._lap()

    # Validation and test

    def on_validation_start(self) -> None:
        self.row_seconds += self._lap()
        if self.trainer.world_size > 1:  # evaluate the moving statistics that the weights of rank 0 are saved with
            for buffer in self.net.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        images, labels = batch
        logits = self(images)
        errors = cast(Errors, self.test_errors[dataloader_idx])
        errors.update(cross_entropy(logits, labels), logits, labels)

    def on_validation_epoch_end(self) -> None:
        values: dict[str, float] = {"iteration": self.trainer.global_step}
        for errors in cast(Iterable[Errors], self.test_errors):
            if errors.update_called:
                values |= errors.compute()
                errors.reset()
        self._log(values)

    def on_validation_end(self) -> None:
        self._lap()  # the time since `on_validation_start` is not part of a row

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, batch: Batch) -> Tensor:
        return self(batch[0])

    # Checkpoints

    STATE = ("warmup_end", "row_errors", "seconds", "row_seconds")

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        elapsed = self._lap()
        if self.trainer.training:
            self.row_seconds += elapsed
        for name in ("since_row", "since_window"):
            errors = getattr(self, name)
            with errors.sync_context():
                checkpoint["state_dict"] |= errors.state_dict(prefix=f"{name}.")
        checkpoint["run"] = {"config_hash": self.config.hash} | {name: getattr(self, name) for name in self.STATE}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        for name in self.STATE:
            setattr(self, name, checkpoint["run"][name])
