"""The engines that compute the iterations of a run, and which of them a run uses."""

import torch

from plainres.errors import UserError, require_one_of
from plainres.training.config import RunConfig
from plainres.training.distributed import get_rank_info
from plainres.training.engines.eager import EagerEngine
from plainres.training.engines.fast import FastEngine, FastOrEagerEngine

__all__ = ["EagerEngine", "FastEngine", "FastOrEagerEngine", "choose_engine"]


def choose_engine(name: str, config: RunConfig, device: torch.device) -> type[EagerEngine]:
    """Return the class of the engine for a run.

    The fast engine trains on images in memory, on one device, without micro-batches. `"auto"` is the fast engine where
    it can train the run and the eager one elsewhere. On CUDA the fast engine captures its iteration in a graph and
    compares ten replays with the eager engine before it trains. If they differ, `"auto"` trains by the eager engine
    and the record says why, while `"fast"` refuses to train.

    Args:
        name: `"auto"`, `"fast"` or `"eager"`.
        config: Configuration of the run.
        device: Device that the run is trained on.

    Raises:
        UserError: If there is no engine of that name, or if the fast engine cannot train the run.
    """
    engines = {"auto": FastOrEagerEngine, "fast": FastEngine, "eager": EagerEngine}
    require_one_of("engine", name, engines)
    obstacles = {
        "trains on images in memory, and ImageNet is read from disk during training": not config.info.has_fixed_format,
        "trains on one device, and this run uses several": get_rank_info().size > 1,
        "computes on CPUs and CUDA GPUs, and this run uses another device": device.type not in ("cpu", "cuda"),
        "takes a batch whole, and this run uses micro-batches": bool(config.micro_batch),
    }
    obstacle = next((text for text, applies in obstacles.items() if applies), None)
    if name == "fast" and obstacle:
        raise UserError(f"the fast engine {obstacle}: use --engine eager")
    return EagerEngine if obstacle else engines[name]
