"""The ImageNet nets: parameters, multiply-adds, equivalence with torchvision, and the data of Table 1 and Figure 3."""

import json

import pytest
import torch
import torchvision
from helpers import ROOT
from torch import nn

from plainres.nets import count_complexity, imagenet_net
from plainres.nets.blocks import Bottleneck
from plainres.nets.layer_list import layer_list
from plainres.report.architecture import read_nets, table_1, table_1_markdown
from plainres.report.published import TABLE_1

IMAGE = (3, 224, 224)
# Parameters and multiply-adds by depth, shortcut and stride_in. With option B, torchvision has the same parameters.
COUNTS = {
    (18, None, "1x1"): (11_515_688, 1_794_805_760),
    (18, "A", "1x1"): (11_515_688, 1_794_805_760),
    (18, "B", "1x1"): (11_689_512, 1_814_073_344),
    (34, None, "1x1"): (21_623_848, 3_644_493_824),
    (34, "A", "1x1"): (21_623_848, 3_644_493_824),
    (34, "B", "1x1"): (21_797_672, 3_663_761_408),
    (34, "C", "1x1"): (22_716_840, 3_830_747_136),
    (50, "B", "1x1"): (25_557_032, 3_857_973_248),
    (50, "B", "3x3"): (25_557_032, 4_089_184_256),
    (101, "B", "1x1"): (44_549_160, 7_570_194_432),
    (152, "B", "1x1"): (60_192_808, 11_282_415_616),
}


def on_meta(*args, **kwargs):
    with torch.device("meta"):
        return imagenet_net(*args, **kwargs)


@pytest.mark.parametrize(("depth", "shortcut", "stride_in"), COUNTS)
def test_parameters_and_multiply_adds_match_the_paper(depth, shortcut, stride_in):
    net = on_meta(depth, shortcut, stride_in=stride_in)
    complexity = count_complexity(net, IMAGE)
    assert (complexity.parameters, complexity.multiply_adds) == COUNTS[depth, shortcut, stride_in]
    # The paper rounds its figures, which belong to nets with the stride in the 1x1 convolution.
    if stride_in == "1x1" and shortcut != "C":
        assert complexity.multiply_adds == pytest.approx(TABLE_1[str(depth)], rel=0.02)
    counted = [
        name
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
    ]
    assert len(counted) == depth


def test_multiply_adds_of_plain_18_follow_from_its_layers():
    stem, classifier = 112**2 * 64 * 3 * 49, 512 * 1000
    first = 4 * 56**2 * 64 * 64 * 9
    # Each later stage has twice the channels at half the size, and its first convolution has half the input channels.
    later = sum(size**2 * 9 * c * (c // 2 + 3 * c) for c, size in ((128, 28), (256, 14), (512, 7)))
    assert count_complexity(on_meta(18, None), IMAGE).multiply_adds == stem + first + later + classifier


def test_multiply_adds_of_vgg_match_the_paper():
    with torch.device("meta"):
        counts = {d: count_complexity(getattr(torchvision.models, f"vgg{d}")(), IMAGE) for d in (16, 19)}
    assert counts[16].multiply_adds == 15_470_264_320
    assert counts[19].multiply_adds == 19_632_062_464
    assert counts[19].parameters == 143_667_240
    # The 152-layer net costs less than either of them (section 4.1).
    assert count_complexity(on_meta(152), IMAGE).multiply_adds < counts[16].multiply_adds


def randomize_bn(net: nn.Module) -> None:
    """Replace the statistics and weights of BN by random ones, as a trained net might have."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.2, 0.8)
            nn.init.normal_(module.bias, std=0.1)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_weights_of_torchvision_load_and_give_the_same_logits(depth):
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=10)
    randomize_bn(theirs)
    ours = on_meta(depth, "B", 10, "3x3")
    ours.load_state_dict(theirs.state_dict(), assign=True)
    images = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        expected = theirs.eval()(images)
        actual = ours.eval()(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_stride_in_the_1x1_keeps_the_names_and_changes_the_function():
    ours, v15 = imagenet_net(50, num_classes=4), imagenet_net(50, num_classes=4, stride_in="3x3")
    v15.load_state_dict(ours.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert not torch.allclose(ours.eval()(images), v15.eval()(images), rtol=1e-2)
    strides = {name: module.stride[0] for name, module in ours.named_modules() if isinstance(module, nn.Conv2d)}
    assert strides["layer2.0.conv1"] == 2 and strides["layer2.0.conv2"] == 1


@pytest.mark.parametrize(("depth", "shortcut"), [(18, None), (18, "A"), (18, "C"), (50, None), (50, "A"), (50, "C")])
def test_nets_accept_images_of_any_size(depth, shortcut):
    net = imagenet_net(depth, shortcut, num_classes=7).eval()
    with torch.inference_mode():
        assert net(torch.rand(2, 3, 64, 96)).shape == (2, 7)
        assert net.features(torch.rand(1, 3, 96, 64)).shape == (1, net.fc.in_features, 3, 2)


def test_plain_and_option_a_share_initial_weights():
    twins = []
    for shortcut in (None, "A"):
        torch.manual_seed(3)
        twins.append(imagenet_net(18, shortcut).state_dict())
    assert twins[0].keys() == twins[1].keys()
    assert all(torch.equal(twins[0][name], value) for name, value in twins[1].items())


@pytest.mark.parametrize("option", ["A", "B"])
def test_bottleneck_with_a_zero_branch_is_the_identity(option):
    block = Bottleneck(64, 16, 1, option).eval()
    nn.init.zeros_(block.bn3.weight)
    x = torch.rand(2, 64, 8, 8)
    assert torch.equal(block(x), x)


def test_activation_checkpointing_changes_no_gradient_or_statistic():
    torch.manual_seed(0)
    net = imagenet_net(18, num_classes=3).double()
    images = torch.rand(2, 3, 32, 64, dtype=torch.float64)
    results = []
    start = {name: value.clone() for name, value in net.state_dict().items()}
    for checkpointing in (False, True):
        net.load_state_dict(start)
        net.zero_grad()
        net.checkpointing = checkpointing
        net(images).square().sum().backward()
        results.append([p.grad.clone() for p in net.parameters()] + [b.clone() for b in net.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((56,), "depth of an ImageNet net must be one of 18, 34, 50, 101, 152, not 56"),
        ((18, "highway"), "shortcut of an ImageNet net must be one of none, A, B, C"),
        ((50, "B", 10, "2x2"), "stride_in of an ImageNet net must be one of 1x1, 3x3"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        imagenet_net(*arguments)


def test_layer_lists_of_plain_and_residual_differ_only_in_shortcuts():
    plain, residual = (layer_list(on_meta(34, shortcut), IMAGE) for shortcut in (None, "A"))
    assert plain["layers"] == residual["layers"]
    assert plain["shortcuts"] == []
    assert len(residual["shortcuts"]) == 16
    assert [s["kind"] for s in residual["shortcuts"]].count("padding") == 3
    assert residual["shortcuts"][0] == {"first": 2, "last": 3, "kind": "identity"}
    assert [s["kind"] for s in layer_list(on_meta(50), IMAGE)["shortcuts"]].count("projection") == 4
    ops = [layer["op"] for layer in plain["layers"]]
    assert ops[:3] == ["conv", "max pool", "conv"] and ops[-2:] == ["average pool", "fc"]
    assert plain["layers"][-3] == {"op": "conv", "kernel": 3, "stride": 1, "channels": 512, "size": 7}


def test_committed_table_1_agrees_with_the_nets():
    folder = ROOT / "results" / "complexity"
    nets = read_nets(folder)
    assert (folder / "table1.md").read_text("utf-8") == table_1_markdown(nets)
    recorded = {net["net"]: net for net in nets}
    for shortcut, name in ((None, "plain-34"), ("A", "resnet-34")):
        net = on_meta(34, shortcut)
        assert json.loads(json.dumps(layer_list(net, IMAGE))) == {k: recorded[name][k] for k in ("layers", "shortcuts")}
        assert count_complexity(net, IMAGE).multiply_adds == recorded[name]["multiply_adds"]
    table = table_1(nets).set_index("net")
    assert table.loc["plain-34", "paper, in 1e9"] == "3.6" and table.loc["VGG-19", "paper, in 1e9"] == "19.6"
