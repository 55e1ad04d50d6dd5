"""The LightningModule and the data modules as a Lightning user has them, with nothing but a Trainer."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from helpers import config, metrics
from photos import make_photos
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, WandbLogger

from plainres import CifarData, ClassificationModule, ImageNetData
from plainres.training.evaluation import Errors

SMALL = {"dataset": "demo", "iterations": 64, "batch_size": 32}
pytestmark = [
    pytest.mark.usefixtures("small_demo"),
    # Advice that Lightning gives for other kinds of data, or for longer runs
    pytest.mark.filterwarnings("ignore:.*(does not have many workers|smaller than the logging interval):"),
    pytest.mark.filterwarnings("ignore:.*(max_epochs. was not set|Checkpoint directory)"),
    pytest.mark.filterwarnings("ignore:.*ModelCheckpoint.*"),
]


def make(**settings):
    return ClassificationModule(depth=8, **SMALL | settings), CifarData(**SMALL)


def make_trainer(folder, **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(**quiet | {"default_root_dir": folder, "logger": False, "enable_checkpointing": False} | options)


def weights(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_example_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # begin of the example
    module = ClassificationModule(depth=8, shortcut=None, dataset="demo", iterations=64)
    data = CifarData(dataset="demo", iterations=64)
    trainer = pl.Trainer(max_steps=64, logger=CSVLogger("logs"), callbacks=[ModelCheckpoint(monitor="test_error")])
    trainer.fit(module, data)
    (errors,) = trainer.test(module, data)
    best = ClassificationModule.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    # end of the example
    assert errors["test_error"] == trainer.callback_metrics["test_error"] and best.config == module.config
    example = Path(__file__).read_text("utf-8").split("# begin of the example\n")[1].split("    # end")[0]
    documented = (Path(__file__).parents[1] / "docs" / "lightning.md").read_text("utf-8")
    assert "\n".join(line[4:] for line in example.splitlines()) in documented


def test_default_flags_train_like_the_study_and_loggers_get_the_rows_of_the_record(tmp_path, finished):
    module, data = make()
    logged, logger = [], CSVLogger(tmp_path)
    loggers = [logger, WandbLogger(experiment=Recorded(logged))]
    trainer = make_trainer(tmp_path, logger=loggers, callbacks=[LearningRateMonitor("step")])
    trainer.fit(module, data)
    assert trainer.global_step == 64 and trainer.current_epoch == 4
    results, run = finished
    for name in ("train_loss", "train_error", "test_loss", "test_error"):
        assert trainer.callback_metrics[name].item() == run["final"][name], "the study trains in the same way"
    written = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    recorded = metrics(results, config())
    rows = written[written["train_error"].notna()]
    names = ["iteration", "lr", "train_loss", "train_error"]
    pd.testing.assert_frame_equal(
        rows[names].reset_index(drop=True), recorded[names], check_dtype=False, rtol=1e-5, atol=1e-6
    )
    assert written["test_error"].dropna().iloc[-1] == pytest.approx(recorded["test_error"].iloc[-1])
    assert written["lr-SGD"].dropna().iloc[-1] == pytest.approx(0.001)
    assert [row["iteration"] for row in logged if "train_error" in row] == list(range(1, 65))
    assert any("test_error" in row for row in logged)


class Recorded:
    """A W&B run that keeps what is logged."""

    def __init__(self, logged):
        self.log, self.config = logged.append, self

    def update(self, *_, **__):
        pass

    def define_metric(self, *_, **__):
        pass


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": 30, "val_check_interval": 10, "check_val_every_n_epoch": None, "precision": "64-true"},
        {"fast_dev_run": True},
        {"max_epochs": 2, "limit_val_batches": 1, "limit_train_batches": 3},
        {"max_epochs": 1, "gradient_clip_val": 0.1, "precision": "bf16-mixed", "accumulate_grad_batches": 2},
        {"max_epochs": 1, "gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"},
        {"max_epochs": 1, "precision": "bf16-true"},
    ],
    ids=str,
)
def test_options_of_the_trainer(options, tmp_path):
    module, data = make()
    before = weights(module)
    trainer = make_trainer(tmp_path, **options)
    trainer.fit(module, data)
    steps = {"max_epochs": 20, "limit_train_batches": 6, "accumulate_grad_batches": 10, "max_steps": 30}
    expected = 1 if "fast_dev_run" in options else [steps[name] for name in steps if name in options]
    assert trainer.global_step == (expected if isinstance(expected, int) else min(expected))
    assert not torch.equal(weights(module).float(), before) and weights(module).isfinite().all()
    assert trainer.callback_metrics["test_error"] <= 100
    assert trainer.validate(module, data, verbose=False)[0].keys() >= {"test_loss", "test_error"}
    assert torch.cat(trainer.predict(module, data)).shape[1] == 10


def test_clip_is_a_setting_of_the_module_too(tmp_path):
    fitted = []
    for settings, options in (({"clip": 0.1}, {}), ({}, {"gradient_clip_val": 0.1}), ({}, {})):
        module, data = make(**settings)
        make_trainer(tmp_path, max_steps=2, limit_val_batches=0, **options).fit(module, data)
        fitted.append(weights(module))
    assert torch.equal(fitted[0], fitted[1]) and not torch.equal(fitted[0], fitted[2])


def test_time_before_training_does_not_count(tmp_path):
    module, data = make()
    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.validate(module, data, verbose=False)
    trainer.fit(module, data)
    assert 0 < module.seconds < 100


def test_sums_are_exact_in_half_precision():
    errors = Errors("train").to(dtype=torch.bfloat16)
    assert errors.loss.dtype == torch.bfloat16
    for _ in range(300):
        errors.update(torch.tensor(1.5), torch.eye(10), torch.arange(10))
    assert errors.compute() == {"train_loss": 1.5, "train_error": 0}


def test_overfit_batches_fit_the_same_batches_again(tmp_path):
    module, data = make(iterations=128)
    make_trainer(tmp_path, overfit_batches=1, max_steps=128, limit_val_batches=0).fit(module, data)
    assert module.row_errors[-1] < 10


def test_callbacks_get_the_metrics_and_checkpoints_are_loaded_with_their_settings(tmp_path):
    module, data = make(shortcut="B", classifier_init="small")
    best = ModelCheckpoint(tmp_path, monitor="test_error", save_last=True)
    stop = EarlyStopping("test_error", patience=0, min_delta=1000)
    trainer = make_trainer(tmp_path, enable_checkpointing=True, callbacks=[best, stop])
    trainer.fit(module, data)
    assert stop.stopped_epoch == 1 and trainer.global_step == 40
    assert best.best_model_score <= 100 and (tmp_path / "last.ckpt").exists()
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    loaded = ClassificationModule.load_from_checkpoint(tmp_path / "run.ckpt")
    assert loaded.config == module.config and torch.equal(weights(loaded), weights(module))


@pytest.mark.parametrize("stop", [1, 20, 37])
def test_run_that_is_resumed_anywhere_ends_like_an_uninterrupted_one(stop, tmp_path, finished):
    module, data = make()
    checkpoint = ModelCheckpoint(tmp_path, "stopped", every_n_train_steps=1)
    make_trainer(tmp_path, max_steps=stop, enable_checkpointing=True, callbacks=[checkpoint]).fit(module, data)
    module, data = make()
    trainer = make_trainer(tmp_path)
    trainer.fit(module, data, ckpt_path=tmp_path / "stopped.ckpt")
    assert trainer.global_step == 64
    for name in ("train_loss", "train_error", "test_loss", "test_error"):
        assert trainer.callback_metrics[name].item() == finished[1]["final"][name]


def test_photographs_are_ordinary_data(tmp_path):
    folder = make_photos(tmp_path / "photos")
    sizes = {"iterations": 64, "batch_size": 4}
    data = ImageNetData(folder, size=32, workers=0, **sizes)
    module = ClassificationModule(depth=18, dataset="imagenet", image_size=32, num_classes=3, **sizes)
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, data)
    assert trainer.global_step == 18 // 4
    assert trainer.test(module, data, verbose=False)[0].keys() >= {"test_error", "test_top5_error"}


DDP = """
import sys, warnings
sys.path.insert(0, "tests")
import pytest, torch
import pytorch_lightning as pl
from helpers import shrink_demo
from plainres import CifarData, ClassificationModule

if __name__ == "__main__":
    torch.set_num_threads(1)
    shrink_demo(pytest.MonkeyPatch())
    small = {"dataset": "demo", "iterations": 640, "batch_size": 32}  # a row is 10 iterations

    def fit(steps, checkpoint=None):
        trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_steps=steps, logger=False,
                             enable_checkpointing=False, enable_progress_bar=False, val_check_interval=10)
        trainer.fit(ClassificationModule(depth=8, **small), CifarData(**small), ckpt_path=checkpoint)
        return trainer

    trainers = [fit(10)]
    fit(5).save_checkpoint(sys.argv[1])
    trainers.append(fit(10, sys.argv[1]))
    for trainer in trainers:
        if trainer.is_global_zero:
            print("errors", *(trainer.callback_metrics[name].item() for name in ("train_error", "test_error")))
"""


@pytest.mark.slow
def test_two_devices_share_each_batch_and_resume_within_a_row(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(DDP)
    root = Path(__file__).parents[1]
    command = [sys.executable, script, tmp_path / "half.ckpt"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    line, resumed = [line for line in done.stdout.splitlines() if line.startswith("errors")]
    train_error, test_error = map(float, line.split()[1:])
    assert train_error * 320 / 100 == pytest.approx(round(train_error * 320 / 100)), "of 320 images"
    assert resumed == line
    assert test_error * 160 / 100 == pytest.approx(round(test_error * 160 / 100)), "of 160 images"


def test_importing_the_package_imports_no_torch():
    subprocess.run([sys.executable, "-c", "import sys, plainres; assert 'torch' not in sys.modules"], check=True)
    with pytest.raises(AttributeError, match="no attribute 'ResNet'"):
        import plainres

        plainres.ResNet  # noqa: B018
