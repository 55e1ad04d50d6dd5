"""The kernels that Inductor makes for an H200, counted on a machine without a GPU.

An iteration is traced on the CPU. Each graph that torch.compile would compile is moved to pretended CUDA tensors, and
Inductor generates its code for a pretended H200. Triton can compile these kernels to machine code as well, because
neither it nor `ptxas` requires a GPU.
"""

import re
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
import torch._functorch.config
import torch._inductor.config
from functorch.compile import make_boxed_func
from torch import fx
from torch._dynamo import device_interface
from torch._dynamo.backends.common import aot_autograd
from torch._inductor import compile_fx, scheduler
from torch._inductor import utils as inductor_utils
from torch._inductor.codecache import PyCodeCache
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime import triton_helpers
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode

# PyTorch brings Triton where it can use it.
driver = import_module("triton.runtime").driver
GPUTarget = import_module("triton.backends.compiler").GPUTarget

CUDA = torch.device("cuda", 0)
H200 = SimpleNamespace(
    name="NVIDIA H200",
    major=9,
    minor=0,
    multi_processor_count=132,
    total_memory=141 * 2**30,
    regs_per_multiprocessor=65_536,
    max_threads_per_multi_processor=2_048,
    max_threads_per_block=1_024,
    warp_size=32,
    shared_memory_per_block=49_152,
    shared_memory_per_block_optin=232_448,
    L2_cache_size=60 * 2**20,
    gcnArchName="",
    uuid="",
)
CALL = re.compile(r"^\s+(triton_\w+)\.run\(", re.MULTILINE)
DEFINITION = re.compile(r"^(\w+) = async_compile\.triton\('\w+', '''(.*?)''', device_str='cuda'\)", re.DOTALL | re.M)


@dataclass
class Graph:
    """Inductor's code of the forward or backward pass of one compiled function."""

    inputs: list[tuple[int, ...]]
    is_backward: bool
    source: str

    @property
    def kernels(self) -> list[str]:
        """Names of the Triton kernels that a call launches. Convolutions are cuDNN's and are not among them."""
        return CALL.findall(self.source[self.source.index("def call(") :])

    @property
    def definitions(self) -> dict[str, str]:
        """Source of each Triton kernel, by name."""
        return dict(DEFINITION.findall(self.source))


class NoContext:
    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def memory_format(_inputs, weight, _backend):
    """Return what cuDNN prefers, for which PyTorch would ask it."""
    return torch.contiguous_format if weight.dtype == torch.float64 else torch.channels_last


class Driver:
    """What Triton asks its driver about an H200."""

    class utils:  # noqa: N801
        @staticmethod
        def get_device_properties(_=0):
            return {
                "max_shared_mem": 232_448,
                "max_num_regs": 65_536,
                "multiprocessor_count": 132,
                "warpSize": 32,
                "sm_clock_rate": 1_980_000,
                "mem_clock_rate": 3_201_000,
                "mem_bus_width": 6_144,
            }

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_active_torch_device(self):
        return CUDA

    def get_device_interface(self):
        return torch.cuda

    def get_current_stream(self, _=0):
        return 0

    def is_active(self):
        return True


@contextmanager
def pretend_h200():
    """Make Inductor and Triton see an H200."""
    replaced = {
        "torch._C._conv_determine_backend_memory_format": memory_format,
        "torch._C._select_conv_backend": lambda *_, **__: torch._C._ConvBackend.Cudnn,
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.get_device_properties": lambda _=None: H200,
        "torch.cuda.get_device_capability": lambda _=None: (9, 0),
        "torch.cuda.synchronize": lambda *_: None,
        "torch.cuda.get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "torch.cuda.set_rng_state": lambda *_: None,
        "torch.cuda.device": NoContext,
        "torch.cuda._DeviceGuard": NoContext,
    }
    interface = {
        "get_device_properties": staticmethod(lambda _=None: H200),
        "current_device": staticmethod(lambda: 0),
        "device_count": staticmethod(lambda: 1),
        "device": NoContext,
        "get_raw_stream": staticmethod(lambda _: 0),
    }
    with ExitStack() as stack:
        for target, value in replaced.items():
            stack.enter_context(patch(target, value))
        for name, value in interface.items():
            stack.enter_context(patch.object(device_interface.CudaInterface, name, value))
        for module in (scheduler, inductor_utils):
            if hasattr(module, "has_triton"):
                stack.enter_context(patch.object(module, "has_triton", lambda *_: True))
        stack.enter_context(patch.dict(device_interface.caching_worker_device_properties, {"cuda": [H200]}))
        stack.enter_context(patch.dict(device_interface.caching_worker_current_devices, {"cuda": 0}))
        # Inductor asks for the driver by itself, and gets the one that is set here.
        stack.enter_context(patch.object(triton_helpers, "set_driver_to_gpu", lambda: None))
        stack.enter_context(patch.object(driver, "_active", Driver()))
        yield


class Generated(Exception):
    """Inductor has generated its code, and need not load it."""


def generate(graph_module, inputs, is_backward):
    """Return Inductor's code for a graph that was traced on the CPU, as if its tensors were on an H200."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    graph_module = deepcopy(graph_module)
    for node in graph_module.graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": CUDA}
        node.args = tuple(CUDA if isinstance(argument, torch.device) else argument for argument in node.args)
    graph_module.recompile()

    class Describe(fx.Interpreter):
        def run_node(self, node):
            node.meta["val"] = super().run_node(node)
            return node.meta["val"]

    code = []

    def keep(lowering):
        source, _ = lowering.codegen()
        code.append(getattr(source, "value", source))
        raise Generated

    with pretend_h200(), mode:
        moved = [
            torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=CUDA) if isinstance(x, torch.Tensor) else x
            for x in inputs
        ]
        Describe(graph_module).run(*moved)
    with (
        pretend_h200(),
        patch.object(GraphLowering, "_compile_to_module", keep),
        torch._guards.tracing(torch._guards.TracingContext(mode)),
        V.set_fake_mode(mode),
    ):
        try:
            compile_fx.compile_fx_inner(graph_module, moved, is_backward=is_backward, cudagraphs=False)
        except Exception:
            if not code:
                raise
    return code[0]


@contextmanager
def record_graphs():
    """Make torch.compile generate code for an H200 within this context, and compute on the CPU without it.

    Yields:
        The graphs so far.
    """
    graphs = []

    def compiler(is_backward):
        def compile_graph(graph_module, inputs):
            shapes = [tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor)]
            graphs.append(Graph(shapes, is_backward, generate(graph_module, inputs, is_backward)))
            return make_boxed_func(graph_module.forward)

        return compile_graph

    backend = aot_autograd(
        fw_compiler=compiler(False),
        bw_compiler=compiler(True),
        inference_compiler=compiler(False),
        partition_fn=compile_fx.partition_fn,
        decompositions=select_decomp_table(),
        keep_inference_input_mutations=True,
    )
    compile_for_cpu = torch.compile

    def compile_for_gpu(function, *, dynamic, options):
        settings.enter_context(torch._inductor.config.patch(options))
        return compile_for_cpu(function, dynamic=dynamic, backend=backend)

    with (
        torch._inductor.config.patch(fx_graph_cache=False),
        torch._functorch.config.patch(enable_autograd_cache=False),
        ExitStack() as settings,
        patch("torch.compile", compile_for_gpu),  # `Module.compile` calls it
    ):
        yield graphs


def compile_for_h200(name, source):
    """Compile a Triton kernel to machine code for sm_90 with its first configuration, and return the size in bytes."""
    with pretend_h200():
        kernel = getattr(PyCodeCache.load(source), name)
        compiled = kernel._precompile_config(kernel.configs[0]).kernel
        return len(compiled.asm["cubin"]) if hasattr(compiled, "asm") else Path(compiled.cubin_path).stat().st_size
