"""What computes a run: the hardware, the software and the commit, and those of its earlier starts."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any, cast

import torch

from plainres.cores import available_cores

NOT_COMPARED = ("data_md5", "earlier", "until")  # parts of a provenance that do not say what computed the iterations


def git(folder: Path, *command: str | Path) -> list[str] | None:
    """Return the lines that git prints in a folder, or None if it is not in a repository, or there is no git."""
    try:
        # Not its messages, which are in the user's language and encoding.
        done = subprocess.run(
            ["git", "-C", folder, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode().splitlines()


def describe_hardware(device: torch.device) -> dict:
    """Return the hardware of a run, JSON-compatible."""
    path = Path("/proc/cpuinfo")
    cpuinfo = path.read_text(encoding="utf-8") if path.exists() else ""
    name = re.search(r"^model name\s*: (.*)", cpuinfo, re.MULTILINE)
    cpu = name[1].strip() if name else platform.processor() or platform.machine()
    hardware = {"device": device.type, "cpu": cpu, "cpu_cores": available_cores(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    else:
        # AMX rounds sums differently, and PyTorch has no public name for it before 2.13. oneDNN reads the variable.
        limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
        amx = torch.cpu._is_amx_tile_supported() and (limit in ("ALL", "DEFAULT") or "AMX" in limit)
        hardware |= {"cpu_capability": torch.backends.cpu.get_cpu_capability(), "amx": amx}
    return hardware


def describe_software() -> dict:
    """Return the versions of the software of a run and the commit of this code, JSON-compatible.

    `dirty` says whether files of the package or of the experiments differ from the commit. Both are None if the
    package is not in a git repository of its own, as after an installation from a copy.
    """
    import pytorch_lightning
    import torchvision

    cuda, here = torch.cuda.is_available(), Path(__file__).parent
    watched = (here.parent, here.parents[2] / "experiments")
    commit = changes = None
    if git(here, "ls-files", "--error-unmatch", __file__):  # not just below somebody's repository
        commit = git(here, "rev-parse", "HEAD")
        changes = git(here, "status", "--porcelain", "--untracked-files=no", "--", *watched)
    return {
        "commit": commit[0] if commit else None,
        "dirty": None if changes is None else bool(changes),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pytorch_lightning": pytorch_lightning.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "tf32": cast(Any, torch.backends.cudnn).conv.fp32_precision == "tf32" if cuda else None,
    }


def earlier_starts(before: dict, here: dict, iteration: int) -> list[dict]:
    """Return the software and hardware of each earlier start, each with the iteration `until` which it computed.

    Starts that followed one another and computed alike count as one. `before` is the provenance in the record so far,
    `here` that of this start, and `iteration` that of the checkpoint.
    """

    def compared(provenance: dict) -> dict:
        return {name: value for name, value in provenance.items() if name not in NOT_COMPARED}

    earlier = list(before.get("earlier", []))
    if not earlier or earlier[-1]["until"] != iteration:  # otherwise the last start computed no iteration
        earlier.append({"until": iteration} | compared(before))
    following = [*earlier[1:], here]
    return [start for start, after in zip(earlier, following, strict=True) if compared(start) != compared(after)]
