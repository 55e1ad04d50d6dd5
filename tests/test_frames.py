"""Records as tidy frames, opening them from a notebook, and runs in progress."""

import json
import shutil
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, run_plainres
from PIL import Image
from test_report import write_run

from plainres import report
from plainres.errors import UserError
from plainres.records import frames
from plainres.records.config import CONFIG_DEFAULTS
from plainres.records.record import hardware_name
from plainres.report import drawing, figures, layer_figures
from plainres.report.tables import table_6, table_6_markdown
from plainres.report.write import FIGURES, save_figure, write_all

COMMITTED = ROOT / "results" / "cifar10-8k-bf16"


def write_layers(folder, layers, **columns):
    """Probes of a run at its beginning and at its end."""
    frame = pd.DataFrame({"layer": range(1, layers + 1), "name": "conv"})
    for column in ("response_std", "forward_variance", "gradient_norm"):
        frame[column] = 1.0
    parts = [frame.assign(iteration=i, **columns) for i in (0, 64_000)]
    pd.concat(parts).to_csv(folder / "probes.csv", index=False)


def write_partial(results, done=20, **config):
    """A run that has written so many of its 64 rows."""
    folder = write_run(results, 10.0, 12.0, outcome="running", **config)
    text = (folder / "run.json").read_text("utf-8").replace('"final"', '"unused"').replace('"seconds"', '"also_unused"')
    (folder / "run.json").write_text(text)
    lines = (folder / "metrics.csv").read_text("utf-8").splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[: done + 1]))
    return folder


@pytest.fixture
def results(tmp_path):
    """Finished plain and residual nets at the paper's budget, with probes, and a shorter study."""
    for shortcut, depth, error in ((None, 20, 9.0), (None, 56, 12.0), ("A", 20, 8.5), ("A", 56, 7.0)):
        for seed in (0, 1):
            folder = write_run(tmp_path, error - 3 + seed, error + seed, depth=depth, shortcut=shortcut, seed=seed)
            write_layers(folder, depth - 1)
    write_run(tmp_path, 40.0, 45.0, depth=20, iterations=1_000)
    yield report.open(tmp_path)
    plt.close("all")


def test_importing_and_opening_needs_no_torch():
    code = (
        "import sys; from plainres import report; study = report.open('results').largest('cifar10'); "
        "assert len(study.metrics) and len(study.probes) and len(study.overview); "
        "sys.exit(any(name.partition('.')[0] in ('torch', 'pytorch_lightning') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT / "notebooks").returncode == 0


def test_results_are_found_from_any_folder_below(results, monkeypatch):
    folder = results.folder / "notebooks" / "deep"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    name = results.folder.name
    assert report.open(f"../{name}").names == report.open(name).names == ["cifar10-1k-fp32", "cifar10-64k-fp32"]
    # Started outside of any project: the checkout of the package.
    assert report.open("results").folder.samefile(ROOT / "results")
    with pytest.raises(UserError, match=r"no records in a folder nowhere in .*make demo"):
        report.open("nowhere")


def test_studies_are_opened_by_name_and_by_size(results):
    assert results["cifar10-1k-fp32"].iterations == 1_000
    assert results.largest("cifar10").name == "cifar10-64k-fp32"
    assert results.names == ["cifar10-1k-fp32", "cifar10-64k-fp32"]
    with pytest.raises(UserError, match="no study 'other'"):
        results["other"]
    with pytest.raises(UserError, match="no finished run on imagenet"):
        results.largest("imagenet")


def test_frames_have_one_row_per_observation(results):
    study = results.largest()
    assert len(study.metrics) == 8 * 64 and len(study.overview) == 8
    assert len(study.probes) == 2 * 2 * 2 * (19 + 55)
    last = study.metrics[study.metrics["iteration"] == 64_000].groupby("net")["test_error"].mean()
    assert last.to_dict() == {"plain-20": 9.5, "plain-56": 12.5, "resnet-20": 9.0, "resnet-56": 7.5}
    row = study.overview.set_index(["net", "seed"]).loc[("resnet-56", 1)]
    assert (row["kind"], row["depth"], row["shortcut"], row["outcome"]) == ("residual", 56, "A", "finished")
    assert row["test_error"] == row["last_test_error"] == 8.0 and row["commit"] == "abc" and row["norm"] == "batch"
    assert study.overview.set_index("net")["shortcut"]["plain-20"].tolist() == ["none", "none"]
    assert set(results.metrics["study"]) == {"cifar10-1k-fp32", "cifar10-64k-fp32"}
    assert len(results.overview) == 9 and len(results.probes) == len(study.probes)


def test_every_column_of_the_published_records_is_documented():
    opened = report.open(ROOT / "results")
    for frame, columns in (
        (opened.metrics, frames.METRICS),
        (opened.probes, frames.PROBES),
        (opened.overview, frames.OVERVIEW | CONFIG_DEFAULTS | {"exact_bn_images": "in records of ImageNet nets only"}),
    ):
        assert list(frame)[:7] == list(frames.IDENTITY)
        assert set(frame) <= {*frames.IDENTITY, *columns}, "describe the new column in plainres.records.frames"
        assert frame[list(frames.IDENTITY)].notna().all().all()


def test_frames_of_no_runs_have_all_columns():
    assert list(frames.metrics_frame([])) == [*frames.IDENTITY, *frames.METRICS]
    assert list(frames.probes_frame([])) == [*frames.IDENTITY, *frames.PROBES]
    assert set(frames.overview_frame([])) == {*frames.IDENTITY, *CONFIG_DEFAULTS, *frames.OVERVIEW}


def test_figure_1_has_the_papers_nets_and_colours(results):
    write_run(results.folder, 9.0, 10.0, depth=110, shortcut=None)
    figure = figures.figure_1(report.open(results.folder).largest())
    for panel, column in zip(figure.axes, ("training", "test"), strict=True):
        assert panel.get_ylabel() == f"{column} error (%)" and panel.get_ylim() == (0, 20)
        colours = {entry.get_label(): entry.get_color() for entry in panel.get_legend().legend_handles}
        assert list(colours) == ["20-layer", "56-layer"]
        assert [line.get_color() for line in panel.get_lines()[:2]] == list(colours.values())


def test_legend_entries_look_like_their_lines(results):
    panel = figures.figure_6(results.largest()).axes[0]
    lines = {line.get_color(): line for line in panel.get_lines() if line.get_linestyle() == "-"}
    for entry in panel.get_legend().legend_handles[:2]:
        line = lines[entry.get_color()]
        assert (entry.get_linestyle(), entry.get_linewidth(), entry.get_marker()) == (
            line.get_linestyle(), line.get_linewidth(), line.get_marker(),
        )  # fmt: skip


def test_one_exploded_net_does_not_rule_figure_7(results):
    study = results.largest()
    write_layers(study.folder / "plain-56" / "seed-0", 55, response_std=100.0)
    panel = layer_figures.figure_7(report.open(results.folder).largest()).axes[0]
    low, high = (panel.transData.transform((0, y))[1] for y in (0.5, 1.0))
    assert high - low > 0.05 * panel.bbox.height, "a factor of two among the other nets must be visible"


@pytest.mark.parametrize("ratio", [1.5, 40, 1e5])
def test_logarithmic_axes_have_several_labels_whatever_they_span(results, ratio):
    study = results.largest()
    write_layers(study.folder / "plain-20" / "seed-0", 19, gradient_norm=0.07 * np.geomspace(1, ratio, 19))
    for net in ("plain-56", "resnet-20", "resnet-56"):
        write_layers(study.folder / net / "seed-0", int(net[-2:]) - 1, gradient_norm=0.07)
    figure = layer_figures.gradients(report.open(results.folder).largest())
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    low, high = axis.get_view_interval()
    labels = [tick.label1.get_text() for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
              if low <= tick.get_loc() <= high and tick.label1.get_text()]  # fmt: skip
    assert len(labels) >= 2
    assert ratio > 300 or all("$" not in label for label in labels), "powers of ten only where there are several"


def test_variants_are_left_out_of_figures_by_layer_beside_the_nets_of_the_paper(tmp_path):
    for clip in (0.0, 1.0, 2.0):
        write_layers(write_run(tmp_path, 9.0, 12.0, depth=56, shortcut=None, clip=clip), 55)
    study = report.open(tmp_path).largest()
    assert list(layer_figures.probed_runs(study, "response_std")) == ["plain-56"]
    shutil.rmtree(study.folder / "plain-56")
    variants = layer_figures.probed_runs(report.open(tmp_path).largest(), "response_std")
    assert list(variants) == ["plain-56-clip1", "plain-56-clip2"]


def test_weights_are_drawn_where_records_have_them(results):
    study = results.largest()
    assert layer_figures.weights(study) is None
    for run in study.runs:
        write_layers(run.folder, run.depth - 1, relative_weight_norm=3.0, weight_angle=40.0)
    figure = layer_figures.weights(report.open(results.folder).largest())
    assert [axes.get_title() for axes in figure.axes[:4]] == ["plain-20", "plain-56", "resnet-20", "resnet-56"]
    norm, angle = (figure.axes[i].get_lines() for i in (1, 5))
    assert set(norm[0].get_ydata()) == {3.0} and set(angle[0].get_ydata()) == {40.0} and len(norm) == 1


def test_legend_names_few_iterations_of_a_run_in_progress(tmp_path):
    write_partial(tmp_path, done=5, depth=44, shortcut=None, iterations=6_400)
    panel = figures.figure_6(report.open(tmp_path).studies[0]).axes[0]
    assert "plain-44, seed 0 (500 of 6.4k)" in {text.get_text() for text in panel.get_legend().get_texts()}


@pytest.mark.parametrize("rows", [3, 8])
def test_one_test_error_of_a_run_in_progress_is_a_point_and_training_a_line(tmp_path, rows):
    folder = write_partial(tmp_path, done=rows, depth=44, shortcut=None)
    metrics = pd.read_csv(folder / "metrics.csv")
    metrics["test_error"] = metrics["test_error"].where(metrics["iteration"] == rows * 1_000)
    metrics.to_csv(folder / "metrics.csv", index=False)
    panel = figures.figure_6(report.open(tmp_path).studies[0]).axes[0]
    training, test = (next(line for line in panel.get_lines() if len(line.get_xdata()) == count) for count in (rows, 1))
    assert training.get_linestyle() == "--" and test.get_marker() != "None"


def test_partial_runs_are_shown_and_never_averaged(results):
    study = results.largest()
    before = table_6(study)
    write_partial(results.folder, depth=20, shortcut="A", seed=2)
    write_partial(results.folder, depth=44, shortcut=None)
    study = report.open(results.folder).largest()
    assert table_6(study).equals(before) and len(study.finals) == 8
    (line,) = (line for line in table_6_markdown(study).splitlines() if "plain-44" in line)
    assert line.startswith("- plain-44/seed-0: partial (20,000 of 64,000 iterations, last training error")
    assert line.endswith(f"last test error {90 - 78 * 19 / 63:.2f}%)")
    assert np.isnan(study.overview.set_index("net").loc["plain-44", "test_error"])
    assert set(study.metrics[study.metrics["net"] == "plain-44"]["outcome"]) == {"running"}
    plain, residual = figures.figure_6(study).axes
    labels = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in (plain, residual)]
    assert "plain-44, seed 0 (20k of 64k)" in labels[0] and "resnet-20, seed 2 (20k of 64k)" in labels[1]
    assert drawing.curves(study, "resnet-20", "test_error")["max"].iloc[-1] == 9.5
    assert "44-layer" not in {line.get_label() for line in figures.figure_1(study).axes[0].get_lines()}


def test_a_study_of_partial_runs_alone_is_drawn(tmp_path, monkeypatch, capsys):
    write_partial(tmp_path, depth=20)
    folder = write_partial(tmp_path, depth=20, shortcut=None)
    write_layers(folder, 19)
    (empty := write_partial(tmp_path, depth=56) / "metrics.csv").unlink()
    (study,) = write_all(tmp_path).studies
    assert not empty.exists()
    assert {path.name for path in study.folder.glob("*.*")} == {"figure6.png"}
    assert (study.iterations, study.info.name, study.dataset) == (64_000, "cifar10", "CIFAR-10")
    assert "64,000 iterations" in study.describe() and study.finals.empty
    assert [draw(study) for name, draw in FIGURES.items() if name != "figure6"] == [None] * (len(FIGURES) - 1)
    with pytest.raises(UserError, match="no finished run on cifar10"):
        report.open(tmp_path).largest()
    status, out, _ = run_plainres(monkeypatch, capsys, "report", str(tmp_path))
    assert status == 0 and "0 finished, 3 partial, 0 diverged" in out


def test_a_study_without_a_readable_record_says_so(tmp_path):
    (write_run(tmp_path, 5.0, 9.0, depth=20) / "run.json").write_text("{")
    (study,) = report.Results(tmp_path).studies
    assert study.others[0][1] == "unreadable" and study.overview.empty
    with pytest.raises(UserError, match="holds no record that can be read"):
        study.describe()


@pytest.mark.parametrize(
    ("hardware", "name"),
    [
        ({"cpu": "AMD EPYC", "cpu_capability": "AVX2", "amx": False, "threads": 1}, "AMD EPYC (AVX2, one thread)"),
        ({"cpu": "AMD EPYC", "cpu_capability": "AVX512", "amx": False, "threads": 1}, "AMD EPYC (AVX512, one thread)"),
        (
            {"cpu": "Intel(R) Xeon(R)", "cpu_capability": "AVX512", "amx": True, "threads": 2},
            "Intel Xeon (AMX, 2 threads)",
        ),
        ({"cpu": "AMD EPYC", "threads": 8, "gpu": "NVIDIA H200"}, "NVIDIA H200"),
    ],
)
def test_hardware_names_the_instruction_set_of_a_cpu(hardware, name):
    assert hardware_name({"provenance": {"hardware": hardware}}) == name


def test_a_history_of_hardware_is_told_in_order(tmp_path):
    path = write_run(tmp_path, 9.0, 9.0, depth=8) / "run.json"
    run = json.loads(path.read_text("utf-8"))
    hardware = run["provenance"]["hardware"] | {"threads": 1}
    run["provenance"]["earlier"] = [{"until": 9, "hardware": hardware}]
    path.write_text(json.dumps(run))
    (named,) = report.open(tmp_path).largest().finals["hardware"]
    assert named == "test CPU (one thread), then test CPU (2 threads)"


def test_saved_figures_are_small_and_alike(results, tmp_path):
    study = results.largest()
    first, second = (save_figure(figures.figure_6(study), tmp_path / f"{name}.png").read_bytes() for name in "ab")
    assert first == second and 5_000 < len(first) < 60_000


def test_saved_figures_keep_the_colors_of_small_marks(tmp_path):
    figure, axes = plt.subplots(figsize=(8, 6))
    for color in range(20):
        axes.plot(range(50), [color + i % 7 for i in range(50)], color=plt.colormaps["viridis"](color / 20))
    axes.plot(25, 12, "D", color="#d1495b", markerfacecolor="white", markersize=5)
    png = save_figure(figure, tmp_path / "figure.png")
    apart = np.abs(np.asarray(Image.open(png).convert("RGB")).astype(int) - (0xD1, 0x49, 0x5B)).max(axis=2)
    assert apart.min() < 10
