"""Photographs: batches, crops, colour noise, file formats, unreadable files and unusable folders."""

import errno
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import CLASSES, draw_photo, make_photos
from PIL import Image
from torchvision.transforms.v2.functional import center_crop, resize

from plainres.data import BatchLoader, ImageNetData, imagenet
from plainres.data.augmentation import EIGENVALUES, EIGENVECTORS, MEAN, AugmentationStream, jittered_crop, normalize
from plainres.data.imagenet import BadImages
from plainres.data.photos import BadImage, Photos, center_view, decode
from plainres.errors import UserError


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(imagenet, "TEST_BATCH", 5)


@pytest.fixture
def folder(tmp_path):
    return make_photos(tmp_path / "photos")


def data_of(folder, shard=None, **changes):
    data = ImageNetData(folder, **({"size": 32, "iterations": 8, "batch_size": 5, "workers": 0} | changes))
    data.setup()
    if shard:
        data.trainer = SimpleNamespace(global_rank=shard[0], world_size=shard[1])
    return data


# The batches of a run


@settings(max_examples=20)
@given(seed=st.integers(0, 2**62), images=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_every_pass_contains_each_image_once(seed, images, batch_size):
    stream = AugmentationStream(seed, images, batch_size)
    index = torch.cat([stream.batch(i).index for i in range(-(-3 * images // batch_size))])
    for begin in range(0, 3 * images, images):
        assert index[begin : begin + images].sort().values.tolist() == list(range(images))


def test_batch_depends_only_on_seed_and_iteration():
    stream, same = AugmentationStream(7, 30, 8), AugmentationStream(7, 30, 8)
    forward = [stream.batch(i) for i in range(12)]
    backward = [same.batch(i) for i in reversed(range(12))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(forward[0].index, AugmentationStream(8, 30, 8).batch(0).index)


def test_augmentations_have_the_documented_distributions():
    augmentations = AugmentationStream(0, 20_000, 20_000).batch(0)
    assert augmentations.crop.min() >= 0 and augmentations.crop.max() < 1
    assert augmentations.flip.float().mean() == pytest.approx(0.5, abs=0.02)
    assert augmentations.colour.std() == pytest.approx(0.1, rel=0.02)


# Crops


def test_scale_decides_how_much_a_crop_covers():
    ramp = torch.arange(240, dtype=torch.uint8).expand(3, 240, 240).contiguous()
    smallest = jittered_crop(ramp, torch.tensor([0.9999, 0.0, 0.0]), 224)
    widest = jittered_crop(ramp, torch.tensor([0.0, 0.0, 0.9999]), 224)
    # 224 of 480 is 112 of 240 pixels; 224 of 256 is 210.
    assert (smallest[0, 0, 0].item(), smallest[0, 0, -1].item()) == (0, pytest.approx(111, abs=1))
    assert (widest[0, 0, 0].item(), widest[0, 0, -1].item()) == (pytest.approx(30, abs=1), pytest.approx(239, abs=1))


@settings(max_examples=15)
@given(crop=st.tuples(*[st.floats(0, 0.999)] * 3), size=st.sampled_from([(60, 90), (91, 61), (300, 40), (1, 1)]))
def test_crop_equals_that_of_the_resized_photograph(crop, size):
    """Up to the rounding of the position, on an image that is linear in both directions."""
    height, width = size
    y, x = torch.linspace(0, 200, height), torch.linspace(0, 50, width)
    image = (y[:, None] + x).round().to(torch.uint8).expand(3, -1, -1).contiguous()
    scale, vertical, horizontal = torch.tensor(crop).tolist()
    cropped = jittered_crop(image, torch.tensor(crop), 28)
    resized = resize(image, [32 + int(scale * 29)], antialias=True)
    top, left = int(vertical * (resized.shape[1] - 28 + 1)), int(horizontal * (resized.shape[2] - 28 + 1))
    expected = resized[:, top : top + 28, left : left + 28].float()
    assert cropped.shape == (3, 28, 28)
    if min(size) > 1:
        step = 250 / min(size)  # difference between two neighbouring pixels
        assert (cropped.float() - expected).abs().mean() < 1.5 * step


def test_centre_crop_is_taken_from_a_shorter_side_of_256(folder):
    image = Photos(folder / "val").read(5)
    resized = resize(image, [256], antialias=True)
    assert torch.equal(center_view(image, 224), center_crop(resized, [224, 224]))


def test_normalize_flips_adds_colour_noise_and_subtracts_the_mean():
    pixels = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    colour = torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.2, 0.3]])
    mean = torch.tensor(MEAN)[:, None, None]
    images = normalize(pixels, torch.tensor([False, True]), colour)
    torch.testing.assert_close(images[0], pixels[0] / 255 - mean)
    shift = [sum(EIGENVECTORS[c][k] * EIGENVALUES[k] * colour[1, k].item() for k in range(3)) for c in range(3)]
    torch.testing.assert_close(images[1], pixels[1].flip(2) / 255 + torch.tensor(shift)[:, None, None] - mean)
    assert images.is_contiguous(memory_format=torch.channels_last)


# The data module


def batches(data, start, stop):
    items, options = data.train_items()
    return [data.inputs(batch) for batch in BatchLoader(items, range(start, stop), **options)]


def test_resumed_run_gets_the_batches_of_an_uninterrupted_one(folder):
    complete = batches(data_of(folder), 0, 8)
    resumed = batches(data_of(folder, workers=1), 5, 8)
    for (images, labels), (same_images, same_labels) in zip(complete[5:], resumed, strict=True):
        assert torch.equal(images, same_images) and torch.equal(labels, same_labels)
    assert complete[0][0].shape == (5, 3, 32, 32)
    assert not torch.equal(batches(data_of(folder, seed=1), 0, 1)[0][0], complete[0][0])


def test_processes_divide_each_batch_without_overlap(folder):
    (images, labels), *_ = batches(data_of(folder, batch_size=6), 0, 1)
    shares = [batches(data_of(folder, batch_size=6, shard=(rank, 2)), 0, 1)[0] for rank in (0, 1)]
    assert torch.equal(torch.cat([share_images for share_images, _ in shares]), images)
    assert torch.equal(torch.cat([share_labels for _, share_labels in shares]), labels)
    tested = [rows.labels for rank in (0, 1) for rows in data_of(folder, shard=(rank, 2)).views("test")]
    assert [len(batch) for batch in tested] == [5, 1, 5, 1]
    assert torch.equal(torch.cat(tested), data_of(folder).parts["test"].labels)


def test_images_have_the_labels_of_their_folders(folder):
    data = data_of(folder)
    for images, labels in [*batches(data, 0, 8), *(data.inputs(rows, "test") for rows in data.views("test"))]:
        assert torch.equal((images + data.mean).mean((2, 3)).argmax(1), labels)
    assert sum(len(data.inputs(rows, "test")[1]) for rows in data.views("test")) == len(data.parts["test"]) == 12
    assert [len(rows.labels) for rows in data.first(7)] == [5, 2]
    assert data.class_names == ["n01", "n02", "n03"]


def test_probes_see_a_fixed_sample_of_mixed_classes(folder):
    """Photographs are sorted by class, so the first ones would all belong to one class."""
    photos = data_of(folder).parts["train"]
    labels = torch.cat([rows.labels for rows in data_of(folder).first(len(photos))])
    assert torch.equal(labels.sort().values, photos.labels) and not torch.equal(labels, photos.labels)
    assert torch.equal(torch.cat([rows.labels for rows in data_of(folder).first(7)]), labels[:7])


def test_hidden_and_system_folders_are_neither_classes_nor_hold_images(folder, capsys):
    before = data_of(folder)
    for name in (".ipynb_checkpoints", "__MACOSX", "n01/.thumbnails", "n01/@eaDir"):
        (folder / "train" / name).mkdir()
        shutil.copy(next((folder / "train" / "n01").glob("*.JPEG")), folder / "train" / name / "a.jpg")
    after = data_of(folder)
    assert after.class_names == before.class_names and len(after.parts["train"]) == len(before.parts["train"])
    data_of(folder)
    assert capsys.readouterr().err.count("train: 2 hidden or system folders are not classes\n") == 1


# Files


def test_all_formats_are_decoded_as_by_pil(tmp_path):
    photo = draw_photo(0, 0)
    formats = {
        "rgb.jpg": photo,
        "cmyk.jpg": photo.convert("CMYK"),
        "grey.jpg": photo.convert("L"),
        "alpha.png": photo.convert("RGBA"),
        "palette.png": photo.convert("P"),
        "bits.png": photo.convert("1"),
        "still.gif": photo,
        "bitmap.bmp": photo,
        "scan.tiff": photo,
        "map.ppm": photo,
    }
    for name, image in formats.items():
        path = tmp_path / name
        image.save(path)
        with Image.open(path) as opened:
            expected = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
        torch.testing.assert_close(decode(path), expected, atol=1, rtol=0)
    photo.save(tmp_path / "named.JPEG", format="PNG")  # one image of ILSVRC-2012 is such a file
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
def test_damaged_files_are_bad_images(folder, how):
    path = folder / "train" / "n01" / "0.JPEG"
    damage(path, how)
    with pytest.raises(BadImage):
        decode(path)


@pytest.mark.parametrize("name", ["scan.tiff", "bitmap.bmp", "map.ppm"])
def test_damaged_files_of_other_formats_are_bad_images(tmp_path, name):
    draw_photo(0, 0).save(tmp_path / name)
    damage(tmp_path / name, "truncated")
    with pytest.raises(BadImage):
        decode(tmp_path / name)


def test_images_whose_values_would_be_clipped_are_bad_images(tmp_path):
    deep = np.asarray(draw_photo(0, 0).convert("L")).astype(np.uint16) * 257
    for values in (deep, deep.astype(np.float32) / 65_535):
        Image.fromarray(values).save(tmp_path / "deep.tiff")
        with pytest.raises(BadImage, match="only 8 bits per value"):
            decode(tmp_path / "deep.tiff")


def test_header_of_a_huge_image_is_a_bad_image(tmp_path, monkeypatch):
    draw_photo(0, 0).save(tmp_path / "huge.bmp")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(BadImage, match="exceeds limit"):
        decode(tmp_path / "huge.bmp")


def test_unreadable_images_are_replaced_and_reported_once_up_to_a_limit(folder, tmp_path, capsys):
    complete = batches(data_of(folder), 0, 8)
    damage(folder / "train" / "n02" / "3.JPEG", "truncated")
    log = tmp_path / "bad.log"
    data = data_of(folder, bad_log=log)
    replaced = batches(data, 0, 8)
    assert [len(labels) for _, labels in replaced] == [5] * 8
    before, after = (torch.cat([images for images, _ in run]) for run in (complete, replaced))
    different = (before != after).flatten(1).any(1).sum()
    assert 2 <= different <= 3  # 40 examples of 18 images show each image two or three times
    assert re.fullmatch(r".*n02/3\.JPEG\t.*truncated.*\n", log.read_text("utf-8"))
    assert capsys.readouterr().err.count("skipped") == 1
    # Files in the log of an earlier start count towards the limit.
    damage(folder / "train" / "n03" / "0.JPEG", "empty")
    with pytest.raises(UserError, match=rf"2 images cannot be read, listed in {log}; at most 1"):
        batches(data_of(folder, bad_log=log, bad_limit=1), 0, 8)


def test_limit_of_unreadable_images_counts_those_of_all_processes(tmp_path, capsys):
    log = tmp_path / "bad.tsv"
    processes = [BadImages(5, log) for _ in range(3)]
    for number, process in enumerate(processes[:2]):
        process.add(tmp_path, tuple((f"{number}-{file}.jpg", "empty") for file in range(2)))
    assert len(log.read_text("utf-8").splitlines()) == 4
    with pytest.raises(UserError, match="6 images cannot be read"):
        processes[2].add(tmp_path, (("a.jpg", "empty"), ("b.jpg", "empty")))


def test_unreadable_image_whose_name_is_not_unicode_is_listed(tmp_path, capsys):
    log, name = tmp_path / "bad.tsv", os.fsdecode(b"caf\xe9.jpg")
    BadImages(5, log).add(tmp_path, ((name, "empty"),))
    assert b"caf\xe9.jpg\tempty\n" in log.read_bytes() and "skipped" in capsys.readouterr().err
    again = BadImages(5, log)
    again.add(tmp_path, ((name, "empty"),))
    assert again.names == {str(tmp_path / name)} and not capsys.readouterr().err


def test_log_of_unreadable_images_that_cannot_be_written_is_one_line(tmp_path, capsys):
    with pytest.raises(UserError, match=r"bad\.tsv: cannot be written"):
        BadImages(5, tmp_path / "absent" / "bad.tsv").add(tmp_path, (("a.jpg", "empty"),))


def test_unreadable_test_images_are_left_out_and_reported(folder, capsys):
    damage(folder / "val" / "n01" / "2.JPEG", "text")
    data = data_of(folder)
    labels = torch.cat([data.inputs(rows, "test")[1] for rows in data.views("test")])
    assert labels.tolist() == [0] * 3 + [1] * 4 + [2] * 4
    assert "n01/2.JPEG: skipped" in capsys.readouterr().err


def test_folder_without_readable_images_is_rejected(folder):
    for path in (folder / "train").glob("*/*"):
        damage(path, "empty")
    data = data_of(folder)
    with pytest.raises(UserError, match=r"train: 18 consecutive images cannot be read \(\S+: [^\n]+\)$"):
        data.inputs(next(iter(data.train_dataloader())))


def test_error_for_unreadable_test_images_has_no_traceback_of_a_worker(folder):
    for path in (folder / "val").glob("*/*"):
        damage(path, "empty")
    data = data_of(folder, workers=1)
    with pytest.raises(UserError, match=r"val: 5 consecutive images cannot be read \(\S+: [^\n]+\)$"):
        data.inputs(next(iter(data.views("test"))), "test")


def test_link_to_a_missing_file_is_an_unreadable_image(folder):
    (folder / "val" / "n01" / "9.JPEG").symlink_to(folder / "gone")
    data = data_of(folder)
    before = data.parts["test"].md5()
    labels = torch.cat([data.inputs(rows, "test")[1] for rows in data.views("test")])
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    (folder / "gone").write_bytes(b"now it is there")
    assert data.parts["test"].md5() != before


def test_folder_that_cannot_be_read_is_rejected(folder, monkeypatch):
    def fail(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("plainres.data.photos.os.scandir", fail)
    with pytest.raises(UserError, match=r"train: the folder cannot be read \(Permission denied\)"):
        data_of(folder)


# Folders


def test_missing_folder_is_rejected(tmp_path):
    with pytest.raises(UserError, match=r"train: no such folder"):
        data_of(tmp_path)


def test_error_for_unsorted_images_gives_the_command_to_sort_them(folder):
    for path in list((folder / "val").glob("*/*")):
        path.rename(folder / "val" / f"{path.parent.name}-{path.name}")
    for name in CLASSES:
        (folder / "val" / name).rmdir()
    with pytest.raises(UserError, match=r"val: the images are not sorted .*torchvision\.datasets\.ImageNet"):
        data_of(folder)


def test_folder_without_classes_is_rejected(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="train: no class folders"):
        data_of(tmp_path)


def test_class_without_images_is_rejected(folder):
    for path in (folder / "train" / "n02").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"train/n02: this class folder contains no images"):
        data_of(folder)


def test_different_class_folders_are_rejected(folder):
    (folder / "val" / "n03").rename(folder / "val" / "n04")
    with pytest.raises(UserError, match=r"val lacks 1 class folders of .*train, such as n03"):
        data_of(folder)
