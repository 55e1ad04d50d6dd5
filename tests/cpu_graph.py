"""A CUDA graph without CUDA: captured operations are recorded on the CPU and replayed on the same memory."""

from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
# Operations that copy a value to the host, or whose result has a shape that only the host can allocate.
HOST_READS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.equal.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.is_nonzero.default,
}


def tensors_in(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def storage(tensor):
    return tensor.untyped_storage()._cdata


class CpuGraph:
    """Recorded operations, each with its arguments and with the tensors that it allocated.

    A replay runs these operations again, on the memory of the capture and without any Python of the captured code.
    """

    def __init__(self):
        self.operations = []
        self.replays = 0

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for operation, (args, kwargs), allocated in self.operations:
            results = tensors_in(operation(*args, **kwargs))
            for index, tensor in allocated:
                tensor.copy_(results[index])


class Recorder(TorchDispatchMode):
    """Records every operation while it is active."""

    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if operation in HOST_READS:
            raise RuntimeError(f"{operation} reads from the device within a capture")
        results = operation(*args, **kwargs)
        given = {storage(tensor) for tensor in tensors_in((args, kwargs))}
        allocated = [(i, t.detach()) for i, t in enumerate(tensors_in(results)) if storage(t) not in given]
        arguments = tree_map_only(torch.Tensor, torch.Tensor.detach, (args, kwargs))  # keeps their memory
        self.graph.operations.append((operation, arguments, allocated))
        return results


class Stream:
    def __init__(self, *_):
        pass

    def wait_stream(self, other):
        pass


@contextmanager
def pretend_cuda_graphs(compile_block=lambda block, **_: None):
    """Replace what the fast engine uses of CUDA and of torch.compile.

    Args:
        compile_block: Replaces `torch.nn.Module.compile`.

    Yields:
        The graphs captured so far.
    """
    graphs = []

    def make_graph():
        graphs.append(CpuGraph())
        return graphs[-1]

    with (
        patch("torch.cuda.Stream", Stream),
        patch("torch.cuda.current_stream", Stream),
        patch("torch.cuda.stream", lambda _: nullcontext()),
        patch("torch.cuda.device", lambda _: nullcontext()),
        patch("torch.cuda.CUDAGraph", make_graph),
        patch("torch.cuda.graph", lambda graph, stream: Recorder(graph)),
        patch("torch.compile", lambda function, **_: function),
        patch("torch.compiler.reset", lambda: None),
        patch("torch.nn.Module.compile", compile_block),
        patch("plainres.training.engines.fast.GRAPH_DEVICES", ("cpu",)),
    ):
        yield graphs
