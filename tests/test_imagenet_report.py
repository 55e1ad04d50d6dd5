"""Figure 4 and Tables 2 to 5, from records made up for the purpose."""

import json

import pandas as pd
import pytest

from plainres.errors import UserError
from plainres.report import Results, read_study, write_all
from plainres.report.claims import judge_results
from plainres.report.document import report_markdown
from plainres.report.imagenet import figure_4, finals_markdown, is_result, read_scores, tables_markdown
from plainres.report.verdicts import CONTRADICTED, DIRECTION, NOT_TESTED, OPEN, REPRODUCED
from plainres.report.write import save_figure, study_markdown

ITERATIONS = 600_000


def write_run(folder, net, shortcut, depth, errors, seed=0, **config):
    """A finished record whose last row has the errors (training, top-1, top-5)."""
    config = {
        "dataset": "imagenet",
        "num_classes": 1000,
        "image_size": 224,
        "depth": depth,
        "shortcut": shortcut,
        "seed": seed,
        "iterations": ITERATIONS,
        "batch_size": 256,
        "precision": "bf16",
        "train_set": "50k",
        "schedule": "plateau",
    } | config
    train, top1, top5 = errors
    final = {"iteration": ITERATIONS, "train_error": train, "clean_train_error": train - 5, "test_error": top1}
    run = {
        "net": net,
        "outcome": "finished",
        "config": config,
        "final": final | {"test_top5_error": top5},
        "complexity": {"parameters": 11_515_688, "multiply_adds": 1_794_805_760},
        "warmup_end": 0,
        "seconds": 1.0,
        "provenance": {"hardware": {"gpu": "GPU"}, "commit": "0" * 40, "dirty": False, "torch": "2"},
    }
    path = folder / net / f"seed-{seed}"
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps(run))
    iterations = [ITERATIONS * row // 64 for row in range(1, 65)]
    rows = pd.DataFrame({"iteration": iterations, "train_error": train, "test_error": top1, "test_top5_error": top5})
    rows.to_csv(path / "metrics.csv", index=False)


def write_score(results, way, nets, top1, top5, **data):
    record = {
        "way": way,
        "images": 50_000,
        "skipped": 0,
        "top1_error": top1,
        "top5_error": top5,
        "nets": [
            {"name": net, "study": "imagenet-bn32-plateau-600k-bf16", "iterations": ITERATIONS, "seed": seed}
            for net, seed in nets
        ],
        "data": {"part": "val", "classes": 1000, "md5": "x"} | data,
        "precision": "fp32",
        "provenance": {"hardware": {"gpu": "a GPU"}},
    }
    folder = results / "scores"
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{len(list(folder.iterdir()))}.json").write_text(json.dumps(record))


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "imagenet-plateau-600k-bf16"
    for net, shortcut, depth, errors in (
        ("plain-18", None, 18, (35, 28, 9)),
        ("plain-34", None, 34, (37, 29, 10)),
        ("resnet-18", "A", 18, (34, 28, 9)),
        ("resnet-34", "A", 34, (29, 25, 8)),
    ):
        write_run(folder, net, shortcut, depth, errors)
    return read_study(folder)


def test_figure_4_has_both_kinds_with_training_and_validation_curves(study, tmp_path):
    figure = figure_4(study)
    assert [axes.get_title() for axes in figure.axes] == ["plain nets", "residual nets"]
    plain = figure.axes[0].get_lines()
    assert {line.get_ydata()[-1] for line in plain} == {35, 28, 37, 29}  # and no line for drops: a plateau decided
    assert "CHECK" not in figure.get_suptitle()
    assert save_figure(figure, tmp_path / "figure4.png").stat().st_size > 5_000


def test_finals_are_the_records(study):
    assert is_result(study)
    table = finals_markdown(study)
    row = [cell.strip() for cell in table.splitlines()[-1].split("|")[1:-1]]
    assert row == ["resnet-34", "11.5M", *(f"{error:.2f} (n = 1)" for error in (29, 24, 25, 8))]
    assert "A check" not in table
    assert study_markdown(study) == table


@pytest.mark.parametrize("change", [{"num_classes": 10}, {"image_size": 64}])
def test_a_check_says_that_it_is_no_result(tmp_path, change):
    write_run(tmp_path / "s", "plain-18", None, 18, (35, 28, 9), **change)
    study = read_study(tmp_path / "s")
    assert not is_result(study)
    assert "A check of the pipeline, not a result" in finals_markdown(study)
    assert "A CHECK OF THE PIPELINE" in figure_4(study).get_suptitle()


def cells(markdown, title, net):
    """The cells of a net's row in one of the tables."""
    table = markdown.split(f"**{title}")[1].split("\n\n")[1]
    (row,) = (line for line in table.splitlines() if line.split("|")[1].strip() == net)
    return [cell.strip() for cell in row.split("|")[2:-1]]


def test_damaged_score_is_named(tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "a.json").write_text('{"way": "cen')
    with pytest.raises(UserError, match=r"a\.json: not a readable JSON file .*; restore it or move it away"):
        read_scores(tmp_path)


def test_tables_set_scores_beside_the_paper(tmp_path):
    for seed, top1 in ((0, 25.0), (1, 26.0)):
        write_score(tmp_path, "10-crop", [("resnet-34", seed)], top1, 8.0)
    write_score(tmp_path, "10-crop", [("resnet-34-b", 0)], 24.6, 7.5)
    write_score(tmp_path, "10-crop", [("somebody-34", 0)], 20.0, 5.0)
    write_score(tmp_path, "multi-scale", [("resnet-50-b", 0)], 21.0, 5.3)
    write_score(tmp_path, "multi-scale", [("resnet-50-b-batch128", 0)], 22.0, 5.8)
    write_score(tmp_path, "multi-scale", [("resnet-50-b", 0), ("resnet-101-b", 0)], 19.0, 4.2)
    tables = tables_markdown(read_scores(tmp_path))
    assert cells(tables, "Table 2", "resnet-34") == ["25.03", "25.50 ± 0.71 (n = 2)", "7.76", "8.00 ± 0.00 (n = 2)"]
    assert "scored in fp32; seeds: 0, 1." in tables
    assert cells(tables, "Table 2", "plain-18") == ["27.94", "-", "-", "-"]
    assert "resnet-34-b" not in tables.split("**Table 3")[0]
    assert cells(tables, "Table 3", "resnet-34-b") == ["24.52", "24.60 (n = 1)", "7.46", "7.50 (n = 1)"]
    assert cells(tables, "Table 3", "somebody-34") == ["-", "20.00 (n = 1)", "-", "5.00 (n = 1)"]
    assert cells(tables, "Table 3", "GoogLeNet (paper's table)") == ["-", "-", "9.15", "-"]
    assert cells(tables, "Table 4", "resnet-50-b") == ["20.74", "21.00 (n = 1)", "5.25", "5.30 (n = 1)"]
    assert cells(tables, "Table 4", "resnet-50-b-batch128") == ["-", "22.00 (n = 1)", "-", "5.80 (n = 1)"]
    assert cells(tables, "Table 5", "resnet-50-b, resnet-101-b") == ["-", "4.20"]
    assert cells(tables, "Table 5", "ResNet (ILSVRC'15)") == ["3.57", "-"]
    assert "A check" not in tables


def test_everything_is_redrawn_from_a_results_folder(study, tmp_path):
    write_score(tmp_path, "10-crop", [("plain-18", 0)], 28.0, 9.0, classes=10)
    results = write_all(tmp_path)
    assert {path.name for path in study.folder.iterdir() if path.is_file()} == {"figure4.png", "study.md"}
    assert "A check of the pipeline" in (tmp_path / "scores" / "tables.md").read_text("utf-8")
    report = report_markdown(results)
    assert f"]({study.name}/figure4.png)" in report and "**Table 3: 10-crop**" in report
    assert finals_markdown(study).strip() in report


@pytest.mark.parametrize(
    ("plain", "residual_starts", "changes", "expected"),
    [
        (29.0, 20.0, {}, [REPRODUCED, REPRODUCED]),
        (30.0, 20.0, {}, [CONTRADICTED, REPRODUCED]),
        (29.0, 40.0, {}, [REPRODUCED, CONTRADICTED]),
        (29.0, 20.0, {"iterations": 120_000}, [DIRECTION, DIRECTION]),
        (29.0, 20.0, {"iterations": 600}, [NOT_TESTED, NOT_TESTED]),
        (29.0, 20.0, {"num_classes": 10}, [NOT_TESTED, NOT_TESTED]),
    ],
)
def test_eighteen_layers_end_alike(tmp_path, plain, residual_starts, changes, expected):
    study = tmp_path / "study"
    for seed in (0, 1, 2):
        write_run(study, "plain-18", None, 18, (32.0, plain, 10.0), seed, **changes)
        write_run(study, "resnet-18", "A", 18, (residual_starts, 28.9, 10.0), seed, **changes)
    for path in study.glob("*/*/metrics.csv"):
        rows = pd.read_csv(path)
        rows["iteration"] = rows["iteration"] * changes.get("iterations", ITERATIONS) // ITERATIONS
        rows.to_csv(path, index=False)
    parts = judge_results(Results(tmp_path))["ImageNet, 18 and 34 layers"].parts
    assert [part.level for part in parts[-2:]] == expected


@pytest.mark.parametrize(("deepest", "expected"), [(21.0, REPRODUCED), (24.0, CONTRADICTED)])
def test_depth_pays(tmp_path, deepest, expected):
    for depth, error in {34: 25.0, 50: 23.0, 101: 22.0, 152: deepest}.items():
        for seed in (0, 1, 2):
            write_run(tmp_path / "study", f"resnet-{depth}-b", "B", depth, (20.0, error, 6.0), seed)
    assert judge_results(Results(tmp_path))["ImageNet, 34 to 152 layers"].level == expected


@pytest.mark.parametrize(
    ("gains", "classes", "iterations", "expected"),
    [
        ((0.4, 0.5, 0.6), 1000, ITERATIONS, REPRODUCED),
        ((-0.4, -0.5, -0.6), 1000, ITERATIONS, CONTRADICTED),
        ((0.4, -0.5, 0.6), 1000, ITERATIONS, OPEN),
        ((0.4, 0.5), 1000, ITERATIONS, OPEN),
        ((0.4, 0.5, 0.6), 10, ITERATIONS, NOT_TESTED),
        ((0.4, 0.5, 0.6), 1000, 60_000, NOT_TESTED),
    ],
)
def test_ensembles_are_compared_with_their_best_member(tmp_path, gains, classes, iterations, expected):
    def score(nets, top5):
        write_score(tmp_path, "multi-scale", nets, 20.0, top5, classes=classes)

    for seed, gain in enumerate(gains):
        members = [("resnet-34", seed), ("resnet-50-b", seed)]
        score(members[:1], 7.0)
        score(members[1:], 6.0)
        score(members, 6.0 - gain)
    score([("resnet-50-b", 0), ("resnet-50-b", 1)], 9.0)  # of one depth: no part of the claim
    score([("resnet-34", 0), ("resnet-101-b", 0)], 9.0)  # a member has no score
    for path in (tmp_path / "scores").glob("*.json"):
        record = json.loads(path.read_text("utf-8"))
        for net in record["nets"]:
            net |= {"depth": int(net["name"].split("-")[1]), "weights_sha256": f"{net['name']} {net['seed']}"}
            net["iterations"] = iterations
        path.write_text(json.dumps(record | {"size": 224}))
    assert judge_results(Results(tmp_path))["ensembles"].level == expected
