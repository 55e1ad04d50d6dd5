"""The layers of a net as plain data, as the net itself computes them. Drawings and tables are made from this."""

import copy

import torch
from torch import Tensor, nn

from plainres.nets.blocks import Block, PadShortcut


def _shortcut_kind(block: Block) -> str:
    """Return `"identity"`, `"padding"` or `"projection"`."""
    return {nn.Identity: "identity", PadShortcut: "padding"}.get(type(block.shortcut), "projection")


def layer_list(net: nn.Module, input_shape: tuple[int, int, int]) -> dict:
    """Return the layers of a net in the order in which they run, and its shortcut connections.

    Args:
        net: Net of convolutions, max pooling and linear layers. It is neither run on its own device nor changed.
        input_shape: (channels, height, width) of one image.

    Returns:
        A JSON-compatible dict. `layers` holds one dict per layer with `op` (`"conv"`, `"max pool"`, `"average pool"`
        or `"fc"`), `kernel`, `stride`, `channels` and `size` (height of the output, in pixels). `shortcuts` holds one
        dict per shortcut with `first` and `last` (indices of the layers that it bypasses) and `kind` (`"identity"`,
        `"padding"` or `"projection"`). Projections are not listed as layers.
    """
    shadow = copy.deepcopy(net).to("meta").eval()
    layers: list[dict] = []
    places: dict[nn.Module, int] = {}

    def add(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        size = output.shape[2] if output.dim() == 4 else 1
        layer = {"op": "fc", "kernel": 1, "stride": 1, "channels": output.shape[1], "size": size}
        if isinstance(module, nn.Linear):
            if layers[-1]["op"] == "conv" and inputs[0].shape[1] == layers[-1]["channels"]:
                pooled = {"op": "average pool", "kernel": layers[-1]["size"], "channels": layers[-1]["channels"]}
                layers.append(layer | pooled)
        else:
            op = "conv" if isinstance(module, nn.Conv2d) else "max pool"
            kernel, stride = (v if isinstance(v, int) else v[0] for v in (module.kernel_size, module.stride))
            layer |= {"op": op, "kernel": kernel, "stride": stride}
        places[module] = len(layers)
        layers.append(layer)

    for name, module in shadow.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.MaxPool2d) and "shortcut" not in name:
            module.register_forward_hook(add)
    with torch.no_grad():
        shadow(torch.empty(1, *input_shape, device="meta"))
    blocks = [m for m in shadow.modules() if isinstance(m, Block) and m.shortcut is not None]
    shortcuts = []
    for block in blocks:
        inside = [places[module] for module in block.modules() if module in places]
        shortcuts.append({"first": min(inside), "last": max(inside), "kind": _shortcut_kind(block)})
    return {"layers": layers, "shortcuts": shortcuts}
