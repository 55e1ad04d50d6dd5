"""The benchmark on a small net: its tables and its JSON file."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from plainres import bench
from plainres.bench_stock import stock_loader


def test_benchmark_times_every_way_and_writes_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setattr(bench, "fast_precision", lambda _: "fp32")
    monkeypatch.setattr(bench, "ProcessPoolExecutor", lambda size, *_, **__: ThreadPoolExecutor(size))
    arguments = ["--depths", "8", "--rounds", "1", "--timed", "1", "--device", "cpu", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    assert bench.main() == 0
    out = capsys.readouterr().out
    (path,) = (tmp_path / "bench").glob("*.json")
    written = json.loads(path.read_text("utf-8"))
    assert written["data"] == "drawn images" and {"cpu", "threads"} <= written["hardware"].keys()
    ways = [line["way"] for line in written["lines"]]
    assert ways == ["stock", "plainres fp32"] and all(way in out for way in ways)
    for line in written["lines"]:
        assert line["milliseconds"] > 0
        assert line["images_per_second"] == pytest.approx(128_000 / line["milliseconds"])


def test_ratios_are_taken_round_by_round():
    line = bench.summarize("plainres fp32", 20, (1.0, 2.0, 4.0), (3.0, 4.0, 16.0))
    assert line["ratio_to_stock"] == 3.0 and line["ratio_spread"] == [2.0, 4.0]


@pytest.mark.parametrize(
    ("hardware", "stem"),
    [
        ({"cpu": "AMD EPYC", "threads": 1}, "amd-epyc-one-thread"),
        ({"cpu": "AMD EPYC", "threads": 2}, "amd-epyc-2-threads"),
        ({"cpu": "AMD EPYC", "threads": 8, "gpu": "NVIDIA H200"}, "nvidia-h200"),
    ],
)
def test_file_is_named_after_the_hardware(hardware, stem):
    assert bench.file_stem(hardware) == stem


def test_stock_loop_crops_and_flips_as_torchvision_does():
    pixels, labels = bench.demo_set(20, seed=0, size=32)
    (images, batch_labels), *_ = stock_loader(pixels, labels, 16, 0, pin=False)
    assert images.shape == (16, 3, 32, 32) and batch_labels.shape == (16,)


def test_side_by_side_is_compared_with_in_turn_under_each_condition(tmp_path, monkeypatch, capsys):
    """A net trains 30 images per second per thread, so that both arrangements are equally fast."""
    monkeypatch.setattr(bench, "fast_precision", lambda _: "fp32")
    monkeypatch.setattr(bench, "available_cores", lambda: 2)
    monkeypatch.setattr(bench, "ProcessPoolExecutor", FakePool)
    monkeypatch.setattr(sys, "argv", ["bench", "--side-by-side", "--rounds", "2", "--results", str(tmp_path)])
    assert bench.main() == 0
    out = capsys.readouterr().out
    (path,) = (tmp_path / "bench").glob("*-side-by-side.json")
    written = json.loads(path.read_text("utf-8"))
    quiet, busy = written["lines"]
    assert written["start_seconds"] > 0
    assert quiet["in_turn"] == [60.0, 60.0] and quiet["side_by_side"] == [60.0, 60.0]
    assert (quiet["ratio"], busy["condition"]) == (1.0, "beside one busy process")
    assert "1.00 to 1.00" in out


class FakePool(ThreadPoolExecutor):
    """A process that trains 30 images per second per thread."""

    def __init__(self, size, _, initializer, initargs):
        super().__init__(size)
        self.threads = initargs[0]

    def submit(self, function, *_):
        return super().submit(lambda: 128 / (30 * self.threads))


def test_busy_processes_end_with_their_block():
    before = set(psutil.Process().children())
    with bench.busy_processes(2):
        busy = set(psutil.Process().children()) - before
        assert len(busy) == 2
    assert not any(process.is_running() for process in busy)
