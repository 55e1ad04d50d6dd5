"""The fast engine equals the eager one over whole runs with test passes, drops of the learning rate and a resume.

Tests marked `gpu` compare the CUDA graph with the eager engine on a GPU: `make test-gpu`. They have not been run on a
GPU yet.
"""

import pytest
import pytorch_lightning as pl
import torch
from helpers import CPU, Interrupt, config, context, shrink_demo

from plainres.data import CifarData
from plainres.nets import load_net
from plainres.training import RunConfig, schedule, train_run
from plainres.training.build import make_net
from plainres.training.engines import FastEngine, FastOrEagerEngine, choose_engine
from plainres.training.engines import fast as engine_fast
from plainres.training.engines.capture import capture

CRASH_AT = 66


# A learning rate that 32 bits represent exactly, also after the drops to a tenth and a hundredth: on CUDA the graph's
# rate has 32 bits.
EXACT_LR = 25 / 2048


def run_of(precision, **changes):
    """A run with two iterations per row, whose learning rate drops after 64 and 96."""
    return config(iterations=128, batch_size=4, precision=precision, **changes)


class Watch(pl.Callback):
    """Keeps the unrounded rows and the number of iterations of each Lightning step."""

    def __init__(self):
        self.steps, self.passes = [], 0

    def on_train_start(self, trainer, module):
        self.iteration = module.iteration

    def on_train_batch_end(self, trainer, module, *_):
        self.steps.append(module.iteration - self.iteration)
        self.iteration = module.iteration

    def on_validation_end(self, trainer, module):
        self.passes += 1

    def on_train_end(self, trainer, module):
        self.losses = torch.tensor([row["train_loss"] for row in module.rows], dtype=torch.float64)
        self.tests = torch.tensor([row["test_loss"] for row in module.rows if "test_loss" in row], dtype=torch.float64)
        self.errors = [row["train_error"] for row in module.rows]
        self.rates = [row["lr"] for row in module.rows]


def train(folder, run_config, engine, *callbacks, device=CPU):
    watch = Watch()
    seconds = 0 if callbacks else 30
    where = context(folder, device=device, checkpoint_seconds=seconds, engine=engine)
    run = train_run(run_config, where, (watch, *callbacks))
    assert run["provenance"]["engine"] == engine
    watch.weights = load_net(folder / run_config.folder / "weights.safetensors").state_dict()
    return watch


def train_with_crash(folder, run_config, before, after, device=CPU):
    with pytest.raises(RuntimeError, match="crash"):
        train(folder, run_config, before, Interrupt(CRASH_AT), device=device)
    return train(folder, run_config, after, device=device)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few images to evaluate and to probe, and 8 passes over the test set."""
    shrink_demo(monkeypatch, 160, 40)
    monkeypatch.setattr(schedule, "TEST_SHARE", 0.5)
    monkeypatch.setitem(engine_fast.LONGEST_SPAN, "cpu", 50)


def distance(one, other):
    """Return the largest relative difference of losses, and of the norm of any tensor of the weights."""

    def relative(a, b):
        return ((a - b).norm() / b.norm().clamp(min=1e-12)).item()

    losses = max(((a - b).abs() / b).max().item() for a, b in ((one.losses, other.losses), (one.tests, other.tests)))
    weights = (relative(one.weights[name].double(), value.double()) for name, value in other.weights.items())
    return max(losses, *weights)


# Losses by row, recorded once. Any change of the mathematics, the data, the initialization or their order alters them.
GOLDEN = {0: 2.864759108696, 1: 3.618224914102, 3: 4.179100097963, 7: 3.661406411883, 31: 2.359679009700}


def test_fast_equals_eager_in_fp64_across_rate_falls_test_passes_and_a_resume(tmp_path):
    run_config = run_of("fp64")
    eager = train(tmp_path / "eager", run_config, "eager")
    fast = train_with_crash(tmp_path / "fast", run_config, "fast", "fast")
    assert eager.steps == [1] * 128 and eager.passes == 8 and eager.rates[31:33] == pytest.approx([0.1, 0.01])
    assert fast.steps == [2] * 31
    assert fast.errors == eager.errors and fast.rates == eager.rates
    assert distance(fast, eager) < 1e-10
    for watch in (eager, fast):
        assert {row: watch.losses[row].item() for row in GOLDEN} == pytest.approx(GOLDEN, rel=1e-6)


@pytest.mark.parametrize("name", ["eager", "fast"])
def test_clipped_update_is_as_long_as_its_bound(name):
    advance = engine_at_start(name, run_of("fp32", lr=1.0, momentum=0.0, weight_decay=0.0, clip=0.01))
    before = [parameter.detach().clone() for parameter in advance.net.parameters()]
    advance(slice(0, 1))
    moved = [after - start for after, start in zip(advance.net.parameters(), before, strict=True)]
    assert torch.cat([part.flatten() for part in moved]).norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.slow
def test_engine_may_change_on_resuming_in_fp32(tmp_path):
    """Rounding differences grow with each iteration, to about one percent after 128 of them at a rate of 0.1."""
    eager = train(tmp_path / "eager", run_of("fp32"), "eager")
    for before, after in (("eager", "fast"), ("fast", "eager")):
        changed = train_with_crash(tmp_path / f"{before}-{after}", run_of("fp32"), before, after)
        assert distance(changed, eager) < 5e-2


def test_fast_equals_eager_in_fp32_until_rounding_has_grown():
    fast, eager = (engine_at_start(name, run_of("fp32", lr=0.01)) for name in ("fast", "eager"))
    for iterations in (slice(0, 8), slice(8, 16)):
        (fast_losses, fast_wrong), (losses, wrong) = fast(iterations), eager(iterations)
        torch.testing.assert_close(fast_losses, losses, rtol=1e-5, atol=0)
        assert torch.equal(fast_wrong, wrong)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_span_equals_its_iterations_one_by_one(precision):
    """They are equal bit for bit."""
    run_config = run_of(precision)
    together, single = engine_at_start("fast", run_config), engine_at_start("fast", run_config)
    whole = together(slice(0, 6))
    parts = [single(slice(i, i + 1)) for i in range(6)]
    for i, tensor in enumerate(whole):
        assert torch.equal(tensor, torch.cat([part[i] for part in parts]))
    for one, other in zip(together.net.parameters(), single.net.parameters(), strict=True):
        assert torch.equal(one, other)


def engine_at_start(name, run_config, device=CPU):
    """Return a function that trains a new net on a slice of its run's iterations at the initial rate."""
    data = CifarData("demo", ".", "50k", run_config.seed, run_config.iterations, run_config.batch_size)
    data.setup()
    data.to(device)
    net = make_net(run_config).to(device, memory_format=torch.channels_last)
    if run_config.precision == "fp64":
        net.double()
    engine = choose_engine(name, run_config, device)(net, run_config, data.inputs)
    optimizer = engine.make_optimizer()

    def advance(iterations):
        return engine.advance(optimizer, data.table[iterations], run_config.lr)

    advance.net = net
    return advance


def test_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="engine must be one of auto, fast, eager, not warp"):
        choose_engine("warp", run_of("fp32"), CPU)


def test_imagenet_is_trained_by_the_reference():
    photographs = RunConfig(dataset="imagenet", depth=18, image_size=32)
    assert choose_engine("auto", photographs, CPU).name == "eager"
    assert choose_engine("auto", run_of("fp32"), CPU).name == "fast"
    with pytest.raises(ValueError, match="use --engine eager"):
        choose_engine("fast", photographs, CPU)


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
def test_auto_is_the_fast_engine_on_cuda(precision):
    assert choose_engine("auto", run_of(precision), torch.device("cuda")) is FastOrEagerEngine
    assert choose_engine("fast", run_of(precision), torch.device("cuda")) is FastEngine


@pytest.fixture
def cuda(monkeypatch):
    """A GPU with convolutions in full fp32."""
    if not torch.cuda.is_available():
        pytest.skip("a CUDA graph requires a GPU: run `make test-gpu` on a machine with one")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.device("cuda:0")


@pytest.mark.gpu
def test_graph_equals_eager_in_fp64_on_a_gpu(tmp_path, cuda):
    """The order of sums may differ, and 128 iterations amplify that to far less than this bound."""
    run_config = run_of("fp64", lr=EXACT_LR)
    eager = train(tmp_path / "eager", run_config, "eager", device=cuda)
    fast = train_with_crash(tmp_path / "fast", run_config, "fast", "fast", device=cuda)
    print("fp64", distance(fast, eager))
    assert fast.errors == eager.errors
    assert distance(fast, eager) < 1e-6


@pytest.mark.gpu
def test_graph_equals_eager_in_fp32_on_a_gpu_until_rounding_has_grown(cuda):
    """Only 20 iterations: over a whole run, rounding alone makes losses differ by 0.1 and more."""
    fast, eager = (engine_at_start(name, run_of("fp32", lr=EXACT_LR), cuda) for name in ("fast", "eager"))
    for iterations in (slice(0, 8), slice(8, 20)):
        (losses, wrong), (eager_losses, eager_wrong) = fast(iterations), eager(iterations)
        torch.testing.assert_close(losses, eager_losses, rtol=3e-2, atol=0)
        assert (wrong - eager_wrong).abs().max() <= 1


@pytest.mark.gpu
def test_capture_leaves_the_net_as_it_was_and_a_span_never_synchronizes(cuda):
    run_config = run_of("fp64", lr=EXACT_LR)
    fast, eager = engine_at_start("fast", run_config, cuda), engine_at_start("eager", run_config, cuda)
    torch.testing.assert_close(fast(slice(0, 10))[0], eager(slice(0, 10))[0], rtol=1e-6, atol=0)
    try:
        torch.cuda.set_sync_debug_mode("error")
        losses, wrong = fast(slice(10, 60))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected_losses, expected_wrong = eager(slice(10, 60))
    torch.testing.assert_close(losses, expected_losses, rtol=1e-6, atol=0)
    assert torch.equal(wrong, expected_wrong)


@pytest.mark.gpu
@pytest.mark.parametrize("shortcut", [None, "A", "B", "highway", "preact"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_self_check_accepts_the_graph_of_each_kind_of_net_on_a_gpu(cuda, shortcut, precision):
    """With TF32 where PyTorch uses it by default."""
    torch.backends.cudnn.allow_tf32 = True
    run_config = config(iterations=128, depth=56, shortcut=shortcut, precision=precision)
    losses, _ = engine_at_start("fast", run_config, cuda)(slice(0, 10))  # raises if the check fails
    assert losses.isfinite().all()


@pytest.mark.gpu
def test_graph_of_eager_kernels_equals_eager_on_a_gpu(monkeypatch, cuda):
    """What the fast engine uses where nothing can be compiled."""
    monkeypatch.setattr(engine_fast, "capture", lambda engine, compiled: capture(engine, False))
    run_config = run_of("fp64", lr=EXACT_LR)
    fast, eager = engine_at_start("fast", run_config, cuda), engine_at_start("eager", run_config, cuda)
    torch.testing.assert_close(fast(slice(0, 10))[0], eager(slice(0, 10))[0], rtol=1e-6, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"depth": 14, "shortcut": None, "precision": "bf16"}])
def test_bf16_learns_on_a_gpu(tmp_path, cuda, changes):
    run_config = config(iterations=1_024, **changes)
    watch = train(tmp_path, run_config, "fast", device=cuda)
    assert watch.steps == [16] * 64
    assert watch.losses[-8:].mean() < 0.7 * watch.losses[:8].mean()
