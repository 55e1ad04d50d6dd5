"""The CIFAR nets: parameter counts, shapes, initial weights, blocks and weights files."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from plainres.errors import UserError
from plainres.nets import cifar_net, count_complexity, load_net
from plainres.nets.blocks import BasicBlock, PadShortcut
from plainres.nets.weights import weights_bytes
from plainres.training import RunConfig

PARAMETERS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962, 1202: 19_421_274}


def layers(net: nn.Module) -> list[nn.Module]:
    """Return the layers that the depth of a net counts: convolutions and linear layers except projections."""
    named = net.named_modules()
    return [m for name, m in named if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in name]


@pytest.mark.parametrize("depth", PARAMETERS)
@pytest.mark.parametrize("shortcut", [None, "A"])
def test_parameter_counts_match_the_paper(depth, shortcut):
    with torch.device("meta"):
        net = cifar_net(depth, shortcut)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[depth]
    assert len(layers(net)) == depth


def test_options_b_and_c_add_projections():
    assert sum(p.numel() for p in cifar_net(20, "B").parameters()) == 272_474
    projections = {
        option: sum(isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) for m in cifar_net(20, option).modules())
        for option in (None, "A", "B", "C")
    }
    assert projections == {None: 0, "A": 0, "B": 2, "C": 9}


@settings(deadline=None, max_examples=8)
@given(n=st.integers(1, 20), shortcut=st.sampled_from([None, "A"]))
def test_multiply_adds_follow_from_the_papers_table(n, shortcut):
    first, same, down = 3 * 16 * 9 * 32**2, 16 * 16 * 9 * 32**2, 16 * 32 * 9 * 16**2
    expected = first + 2 * n * same + 2 * (down + (2 * n - 1) * same) + 64 * 10
    complexity = count_complexity(cifar_net(6 * n + 2, shortcut), (3, 32, 32))
    assert complexity.multiply_adds == expected


def test_count_complexity_leaves_the_net_unchanged():
    net = cifar_net(8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    count_complexity(net, (3, 32, 32))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training
    assert not any(m._forward_hooks for m in net.modules())


def test_convolutions_have_no_biases():
    assert all(m.bias is None for m in cifar_net(8, "C").modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("option", ["A", "B"])
def test_residual_block_with_a_zero_branch_is_the_identity(option):
    block = BasicBlock(16, 16, 1, option).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)


def test_plain_block_with_a_zero_branch_returns_zero():
    block = BasicBlock(16, 16, 1, None).eval()
    nn.init.zeros_(block.bn2.weight)
    assert torch.equal(block(torch.rand(2, 16, 8, 8)), torch.zeros(2, 16, 8, 8))


def test_option_a_slices_and_pads_channels_on_both_sides():
    x = torch.rand(2, 16, 8, 8)
    out = PadShortcut(16, 32, 2)(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any() and not out[:, 24:].any()


@given(n=st.integers(1, 3), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=5)
def test_twins_start_from_the_same_weights(n, seed):
    twins = []
    for shortcut in (None, "A"):
        torch.manual_seed(seed)
        twins.append(cifar_net(6 * n + 2, shortcut).state_dict())
    assert twins[0].keys() == twins[1].keys()
    assert all(torch.equal(twins[0][name], twins[1][name]) for name in twins[0])


def test_he_initialization_has_the_right_standard_deviation():
    net = cifar_net(110)
    for conv in layers(net):
        fan_in = conv.weight[0].numel()
        if conv.weight.numel() > 2000:
            assert conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)


def test_logits_have_one_column_per_class():
    net = cifar_net(14, "B", num_classes=7)
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("depth", [-4, 0, 2, 7, 21, 57])
def test_invalid_depths_are_rejected(depth):
    with pytest.raises(ValueError, match=r"6n\+2"):
        cifar_net(depth)


def test_unknown_shortcuts_are_rejected():
    with pytest.raises(ValueError, match=r"shortcut must be one of none, A, B, C, highway, preact, not D$"):
        cifar_net(8, "D")
    with pytest.raises(ValueError, match="pass None instead of the string 'none'"):
        cifar_net(8, "none")


def test_weights_file_restores_the_net_and_its_preprocessing(tmp_path):
    net = cifar_net(8, "B").eval()
    mean = torch.rand(3, 32, 32)
    path = tmp_path / "weights.safetensors"
    architecture = {"family": "cifar", "depth": 8, "shortcut": "B", "num_classes": 10}
    path.write_bytes(weights_bytes(net, mean, architecture, {"note": "test"}))
    loaded = load_net(path)
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(loaded(images), net(images - mean))
    assert loaded.recipe == {"note": "test"}


def test_error_for_an_unusable_weights_file_names_it(tmp_path):
    with pytest.raises(ValueError, match="no such weights file"):
        load_net(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"bad\.safetensors: not a weights file"):
        load_net(tmp_path / "bad.safetensors")
    architecture = {"family": "cifar", "depth": 8, "shortcut": "B", "num_classes": 10}
    net, mean = cifar_net(8, "B"), torch.rand(3, 32, 32)
    for wrong in ({"family": "other"}, {"depth": 14}, {"width": 2}):
        (tmp_path / "bad.safetensors").write_bytes(weights_bytes(net, mean, architecture | wrong, {}))
        with pytest.raises(UserError, match=r"bad\.safetensors: not a weights file") as error:
            load_net(tmp_path / "bad.safetensors")
        assert "\n" not in str(error.value)


def test_preactivation_stage_with_zero_branches_is_the_identity():
    net = cifar_net(20, "preact").eval()
    with torch.no_grad():
        for block in net.layer1:
            block.conv2.weight.zero_()
        x = torch.randn(2, 16, 8, 8)
        assert torch.equal(net.layer1(x), x)


def test_preactivation_net_has_the_convolutions_of_the_residual_net():
    """The number of BN layers is the same too, but the last one comes after the last block."""
    residual, net = cifar_net(20), cifar_net(20, "preact")
    convs = [[m.weight.shape for m in n.modules() if isinstance(m, nn.Conv2d)] for n in (residual, net)]
    assert convs[0] == convs[1]
    norms = [[m.num_features for m in n.modules() if isinstance(m, nn.BatchNorm2d)] for n in (residual, net)]
    assert len(norms[0]) == len(norms[1]) and norms[1][-1] == 64
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert RunConfig(depth=110, shortcut="preact").net == "preact-110"


def test_state_dicts_use_the_names_of_torchvision():
    net = cifar_net(8, "C")
    names = list(net.state_dict())
    assert "layer1.0.downsample.0.weight" in names and not any("shortcut" in name for name in names)
    loaded = cifar_net(8, "C")
    loaded.load_state_dict(net.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), loaded.state_dict().values(), strict=True))
    assert torch.equal(loaded.layer1[0].shortcut[0].weight, net.layer1[0].shortcut[0].weight)
