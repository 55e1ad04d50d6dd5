"""The CUDA graph of the fast engine, on the CPU: replays without Python, faults planted in it, and the self-check.

`cpu_graph` replaces the graph itself. What these tests cannot show, CUDA's own behaviour and that of compiled blocks,
`make test-gpu` tests on a machine with a GPU.
"""

import __future__

import inspect
import json
import math
import re
import textwrap

import cpu_graph
import pytest
import torch
from cpu_graph import pretend_cuda_graphs
from helpers import CPU, Interrupt, config, context, metrics, shrink_demo

from plainres.data import CifarData
from plainres.errors import UserError
from plainres.nets import load_net
from plainres.study import StudyContext, launch, plan
from plainres.training import Record, callbacks, schedule, train_run
from plainres.training.build import make_net
from plainres.training.device import convolves_in_tf32
from plainres.training.engines import choose_engine, fast, self_check

CRASH_AT = 66
# Three spans: a second one of another length, and one that is partial and has another learning rate.
SPANS = ((slice(0, 4), 0.1), (slice(4, 12), 0.1), (slice(12, 15), 0.01))


def make_small(patch):
    """Few images to evaluate and to probe, 8 passes over the test set, and spans of several iterations."""
    shrink_demo(patch, 160, 40)
    patch.setattr(schedule, "TEST_SHARE", 0.5)
    patch.setitem(fast.LONGEST_SPAN, "cpu", 50)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    make_small(monkeypatch)


@pytest.fixture
def graphs():
    with pretend_cuda_graphs() as captured:
        yield captured


def run_of(precision="fp64", **changes):
    return config(iterations=128, batch_size=4, precision=precision, **changes)


class Training:
    """A few spans of a fresh net by one engine, without Lightning."""

    def __init__(self, name, run_config):
        self.data = CifarData("demo", ".", "50k", run_config.seed, run_config.iterations, run_config.batch_size)
        self.data.setup()
        self.net = make_net(run_config).to(memory_format=torch.channels_last)
        if run_config.precision == "fp64":
            self.net.double()
        self.engine = choose_engine(name, run_config, CPU)(self.net, run_config, self.data.inputs)
        self.optimizer = self.engine.make_optimizer()

    def advance(self, spans=SPANS):
        losses, wrong = zip(
            *(self.engine.advance(self.optimizer, self.data.table[i], lr) for i, lr in spans), strict=True
        )
        tensors = [*self.net.parameters(), *self.net.buffers()]
        return (
            torch.cat(losses),
            torch.cat(wrong),
            torch.cat([tensor.detach().double().flatten() for tensor in tensors]),
        )


@pytest.fixture(scope="module")
def expected():
    """What the eager engine computes."""
    with pytest.MonkeyPatch.context() as patch:
        shrink_demo(patch, 160, 40)
        return Training("eager", run_of()).advance()


def difference(results, others):
    """Largest relative difference of losses, or of all weights and BN statistics together."""
    losses = ((results[0] - others[0]) / others[0]).abs().max().item()
    return max(losses, ((results[2] - others[2]).norm() / others[2].norm()).item())


def plant(monkeypatch, owner, function, old, new):
    """Replace a line in the source of a function."""
    original = getattr(owner, function)
    source = textwrap.dedent(inspect.getsource(original))
    assert source.count(old) == 1, "the code has changed, and so must this fault"
    namespace = {}
    code = compile(source.replace(old, new), "fault", "exec", flags=__future__.annotations.compiler_flag)
    exec(code, original.__globals__, namespace)
    monkeypatch.setattr(owner, function, namespace[function])


def test_replays_equal_eager_iterations(graphs, expected):
    training = Training("fast", run_of())
    results = training.advance()
    assert difference(results, expected) < 1e-12 and torch.equal(results[1], expected[1])
    (graph,) = graphs
    assert graph.replays == 15 + 2 * self_check.CHECK_SPAN
    assert not training.engine._counters and training.net.bn1.num_batches_tracked == 15


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("changes", [{"shortcut": "highway"}, {"shortcut": None, "norm": "none", "clip": 0.1}])
def test_copies_of_all_weights_in_bf16_equal_those_of_autocast_bit_for_bit(changes, checkpointing):
    run_config = run_of("bf16", **changes)
    by_autocast = Training("fast", run_config).advance(SPANS[:2])
    with pretend_cuda_graphs() as graphs:
        training = Training("fast", run_config)
        training.net.checkpointing = checkpointing
        results = training.advance(SPANS[:2])
    for result, expected in zip(results, by_autocast, strict=True):
        assert torch.equal(result, expected)
    cast = torch.ops.aten._to_copy.default
    cast_one_by_one = {args[0].shape for operation, (args, _), _ in graphs[0].operations if operation == cast}
    assert cast_one_by_one.isdisjoint(parameter.shape for parameter in training.net.parameters())


def record(folder, engine, *callbacks):
    """Train a whole run; return its record, its losses in training and on the test set, and its weights."""
    run_config = run_of()
    seconds = 0 if callbacks else 30
    run = train_run(run_config, context(folder, engine=engine, checkpoint_seconds=seconds), callbacks)
    rows = metrics(folder, run_config)
    losses = torch.tensor([*rows["train_loss"], *rows["test_loss"].dropna()], dtype=torch.float64)
    weights = load_net(folder / run_config.folder / "weights.safetensors").state_dict()
    return run, losses, torch.cat([tensor.double().flatten() for tensor in weights.values()])


@pytest.fixture(scope="module")
def eager_record(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        return record(tmp_path_factory.mktemp("eager"), "eager")


def test_run_by_replays_equals_an_eager_one_across_test_passes_rates_and_a_resume(tmp_path, eager_record, graphs):
    _, losses, weights = eager_record
    with pytest.raises(RuntimeError, match="crash"):
        record(tmp_path, "auto", Interrupt(CRASH_AT))
    run, fast_losses, fast_weights = record(tmp_path, "auto")
    assert [graph.replays for graph in graphs] == [CRASH_AT + 10, 128 - CRASH_AT + 10]
    assert run["provenance"]["engine"] == "fast" and "engine_fallback" not in run["provenance"]
    assert len(losses) == 64 + 8
    torch.testing.assert_close(fast_losses, losses, rtol=2e-6, atol=0)  # as many digits as metrics.csv has
    torch.testing.assert_close(fast_weights, weights, rtol=1e-9, atol=1e-12)


# Faults that the self-check finds, by what is wrong: owner and name of a function, its right line and the wrong one.
FAULTS = {
    "the rate is a number": (fast.FastEngine, "_prepare", '"lr": self._lr', '"lr": self.config.lr'),
    "the rate is another tensor": (fast.FastEngine, "_advance", "self._lr.fill_(lr)", "self._lr = self._lr * 0 + lr"),
    "no momentum buffer before the capture": (
        fast,
        "capture",
        "graph = torch.cuda.CUDAGraph()",
        "graph = torch.cuda.CUDAGraph(); [s.clear() for s in engine.optimizer.state.values()]",
    ),
    "the host reads the loss": (fast.FastEngine, "_iterate_in_place", "+= 1", "+= 1; float(loss)"),
    "the position is another tensor": (
        fast.FastEngine,
        "_iterate_in_place",
        "self._position += 1",
        "self._position = self._position + 1",
    ),
    "the rows are another tensor": (
        fast.FastEngine,
        "_advance",
        "self._rows[:count] = rows",
        "self._rows = torch.cat([rows, self._rows[count:]])",
    ),
    "BN counters stand still": (fast.FastEngine, "_iterate_in_place", "if self._counters:", "if False:"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_self_check_finds_a_fault_and_auto_trains_by_the_eager_engine(monkeypatch, capsys, graphs, expected, fault):
    plant(monkeypatch, *FAULTS[fault])
    training = Training("auto", run_of())
    results = training.advance()
    assert training.engine.name == "eager" and training.engine.fallback
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "the eager engine trains it instead" in said and training.engine.fallback in said
    assert difference(results, expected) < 1e-12 and torch.equal(results[1], expected[1])


def test_net_with_activation_checkpointing_is_captured_without_compiling(expected):
    with pretend_cuda_graphs(no_compiler) as graphs:
        training = Training("auto", run_of())
        training.net.checkpointing = True
        results = training.advance()
    assert len(graphs) == 1 and training.engine.fallback is None
    assert difference(results, expected) < 1e-12 and torch.equal(results[1], expected[1])


def no_compiler(*_, **__):
    raise RuntimeError("Failed to find C compiler")


def test_graph_of_eager_kernels_is_used_if_nothing_can_be_compiled(capsys, expected):
    with pretend_cuda_graphs(no_compiler):
        training = Training("auto", run_of())
        results = training.advance()
    assert training.engine.name == "fast"
    assert training.engine.fallback == "its kernels are not compiled: RuntimeError: Failed to find C compiler"
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and training.engine.fallback in said
    assert difference(results, expected) < 1e-12 and torch.equal(results[1], expected[1])


def test_error_at_the_end_of_a_capture_does_not_hide_the_one_before(monkeypatch, graphs):
    leave = cpu_graph.Recorder.__exit__

    def fail(*arguments):
        leave(*arguments)
        raise RuntimeError("operation failed due to a previous error during capture\nand more")

    monkeypatch.setattr(cpu_graph.Recorder, "__exit__", fail)
    plant(monkeypatch, *FAULTS["the host reads the loss"])
    training = Training("auto", run_of())
    training.advance(SPANS[:1])
    assert "previous error during capture, after RuntimeError: aten._local_scalar_dense" in training.engine.fallback


# Faults that show only in what follows the self-check.
SILENT_FAULTS = {
    "warm-up and check are not undone": (fast.FastEngine, "_use_graph", "state.restore()", "pass"),
    "weights are not put back": (self_check.TrainingState, "__init__", "list(net.parameters()),", "[],"),
    "BN statistics are not put back": (
        self_check.TrainingState,
        "__init__",
        "[buffer for buffer in net.buffers() if buffer.is_floating_point()]",
        "[]",
    ),
}


@pytest.mark.parametrize("fault", SILENT_FAULTS)
def test_comparison_of_whole_runs_finds_what_the_self_check_cannot(monkeypatch, graphs, expected, fault):
    plant(monkeypatch, *SILENT_FAULTS[fault])
    assert not difference(Training("auto", run_of()).advance(), expected) < 1e-6


def load_optimizer_state(training):
    training.optimizer.load_state_dict(training.optimizer.state_dict())


def move_momentum(training):
    for state in training.optimizer.state.values():
        state["momentum_buffer"] = state["momentum_buffer"].clone()


def move_parameters(training):
    for parameter in training.net.parameters():
        parameter.data = parameter.data.clone()


@pytest.mark.parametrize("move", [load_optimizer_state, move_momentum, move_parameters])
def test_tensors_moved_after_the_capture_end_the_run(graphs, move):
    training = Training("fast", run_of())
    training.advance(SPANS[:1])
    move(training)
    with pytest.raises(RuntimeError, match="was moved after its iteration had been captured"):
        training.advance(SPANS[1:])


def test_fast_refuses_what_auto_falls_back_from(monkeypatch, graphs):
    plant(monkeypatch, *FAULTS["the host reads the loss"])
    with pytest.raises(UserError, match=r"fast engine cannot train .* within a capture\): use --engine eager"):
        Training("fast", run_of()).advance()


def test_record_says_that_the_eager_engine_computed_the_run(tmp_path, monkeypatch, capsys, eager_record, graphs):
    _, losses, weights = eager_record
    plant(monkeypatch, *FAULTS["the position is another tensor"])
    run, fallback_losses, fallback_weights = record(tmp_path, "auto")
    assert run["provenance"]["engine"] == "eager"
    assert "disagrees with the eager engine: losses differ by" in run["provenance"]["engine_fallback"]
    written = json.loads((tmp_path / run_of().folder / "run.json").read_text())
    assert written["provenance"] == run["provenance"]
    assert capsys.readouterr().err.count("trains it instead of the fast one") == 1
    assert torch.equal(fallback_losses, losses) and torch.equal(fallback_weights, weights)


def test_study_is_planned_without_compiling_and_estimated_from_its_first_run(tmp_path, monkeypatch, capsys, graphs):
    monkeypatch.setattr(plan, "GRAPH_DEVICES", ("cpu",))
    monkeypatch.setattr(launch, "calibrate", None)
    monkeypatch.setattr(plan, "format_seconds", lambda seconds: f"{seconds:.6f} s")
    monkeypatch.setenv("COLUMNS", "200")
    configs = [config(iterations=64, batch_size=4, shortcut=shortcut) for shortcut in (None, "A")]
    where = StudyContext(data_dir=tmp_path, results=tmp_path, device=CPU)
    assert launch.run_study(configs, where, runs_per_device=1, plan_only=True) == 0
    assert not graphs and "2 of 2 runs to train on cpu; the live table" in capsys.readouterr().out
    assert launch.run_study(configs, where, runs_per_device=1) == 0
    estimates = re.findall(
        r"^plain-8-batch4 seed 0: about ([\d.]+) s; all 2 runs: about ([\d.]+) s$", capsys.readouterr().out, re.M
    )
    ((own, total),) = estimates
    assert float(own) < float(total) < 3 * float(own), "the twin costs about as much"


def test_metrics_are_written_seldom_on_a_gpu_and_are_complete_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setitem(callbacks.METRICS_SECONDS, "cpu", math.inf)
    written, write = [], Record.write_metrics

    def count(record, rows):
        written.append(len(rows))
        write(record, rows)

    monkeypatch.setattr(Record, "write_metrics", count)
    with pytest.raises(RuntimeError, match="crash"):
        train_run(run_of(), context(tmp_path), [Interrupt(CRASH_AT)])
    assert written == [1, CRASH_AT // 2] and len(metrics(tmp_path, run_of())) == written[-1]


def round_differently(block, **_):
    """Stand for a compiled block: its output is off by as much as bf16 rounds."""
    block._compiled_call_impl = lambda x: block.forward(x) * (1 + 2**-9 * torch.randn(x.shape[0], 1, 1, 1))


def test_self_check_tolerates_rounding_because_it_shifts_bn(monkeypatch):
    """A plain net of 20 layers amplifies rounding so much that its own state would raise a false alarm."""
    run_config = run_of("bf16", depth=20, shortcut=None)
    reasons = []
    for shift in (self_check.CHECK_SHIFT, 0.0):
        monkeypatch.setattr(self_check, "CHECK_SHIFT", shift)
        with pretend_cuda_graphs(round_differently):
            training = Training("auto", run_config)
            training.advance([(slice(0, 1), 0.1)])
        reasons.append(training.engine.fallback)
    assert reasons[0] is None and reasons[1] is not None


def test_tf32_is_described_whichever_setting_was_made():
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    try:
        for precision in ("ieee", "tf32"):
            conv.fp32_precision = precision
            assert convolves_in_tf32() == (precision == "tf32")
    finally:
        conv.fp32_precision = before
