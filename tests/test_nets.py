"""The CIFAR nets: parameter counts, shapes, initial weights, blocks and weights files."""

import runpy
import warnings

import pytest
import torch
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import pad, relu

from plainres.errors import UserError
from plainres.nets import cifar_net, count_complexity, load_net
from plainres.nets.blocks import BasicBlock, PadShortcut
from plainres.nets.weights import PUBLISHED, Normalized, weights_bytes
from plainres.training import RunConfig

PARAMETERS = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962, 1202: 19_421_274}


def layers(net: nn.Module) -> list[nn.Module]:
    """Return the layers that the depth of a net counts: convolutions and linear layers except projections."""
    named = net.named_modules()
    return [m for name, m in named if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in name]


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


@settings(max_examples=8)
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
@settings(max_examples=5)
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
    assert torch.equal(loaded.layer1[0].downsample[0].weight, net.layer1[0].downsample[0].weight)


# Published nets, and other people's files


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_nets_are_found_by_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = load_net(name)
    recorded = load_net(ROOT / "results" / "cifar10-64k-bf16" / name / "seed-0" / "weights.safetensors")
    assert net.recipe == recorded.recipe and net.recipe["config"]["iterations"] == 64_000
    assert all(
        torch.equal(a, b) for a, b in zip(net.state_dict().values(), recorded.state_dict().values(), strict=True)
    )
    from_hub = torch.hub.load(str(ROOT), name.replace("-", "_"), source="local", pretrained=True)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(from_hub(images), net(images))


def test_hub_offers_untrained_nets_too():
    untrained = torch.hub.load(str(ROOT), "resnet_20", source="local")
    assert untrained.training and torch.equal(untrained.mean, load_net("resnet-20").mean)
    assert not torch.equal(untrained.net.conv1.weight, load_net("resnet-20").net.conv1.weight)
    entries = runpy.run_path(str(ROOT / "hubconf.py"))
    listed = {name for name, value in entries.items() if callable(value) and not name.startswith("_")}
    assert {name.replace("_", "-") for name in listed} == set(PUBLISHED)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"no published net: these are plain-20, plain-56, resnet-20, resnet-56$"):
        load_net("resnet-57")


class OtherBlock(nn.Module):
    """A block as in Y. Idelbayev's (akamaster's) resnet.py, on which many repositories build."""

    def __init__(self, in_planes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.planes, self.subsamples = planes, stride != 1

    def forward(self, x):
        out = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        side = self.planes // 4
        return relu(out + (pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side)) if self.subsamples else x))


class OtherNet(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(OtherBlock(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(OtherBlock(16, 32, 2), *(OtherBlock(32, 32, 1) for _ in range(2)))
        self.layer3 = nn.Sequential(OtherBlock(32, 64, 2), *(OtherBlock(64, 64, 1) for _ in range(2)))
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


OTHER_MEAN, OTHER_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("prefix", ["", "module.", "net.", "model.", "model.module."])
@pytest.mark.parametrize("key", [None, "state_dict", "net"])
def test_other_peoples_checkpoints_give_equal_logits(prefix, key, tmp_path):
    other = OtherNet()
    other(torch.rand(8, 3, 32, 32))  # so that BN statistics are not the initial ones
    state = {prefix + name: value for name, value in other.state_dict().items() if "num_batches" not in name}
    torch.save(state if key is None else {"epoch": 7, key: state}, tmp_path / "resnet20.th")
    with pytest.raises(UserError, match="neither what net it belongs to nor how images are normalized"):
        load_net(tmp_path / "resnet20.th")
    with pytest.raises(UserError, match="does not say how images are normalized"):
        load_net(tmp_path / "resnet20.th", cifar_net(20))
    net = load_net(tmp_path / "resnet20.th", cifar_net(20), OTHER_MEAN, OTHER_STD)
    images = torch.rand(4, 3, 32, 32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (OTHER_MEAN, OTHER_STD))
    with torch.inference_mode():
        torch.testing.assert_close(net(images), other.eval()((images - mean) / std), rtol=1e-5, atol=1e-5)


def test_what_fits_is_loaded_and_what_does_not_is_named(tmp_path):
    other = OtherNet(num_classes=100)
    torch.save(other.state_dict() | {"centers": torch.zeros(3)}, tmp_path / "other.pt")
    net = cifar_net(20)
    with pytest.warns(UserWarning, match=r"do not fit the other: fc\.weight, fc\.bias, centers$"):
        load_net(tmp_path / "other.pt", net, OTHER_MEAN)
    assert torch.equal(net.layer3[2].conv2.weight, other.layer3[2].conv2.weight)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "nothing.pt")
    with pytest.raises(UserError, match=r"do not fit the other: conv1\.weight, .* and \d+ more$"):
        load_net(tmp_path / "nothing.pt", net, OTHER_MEAN)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html>\n<html>", "it is text that begins with '<!DOCTYPE html> <html>'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a pointer of Git LFS"),
        (b"PK\x03\x04" + bytes(100), "RuntimeError: "),
        (bytes([9, 0, 0, 0, 0, 0, 0, 0]) + b"{broken}", "SafetensorError: "),
    ],
)
def test_a_file_that_is_no_checkpoint_is_described_in_one_line(content, what, tmp_path):
    (tmp_path / "file.pth").write_bytes(content)
    for arguments in ((), (cifar_net(8), OTHER_MEAN)):
        with pytest.raises(UserError, match=f"not a weights file: {what}") as error:
            load_net(tmp_path / "file.pth", *arguments)
        assert "\n" not in str(error.value)


def test_folders_and_other_objects_are_no_weights_files_either(tmp_path):
    with pytest.raises(UserError, match="not a weights file: Is a directory"):
        load_net(tmp_path)
    for content, what in (([1, 2], "a list"), ({"epoch": 3, "args": "x"}, "epoch, args"), ({}, "nothing")):
        torch.save(content, tmp_path / "file.pth")
        with pytest.raises(UserError, match=f"not a weights file: it holds {what}$"):
            load_net(tmp_path / "file.pth", cifar_net(8), OTHER_MEAN)


# Images that a net with its own preprocessing cannot have been meant for


@pytest.fixture
def normalized():
    return Normalized(cifar_net(8), torch.rand(3, 32, 32), None, {}, {}).eval()


def test_integers_and_other_shapes_are_refused(normalized):
    with pytest.raises(UserError, match=r"must be pixels between 0 and 1, not torch\.uint8: divide bytes by 255"):
        normalized(torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8))
    for shape in ((2, 1, 32, 32), (2, 32, 32, 3), (3, 32, 32)):
        with pytest.raises(UserError, match=r"must have the shape \(B, 3, H, W\), not "):
            normalized(torch.rand(shape))


@pytest.mark.parametrize("scale", [(0, 255), (-2, 2)])
def test_values_far_outside_0_to_1_are_answered_with_one_warning(normalized, scale):
    images = torch.rand(2, 3, 32, 32)
    normalized(images * 1.2 - 0.1)  # within the reach of bicubic interpolation
    with pytest.warns(UserWarning, match="between 0 and 1"):
        normalized(images * (scale[1] - scale[0]) + scale[0])
    with warnings.catch_warnings(action="error"):
        normalized(images * 255)


def test_nets_with_preprocessing_can_be_counted_and_exported(normalized):
    assert count_complexity(normalized, (3, 32, 32)) == count_complexity(normalized.net, (3, 32, 32))
    images = torch.rand(2, 3, 32, 32)
    exported = torch.export.export(normalized, (images,)).module()
    torch.testing.assert_close(exported(images), normalized(images))
