"""Small images: batch tables, gathering, the validation split, the demo set, CIFAR files and their errors."""

import errno
import itertools
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import config, train
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import calculate_md5

from plainres.catalog.datasets import CIFAR100 as CIFAR100_INFO
from plainres.data import CifarData, DataMissing, ImageSet, batch_table, demo_set
from plainres.data.cifar import unaugmented
from plainres.data.cifar_files import require_cifar, validation_split
from plainres.errors import UserError
from plainres.nets import load_net
from plainres.report.tables import table_6
from plainres.report.write import write_all
from plainres.training import RunConfig


@given(seed=st.integers(0, 2**32), images=st.integers(5, 60), iterations=st.integers(1, 40), batch=st.integers(1, 16))
@settings(max_examples=30)
def test_every_pass_contains_each_image_once(seed, images, iterations, batch):
    table = batch_table(seed, iterations, images, batch)
    assert table.shape == (iterations, batch, 4)
    index = table[..., 0].flatten()
    for start in range(0, len(index) - images + 1, images):
        assert index[start : start + images].sort().values.tolist() == list(range(images))
    assert table[..., 1:3].min() >= 0 and table[..., 1:3].max() <= 8
    assert set(table[..., 3].unique().tolist()) <= {0, 1}


def test_all_offsets_and_flips_are_equally_likely():
    table = batch_table(0, 400, 1000).reshape(-1, 4)
    for column, values in ((1, 9), (2, 9), (3, 2)):
        counts = table[:, column].bincount()
        assert len(counts) == values
        assert (counts / len(table) - 1 / values).abs().max() < 0.01


@given(seed=st.integers(0, 99), short=st.integers(1, 20), more=st.integers(0, 20))
@settings(max_examples=10)
def test_table_depends_only_on_its_arguments_and_begins_like_shorter_ones(seed, short, more):
    torch.manual_seed(short)  # the global random state has no influence
    long = batch_table(seed, short + more, 50, 16)
    assert torch.equal(batch_table(seed, short, 50, 16), long[:short])
    assert not torch.equal(batch_table(seed + 1, short, 50, 16), long[:short])


def reference_augmentation(image, mean, dy, dx, flip):
    """Augment one image as section 4.2 describes it: subtract the mean, pad by 4, crop, flip."""
    padded = pad((image.float() - mean).permute(2, 0, 1) / 255, (4, 4, 4, 4))
    height, width = image.shape[:2]
    crop = padded[:, dy : dy + height, dx : dx + width]
    return crop.flip(2) if flip else crop


def test_gather_equals_the_reference_augmentation_bit_for_bit():
    pixels, labels = demo_set(60, seed=3)
    mean = pixels.float().mean(0)
    rows = batch_table(0, 3, 60, 64).reshape(-1, 4)
    images, gathered_labels = ImageSet(pixels, labels, mean).gather(rows)
    assert images.is_contiguous(memory_format=torch.channels_last)
    for image, label, (index, dy, dx, flip) in zip(images, gathered_labels, rows.tolist(), strict=True):
        assert torch.equal(image, reference_augmentation(pixels[index], mean, dy, dx, flip))
        assert label == labels[index]


def test_unaugmented_rows_show_the_original_images():
    pixels, labels = demo_set(30, seed=3)
    mean = pixels.float().mean(0)
    images, same_labels = ImageSet(pixels, labels, mean).gather(unaugmented(30))
    assert torch.equal(images, ((pixels.float() - mean) / 255).permute(0, 3, 1, 2))
    assert torch.equal(labels, same_labels)


@pytest.mark.usefixtures("small_demo")
def test_data_module_views_every_image_once_and_subtracts_the_training_mean():
    data = CifarData(dataset="demo", iterations=64)
    data.setup()
    for part in ("train", "test"):
        rows = torch.cat(list(data.views(part)))
        assert torch.equal(rows, unaugmented(len(data.parts[part])))
    train = torch.cat([data.inputs(rows)[0] for rows in data.views("train")])
    assert train.mean(0).abs().max() < 1e-5
    raw = torch.cat([data.inputs(rows)[0] for rows in data.views("train")]) + data.mean
    assert raw.min() >= -1e-6 and raw.max() <= 1 + 1e-6


@pytest.mark.usefixtures("small_demo")
def test_training_loader_yields_the_rows_of_one_iteration_after_another_over_all_epochs():
    data = CifarData(dataset="demo", iterations=64, batch_size=32)
    data.setup()
    loader = data.train_dataloader()
    assert len(loader) == 20
    epochs = [torch.stack(list(loader)) for _ in range(4)]
    assert torch.equal(torch.cat(epochs), torch.cat((data.table, data.table[:16])))


@pytest.mark.usefixtures("small_demo")
@given(consumed=st.integers(0, 60))
def test_training_loader_resumes_after_the_batches_that_were_consumed(consumed):
    data = CifarData(dataset="demo", iterations=64, batch_size=32)
    data.setup()
    before, after = data.train_dataloader(), data.train_dataloader()
    stream = itertools.chain.from_iterable(itertools.repeat(before))
    list(itertools.islice(stream, consumed))
    after.load_state_dict(before.state_dict())
    assert torch.equal(next(iter(after)), data.table[consumed])


@pytest.mark.usefixtures("small_demo")
def test_micro_batches_and_shares_of_processes_make_up_the_batch():
    data = CifarData(dataset="demo", iterations=64, batch_size=32, micro_batch=8)
    data.setup()
    loader = data.train_dataloader()
    assert len(loader) == 80 and torch.equal(torch.cat(list(loader)[:4]), data.table[0])
    shares = []
    for rank in (0, 1):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        shares += list(data.train_dataloader())[2:4]
    assert torch.equal(torch.cat(shares), data.table[1])


@pytest.mark.parametrize("classes", [10, 100])
def test_validation_split_is_fixed_stratified_and_disjoint(classes):
    labels = torch.arange(50_000) % classes
    training, validation = validation_split(labels)
    assert len(training) == 45_000 and len(validation) == 5_000
    assert torch.equal(torch.cat((training, validation)).sort().values, torch.arange(50_000))
    assert labels[validation].bincount().tolist() == [5_000 // classes] * classes
    torch.manual_seed(1)
    assert torch.equal(validation_split(labels)[1], validation)


def test_demo_set_depends_on_its_seed():
    pixels, labels = demo_set(50, seed=0)
    assert torch.equal(pixels, demo_set(50, seed=0)[0])
    assert not torch.equal(pixels, demo_set(50, seed=1)[0])
    assert labels.bincount().tolist() == [5] * 10
    assert pixels.shape == (50, 16, 16, 3) and pixels.dtype == torch.uint8


def test_small_demo_images_are_averages_of_large_ones():
    large, small = (demo_set(20, seed=0, size=size)[0].double() for size in (32, 16))
    means = large.unflatten(1, (16, 2)).unflatten(3, (16, 2)).mean((2, 4))
    assert (small - means).abs().max() <= 1  # both are rounded


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "mnist"}, "data set must be one of cifar10, cifar100, demo"),
        ({"train_set": "40k"}, "training set must be one of 50k, 45k"),
        ({"dataset": "demo", "train_set": "45k"}, "no validation split"),
    ],
)
def test_unknown_data_sets_and_training_sets_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        CifarData(**arguments)


def fail_to_download(*_arguments, **_options):
    raise OSError("Network is unreachable")


def test_error_for_missing_data_names_the_folder_and_the_download(tmp_path, monkeypatch):
    monkeypatch.setattr("plainres.data.cifar_files.CIFAR10.download", fail_to_download)
    with pytest.raises(DataMissing) as error:
        require_cifar("cifar10", tmp_path)
    for words in (str(tmp_path), CIFAR10.url, CIFAR10.tgz_md5, "DATA_DIR="):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_while_one_process_downloads_the_other_waits(tmp_path, monkeypatch):
    """Without waiting, the second one would find half of the files, or write into the first one's archive."""
    running, seen = [], []

    def download(self, *_arguments, **_options):
        running.append(self)
        seen.append(len(running))
        (tmp_path / CIFAR10.base_folder).mkdir(exist_ok=True)
        time.sleep(0.2)
        running.pop()
        raise OSError("Network is unreachable")

    monkeypatch.setattr("plainres.data.cifar_files.CIFAR10.download", download)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(require_cifar, "cifar10", tmp_path) for _ in range(2)]
    assert {type(future.exception()) for future in futures} == {DataMissing, UserError}
    assert seen == [1]


def test_file_that_another_process_is_extracting_is_waited_for(made_cifar100, monkeypatch):
    path = made_cifar100 / CIFAR100.base_folder / "train"
    content = path.read_bytes()
    path.write_bytes(content[:-100])

    @contextmanager
    def wait(_data_dir):
        path.write_bytes(content)
        yield

    monkeypatch.setattr("plainres.data.cifar_files._one_at_a_time", wait)
    require_cifar("cifar100", made_cifar100)


@pytest.fixture
def copied_data(real_data_dir, tmp_path):
    shutil.copytree(real_data_dir / "cifar-10-batches-py", tmp_path / "cifar-10-batches-py")
    return tmp_path


@pytest.mark.parametrize("damage", ["removed", "truncated", "altered"])
def test_error_for_a_damaged_file_names_the_file_and_its_md5(copied_data, damage):
    path = copied_data / "cifar-10-batches-py" / "data_batch_3"
    if damage == "removed":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-100] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="data_batch_3: expected md5 54ebc095f3ab1f0389bbae665268c751"):
        require_cifar("cifar10", copied_data)


def test_file_that_cannot_be_read_is_named(made_cifar100, monkeypatch):
    def fail(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("plainres.data.cifar_files.calculate_md5", fail)
    with pytest.raises(UserError, match=r"train: the file cannot be read \(Permission denied\)"):
        require_cifar("cifar100", made_cifar100)


@pytest.fixture
def made_cifar100(tmp_path, monkeypatch):
    """A folder of random images in the format of CIFAR-100: 2 training images and 1 test image per class.

    The md5s that torchvision expects are replaced by those of the files.
    """
    folder = tmp_path / CIFAR100.base_folder
    folder.mkdir()
    for name, count in (("train", 200), ("test", 100)):
        labels = [i % 100 for i in range(count)]
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3072), dtype=np.uint8)
        superclasses = [label // 5 for label in labels]
        content = {"data": pixels, "fine_labels": labels, "coarse_labels": superclasses}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {i}" for i in range(100)]}))
    md5s = {path.name: calculate_md5(path) for path in folder.iterdir()}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5s["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5s["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": md5s["meta"]})
    return tmp_path


def test_cifar100_files_are_checked_and_read(made_cifar100):
    data = CifarData(made_cifar100, dataset="cifar100", iterations=64)
    data.prepare_data()
    data.setup()
    assert {name: len(part) for name, part in data.parts.items()} == {"train": 200, "test": 100}
    assert data.parts["test"].labels.tolist() == list(range(100))
    (made_cifar100 / CIFAR100.base_folder / "test").write_bytes(b"")
    with pytest.raises(ValueError, match="cifar-100-python/test: expected md5"):
        require_cifar("cifar100", made_cifar100)


def run_on_cifar100(data_dir, seed=0):
    data = CifarData(data_dir, dataset="cifar100", seed=seed, iterations=64, batch_size=8)
    data.prepare_data()
    data.setup()
    return data


def test_second_run_of_a_process_shares_images_and_batches(made_cifar100, monkeypatch):
    first = run_on_cifar100(made_cifar100)
    with monkeypatch.context() as patch:
        patch.setattr("plainres.data.cifar.load_cifar", None)
        patch.chdir(made_cifar100)
        second = run_on_cifar100(Path("."))
        assert second.table is first.table and second.parts == first.parts
        assert not torch.equal(run_on_cifar100(made_cifar100, seed=1).table, first.table)
    assert torch.equal(run_on_cifar100(made_cifar100).table, first.table)


def test_changed_file_or_folder_is_noticed_by_the_next_run(made_cifar100, tmp_path_factory, monkeypatch):
    run_on_cifar100(made_cifar100)
    path = made_cifar100 / CIFAR100.base_folder / "test"
    content = pickle.loads(path.read_bytes())
    content["fine_labels"].reverse()
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="cifar-100-python/test: expected md5"):
        run_on_cifar100(made_cifar100)
    with pytest.raises(DataMissing):
        monkeypatch.setattr("plainres.data.cifar_files.CIFAR100.download", fail_to_download)
        run_on_cifar100(tmp_path_factory.mktemp("empty"))


@pytest.mark.usefixtures("small_demo", "undrawn")
def test_cifar100_run_is_reported_without_published_figures(made_cifar100, monkeypatch):
    monkeypatch.setitem(CIFAR100_INFO.sizes, "50k", {"train": 200, "test": 100})
    results = made_cifar100 / "results"
    nets = [config(dataset="cifar100", shortcut=shortcut, batch_size=8) for shortcut in (None, "A")]
    for run_config in nets:
        run = train(results, run_config, data_dir=made_cifar100)
        assert (run["study"], run["config"]["num_classes"]) == ("cifar100-64-fp32", 100)
    net = load_net(results / nets[1].folder / "weights.safetensors")
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 100)
    (study,) = write_all(results).studies
    assert study.describe().startswith("CIFAR-100, 50k training images, 64 iterations")
    table = table_6(study)
    assert "paper" not in table and "difference" not in table
    assert table["net"].tolist() == ["plain-8-batch8", "resnet-8-batch8"]


def test_number_of_classes_follows_from_the_data_set():
    assert RunConfig(depth=20, dataset="cifar100").num_classes == 100
    assert RunConfig(depth=20).hash == RunConfig(depth=20, num_classes=10, image_size=32).hash
    with pytest.raises(ValueError, match="CIFAR-100 has 100 classes, not 10"):
        RunConfig(depth=20, dataset="cifar100", num_classes=10)


def test_real_cifar10_has_the_known_labels_and_mean(real_data_dir):
    data = CifarData(real_data_dir, train_set="45k", iterations=64)
    data.prepare_data()
    data.setup()
    assert {name: len(part) for name, part in data.parts.items()} == {"train": 45_000, "test": 10_000, "val": 5_000}
    assert data.parts["val"].labels.bincount().tolist() == [500] * 10
    assert data.parts["test"].labels[:5].tolist() == [3, 8, 8, 0, 6]
    assert data.mean.mean((1, 2)).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)
