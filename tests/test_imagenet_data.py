"""Photographs: the training stream, crops, colour, every kind of file, and what is wrong with folders."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import CLASSES, draw_photo, make_photos
from PIL import Image
from torchvision.transforms.v2.functional import center_crop, resize

from plainres.data import ImageNetData
from plainres.data.imagenet.augmentation import DrawStream
from plainres.data.imagenet.batches import EIGENVALUES, EIGENVECTORS, MEAN, PhotoBatch, jittered_crop, normalized
from plainres.data.imagenet.photos import BadImage, Photos, center_view, decode
from plainres.errors import UserError


@pytest.fixture
def folder(tmp_path):
    return make_photos(tmp_path / "photos")


def data_of(folder, **changes):
    data = ImageNetData(folder, **({"size": 32, "iterations": 8, "batch_size": 5, "workers": 0} | changes))
    data.setup()
    return data


# The stream


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**62), images=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_stream_holds_each_image_once_a_pass(seed, images, batch_size):
    stream = DrawStream(seed, images, batch_size)
    index = torch.cat([stream.batch(i).index for i in range(-(-3 * images // batch_size))])
    for begin in range(0, 3 * images, images):
        assert index[begin : begin + images].sort().values.tolist() == list(range(images))


def test_a_batch_depends_on_seed_and_iteration_alone():
    there, back = DrawStream(7, 30, 8), DrawStream(7, 30, 8)
    forward = [there.batch(i) for i in range(12)]
    backward = [back.batch(i) for i in reversed(range(12))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(forward[0].index, DrawStream(8, 30, 8).batch(0).index)


def test_draws_have_the_stated_ranges():
    draws = DrawStream(0, 20_000, 20_000).batch(0)
    assert draws.place.min() >= 0 and draws.place.max() < 1
    assert draws.flip.float().mean() == pytest.approx(0.5, abs=0.02)
    assert draws.colour.std() == pytest.approx(0.1, rel=0.02)


# Crops


def test_crop_covers_what_the_scale_says():
    ramp = torch.arange(240, dtype=torch.uint8).expand(3, 240, 240).contiguous()
    smallest = jittered_crop(ramp, torch.tensor([0.9999, 0.0, 0.0]), 224)
    widest = jittered_crop(ramp, torch.tensor([0.0, 0.0, 0.9999]), 224)
    # 224 of 480 is 112 of 240 pixels; 224 of 256 is 210.
    assert (smallest[0, 0, 0].item(), smallest[0, 0, -1].item()) == (0, pytest.approx(111, abs=1))
    assert (widest[0, 0, 0].item(), widest[0, 0, -1].item()) == (pytest.approx(30, abs=1), pytest.approx(239, abs=1))


@settings(deadline=None, max_examples=15)
@given(place=st.tuples(*[st.floats(0, 0.999)] * 3), size=st.sampled_from([(60, 90), (91, 61), (300, 40), (1, 1)]))
def test_crop_is_that_of_the_resized_photograph(place, size):
    """To the rounding of the square's place, on a picture that is linear in both directions."""
    height, width = size
    y, x = torch.linspace(0, 200, height), torch.linspace(0, 50, width)
    image = (y[:, None] + x).round().to(torch.uint8).expand(3, -1, -1).contiguous()
    crop = jittered_crop(image, torch.tensor(place), 28)
    short = 32 + int(torch.tensor(place[0]).item() * 29)
    whole = resize(image, [short], antialias=True)
    top = int(torch.tensor(place[1]).item() * (whole.shape[1] - 28 + 1))
    left = int(torch.tensor(place[2]).item() * (whole.shape[2] - 28 + 1))
    expected = whole[:, top : top + 28, left : left + 28].float()
    assert crop.shape == (3, 28, 28)
    if min(size) > 1:
        step = 250 / min(size)  # a pixel's worth of the picture
        assert (crop.float() - expected).abs().mean() < 1.5 * step


def test_centre_crop_is_the_usual_one(folder):
    image = Photos(folder / "val").read(5)
    whole = resize(image, [256], antialias=True)
    assert torch.equal(center_view(image, 224), center_crop(whole, [224, 224]))


def test_flip_colour_and_mean_by_hand():
    pixels = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    colour = torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.2, 0.3]])
    batch = PhotoBatch(pixels, torch.zeros(2), torch.tensor([False, True]), colour, ())
    mean = torch.tensor(MEAN)[:, None, None]
    images = normalized(batch, mean)
    torch.testing.assert_close(images[0], pixels[0] / 255 - mean)
    shift = [sum(EIGENVECTORS[c][k] * EIGENVALUES[k] * colour[1, k].item() for k in range(3)) for c in range(3)]
    torch.testing.assert_close(images[1], pixels[1].flip(2) / 255 + torch.tensor(shift)[:, None, None] - mean)
    assert images.is_contiguous(memory_format=torch.channels_last)


# The module


def batches(data, start, stop):
    return [data.inputs(batch) for batch in data.train_batches([slice(start, stop)])]


def test_batches_from_the_middle_are_those_of_a_whole_run(folder):
    whole = batches(data_of(folder), 0, 8)
    rest = batches(data_of(folder, workers=1), 5, 8)
    for (images, labels), (again, labels_again) in zip(whole[5:], rest, strict=True):
        assert torch.equal(images, again) and torch.equal(labels, labels_again)
    assert whole[0][0].shape == (5, 3, 32, 32)
    assert not torch.equal(batches(data_of(folder, seed=1), 0, 1)[0][0], whole[0][0])


def test_processes_share_each_batch_without_overlap(folder):
    (images, labels), *_ = batches(data_of(folder, batch_size=6), 0, 1)
    shares = [batches(data_of(folder, batch_size=6, shard=(rank, 2)), 0, 1)[0] for rank in (0, 1)]
    assert torch.equal(torch.cat([part for part, _ in shares]), images)
    assert torch.equal(torch.cat([of_part for _, of_part in shares]), labels)
    seen = [rows.labels for rank in (0, 1) for rows in data_of(folder, shard=(rank, 2)).views("test", 5)]
    assert [len(some) for some in seen] == [5, 1, 5, 1]
    assert torch.equal(torch.cat(seen), data_of(folder).parts["test"].labels)


def test_labels_are_those_of_the_folders(folder):
    data = data_of(folder)
    for images, labels in [*batches(data, 0, 8), *(data.inputs(rows, "test") for rows in data.views("test", 5))]:
        assert torch.equal((images + data.mean).mean((2, 3)).argmax(1), labels)
    assert sum(len(data.inputs(rows, "test")[1]) for rows in data.views("test", 5)) == len(data.parts["test"]) == 12
    assert [len(rows.labels) for rows in data.first(7, 5)] == [5, 2]
    assert data.class_names == ["n01", "n02", "n03"]


def test_probes_see_a_fixed_sample_of_mixed_classes(folder):
    """Photographs are sorted by class: the first ones would all be of one."""
    photos = data_of(folder).parts["train"]
    labels = torch.cat([rows.labels for rows in data_of(folder).first(len(photos), 5)])
    assert torch.equal(labels.sort().values, photos.labels) and not torch.equal(labels, photos.labels)
    assert torch.equal(torch.cat([rows.labels for rows in data_of(folder).first(7, 5)]), labels[:7])


# Files


def test_every_kind_of_file_is_decoded_as_pil_does(tmp_path):
    photo = draw_photo(0, 0)
    kinds = {
        "rgb.jpg": photo,
        "cmyk.jpg": photo.convert("CMYK"),
        "grey.jpg": photo.convert("L"),
        "alpha.png": photo.convert("RGBA"),
        "palette.png": photo.convert("P"),
        "bits.png": photo.convert("1"),
        "still.gif": photo,
    }
    for name, image in kinds.items():
        path = tmp_path / name
        image.save(path)
        with Image.open(path) as opened:
            expected = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
        torch.testing.assert_close(decode(path), expected, atol=1, rtol=0)
    photo.save(tmp_path / "named.JPEG", format="PNG")  # as one image of ILSVRC-2012 is
    assert decode(tmp_path / "named.JPEG").shape == (3, 60, 80)
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(decode(tmp_path / "deep.png")[1].numpy(), deep // 257)
    photo.save(tmp_path / "moving.gif", save_all=True, append_images=[draw_photo(1, 1)])
    assert decode(tmp_path / "moving.gif").shape == (3, 60, 80)


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"no image" * 99}[how])


@pytest.mark.parametrize("how", ["truncated", "empty", "text"])
def test_file_that_is_no_image_is_bad(folder, how):
    path = folder / "train" / "n01" / "0.JPEG"
    damage(path, how)
    with pytest.raises(BadImage):
        decode(path)


def test_unreadable_images_are_replaced_named_once_and_limited(folder, tmp_path, capsys):
    whole = batches(data_of(folder), 0, 8)
    damage(folder / "train" / "n02" / "3.JPEG", "truncated")
    log = tmp_path / "bad.log"
    data = data_of(folder, bad_log=log)
    replaced = batches(data, 0, 8)
    assert [len(labels) for _, labels in replaced] == [5] * 8
    before, after = (torch.cat([images for images, _ in several]) for several in (whole, replaced))
    different = (before != after).flatten(1).any(1).sum()
    assert 2 <= different <= 3  # 40 draws out of 18: each image comes twice or three times
    assert re.fullmatch(r".*n02/3\.JPEG\t.*truncated.*\n", log.read_text())
    assert capsys.readouterr().err.count("skipped") == 1
    # A later sitting knows of it, and counts it.
    damage(folder / "train" / "n03" / "0.JPEG", "empty")
    with pytest.raises(UserError, match=rf"2 images cannot be read, listed in {log}; at most 1"):
        batches(data_of(folder, bad_log=log, bad_limit=1), 0, 8)


def test_unreadable_test_images_are_left_out_and_counted(folder, capsys):
    damage(folder / "val" / "n01" / "2.JPEG", "text")
    data = data_of(folder)
    labels = torch.cat([data.inputs(rows, "test")[1] for rows in data.views("test", 5)])
    assert labels.tolist() == [0] * 3 + [1] * 4 + [2] * 4
    assert "n01/2.JPEG: skipped" in capsys.readouterr().err


def test_no_readable_image_at_all(folder):
    for path in (folder / "train").glob("*/*"):
        damage(path, "empty")
    with pytest.raises(UserError, match="none of its 18 images can be read"):
        batches(data_of(folder), 0, 1)


# Folders


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match=r"train: no such folder"):
        data_of(tmp_path)


def test_flat_folder_says_how_to_sort_it(folder):
    for path in list((folder / "val").glob("*/*")):
        path.rename(folder / "val" / f"{path.parent.name}-{path.name}")
    for name in CLASSES:
        (folder / "val" / name).rmdir()
    with pytest.raises(UserError, match=r"val: images lie here unsorted.*torchvision\.datasets\.ImageNet"):
        data_of(folder)


def test_folder_without_classes(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="no class folders there"):
        data_of(tmp_path)


def test_class_without_images(folder):
    for path in (folder / "train" / "n02").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"train/n02: no images in this class folder"):
        data_of(folder)


def test_class_folders_that_differ(folder):
    (folder / "val" / "n03").rename(folder / "val" / "n04")
    with pytest.raises(UserError, match=r"val has no class folder n03, which .*train has"):
        data_of(folder)
