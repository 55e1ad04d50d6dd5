"""CUDA graphs: what can be tested without a GPU, and the comparison with eager training on one (`make test-gpu`)."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy

from plainres import CifarData, ClassificationModule
from plainres.nets import cifar_net
from plainres.training.accelerate import CudaGraphs, compile_blocks, twin_of

SMALL = {"dataset": "demo", "iterations": 64, "batch_size": 32}


def fit(device, callbacks, precision="32-true", steps=10):
    module = ClassificationModule(depth=20, shortcut="A", **SMALL)
    trainer = pl.Trainer(
        accelerator=device,
        devices=1,
        precision=precision,
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    trainer.fit(module, CifarData(**SMALL))
    return module


def test_twin_has_the_tensors_of_the_net():
    net = cifar_net(8)
    twin = twin_of(net)
    assert twin is not net
    for own, same in zip((*net.parameters(), *net.buffers()), (*twin.parameters(), *twin.buffers()), strict=True):
        assert own is same


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_compiled_blocks_give_the_same_numbers_within_rounding():
    torch.manual_seed(0)
    net = cifar_net(8).double()
    compiled = copy.deepcopy(net)
    compile_blocks(compiled)
    images, labels = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.arange(4)
    for one in (net, compiled):
        cross_entropy(one(images), labels).backward()
    for first, second in zip(net.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad)
    for first, second in zip(net.buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*smaller than the logging interval")
def test_training_goes_on_without_graphs_where_they_cannot_be_captured(small_demo, monkeypatch, capsys):
    def fail(net, images):
        net.train()(images)  # a warm-up pass before the failure
        raise RuntimeError("capture failed\nfor some reason")

    monkeypatch.setattr("torch.cuda.make_graphed_callables", lambda net, arguments: fail(net, *arguments))
    monkeypatch.setattr("plainres.training.accelerate.compile_blocks", lambda _: None)
    module, eager = fit("cpu", [CudaGraphs()], steps=3), fit("cpu", [], steps=3)
    assert capsys.readouterr().err.endswith("trained without CUDA graphs (RuntimeError: capture failed)\n")
    for own, same in zip(module.net.state_dict().values(), eager.net.state_dict().values(), strict=True):
        assert torch.equal(own, same), "BN statistics of the warm-up pass were undone"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_graphs_train_like_the_eager_net(small_demo, precision, capsys):
    graphed, eager = (fit("gpu", callbacks, precision) for callbacks in ([CudaGraphs()], []))
    assert "without CUDA graphs" not in capsys.readouterr().err
    tolerance = {"32-true": 1e-2, "bf16-mixed": 1e-1, "64-true": 1e-9}[precision]
    for own, same in zip(graphed.net.state_dict().values(), eager.net.state_dict().values(), strict=True):
        assert (own.double() - same.double()).norm() <= tolerance * (1 + same.double().norm())
