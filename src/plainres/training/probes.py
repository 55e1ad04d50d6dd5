"""What happens inside a net, layer by layer: responses, signals, gradients and weights (Figure 7, section 4.1)."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from plainres.data import StudyData
from plainres.records.config import RunConfig
from plainres.records.record import Record
from plainres.training.build import make_net
from plainres.training.evaluation import predict
from plainres.training.module import ClassificationModule
from plainres.training.schedule import row_ends

RESPONSE_IMAGES = 1_000
GRADIENT_IMAGES = 128
# The columns of probes.csv after `iteration`, `layer` and `name`. The response of a layer is its output after BN and
# before the nonlinearity or the addition.
PROBES = (
    "response_std",  # standard deviation of the responses in evaluation mode, over 1,000 training images (Figure 7)
    # The others are measured in training mode on 128 images: the moving statistics of an untrained net normalize
    # nothing.
    "forward_variance",  # of the output of the convolution, before BN
    "gradient_norm",  # of the weights' gradient. BN makes it inversely proportional to the norm of the weights
    "response_gradient_norm",  # which does not depend on the scale of the weights
    "weight_norm",
    "relative_weight_norm",  # divided by that before the first iteration
    "weight_angle",  # between the weights and the initial ones, in degrees
)


def probe_points(config: RunConfig) -> list[int]:
    """Return the iterations at which a run is probed: 0, the ends of rows 1 and 8, each quarter, and the last one."""
    ends = row_ends(config)
    return [0, *(ends[row - 1] for row in (1, 8, 16, 32, 48, 64))]


def layers_3x3(net: nn.Module) -> dict[str, tuple[nn.Conv2d, nn.Module]]:
    """Return the 3x3 convolutions of a net by name, in order, each with the module that normalizes its output.

    The response of a layer is the output of that module. Pre-activation blocks normalize their inputs instead, so the
    response of their convolutions is the output of the convolution itself.
    """
    modules = dict(net.named_modules())
    return {
        name: (module, modules.get(name.replace("conv", "bn"), module))
        for name, module in modules.items()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and "conv" in name
    }


def initial_weights(config: RunConfig) -> dict[str, Tensor]:
    """Return the weights of the 3x3 layers before the first iteration, which follow from the seed."""
    return {name: conv.weight.detach() for name, (conv, _) in layers_3x3(make_net(config)).items()}


class Variance:
    """The variance of all elements of a series of tensors, as a forward hook that sees them one after another."""

    def __init__(self) -> None:
        self.sums: Any = 0.0
        self.count = 0

    def __call__(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        x = output.detach().double()
        self.sums = self.sums + torch.stack((x.sum(), x.square().sum()))
        self.count += x.numel()

    def compute(self) -> float:
        mean, mean_square = (self.sums / self.count).tolist()
        return max(mean_square - mean**2, 0.0)


def probe(net: nn.Module, initial: dict[str, Tensor], data: StudyData, iteration: int, precision: str) -> list[dict]:
    """Measure every 3x3 layer of a net, which is not changed.

    The gradient pass computes activations again, because its images may be more than fit into memory when a run
    divides its batches among devices or into micro-batches. `initial` holds the initial weights of the 3x3 layers.

    Returns:
        Rows of probes.csv: one dict per layer with `iteration`, `layer`, `name` and the columns `PROBES`.
    """
    net = copy.deepcopy(net)
    layers, device = layers_3x3(net), next(net.parameters()).device
    responses, outputs = ({name: Variance() for name in layers} for _ in range(2))
    response_gradient_norms: dict[str, Tensor] = {}

    def gradient_hook(name: str) -> Callable:
        def store(gradient: Tensor) -> None:
            response_gradient_norms[name] = gradient.norm()

        def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            output.register_hook(store)  # rather than keep all responses and their gradients in memory

        return hook

    hooks = [bn.register_forward_hook(responses[name]) for name, (_, bn) in layers.items()]
    with torch.no_grad():
        net.eval()
        for images, _ in data.batches(data.first(RESPONSE_IMAGES), "train", device):
            predict(net, images, precision)
    for hook in hooks:
        hook.remove()

    hooks = [conv.register_forward_hook(outputs[name]) for name, (conv, _) in layers.items()]
    hooks += [bn.register_forward_hook(gradient_hook(name)) for name, (_, bn) in layers.items()]
    net.train()
    net.checkpointing = True  # type: ignore[assignment]  # type checkers take the attribute for a module
    ((images, labels),) = data.batches(data.first(GRADIENT_IMAGES), "train", device)
    loss = cross_entropy(predict(net, images, precision), labels)
    for hook in hooks:  # before the backward pass, which computes activations again
        hook.remove()
    gradients = torch.autograd.grad(loss, [conv.weight for conv, _ in layers.values()])

    rows = []
    for layer, (name, gradient) in enumerate(zip(layers, gradients, strict=True), start=1):
        weight = layers[name][0].weight.detach()
        start = initial[name].to(weight)
        values = (
            responses[name].compute() ** 0.5,
            outputs[name].compute(),
            gradient.norm().item(),
            response_gradient_norms[name].item(),
            weight.norm().item(),
            (weight.norm() / start.norm()).item(),
            _angle(weight, start),
        )
        rows.append({"iteration": iteration, "layer": layer, "name": name} | dict(zip(PROBES, values, strict=True)))
    return rows


def _angle(weight: Tensor, start: Tensor) -> float:
    now, initial = (values.double().flatten() for values in (weight, start))
    cosine = torch.dot(now, initial) / (now.norm() * initial.norm())
    return math.degrees(math.acos(cosine.clamp(-1, 1).item()))


class Prober(pl.Callback):
    """Probes a run at `probe_points` and writes probes.csv. Its state in the checkpoint holds the rows so far."""

    def __init__(self, record: Record, config: RunConfig, data: StudyData):
        self.record, self.config, self.data = record, config, data
        self.rows: list[dict] = []
        self.points, self.initial = probe_points(config), initial_weights(config)

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]

    def on_train_epoch_start(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        # Signals are handled only from the end of `on_train_start` on.
        self.on_train_batch_end(trainer, module)

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        done, iteration = self.rows[-1]["iteration"] if self.rows else -1, trainer.global_step
        if iteration not in self.points or iteration <= done:
            return
        with module.outside_rows():
            self.rows += probe(module.net, self.initial, self.data, iteration, self.config.precision)
        if trainer.is_global_zero:
            self.record.write_table(self.record.probes_csv, pd.DataFrame(self.rows))
