"""The devices of this machine: choice, precision and memory."""

import ctypes
import re
from contextlib import suppress

import torch

from plainres.cores import available_memory, cores_per_process
from plainres.errors import UserError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name. `"auto"` is a CUDA GPU if there is one, and otherwise the CPU.

    Raises:
        UserError: If the name is unknown, or if there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"  # PyTorch warns about a GPU that it cannot use
    if not re.fullmatch(r"cpu|cuda(:\d\d?)?", name):
        raise UserError(f"device must be auto, cpu, cuda or cuda:<index>, not {name!r}")
    device = torch.device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"device {name} was asked for, but PyTorch sees {count} CUDA devices: use --device cpu or auto")
    return device


def fast_precision(device: torch.device) -> str:
    """Return `"bf16"` if the hardware computes it faster than fp32, otherwise `"fp32"`.

    That is the case on CPUs with AMX or AVX-512 BF16 and on GPUs since Ampere.
    """
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:  # PyTorch has no public names for these before 2.13.
        fast = device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return "bf16" if fast else "fp32"


def has_bf16_kernels(device: torch.device) -> bool:
    """Return whether PyTorch has bf16 kernels for the convolutions of a device.

    It has none for CPUs without AVX-512, where a convolution takes many times as long in bf16 as in fp32.
    """
    if device.type != "cpu":
        return True
    # PyTorch has no public name for this.
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def free_memory(device: torch.device) -> int:
    """Return how many bytes of the memory of a device are free now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory()


def limit_threads(processes: int = 1) -> None:
    """Use at most the threads that each of several processes on this machine has cores for, or fewer if set so.

    PyTorch itself starts a thread per physical core of the machine, also where a container may use fewer.
    """
    torch.set_num_threads(min(torch.get_num_threads(), cores_per_process(processes)))


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next allocation instead of fetching fresh pages for every activation.

    The process then keeps its peak memory, of which at most 2 GiB are unused. Without glibc nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)  # the most that glibc takes
