"""Figures, tables and verdicts from hand-made records; records that are partial, diverged or unreadable."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from plainres.errors import UserError
from plainres.report import Results, read_study, write_study
from plainres.report.claims import judge_results
from plainres.report.degradation import verdict
from plainres.report.document import README_MARKS, readme_section, update_readme, write_report
from plainres.report.figures import figure_1, figure_6, figure_budgets
from plainres.report.records import budget_series, largest_study
from plainres.report.tables import table_6, table_6_markdown
from plainres.report.write import save_figure, write_all
from plainres.training import RunConfig


def write_run(results, train_error, test_error, outcome="finished", **config):
    """A record as training would leave it, with errors that fall to the given ones."""
    config = RunConfig(**{"iterations": 64_000} | config)
    folder = results / config.folder
    folder.mkdir(parents=True)
    steps = np.arange(1, 65) * config.iterations // 64
    frame = pd.DataFrame({"iteration": steps, "train_error": np.linspace(90, train_error, 64)})
    frame["test_error"] = np.linspace(90, test_error, 64)
    frame.to_csv(folder / "metrics.csv", index=False)
    final = {"iteration": config.iterations, "train_error": train_error, "test_error": test_error}
    run = {
        "study": config.study,
        "net": config.net,
        "outcome": outcome,
        "config": asdict(config),
        "config_hash": config.hash,
        "complexity": {"parameters": 269_722, "multiply_adds": 40_551_040},
        "final": final
        | {"clean_train_error": train_error, "averaged_bn_test_error": test_error}
        | {"best_test_error": test_error, "best_test_iteration": config.iterations},
        "warmup_end": 0,
        "seconds": 10.0,
        "provenance": {"commit": "abc", "dirty": False, "torch": "2", "hardware": {"cpu": "test CPU", "threads": 2}},
    }
    (folder / "run.json").write_text(json.dumps(run))
    return folder


@pytest.fixture
def study(tmp_path):
    for shortcut, depth, train, test in (
        (None, 20, 5.0, 9.0),
        (None, 56, 12.0, 14.0),
        ("A", 20, 3.0, 8.5),
        ("A", 56, 1.0, 7.0),
    ):
        for seed in (0, 1):
            write_run(tmp_path, train + seed, test + seed, depth=depth, shortcut=shortcut, seed=seed)
    return read_study(tmp_path / "cifar10-64k-fp32")


def test_table_6_has_means_and_differences(study):
    table = table_6(study).set_index("net")
    assert list(table.index)[:4] == ["plain-20", "plain-56", "resnet-20", "resnet-56"]
    assert table.loc["Highway-32 (paper's table)", "paper"] == "8.80"
    assert table.loc["resnet-56", "paper"] == "6.97"
    assert table.loc["resnet-56", "ours"] == "7.50 ± 0.71 (n = 2)"
    assert table.loc["resnet-56", "difference"] == "+0.53"
    assert table.loc["plain-56", "paper"] == "-"
    assert table.loc["plain-56", "parameters"] == "0.27M"


def test_resnet_110_is_compared_with_the_papers_mean(tmp_path):
    write_run(tmp_path, 0.1, 6.50, depth=110)
    table = table_6(read_study(tmp_path / "cifar10-64k-fp32")).set_index("net")
    assert table.loc["resnet-110", "difference"] == "-0.11"
    assert "best of 5" in table.loc["resnet-110", "paper"]
    assert table.loc["resnet-110", "ours"] == "6.50 (n = 1)"


def test_table_6_has_no_difference_below_the_papers_budget(tmp_path):
    write_run(tmp_path, 10.0, 13.2, depth=20, iterations=8_000)
    table = table_6(read_study(tmp_path / "cifar10-8k-fp32")).set_index("net")
    assert table.loc["resnet-20", ["paper", "difference"]].tolist() == ["8.75", "-"]


def test_verdict_says_what_the_records_carry(study):
    text = verdict(study)
    assert "the training error goes from 5.5 to 12.5%" in text
    assert "ends worse on its own training set, which is degradation" in text
    assert "+11.0 and +7.0 at 56 layers" in text
    assert "the deeper residual net has the lower training error" in text
    assert "no interval" not in text
    assert text == f"{study.describe()}. {verdict(study, described=False)}"
    assert "± standard deviation" in table_6_markdown(study)


def test_verdict_on_single_runs_names_a_direction_only(tmp_path):
    for depth, error in ((20, 1.1), (56, 9.7)):
        write_run(tmp_path, error, error, depth=depth, shortcut=None)
    text = verdict(read_study(tmp_path / "cifar10-64k-fp32"))
    assert "ends worse on its own training set, the direction of degradation." in text
    assert "which is degradation" not in text and "One run per net: no interval can be given." in text


@pytest.mark.parametrize(
    ("deep", "finding"), [(5.4, "direction of degradation"), (4.6, "does not have the higher training error")]
)
def test_verdict_on_seeds_that_differ_more_than_nets_does_not_exclude_chance(tmp_path, deep, finding):
    for shortcut in (None, "A"):
        for depth, error in ((20, 5.0), (56, deep)):
            for seed in (0, 1):
                write_run(tmp_path, error + seed, error + seed, depth=depth, shortcut=shortcut, seed=seed)
    text = verdict(read_study(tmp_path / "cifar10-64k-fp32"))
    assert finding in text and "which is degradation" not in text
    plain, residual = text.split("Plain minus residual twin")
    assert "a difference that chance can explain" in plain
    assert "a difference that chance can explain" in residual


def test_verdict_of_a_short_budget_does_not_claim_the_end(tmp_path):
    for depth, error in ((20, 40.0), (44, 60.0)):
        write_run(tmp_path, error, error, depth=depth, shortcut=None, iterations=1_000)
    text = verdict(read_study(tmp_path / "cifar10-1k-fp32"))
    assert "cannot tell a worse end from a slower start" in text and "degradation." not in text
    assert "1.6% of the paper's 64,000 iterations" in text
    assert "One run per net: no interval can be given." in text


def test_verdict_at_an_eighth_of_the_budget_gives_a_direction(tmp_path):
    for depth, error in ((20, 14.7), (56, 53.2)):
        write_run(tmp_path, error, error, depth=depth, shortcut=None, iterations=8_000)
    text = verdict(read_study(tmp_path / "cifar10-8k-fp32"))
    assert "the direction of degradation." in text and "12.5% of the paper's 64,000 iterations" in text


def test_a_lower_error_of_the_deeper_plain_net_is_said_too(tmp_path):
    for depth, error in ((20, 10.0), (44, 8.0)):
        write_run(tmp_path, error, error, depth=depth, shortcut=None)
        write_run(tmp_path, error + 1, error + 1, depth=depth)
    text = verdict(read_study(tmp_path / "cifar10-64k-fp32"))
    assert "the deeper plain net does not have the higher training error: degradation is not seen here. Try" in text
    assert "At 44 layers, shortcuts do not help here. Try another seed" in text


def test_figures_show_every_net(study):
    panels = figure_6(study).axes
    assert [axes.get_title() for axes in panels] == ["plain nets", "residual nets"]
    assert [axes.get_ylim() for axes in panels] == [(0, 20), (0, 20)]
    for axes, prefix in zip(panels, ("plain", "resnet"), strict=True):
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == [f"{prefix}-20", f"{prefix}-56", "training", "test"]
    line = panels[0].get_lines()[1]
    assert line.get_ydata()[-1] == pytest.approx(9.5)  # the mean over seeds of plain-20's last test error
    assert len(figure_1(study).axes) == 2


def test_report_is_written_whole_and_alike_each_time(study):
    first = {path: path.read_bytes() for path in write_study(study)}
    assert {path.name for path in first} == {
        *("figure1.png", "figure6.png", "study.md"),
    }
    assert all(path.read_bytes() == first[path] for path in write_study(study))


def test_demo_is_named_everywhere(tmp_path):
    for depth in (8, 20):
        write_run(tmp_path, 30.0, 30.0, depth=depth, shortcut=None, dataset="demo", batch_size=64, iterations=64)
    study = read_study(tmp_path / "demo-64-fp32")
    assert "not CIFAR-10" in table_6_markdown(study) and "demo set" in verdict(study)
    for figure in (figure_1(study), figure_6(study)):
        assert "DEMO SET, not CIFAR-10" in figure.get_suptitle()
    assert largest_study([study]) is None


def test_title_and_caption_fit_into_a_figure_of_one_panel(tmp_path):
    for depth in (20, 56):
        write_run(tmp_path, 30.0, 30.0, depth=depth, shortcut=None)
    figure = figure_6(read_study(tmp_path / "cifar10-64k-fp32"))
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_text() in (figure.get_suptitle(), figure.get_supxlabel())]
    assert len(texts) == 2
    for text in texts:
        assert figure.bbox.x0 <= text.get_window_extent().x0 < text.get_window_extent().x1 <= figure.bbox.x1


def test_captions_are_one_line_without_hardware(tmp_path):
    for depth, seeds in ((20, (0, 1, 2)), (56, (0,))):
        for seed in seeds:
            write_run(tmp_path, 30.0, 30.0, depth=depth, shortcut=None, seed=seed)
    study = read_study(tmp_path / "cifar10-64k-fp32")
    line = "CIFAR-10, 50k training images, 64,000 iterations of 128, fp32, 1 to 3 seeds per net"
    assert study.describe() == line
    for draw in (figure_1, figure_6):
        assert draw(study).get_supxlabel() == f"{line}. Bands: lowest to highest seed."
    study.runs = [run for run in study.runs if run.seed == 0]
    assert figure_6(study).get_supxlabel().endswith("fp32, 1 seed per net.")


def test_figures_do_not_depend_on_the_users_settings(study, tmp_path):
    expected = save_figure(figure_6(study), tmp_path / "figure.png").read_bytes()
    with plt.rc_context({"savefig.dpi": 30, "font.size": 30, "axes.facecolor": "red", "figure.autolayout": True}):
        before = dict(plt.rcParams)
        assert save_figure(figure_6(study), tmp_path / "figure.png").read_bytes() == expected
        assert dict(plt.rcParams) == before


@pytest.fixture
def damaged(study):
    """The study with a record of each bad kind in place of four good ones' seeds."""
    results = study.folder.parent
    write_run(results, 50.0, 50.0, outcome="running", depth=32, shortcut=None)
    write_run(results, 90.0, 90.0, outcome="diverged", depth=44, shortcut=None)
    (write_run(results, 5.0, 5.0, depth=32) / "run.json").write_text('{"outcome": "finis')
    metrics = write_run(results, 5.0, 5.0, depth=44) / "metrics.csv"
    metrics.write_text(metrics.read_text("utf-8").replace("train_error", "error"))
    metrics = write_run(results, 5.0, 5.0, depth=44, seed=1) / "metrics.csv"
    metrics.write_text(metrics.read_text("utf-8").replace("\n1000,", "\none thousand,"))
    metrics = write_run(results, 5.0, 5.0, depth=44, seed=2) / "metrics.csv"
    metrics.write_text("".join(metrics.read_text("utf-8").splitlines(keepends=True)[:-1]))
    (write_run(results, 5.0, 5.0, depth=44, seed=3) / "run.json").write_text("[]")
    return read_study(study.folder)


def test_bad_records_are_listed_and_never_averaged_in(study, damaged):
    assert table_6(damaged).equals(table_6(study))
    told = {(name, outcome) for name, outcome, _ in damaged.others}
    assert told == {
        ("plain-32/seed-0", "partial"),
        ("plain-44/seed-0", "diverged"),
        ("resnet-32/seed-0", "unreadable"),
        ("resnet-44/seed-0", "unreadable"),
        ("resnet-44/seed-1", "unreadable"),
        ("resnet-44/seed-2", "unreadable"),
        ("resnet-44/seed-3", "unreadable"),
    }
    text = table_6_markdown(damaged)
    assert all(name in text for name, _ in told)


def test_studies_are_found_and_the_largest_budget_is_shown_first(study, tmp_path):
    write_run(tmp_path, 40.0, 40.0, depth=20, iterations=1_000)
    studies = Results(tmp_path).studies
    assert [found.name for found in studies] == ["cifar10-1k-fp32", "cifar10-64k-fp32"]
    assert largest_study(studies).name == "cifar10-64k-fp32"
    write_run(tmp_path, 10.0, 10.0, depth=20, shortcut=None, iterations=128_000)
    assert largest_study(Results(tmp_path).studies).name == "cifar10-64k-fp32", "one depth shows no degradation"


def test_readme_section_is_replaced_and_the_rest_stays(study, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{README_MARKS[0]}\nstale\n{README_MARKS[1]}\nafter\n")
    for _ in range(2):
        update_readme(readme, study, Results(study.folder.parent))
    text = readme.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "stale" not in text
    assert text.count("cifar10-64k-fp32/figure6.png") == 1


def test_files_are_utf_8_in_every_locale(tmp_path):
    """In the C locale without UTF-8 mode, Python encodes in ASCII what no encoding is given for."""
    run_json, readme = write_run(tmp_path, 5.0, 9.0, depth=20, shortcut=None) / "run.json", tmp_path / "README.md"
    run_json.write_text(run_json.read_text(encoding="utf-8").replace("test CPU", "测试 CPU"), encoding="utf-8")
    readme.write_text(f"Größe ×\n{README_MARKS[0]}\n{README_MARKS[1]}\n±", encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    command = [sys.executable, "-m", "plainres", "report", "--readme", str(readme), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, env=os.environ | locale)
    assert done.returncode == 0, done.stderr
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("Größe ×\n") and text.endswith("\n±") and "cifar10-64k-fp32/figure6.png" in text
    for name in ("REPORT.md", "report.html"):
        assert "测试 CPU" in (tmp_path / name).read_text(encoding="utf-8")


def test_readme_shows_both_budgets_and_the_verdicts(tmp_path):
    for shortcut, depth, error in ((None, 20, 9.0), (None, 56, 12.0), ("A", 20, 8.5)):
        write_run(tmp_path, error, error, depth=depth, shortcut=shortcut)
        for seed in (0, 1, 2):
            more = {"iterations": 8_000, "seed": seed}
            write_run(tmp_path, 3 * error + seed, 3 * error + seed, depth=depth, shortcut=shortcut, **more)
    studies = Results(tmp_path).studies
    text = readme_section(largest_study(studies), tmp_path, Results(tmp_path))
    row = "| degradation, training error | +3.00 (n = 1) | +9.00 ± 2.27 (n = 3) | direction reproduced |"
    assert row in text, text
    assert "Test error minus that of the paper's Table 6: resnet-20 -0.25 points." in text
    assert "](cifar10-64k-fp32/figure6.png)" in text and "(REPORT.md#claims-of-the-paper)" in text
    assert len(re.findall(r"[A-Za-z][\w-]*", text)) <= 250


def test_readme_without_both_marks_stays_as_it_is(study, tmp_path):
    begin, end = README_MARKS
    readme = tmp_path / "README.md"
    for text in (f"before\n{begin}\nold\nafter\n", f"{end}\nold\n{begin}\n", ""):
        readme.write_text(text)
        with pytest.raises(UserError, match="in this order"):
            update_readme(readme, study, Results(study.folder.parent))
        assert readme.read_text("utf-8") == text
    elsewhere = tmp_path / "docs" / "README.md"
    elsewhere.parent.mkdir()
    elsewhere.write_text(f"{begin}\n{end}\n")
    with pytest.raises(UserError, match="must be in a folder above the records"):
        update_readme(elsewhere, study, Results(tmp_path))
    with pytest.raises(UserError, match="none"):
        update_readme(tmp_path / "none.md", study, Results(tmp_path))


@pytest.mark.parametrize("part", ["readme", "figures", "report"])
def test_full_disk_leaves_the_old_files_and_one_line(study, tmp_path, monkeypatch, part, request):
    if part != "figures":
        request.getfixturevalue("undrawn")
    readme = tmp_path / "README.md"
    readme.write_text(f"{README_MARKS[0]}\nold\n{README_MARKS[1]}\n")
    write_report(write_all(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_run(tmp_path, 4.0, 8.0, depth=32)
    changed = read_study(study.folder)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    write = {
        "readme": lambda: update_readme(readme, changed, Results(tmp_path)),
        "figures": lambda: write_study(changed),
        "report": lambda: write_report(Results(tmp_path)),
    }
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        write[part]()
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_study_without_results_does_not_stop_the_report(study, tmp_path, undrawn):
    (write_run(tmp_path, 5.0, 9.0, depth=20, iterations=320) / "run.json").write_text("{")
    write_run(tmp_path, 90.0, 90.0, "diverged", depth=20, iterations=640)
    for path in write_report(write_all(tmp_path)):
        assert path.exists()
    text = (tmp_path / "REPORT.md").read_text("utf-8")
    assert "- cifar10-320-fp32/resnet-20/seed-0: unreadable, JSONDecodeError" in text
    assert "- cifar10-640-fp32/resnet-20/seed-0: diverged" in text
    assert "## cifar10-64k-fp32" in text and "## cifar10-640-fp32" not in text


def test_held_out_images_come_after_the_whole_training_set(tmp_path):
    for train_set, seeds in (("45k", (0, 1)), ("50k", (0,))):
        for depth in (20, 56):
            for seed in seeds:
                write_run(tmp_path, 5.0, 9.0, depth=depth, train_set=train_set, seed=seed)
    studies = Results(tmp_path).studies
    assert largest_study(studies).name == "cifar10-64k-fp32"
    verdict = judge_results(Results(tmp_path))["better with depth"]
    assert [effect.study for effect in verdict.parts[0].effects] == ["cifar10-64k-fp32"]


def test_report_needs_no_torch():
    code = "import sys, plainres.report; sys.exit('torch' in sys.modules or 'pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_figure_6_has_a_right_panel_for_1202_layers(tmp_path):
    for shortcut, depth in ((None, 20), (None, 110), ("A", 20), ("A", 110), ("A", 1202)):
        write_run(tmp_path, 5.0, 9.0, depth=depth, shortcut=shortcut)
    panels = figure_6(read_study(tmp_path / "cifar10-64k-fp32")).axes
    labels = {axes.get_title(): {text.get_text() for text in axes.get_legend().get_texts()} for axes in panels}
    assert labels["110 and 1202 layers"] >= {"resnet-110", "resnet-1202"}
    assert "resnet-1202" not in labels["residual nets"] and "plain-110" not in labels["plain nets"]


def joined(figure):
    """The training errors that each line joins."""
    return [list(line.get_ydata()) for line in figure.axes[0].get_lines() if len(line.get_ydata())]


def test_budgets_are_drawn_for_nets_that_have_several(tmp_path):
    for iterations, error in ((1_000, 60.0), (2_000, 50.0)):
        for shortcut, better in ((None, 0.0), ("A", 20.0)):
            write_run(tmp_path, error - better, error, depth=56, shortcut=shortcut, iterations=iterations)
    write_run(tmp_path, 40.0, 40.0, depth=20, iterations=1_000)  # at one budget
    assert joined(figure_budgets(Results(tmp_path).studies)) == [[60.0, 50.0], [40.0, 30.0]]
    write_all(tmp_path)
    assert (tmp_path / "budgets-cifar10-50k-fp32.png").exists()


def test_budgets_of_nets_of_one_kind_and_depth_look_different(tmp_path):
    for iterations in (1_000, 2_000):
        for clip in (0.0, 1.0):
            write_run(tmp_path, 60.0, 60.0, depth=56, shortcut=None, iterations=iterations, clip=clip)
    handles = figure_budgets(Results(tmp_path).studies).axes[1].get_legend().legend_handles
    looks = {handle.get_label(): (handle.get_marker(), str(handle.get_markerfacecolor())) for handle in handles}
    assert list(looks) == ["plain-56", "plain-56-clip1"] and len(set(looks.values())) == 2


def test_budgets_of_other_batch_normalization_are_a_series_of_their_own(tmp_path):
    for iterations in (1_000, 2_000):
        for micro_batch, error in ((0, 60.0), (64, 40.0)):
            for shortcut in (None, "A"):
                shared = {"depth": 56, "shortcut": shortcut, "iterations": iterations, "micro_batch": micro_batch}
                write_run(tmp_path, error, error, **shared)
    series = budget_series(Results(tmp_path).studies)
    assert {name: [study.iterations for study in studies] for name, studies in series.items()} == {
        "cifar10-50k-fp32": [1_000, 2_000],
        "cifar10-50k-bn64-fp32": [1_000, 2_000],
    }


def test_budgets_join_runs_of_one_seed_on_the_same_hardware_alone(tmp_path):
    for iterations, error in ((1_000, 60.0), (2_000, 50.0), (4_000, 40.0)):
        for seed in (0, 1):
            folder = write_run(tmp_path, error + seed, error, depth=56, iterations=iterations, seed=seed)
            if (iterations, seed) in ((2_000, 0), (4_000, 1)):
                run_json = folder / "run.json"
                run_json.write_text(run_json.read_text("utf-8").replace("test CPU", "other CPU"))
    lines = joined(figure_budgets(Results(tmp_path).studies))
    assert sorted(lines) == [[41.0], [50.0], [60.0, 40.0], [61.0, 51.0]]
