"""The CPU cores and the memory that this process may use: the machine's, or less in a container or a batch job."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# Names of the files of limit and use, for cgroup v2 and v1.
MEMORY_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def available_cores() -> int:
    """Return the number of CPU cores that this process may use, at least 1."""
    # macOS has no affinity.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu"):
        words = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        if len(words) == 2 and words[0] not in ("max", "-1"):
            quota, period = map(int, words)
            cores = min(cores, quota // period)
    return max(1, cores)


def cores_per_process(processes: int) -> int:
    """Return the number of cores, and so of threads, for each of several processes that compute at the same time."""
    return max(1, available_cores() // processes)


def available_memory() -> int:
    """Return how many bytes of memory this process may still use. What the page cache would give back counts."""
    free = psutil.virtual_memory().available
    for group in _groups("memory"):
        for limit_name, used_name in MEMORY_FILES:
            limit, used = _words(group / limit_name), _words(group / used_name)
            if limit and used and limit != ["max"]:
                words = _words(group / "memory.stat")
                facts = dict(zip(words[::2], map(int, words[1::2]), strict=True))
                page_cache = facts.get("total_inactive_file", facts.get("inactive_file", 0))  # v1 and v2
                free = min(free, int(limit[0]) - int(used[0]) + page_cache)
    return max(0, free)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the cgroups whose limits hold for this process: its own and all that contain it, of v1 and v2."""
    for line in MEMBERSHIP.read_text(encoding="utf-8").splitlines() if MEMBERSHIP.exists() else ():
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controller if controllers else CGROUPS
        # A container may see the name that its cgroup has on the host, but at the root the files of its own.
        group = root / name.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []
