"""Probes of layers, variants of the nets, and activation checkpointing."""

import json
import shutil

import pandas as pd
import pytest
import torch
from helpers import CPU, Interrupt, config, train
from torch import nn

from plainres.data import CifarData
from plainres.nets import cifar_net, extend_with_identity, imagenet_net, load_net
from plainres.report import read_study
from plainres.report.write import write_study
from plainres.training import Record, probes
from plainres.training.build import activation_bytes, needs_activation_checkpointing
from plainres.training.probes import PROBES, initial_weights, layers_3x3, probe, probe_points

pytestmark = pytest.mark.usefixtures("small_demo")


@pytest.fixture
def data():
    data = CifarData(dataset="demo", iterations=64)
    data.setup()
    return data


def initial(net):
    """The weights of the 3x3 layers as they are now, against which a later probe compares them."""
    return {name: conv.weight.detach().clone() for name, (conv, _) in layers_3x3(net).items()}


def recorded_probes(results, run_config):
    return pd.read_csv(results / run_config.folder / "probes.csv")


def test_probing_leaves_the_net_unchanged(data):
    net = cifar_net(8)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    probe(net, initial(net), data, 0, "fp32")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert net.training and not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("shortcut", [None, "A", "highway", "preact"])
def test_probing_keeps_few_activations_without_changing_a_figure(data, monkeypatch, shortcut):
    """A probe has more images at once than a run that divides its batches."""
    net = cifar_net(8, shortcut)

    def measure():
        live, most = 0, 0  # elements of the tensors that the backward pass keeps

        def pack(x):
            nonlocal live, most
            live += x.numel()
            most = max(most, live)
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            return probe(net, initial(net), data, 0, "fp32"), most

    rows, few = measure()
    assert not net.checkpointing
    monkeypatch.setattr("plainres.nets.cifar.run_checkpointed", lambda blocks, x: nn.Sequential(*blocks)(x))
    expected, many = measure()
    assert rows == expected and few < 0.5 * many


def test_responses_are_measured_after_bn(data):
    net = cifar_net(14, "B")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)
    rows = pd.DataFrame(probe(net, initial(net), data, 0, "fp32"))
    assert list(rows.columns) == ["iteration", "layer", "name", *PROBES]
    assert rows["layer"].tolist() == list(range(1, 14)) and rows["name"].iloc[0] == "conv1"
    outputs = []
    hook = net.bn1.register_forward_hook(lambda *arguments: outputs.append(arguments[-1]))
    with torch.no_grad():
        net.eval()
        for batch in data.first(probes.RESPONSE_IMAGES):
            net(data.inputs(batch)[0])
    hook.remove()
    assert rows["response_std"].iloc[0] == pytest.approx(torch.cat(outputs).std(correction=0).item(), rel=1e-4)


def test_gradients_and_variances_are_measured_in_training_mode(data):
    net = cifar_net(8, None).double()
    rows = pd.DataFrame(probe(net, initial(net), data, 0, "fp64"))
    (batch,) = data.first(probes.GRADIENT_IMAGES)
    images, labels = data.inputs(batch)
    nn.functional.cross_entropy(net(images.double()), labels).backward()
    assert rows["gradient_norm"].iloc[0] == pytest.approx(net.conv1.weight.grad.norm().item(), rel=1e-9)
    variance = net.conv1(images.double()).var(correction=0).item()
    response = net.bn1(net.conv1(images.double())).detach().requires_grad_()
    out = nn.functional.relu(response)
    for stage in (net.layer1, net.layer2, net.layer3):
        out = stage(out)
    loss = nn.functional.cross_entropy(net.fc(out.mean((2, 3))), labels)
    (gradient,) = torch.autograd.grad(loss, response)
    assert rows["response_gradient_norm"].iloc[0] == pytest.approx(gradient.norm().item(), rel=1e-9)
    assert rows["forward_variance"].iloc[0] == pytest.approx(variance, rel=1e-6)


def test_weight_probes_compare_weights_with_their_initial_values(data):
    net = cifar_net(8)
    start = initial(net)
    with torch.no_grad():
        net.conv1.weight.mul_(3)
        second = net.layer1[0].conv1.weight
        orthogonal = torch.randn_like(second)
        orthogonal -= (orthogonal * second).sum() / second.square().sum() * second
        second.copy_(orthogonal)
    rows = pd.DataFrame(probe(net, start, data, 0, "fp32")).set_index("name")
    assert rows.loc["conv1", ["relative_weight_norm", "weight_angle"]].tolist() == pytest.approx([3, 0], abs=1e-2)
    assert rows.loc["layer1.0.conv1", "weight_angle"] == pytest.approx(90, abs=1e-3)
    assert rows.loc["layer1.0.conv2", "weight_norm"] == pytest.approx(net.layer1[0].conv2.weight.norm().item())


def test_response_gradients_do_not_depend_on_the_scale_of_the_weights(data):
    net = cifar_net(8, None).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12  # the default is not negligible in channels of small variance
    before = pd.DataFrame(probe(net, initial(net), data, 0, "fp64"))
    with torch.no_grad():
        net.conv1.weight.mul_(10)
    after = pd.DataFrame(probe(net, initial(net), data, 0, "fp64"))
    assert after["gradient_norm"].iloc[0] == pytest.approx(before["gradient_norm"].iloc[0] / 10, rel=1e-6)
    assert after["response_gradient_norm"].tolist() == pytest.approx(
        before["response_gradient_norm"].tolist(), rel=1e-6
    )


def test_resumed_run_has_the_probes_of_an_uninterrupted_one(tmp_path, finished):
    with pytest.raises(RuntimeError, match="crash"):
        train(tmp_path, config(), Interrupt(20), checkpoint_seconds=0)
    train(tmp_path, config())
    resumed = recorded_probes(tmp_path, config())
    assert sorted(resumed["iteration"].unique()) == probe_points(config()) == [0, 1, 8, 16, 32, 48, 64]
    assert resumed.groupby("iteration").size().tolist() == [7] * 7
    pd.testing.assert_frame_equal(resumed, recorded_probes(finished[0], config()))


def test_probing_recorded_weights_gives_the_recorded_probes(finished, data):
    results, _ = finished
    net = load_net(Record.of(results, config()).folder / "weights.safetensors").net
    repeated = pd.DataFrame(probe(net, initial_weights(config()), data, 64, "fp32"))
    recorded = recorded_probes(results, config()).query("iteration == 64").reset_index(drop=True)
    for column in PROBES:
        assert repeated[column].tolist() == pytest.approx(recorded[column].tolist(), rel=1e-2)


@pytest.fixture
def copied_record(finished, tmp_path, undrawn):
    """The folder of a copy of a finished record, to be changed."""
    results, _ = finished
    return shutil.copytree(results / config().folder, tmp_path / config().folder)


def test_additional_probe_columns_and_final_fields_are_read(copied_record):
    path = copied_record / "probes.csv"
    frame = pd.read_csv(path).assign(sharpness=0.5)
    frame.to_csv(path, index=False)
    info = json.loads((copied_record / "run.json").read_text("utf-8"))
    info["final"]["calibration_error"] = 1.5
    (copied_record / "run.json").write_text(json.dumps(info))
    study = read_study(copied_record.parents[1])
    (run,) = study.runs
    assert run.probes["sharpness"].unique().tolist() == [0.5] and not study.others
    assert study.finals["calibration_error"].tolist() == [1.5]
    assert study.folder / "figure7.png" in write_study(study)


@pytest.mark.parametrize("column", ["response_std", "gradient_norm", "weight_angle"])
def test_record_without_a_probe_column_is_read(copied_record, column):
    path = copied_record / "probes.csv"
    pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
    study = read_study(copied_record.parents[1])
    (run,) = study.runs
    assert column not in run.probes and len(run.probes) == 7 * 7 and not study.others
    written = {path.name for path in write_study(study)}
    assert "study.md" in written
    assert ("figure7.png" in written) == (column != "response_std")
    assert ("gradients.png" in written) == (column != "gradient_norm")


def test_record_without_a_final_field_is_read(copied_record):
    path = copied_record / "run.json"
    info = json.loads(path.read_text("utf-8"))
    del info["final"]["averaged_bn_test_error"], info["final"]["clean_train_error"]
    path.write_text(json.dumps(info))
    study = read_study(copied_record.parents[1])
    assert len(study.runs) == 1 and not study.others
    assert study.finals["test_error"].notna().all() and study.finals["averaged_bn_test_error"].isna().all()


def test_record_without_probes_is_read(copied_record):
    (copied_record / "probes.csv").unlink()
    study = read_study(copied_record.parents[1])
    assert study.runs[0].probes.empty
    written = {path.name for path in write_study(study)}
    assert "study.md" in written and "figure7.png" not in written


def test_identity_extension_computes_the_same_function(data):
    torch.manual_seed(1)
    net = cifar_net(8, None)
    for batch in data.first(256):
        net(data.inputs(batch)[0])  # so that the moving statistics differ from the initial ones
    net.eval()
    deeper = extend_with_identity(net, 20)
    (batch,) = data.first(64)
    images, _ = data.inputs(batch)
    assert torch.allclose(deeper(images), net(images), atol=1e-5)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in deeper.modules()) == 20


def test_identity_extension_keeps_dtype_and_random_state():
    net = cifar_net(8, None).double().eval()
    state = torch.get_rng_state()
    deeper = extend_with_identity(net, 14)
    assert torch.equal(torch.get_rng_state(), state)
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    assert torch.allclose(deeper(images), net(images), atol=1e-12)


def test_identity_extension_requires_a_shallower_plain_net_with_bn():
    with pytest.raises(ValueError, match="only a CIFAR net can be extended by identity layers, not ImageNetNet"):
        extend_with_identity(imagenet_net(18, None, num_classes=10), 34)
    with pytest.raises(ValueError, match="only a plain net"):
        extend_with_identity(cifar_net(8, "A"), 20)
    with pytest.raises(ValueError, match="must be greater than 8"):
        extend_with_identity(cifar_net(8, None), 8)
    with pytest.raises(ValueError, match="only a net with batch normalization"):
        extend_with_identity(cifar_net(8, None, norm="none"), 14)


def test_highway_gates_start_nearly_closed_and_choose_between_branches():
    net = cifar_net(8, "highway")
    gates = [m for name, m in net.named_modules() if name.endswith("gate")]
    assert len(gates) == 3 and all((gate.bias == -2).all() for gate in gates)
    assert all(gate.weight.std().item() == pytest.approx(0.01, rel=0.1) for gate in gates)
    block = net.layer1[0].eval()
    x = torch.rand(2, 16, 8, 8)
    with torch.no_grad():
        nn.init.zeros_(block.gate.weight)
        block.gate.bias.fill_(-100.0)
        assert torch.equal(block(x), x)  # closed gates carry the input
        block.gate.bias.fill_(100.0)
        transformed = block(x)
        block.gate = None
        block.downsample = None
        assert torch.allclose(transformed, block(x))  # with open gates, the block is a plain block


def test_nets_without_bn_have_biases_and_naive_initial_weights_are_small():
    net = cifar_net(20, None, norm="none", init="naive")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.bias is not None for conv in convs)
    assert convs[-1].weight.std().item() == pytest.approx(0.01, rel=0.05)
    signal = net(torch.rand(8, 3, 32, 32))
    assert (signal - signal.mean(0)).abs().max() < 1e-6  # the signal has vanished: all images give the same logits


@pytest.mark.slow
def test_variants_of_the_nets_train_and_load(tmp_path):
    for changes in ({"shortcut": "highway"}, {"shortcut": None, "norm": "none", "init": "naive"}):
        run_config = config(**changes)
        assert train(tmp_path, run_config)["outcome"] == "finished"
        load_net(tmp_path / run_config.folder / "weights.safetensors").to(CPU)
    names = {path.name for path in (tmp_path / "demo-64-fp32").iterdir()}
    assert names == {"highway-8-batch32", "plain-8-nobn-naive-batch32"}


def test_activation_checkpointing_saves_memory_and_changes_no_result():
    torch.manual_seed(0)
    net = cifar_net(20)
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    start = {name: value.clone() for name, value in net.state_dict().items()}
    results = []
    for checkpointing in (False, True):
        net.load_state_dict(start)
        net.checkpointing = checkpointing
        size = activation_bytes(net, images, "fp32")
        net.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        results.append((size, [p.grad.clone() for p in net.parameters()], [b.clone() for b in net.buffers()]))
    (size, gradients, buffers), (checkpointed_size, same_gradients, same_buffers) = results
    assert checkpointed_size < 0.4 * size
    assert all(torch.equal(a, b) for a, b in zip(gradients, same_gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers, same_buffers, strict=True))


def test_activation_checkpointing_in_evaluation_mode_leaves_bn_counters_alone():
    net = cifar_net(8).eval()
    net.checkpointing = True
    net(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(m.num_batches_tracked == 0 for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_activation_bytes_counts_what_the_backward_pass_needs():
    conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    images = torch.rand(2, 3, 8, 8)
    # The convolution saves its input, and ReLU its output.
    assert activation_bytes(conv, images, "fp32") == 4 * (images.numel() + 2 * 4 * 8 * 8)


def test_net_that_would_fill_the_memory_recomputes_activations(monkeypatch):
    net = cifar_net(8)
    for free, expected in ((10**12, False), (10**6, True)):
        monkeypatch.setattr("plainres.training.build.free_memory", lambda _, free=free: free)
        assert needs_activation_checkpointing(net, config(), CPU) is expected
