"""Figure 4 and Tables 2 to 5 of the paper, from the records of runs and of scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from plainres.catalog.datasets import IMAGENET
from plainres.files import read_json
from plainres.report.drawing import AxesLike, in_our_style
from plainres.report.figures import draw_panels
from plainres.report.published import (
    TABLE_2,
    TABLE_3,
    TABLE_3_PEERS,
    TABLE_4,
    TABLE_4_PEERS,
    TABLE_5,
)
from plainres.report.records import Study
from plainres.report.tables import markdown_table, mean_and_std, not_in_the_table

SCORES = "scores"  # the folder that `plainres score` writes to
NOTHING = "-"
CHECK = "A check of the pipeline, not a result: nothing here can be compared with the paper."


def _paper(error: float | None) -> str:
    return NOTHING if error is None else f"{error:.2f}"


@in_our_style
def figure_4(study: Study, axes: AxesLike = None) -> Figure | None:
    """Draw Figure 4: training error (dashed) and validation error (bold, center crop) of plain and residual nets.

    Args:
        study: Study with plain nets, residual nets with option A, or both.
        axes: Axes to draw into: one per kind of net (plain, residual) that the study has.

    Returns:
        None if the study has no such nets.
    """
    nets = {run.net: run.config["shortcut"] for run in (*study.runs, *study.partial)}
    groups = {
        "plain nets": [net for net, shortcut in nets.items() if shortcut is None],
        "residual nets": [net for net, shortcut in nets.items() if shortcut == "A"],
    }
    note = "" if is_result(study) else "\nA CHECK OF THE PIPELINE, not a result"
    title = f"Training and validation error during training (Figure 4){note}"
    return draw_panels(study, groups, 100.0, "validation", title, axes)


def is_result(study: Study) -> bool:
    """Return whether a study is the paper's, with its whole budget."""
    return study.is_imagenet and study.is_the_papers and study.iterations >= IMAGENET.paper_iterations


def finals_table(study: Study) -> pd.DataFrame:
    """Return the errors at the last iteration, one row per net."""
    rows = [
        {
            "net": net,
            "parameters": f"{runs['parameters'].iloc[0] / 1e6:.1f}M",
            "training error": mean_and_std(runs["train_error"]),
            "clean training error": mean_and_std(runs["clean_train_error"]),
            "top-1": mean_and_std(runs["test_error"]),
            "top-5": mean_and_std(runs["test_top5_error"]),
        }
        for net, runs in study.finals().groupby("net", sort=False)
    ]
    return pd.DataFrame(rows)


def finals_markdown(study: Study) -> str:
    """Return the errors at the last iteration as a Markdown table, one row per net, and what they were measured on."""
    check = "" if is_result(study) else f" {CHECK}"
    heading = f"**Errors in percent at the last iteration, center crop.** {study.describe()}.{check}"
    return "\n".join([heading, "", markdown_table(finals_table(study)), *not_in_the_table(study)]) + "\n"


def read_scores(results: Path) -> list[dict]:
    """Return the records of scores below a results folder, ordered by the names of their files.

    Args:
        results: Results folder.
    """
    return [read_json(path) for path in sorted((results / SCORES).glob("*.json"))]


def single_nets(scores: Sequence[dict], only: Sequence[str] | None = None) -> pd.DataFrame:
    """Return one row per score of a single net, restricted to the nets in `only` unless it is None."""
    rows = [
        {"net": net, "top1": score["top1_error"], "top5": score["top5_error"]}
        for score in scores
        for net in [score["nets"][0]["name"]]
        if len(score["nets"]) == 1 and (only is None or net in only)
    ]
    return pd.DataFrame(rows, columns=["net", "top1", "top5"])


def _table(scores: Sequence[dict], published: dict, peers: dict, only: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the paper's errors beside ours, one row per net: its peers, its own nets, then other nets of ours."""
    known = {net: published[net] for net in only or published}
    ours = single_nets(scores, only)
    paper = {f"{net} (paper's table)": errors for net, errors in peers.items()} | known
    rows = []
    for net in dict.fromkeys([*paper, *ours["net"]]):
        row = {"net": net}
        for i, error in enumerate(("top1", "top5")):
            name, values = f"top-{error[-1]}", ours.loc[ours["net"] == net, error]
            row[f"paper {name}"] = _paper(paper[net][i]) if net in paper else NOTHING
            row[f"our {name}"] = mean_and_std(values) if len(values) else NOTHING
        rows.append(row)
    return pd.DataFrame(rows)


def score_is_result(score: dict) -> bool:
    """Return whether a score is on the paper's images, of nets that had its whole budget or come from elsewhere."""
    budget = IMAGENET.paper_iterations
    trained = all(net.get("iterations", budget) >= budget for net in score["nets"])
    return score["data"]["classes"] == IMAGENET.num_classes and trained


def table_5(scores: Sequence[dict]) -> pd.DataFrame:
    """Return the top-5 errors of ensembles: the paper's on the test set beside ours on the validation set.

    Args:
        scores: Scores of multi-scale testing.
    """
    paper, ours = "paper top-5 (test)", "our top-5 (validation)"
    rows = [{"ensemble": name, paper: _paper(error), ours: NOTHING} for name, error in TABLE_5.items()]
    for score in scores:
        if len(score["nets"]) > 1:
            names = ", ".join(net["name"] for net in score["nets"])
            rows.append({"ensemble": names, paper: NOTHING, ours: f"{score['top5_error']:.2f}"})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class ScoreSet:
    """The scores on one set of images, of nets from one combination of studies.

    Attributes:
        studies: Names of the studies, separated by commas.
        scores: Scores from `read_scores`.
    """

    studies: str
    scores: list[dict]

    @property
    def is_result(self) -> bool:
        """Whether the scores can be compared with the paper's."""
        return all(map(score_is_result, self.scores))

    def of(self, way: str) -> list[dict]:
        """Return the scores of one way of testing, for example `"10-crop"`."""
        return [score for score in self.scores if score["way"] == way]

    def describe(self) -> str:
        """Return the images, seeds and precision in one line, and whether this is a result."""
        score = self.scores[0]
        seeds = sorted({str(net.get("seed", "unknown")) for score in self.scores for net in score["nets"]})
        return (
            f"Errors in percent on {score['images']:,} images of {score['data']['classes']} classes, scored in "
            f"{score['precision']}; seeds: {', '.join(seeds)}.{'' if self.is_result else f' {CHECK}'}"
        )

    def tables(self) -> dict[str, tuple[str, pd.DataFrame]]:
        """Return the way of testing and the table for each title: Tables 2 to 5 beside the paper's."""
        crops, scales = self.of("10-crop"), self.of("multi-scale")
        return {
            "Table 2: 10-crop, 18 and 34 layers": ("10-crop", _table(crops, TABLE_3, {}, TABLE_2)),
            "Table 3: 10-crop": ("10-crop", _table(crops, TABLE_3, TABLE_3_PEERS)),
            "Table 4: fully convolutional, five scales": ("multi-scale", _table(scales, TABLE_4, TABLE_4_PEERS)),
            "Table 5: ensembles, five scales": ("multi-scale", table_5(scales)),
        }


def score_sets(scores: Sequence[dict]) -> list[ScoreSet]:
    """Return the scores by set of images, combination of studies, and precision.

    Args:
        scores: Scores from `read_scores`.
    """
    sets: dict[tuple, list[dict]] = {}
    for score in scores:
        studies = sorted({net.get("study") or "weights from elsewhere" for net in score["nets"]})
        sets.setdefault((score["data"]["md5"], ", ".join(studies), score["precision"]), []).append(score)
    return [ScoreSet(studies, members) for (_, studies, _), members in sets.items()]


def tables_markdown(scores: Sequence[dict]) -> str:
    """Return Tables 2 to 5 beside the paper's as Markdown, once per set from `score_sets`.

    Args:
        scores: Scores from `read_scores`.
    """
    parts = []
    for scored in score_sets(scores):
        parts.append(f"## {scored.studies}\n\n{scored.describe()}")
        parts += [f"**{title}**\n\n{markdown_table(frame)}" for title, (_, frame) in scored.tables().items()]
    return "\n\n".join(parts) + "\n"
