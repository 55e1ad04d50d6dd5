"""The layers of a net as plain data, as the net itself computes them. Drawings and tables are made from this."""

from torch import nn

from plainres.nets.blocks import Block, PadShortcut
from plainres.nets.complexity import trace_layers


def _shortcut_kind(block: Block) -> str:
    """Return `"identity"`, `"padding"` or `"projection"`."""
    return {nn.Identity: "identity", PadShortcut: "padding"}.get(type(block.downsample), "projection")


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
    calls = trace_layers(net, input_shape, (nn.Conv2d, nn.Linear, nn.MaxPool2d))
    layers: list[dict] = []
    places: dict[str, int] = {}
    for name, module, before, after in calls:
        if "downsample" in name:
            continue
        size = after.shape[2] if after.dim() == 4 else 1
        layer = {"op": "fc", "kernel": 1, "stride": 1, "channels": after.shape[1], "size": size}
        if isinstance(module, nn.Linear):
            if layers[-1]["op"] == "conv" and before.shape[1] == layers[-1]["channels"]:
                pooled = {"op": "average pool", "kernel": layers[-1]["size"], "channels": layers[-1]["channels"]}
                layers.append(layer | pooled)
        else:
            assert isinstance(module, nn.Conv2d | nn.MaxPool2d)
            op = "conv" if isinstance(module, nn.Conv2d) else "max pool"
            kernel, stride = (v if isinstance(v, int) else v[0] for v in (module.kernel_size, module.stride))
            layer |= {"op": op, "kernel": kernel, "stride": stride}
        places[name] = len(layers)
        layers.append(layer)
    shortcuts = []
    for name, block in net.named_modules():
        if isinstance(block, Block) and block.downsample is not None:
            inside = [place for layer, place in places.items() if layer.startswith(f"{name}.")]
            shortcuts.append({"first": min(inside), "last": max(inside), "kind": _shortcut_kind(block)})
    return {"layers": layers, "shortcuts": shortcuts}
