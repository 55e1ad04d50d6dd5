"""The kernels of the fast engine on an H200: how many there are, and that they compile. No GPU is required.

What one kernel computes is at most a few microseconds on such a GPU, so their number decides how fast it is.
"""

import pytest
import torch
from helpers import config
from torch._inductor.utils import fresh_cache

from plainres.data import CifarData, ImageSet, batch_table, demo_set
from plainres.training.build import make_net
from plainres.training.engines import FastEngine
from plainres.training.engines.capture import compiled_parts, weights_in_bf16, without_bn_counters

pytest.importorskip("triton", reason="Inductor makes kernels for a GPU with Triton, which is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # PyTorch hides its own warnings while it compiles
    pytest.mark.skipif(torch.version.cuda is None, reason="this PyTorch is built without CUDA"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="the pretended GPU would replace the one that is present"),
]

# Triton kernels, forward and backward, of each compiled part of ResNet-8 in bf16. Blocks have about seven kernels of
# cuDNN besides. If each layer counted its batches, autocast converted each weight and Inductor combined no kernels,
# there would be 23, 23 and 21 of them in the blocks.
KERNELS = {"gather": 1, "stem": 8, "block of 16": 15, "block of 32": 15, "block of 64": 13, "head": 3, "loss": 3}


@pytest.fixture(scope="module")
def graphs():
    """The code for an H200 of two iterations of ResNet-8 in bf16, as they are before the capture."""
    from kernel_count import record_graphs

    run_config = config(dataset="cifar10", iterations=128, batch_size=128, precision="bf16")
    data = CifarData("cifar10")
    pixels, labels = demo_set(640, seed=0, size=32)
    data.parts = {"train": ImageSet(pixels, labels, pixels.float().mean(0))}
    engine = FastEngine(make_net(run_config).to(memory_format=torch.channels_last), run_config, data.inputs)
    engine.prepare(engine.make_optimizer(), batch_table(0, 1, 640, 128))
    engine._weights = weights_in_bf16
    with (
        fresh_cache(),
        record_graphs() as recorded,
        compiled_parts(engine),
        without_bn_counters(engine.net) as engine._counters,
    ):
        for _ in range(2):
            engine._position.zero_()
            engine._iterate_in_place()
        yield recorded


def test_number_of_kernels_does_not_grow(graphs):
    """A part that is compiled again, for example in the second iteration, would add graphs."""
    forward, backward = ([g for g in graphs if g.is_backward == is_backward] for is_backward in (False, True))
    parts = list(KERNELS)
    counts = {part: len(graph.kernels) for part, graph in zip(parts, forward, strict=True)}
    for part, graph in zip(parts[:0:-1], backward, strict=True):  # the gather has no backward pass
        counts[part] += len(graph.kernels)
    print(counts)
    assert all(counts[part] <= most for part, most in KERNELS.items()), counts


def test_all_kernels_compile_for_an_h200(graphs):
    from kernel_count import compile_for_h200

    sizes = [compile_for_h200(name, source) for graph in graphs for name, source in graph.definitions.items()]
    assert len(sizes) > 40 and min(sizes) > 0
