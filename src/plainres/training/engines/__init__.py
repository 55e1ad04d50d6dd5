"""Which engine computes a run."""

import torch

from plainres.errors import UserError
from plainres.training.config import RunConfig
from plainres.training.distributed import get_rank_info
from plainres.training.engines.eager import EagerEngine
from plainres.training.engines.fast import FastEngine


def choose_engine(name: str, config: RunConfig, device: torch.device) -> type[EagerEngine]:
    """The engine's class; "auto" is the fast one on a CPU, for images that lie in memory.

    On CUDA "auto" is eager as long as nobody has seen `make test-gpu` pass.

    Raises:
        UserError: there is no engine of that name, or it cannot train the run.
    """
    streamed = not config.info.has_fixed_format
    unseen = device.type == "cuda"
    shared = get_rank_info().size > 1
    slow = streamed or unseen or shared or config.micro_batch
    engines = {"auto": EagerEngine if slow else FastEngine, "fast": FastEngine, "eager": EagerEngine}
    if name not in engines:
        raise UserError(f"engine must be one of {', '.join(engines)}, not {name!r}")
    if name == "fast" and streamed:
        raise UserError(
            "the fast engine trains on images in memory, and ImageNet is read as it goes: use --engine eager"
        )
    if name == "fast" and shared:
        raise UserError("the fast engine trains on one device: use --engine eager for a run on several")
    if name == "fast" and config.micro_batch:
        raise UserError("the fast engine takes a batch whole: use --engine eager for micro-batches")
    return engines[name]
