"""Figure 4 and Tables 2 to 5 of the paper, from the records of runs and of scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from plainres.catalog.datasets import IMAGENET
from plainres.files import read_json
from plainres.report.drawing import in_our_style
from plainres.report.figures import draw_errors
from plainres.report.published import TABLE_2, TABLE_3, TABLE_3_PEERS, TABLE_4, TABLE_4_PEERS, TABLE_5
from plainres.report.records import Study
from plainres.report.tables import cell, markdown_table, mean_and_std, results_markdown

SCORES = "scores"  # the folder that `plainres score` writes to
CHECK = "A check of the pipeline, not a result: nothing here can be compared with the paper."


@in_our_style
def figure_4(study: Study) -> Figure | None:
    """Draw Figure 4: training error (dashed) and validation error (bold, center crop) of plain and residual nets.

    There is one axes per kind of net (plain, residual with option A) that the study has, and no figure without any.
    """
    note = "" if is_result(study) else "\nA CHECK OF THE PIPELINE, not a result"
    title = f"Training and validation error during training (Figure 4){note}"
    return draw_errors(study, 100.0, "validation", title)


def is_result(study: Study) -> bool:
    """Return whether a study is the paper's, with its whole budget."""
    return study.is_imagenet and study.is_the_papers and study.share >= 1


def finals_table(study: Study) -> pd.DataFrame:
    """Return the errors at the last iteration, one row per net."""
    columns = {
        "training error": "train_error",
        "clean training error": "clean_train_error",
        "top-1": "test_error",
        "top-5": "test_top5_error",
    }
    rows = [
        {"net": net, "parameters": f"{runs['parameters'].iloc[0] / 1e6:.1f}M"}
        | {title: mean_and_std(runs[column]) for title, column in columns.items()}
        for net, runs in study.finals.groupby("net", sort=False)
    ]
    return pd.DataFrame(rows)


def finals_markdown(study: Study) -> str:
    """Return the errors at the last iteration as a Markdown table, one row per net, and what they were measured on."""
    check = "" if is_result(study) else f" {CHECK}"
    heading = f"**Errors in percent at the last iteration, center crop.** {study.describe()}.{check}"
    return results_markdown(study, heading, finals_table(study))


def read_scores(results: Path) -> list[dict]:
    """Return the records of scores below a results folder, ordered by the names of their files."""
    return [read_json(path) for path in sorted((results / SCORES).glob("*.json"))]


def score_is_result(score: dict) -> bool:
    """Return whether a score is on the paper's images, of nets that had its whole budget or come from elsewhere."""
    budget = IMAGENET.paper_iterations
    trained = all(net.get("iterations", budget) >= budget for net in score["nets"])
    return score["data"]["classes"] == IMAGENET.num_classes and trained


def _table(scores: Sequence[dict], paper: dict, nets: Iterable[str] | None = None) -> pd.DataFrame:
    """Return the paper's errors (top-1 and top-5) beside those of our single nets, one row per net.

    The nets are those of the paper and then others of ours, unless `nets` says which.
    """
    single = [(s["nets"][0]["name"], s["top1_error"], s["top5_error"]) for s in scores if len(s["nets"]) == 1]
    ours = pd.DataFrame(single, columns=["net", "top-1", "top-5"])
    rows = []
    for net in nets or dict.fromkeys([*paper, *ours["net"]]):
        row = {"net": net}
        for name, published in zip(("top-1", "top-5"), paper.get(net, (None, None)), strict=True):
            values = ours.loc[ours["net"] == net, name]
            row[f"paper {name}"] = cell(published)
            row[f"our {name}"] = mean_and_std(values)
        rows.append(row)
    return pd.DataFrame(rows)


def _ensembles(scores: Sequence[dict]) -> pd.DataFrame:
    """Return the top-5 errors of ensembles: the paper's on the test set beside ours on the validation set."""
    rows = [(name, cell(error), "-") for name, error in TABLE_5.items()]
    for score in scores:
        if len(score["nets"]) > 1:
            rows.append((", ".join(net["name"] for net in score["nets"]), "-", cell(score["top5_error"])))
    return pd.DataFrame(rows, columns=["ensemble", "paper top-5 (test)", "our top-5 (validation)"])


def _with_peers(published: dict, peers: dict) -> dict:
    return {f"{net} (paper's table)": errors for net, errors in peers.items()} | published


@dataclass(frozen=True)
class ScoreSet:
    """The scores on one set of images, of nets from one combination of studies, whose names `studies` has."""

    studies: str
    scores: list[dict]

    @property
    def is_result(self) -> bool:
        """Whether the scores can be compared with the paper's."""
        return all(map(score_is_result, self.scores))

    def describe(self) -> str:
        """Return the images, seeds and precision in one line, and whether this is a result."""
        score = self.scores[0]
        seeds = sorted({str(net.get("seed", "unknown")) for score in self.scores for net in score["nets"]})
        return (
            f"Errors in percent on {score['images']:,} images of {score['data']['classes']} classes, scored in "
            f"{score['precision']}; seeds: {', '.join(seeds)}.{'' if self.is_result else f' {CHECK}'}"
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return Tables 2 to 5 beside the paper's, by title."""
        crops, scales = ([s for s in self.scores if s["way"] == way] for way in ("10-crop", "multi-scale"))
        return {
            "Table 2: 10-crop, 18 and 34 layers": _table(crops, TABLE_3, TABLE_2),
            "Table 3: 10-crop": _table(crops, _with_peers(TABLE_3, TABLE_3_PEERS)),
            "Table 4: fully convolutional, five scales": _table(scales, _with_peers(TABLE_4, TABLE_4_PEERS)),
            "Table 5: ensembles, five scales": _ensembles(scales),
        }


def score_sets(scores: Sequence[dict]) -> list[ScoreSet]:
    """Return the scores by set of images, combination of studies, and precision."""
    sets: dict[tuple, list[dict]] = {}
    for score in scores:
        studies = sorted({net.get("study") or "weights from elsewhere" for net in score["nets"]})
        sets.setdefault((score["data"]["md5"], ", ".join(studies), score["precision"]), []).append(score)
    return [ScoreSet(studies, members) for (_, studies, _), members in sets.items()]


def tables_markdown(scores: Sequence[dict]) -> str:
    """Return Tables 2 to 5 beside the paper's as Markdown, once per set from `score_sets`."""
    parts = []
    for scored in score_sets(scores):
        parts.append(f"## {scored.studies}\n\n{scored.describe()}")
        parts += [f"**{title}**\n\n{markdown_table(frame)}" for title, frame in scored.tables().items()]
    return "\n\n".join(parts) + "\n"
