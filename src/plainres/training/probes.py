"""What goes on inside a net: responses, forward signals and gradients, layer by layer (Figure 7, section 4.1)."""

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from plainres.data import CifarData
from plainres.training.config import RunConfig
from plainres.training.evaluation import score
from plainres.training.module import ClassificationModule
from plainres.training.record import Record, write_atomic
from plainres.training.schedule import row_ends

RESPONSE_IMAGES = 1_000
GRADIENT_IMAGES = 128
COLUMNS = ["iteration", "layer", "name", "response_std", "forward_variance", "gradient_norm"]


def probe_points(config: RunConfig) -> list[int]:
    """The iterations at which a run is probed: 0, after the first and the 8th row, at each quarter, and at the end."""
    ends = row_ends(config)
    return [0, *(ends[row - 1] for row in (1, 8, 16, 32, 48, 64))]


def layers_3x3(net: nn.Module) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Each 3x3 convolution of a net with what normalizes its output, by name, in order."""
    modules = dict(net.named_modules())
    return {
        name: (module, modules[name.replace("conv", "bn")])
        for name, module in modules.items()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and "conv" in name
    }


def probe(net: nn.Module, data: CifarData, iteration: int, precision: str) -> list[dict]:
    """Measure every 3x3 layer of a net, which is left as it was (gradients, BN statistics and mode included).

    Args:
        net: with `conv*` and `bn*` in pairs, on the device of `data`.
        data: 1,000 of whose training images are shown, always the same, unaugmented.
        iteration: how far the net is trained.
        precision: of the forward passes.

    Returns:
        A dict a layer: `response_std`, the standard deviation after BN and before the nonlinearity or the addition
        (Figure 7), in evaluation mode. And in training mode on 128 of the images, since an untrained net's moving
        statistics normalize nothing: `forward_variance`, the variance of the convolution's output, before BN;
        `gradient_norm`, the norm of the loss's gradient with respect to the convolution's weight.
    """
    layers = layers_3x3(net)
    was_training = net.training
    moments: dict[tuple[str, str], Tensor] = {}

    def watch(name: str, what: str):
        def add(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            x = output.detach().double()
            sums = torch.stack((x.sum(), x.square().sum(), torch.tensor(x.numel(), dtype=x.dtype, device=x.device)))
            moments[name, what] = moments.get((name, what), 0) + sums

        return add

    hooks = [bn.register_forward_hook(watch(name, "response")) for name, (_, bn) in layers.items()]
    with torch.no_grad():
        net.eval()
        for rows in data.first(RESPONSE_IMAGES):
            score(net, *data.inputs(rows), precision)
    for hook in hooks:
        hook.remove()

    # A pass in training mode moves the BN statistics; they are put back.
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    hooks = [conv.register_forward_hook(watch(name, "forward")) for name, (conv, _) in layers.items()]
    net.train()
    (rows,) = data.first(GRADIENT_IMAGES)
    loss, _ = score(net, *data.inputs(rows), precision)
    gradients = torch.autograd.grad(loss, [conv.weight for conv, _ in layers.values()])
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            buffer.copy_(buffers[name])
    net.train(was_training)

    def variance(name: str, what: str) -> float:
        total, squares, count = moments[name, what].tolist()
        return max(squares / count - (total / count) ** 2, 0.0)

    return [
        {
            "iteration": iteration,
            "layer": layer,
            "name": name,
            "response_std": variance(name, "response") ** 0.5,
            "forward_variance": variance(name, "forward"),
            "gradient_norm": gradient.norm().item(),
        }
        for layer, (name, gradient) in enumerate(zip(layers, gradients, strict=True), start=1)
    ]


def write_probes(record: Record, rows: list[dict]) -> None:
    """Write probes.csv: a row a layer and probed iteration."""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    write_atomic(record.folder / "probes.csv", frame.to_csv(index=False, float_format="%.6g"))


class Prober(pl.Callback):
    """Probes a run at `probe_points` and writes probes.csv; what it has so far lies in the checkpoint."""

    def __init__(self, record: Record):
        self.record = record
        self.rows: list[dict] = []
        self.points = probe_points(record.config)

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]

    def on_train_epoch_start(self, trainer: pl.Trainer, module: ClassificationModule) -> None:
        self._probe(module)

    def on_train_batch_end(self, trainer: pl.Trainer, module: ClassificationModule, *_: object) -> None:
        self._probe(module)

    def _probe(self, module: ClassificationModule) -> None:
        done = self.rows[-1]["iteration"] if self.rows else -1
        if module.iteration in self.points and module.iteration > done:
            with module.aside():
                self.rows += probe(module.net, module.data, module.iteration, module.config.precision)
            if module.trainer.is_global_zero:
                write_probes(self.record, self.rows)
