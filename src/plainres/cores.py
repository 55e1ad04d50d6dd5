"""The CPU cores of this machine."""

import os


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    # macOS has no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
