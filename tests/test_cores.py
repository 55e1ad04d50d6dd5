"""Cores and memory: the smallest of machine, affinity and cgroups."""

import os
from types import SimpleNamespace

import pytest
import torch

from plainres import cores
from plainres.training.device import choose_device, free_memory, limit_threads

MB = 10**6


@pytest.fixture
def cgroup(monkeypatch, tmp_path):
    """A function that writes files below /sys/fs/cgroup, and the line of this process in /proc/self/cgroup."""
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=20_000 * MB))

    def write(line, files):
        (tmp_path / "membership").write_text(f"1:name=systemd:/\n{line}\n")
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{content}\n")

    return write


def memory(folder, version, limit, used, cache):
    """Return the files of a cgroup's memory, in bytes."""
    if version == 2:
        files = {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 1\ninactive_file {cache}"}
    else:
        stat = f"inactive_file 1\ntotal_inactive_file {cache}"
        files = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}
    return {f"{folder}/{name}": content for name, content in files.items()}


@pytest.mark.parametrize(
    ("line", "files", "megabytes"),
    [
        ("0::/job", memory("job", 2, 2_000 * MB, 500 * MB, 100 * MB), 1_600),
        ("0::/job/step", memory("job", 2, 2_000 * MB, 0, 0) | memory("job/step", 2, "max", 0, 0), 2_000),
        ("0::/job", memory("job", 2, 100 * MB, 200 * MB, 0), 0),
        ("4:memory:/job", memory("memory/job", 1, 2_000 * MB, 500 * MB, 100 * MB), 1_600),
        ("4:cpu,memory:/docker/on-the-host", memory("memory", 1, 3_000 * MB, 0, 0), 3_000),
        ("4:memory:/job", memory("memory/job", 1, 9223372036854771712, 0, 0), 20_000),
        ("0::/job", {}, 20_000),
    ],
)
def test_free_memory_is_the_smallest_of_machine_and_cgroups(cgroup, line, files, megabytes):
    cgroup(line, files)
    assert free_memory(choose_device("cpu")) == megabytes * MB


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/job", {"job/cpu.max": "250000 100000"}, 2),
        ("0::/job/step", {"job/cpu.max": "300000 100000", "job/step/cpu.max": "max 100000"}, 3),
        ("0::/job", {"job/cpu.max": "50000 100000"}, 1),
        ("3:cpu,cpuacct:/job", {"cpu/job/cpu.cfs_quota_us": 400000, "cpu/job/cpu.cfs_period_us": 100000}, 4),
        ("3:cpu:/job", {"cpu/job/cpu.cfs_quota_us": -1, "cpu/job/cpu.cfs_period_us": 100000}, 8),
        ("0::/job", {"job/cpu.max": "6400000 100000"}, 8),
    ],
)
def test_cores_are_the_smallest_of_affinity_and_cgroups(cgroup, line, files, expected):
    cgroup(line, files)
    assert cores.available_cores() == expected


def test_machine_without_cgroups(cgroup):
    assert cores.available_cores() == 8 and cores.available_memory() == 20_000 * MB


@pytest.mark.parametrize(("processes", "threads"), [(1, 2), (2, 1), (5, 1)])
def test_threads_are_those_of_the_cores_that_may_be_used(cgroup, processes, threads):
    cgroup("0::/job", {"job/cpu.max": "200000 100000"})
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        limit_threads(processes)
        assert torch.get_num_threads() == threads
        torch.set_num_threads(1)
        limit_threads(1)
        assert torch.get_num_threads() == 1, "fewer are kept"
    finally:
        torch.set_num_threads(before)
