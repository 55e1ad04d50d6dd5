"""The views of the paper's tests, scores with known answers, and the command that scores weights files."""

import json
import sys

import pytest
import torch
import torchvision
from photos import CLASSES, make_photos
from torch import nn
from torch.nn.functional import avg_pool2d, softmax

from plainres.data.imagenet import BadImages
from plainres.data.photos import Photos, with_shorter_side
from plainres.errors import UserError
from plainres.nets import cifar_net, imagenet_net
from plainres.nets.weights import Normalized, load_net, weights_bytes
from plainres.scoring import SCALES, VIEWS, dense_logits, probabilities, score
from plainres.scoring.adopt import adopt_main
from plainres.scoring.commands import score_main
from plainres.scoring.models import load_model
from plainres.training.evaluation import count_wrong

CPU = torch.device("cpu")
MEAN, STD = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"))


class Oracle(nn.Module):
    """Predicts the brightest color at each position, which is the class of the tests' photographs."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.fc.weight)

    def features(self, x):
        return avg_pool2d(x, 32)


def model_of(net, recipe=None):
    return Normalized(net, MEAN, STD, {}, recipe or {}).eval()


# Views


def test_ten_crops_are_corners_center_and_their_mirror_images():
    image = torch.arange(3 * 37 * 50).reshape(3, 37, 50).remainder(256).to(torch.uint8)  # shorter side 256/224 of 32
    views = VIEWS["10-crop"](image, 32)
    expected = [
        image[:, :32, :32],
        image[:, :32, -32:],
        image[:, -32:, :32],
        image[:, -32:, -32:],
        image[:, 2:34, 9:41],
    ]
    assert len(views) == 10
    for view, crop in zip(views[:5], expected, strict=True):
        assert torch.equal(view, crop)
    # The crops of the mirrored image: its top left crop is the mirror image of the top right one.
    for view, mirrored in zip(views[5:], (views[i] for i in (1, 0, 3, 2, 4)), strict=True):
        assert torch.equal(view, mirrored.flip(2))
    (center,) = VIEWS["center"](image, 32)
    assert torch.equal(center, expected[4])


def test_multi_scale_views_are_whole_images_at_the_papers_sizes():
    image = torch.randint(256, (3, 300, 400), dtype=torch.uint8)
    assert [min(view.shape[1:]) for view in VIEWS["multi-scale"](image, 224)] == list(SCALES)
    assert [view.shape[2] / view.shape[1] for view in VIEWS["multi-scale"](image, 224)] == pytest.approx(
        [4 / 3] * 5, 0.01
    )
    assert [min(view.shape[1:]) for view in VIEWS["multi-scale"](image, 112)] == [s // 2 for s in SCALES]


def test_dense_form_equals_the_net_at_its_training_size():
    net = imagenet_net(18, num_classes=5).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(dense_logits(net, images, 64), net(images))


def test_dense_form_averages_the_classifier_over_positions():
    net = imagenet_net(18, "A", num_classes=5).eval()
    images = torch.randn(2, 3, 128, 96)
    with torch.inference_mode():
        maps = net.features(images)  # (2, 512, 4, 3)
        positions = [net.fc(maps[:, :, y : y + 2, x : x + 2].mean((2, 3))) for y in range(3) for x in range(2)]
        torch.testing.assert_close(dense_logits(net, images, 64), torch.stack(positions).mean(0), rtol=1e-5, atol=1e-4)
        assert not torch.allclose(dense_logits(net, images, 64), net(images), rtol=1e-3)


# Errors


def test_count_wrong_by_hand():
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]] * 3)
    labels = torch.tensor([6, 2, 1])
    assert count_wrong(scores, labels, 1) == 2
    assert count_wrong(scores, labels, 5) == 1
    assert count_wrong(scores[:, :3], torch.tensor([0, 1, 2]), 5) == 0


def test_probabilities_are_averaged_over_views_and_models():
    models = [model_of(imagenet_net(18, num_classes=4)) for _ in range(2)]
    views = [[torch.randint(256, (3, 32, w), dtype=torch.uint8) for w in widths] for widths in ((32, 64), (64, 32, 32))]
    with torch.inference_mode():
        averaged = probabilities(models, views, 32, CPU, "fp32")
        for row, photo_views in zip(averaged, views, strict=True):
            each = [
                softmax(dense_logits(m.net, (v[None] / 255 - 0.5) / 0.25, 32), 1)[0]
                for v in photo_views
                for m in models
            ]
            torch.testing.assert_close(row.float(), torch.stack(each).mean(0), rtol=1e-4, atol=1e-5)
    assert averaged.sum(1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("view", VIEWS)
def test_known_answers(folder, view):
    photos, oracle = Photos(folder / "val"), model_of(Oracle())
    correct = score([oracle], photos, photos.labels, view, 32, CPU)
    assert (correct.images, correct.skipped, correct.top1_error) == (12, 0, 0)
    shifted = photos.labels.clone()
    shifted[:3] = 2
    assert score([oracle], photos, shifted, view, 32, CPU).top1_error == 25
    assert score([oracle], photos, shifted, view, 32, CPU).top5_error == 0  # there are only three classes


def test_ensemble_follows_the_more_confident_model(folder):
    photos, right = Photos(folder / "val"), Oracle()
    wrong = Oracle()
    with torch.no_grad():
        wrong.fc.weight.copy_(-0.1 * torch.eye(3))
    assert score([model_of(wrong)], photos, photos.labels, "center", 32, CPU).top1_error == 100
    assert score([model_of(wrong), model_of(right)], photos, photos.labels, "center", 32, CPU).top1_error == 0


def test_unreadable_images_are_counted_and_limited(tmp_path, capsys):
    folder = make_photos(tmp_path / "photos")
    (folder / "val" / "n02" / "1.JPEG").write_bytes(b"")
    photos = Photos(folder / "val")
    scores = score([model_of(Oracle())], photos, photos.labels, "10-crop", 32, CPU, bad=BadImages(1))
    assert (scores.images, scores.skipped, scores.top1_error) == (11, 1, 0)
    assert "n02/1.JPEG: skipped" in capsys.readouterr().err
    with pytest.raises(UserError, match="1 images cannot be read; at most 0"):
        score([model_of(Oracle())], photos, photos.labels, "center", 32, CPU, bad=BadImages(0))


# The command


def run(monkeypatch, command, *arguments):
    monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
    return {"score": score_main, "adopt": adopt_main}[command]()


@pytest.fixture
def state_file(tmp_path):
    reference = torchvision.models.resnet18(num_classes=3).eval()
    torch.save(reference.state_dict(), tmp_path / "resnet18.pth")
    return reference, tmp_path / "resnet18.pth"


ADOPT = ("--mean", 0.4, 0.5, 0.6, "--std", 0.2, 0.3, 0.4, "--stride-in", "3x3", "--size", 32)


def test_torchvision_weights_are_scored_as_torchvision_would(folder, state_file, tmp_path, monkeypatch, capsys):
    reference, path = state_file
    weights = tmp_path / "adopted.safetensors"
    assert run(monkeypatch, "adopt", path, "--depth", 18, *ADOPT, "--out", weights) == 0
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    photos = Photos(folder / "val")
    pixels = torch.stack([with_shorter_side(photos.read(i), 37) for i in range(12)])[:, :, 2:34, 8:40] / 255
    with torch.inference_mode():
        expected = reference((pixels - mean) / std)
        torch.testing.assert_close(load_net(weights)(pixels), expected, rtol=1e-4, atol=1e-4)
    results = tmp_path / "results"
    command = ("score", weights, weights, "--data-dir", folder, "--results", results, "--workers", 0)
    assert run(monkeypatch, *command, "--views", "center", "10-crop") == 0
    records = {r["way"]: r for r in (json.loads(p.read_text("utf-8")) for p in (results / "scores").glob("*.json"))}
    assert records.keys() == {"center", "10-crop"}
    assert records["center"]["top1_error"] == 100 * count_wrong(expected, photos.labels, 1) / 12
    assert records["center"]["images"] == 12 and records["center"]["size"] == 32
    assert [net["name"] for net in records["center"]["nets"]] == ["resnet18"] * 2
    assert "top-1" in capsys.readouterr().out
    for other in (("--part", "train"), ("--precision", "bf16")):  # beside the first score, not in its place
        assert run(monkeypatch, *command, "--views", "center", *other) == 0
    scores = [json.loads(path.read_text("utf-8")) for path in (results / "scores").glob("*-center.json")]
    assert {(score["data"]["part"], score["precision"]) for score in scores} == {
        ("val", "fp32"),
        ("train", "fp32"),
        ("val", "bf16"),
    }


def test_weights_of_another_depth_are_refused(state_file, tmp_path, monkeypatch):
    out = ("--out", tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"resnet18\.pth: these tensors .* do not fit the other: layer1\.2\.conv1"):
        run(monkeypatch, "adopt", state_file[1], "--depth", 34, *ADOPT, *out)
    (tmp_path / "other.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"other\.pth: not a weights file: it is text that begins with 'nothing'$"):
        run(monkeypatch, "adopt", tmp_path / "other.pth", "--depth", 18, *ADOPT, *out)
    with pytest.raises(UserError, match="holds a net with projections"):
        run(monkeypatch, "adopt", state_file[1], "--depth", 18, *ADOPT, "--shortcut", "A", *out)
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(UserError, match=r"linear\.pth: not the state dict of an ImageNet net"):
        run(monkeypatch, "adopt", tmp_path / "linear.pth", "--depth", 18, *ADOPT, *out)


@pytest.mark.parametrize("prefix", ["module.", "net.", "model."])
def test_wrapped_checkpoints_are_adopted_too(prefix, state_file, tmp_path, monkeypatch):
    reference, _ = state_file
    state = {prefix + name.replace("fc.", "linear."): value for name, value in reference.state_dict().items()}
    path, weights = tmp_path / "wrapped.pth", tmp_path / "net.safetensors"
    adopt = ("adopt", path, "--depth", 18, *ADOPT, "--out", weights)
    torch.save({"epoch": 90, "state_dict": state}, path)
    assert run(monkeypatch, *adopt) == 0
    net, images = load_net(weights).net, torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(net(images), reference(images), rtol=1e-4, atol=1e-4)
    del state[prefix + "bn1.bias"]
    torch.save({"state_dict": state | {"centers": torch.zeros(3)}}, path)
    with pytest.raises(UserError, match=r"wrapped\.pth: these tensors .* do not fit the other: bn1\.bias, centers$"):
        run(monkeypatch, *adopt)


@pytest.mark.parametrize(("content", "what"), [(b"", "it is empty"), (b"<html>", "it is text"), (None, "no such")])
def test_what_is_no_checkpoint_is_not_adopted(content, what, tmp_path, monkeypatch):
    if content is not None:
        (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(UserError, match=rf"net\.pth: .*{what}") as error:
        run(monkeypatch, "adopt", tmp_path / "net.pth", "--depth", 18, *ADOPT, "--out", tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shortcut", ["none", "A"])
def test_nets_without_projections_are_adopted_with_the_chosen_shortcut(shortcut, tmp_path, monkeypatch):
    """A plain net and its twin with option A have the same weights."""
    net = imagenet_net(18, None if shortcut == "none" else "A", 5).eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    weights, adopt = tmp_path / "net.safetensors", ("adopt", tmp_path / "net.pth", "--depth", 18, *ADOPT)
    with pytest.raises(UserError, match="choose --shortcut none or --shortcut A"):
        run(monkeypatch, *adopt, "--out", weights)
    assert run(monkeypatch, *adopt, "--shortcut", shortcut, "--out", weights) == 0
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(load_net(weights).net(images), net(images))


def test_normalization_is_never_guessed(state_file, monkeypatch):
    with pytest.raises(UserError, match="does not say how images are normalized"):
        run(monkeypatch, "score", state_file[1])


def recorded(path, net, recipe, **architecture):
    path.write_bytes(weights_bytes(net, MEAN, architecture, recipe))
    return path


def test_weights_that_do_not_match_the_folder(folder, tmp_path, monkeypatch):
    cifar = recorded(tmp_path / "cifar.safetensors", cifar_net(8), {}, family="cifar", depth=8)
    with pytest.raises(UserError, match="holds a CIFAR net"):
        load_model(cifar)
    shape = {"family": "imagenet", "depth": 18}
    two = {"classes": ["n01", "n02"], "size": 32}
    few = recorded(tmp_path / "few.safetensors", imagenet_net(18, num_classes=2), two, num_classes=2, **shape)
    with pytest.raises(
        UserError, match=r"contains 1 classes that .*few.* was not trained on, such as n03; it has 2 classes"
    ):
        run(monkeypatch, "score", few, "--data-dir", folder)
    five = recorded(
        tmp_path / "five.safetensors", imagenet_net(18, num_classes=5), {"size": 32}, num_classes=5, **shape
    )
    with pytest.raises(UserError, match=r"contains 3 classes, but .* has 5 unnamed classes"):
        run(monkeypatch, "score", five, "--data-dir", folder)


def test_classes_are_matched_by_name(folder, tmp_path):
    from plainres.scoring.models import labels_for

    model = model_of(Oracle(), {"classes": ["n00", *reversed(CLASSES)]})
    photos = Photos(folder / "val")
    assert labels_for(model, photos, tmp_path).tolist() == [3] * 4 + [2] * 4 + [1] * 4
