"""What the records of a study say about degradation, in one paragraph of numbers, and no more than they carry."""

import pandas as pd

from plainres.report.published import PAPER_ITERATIONS
from plainres.report.records import Study
from plainres.report.verdicts import carries


def _means(study: Study) -> pd.DataFrame:
    """Mean final errors by kind and depth, of plain nets and of residual nets with option A."""
    finals = study.finals()
    prefix = finals["kind"].map({"plain": "plain-", "residual": "resnet-"})
    own = finals[finals["net"] == prefix + finals["depth"].astype(str)]
    return own.groupby(["kind", "depth"])[["train_error", "test_error"]].mean()


def _ends(means: pd.DataFrame, kind: str) -> tuple[pd.Series, pd.Series] | None:
    """The shallowest and the deepest net of a kind; None where there are not two."""
    if kind not in means.index.get_level_values("kind"):
        return None
    of_kind = means.loc[kind].sort_index()
    return (of_kind.iloc[0], of_kind.iloc[-1]) if len(of_kind) > 1 else None


def _change(kind: str, shallow: pd.Series, deep: pd.Series) -> str:
    changes = [
        f"{name} error goes from {shallow[column]:.1f} to {deep[column]:.1f}%"
        for name, column in (("training", "train_error"), ("test", "test_error"))
    ]
    return f"From {kind}-{shallow.name} to {kind}-{deep.name} the {' and the '.join(changes)}"


def verdict(study: Study) -> str:
    """One paragraph on degradation and its cure, from the last iteration of the study's finished runs."""
    means = _means(study)
    parts = [f"{study.describe()}."]
    plain, residual = _ends(means, "plain"), _ends(means, "residual")
    full = study.iterations >= PAPER_ITERATIONS
    if plain is not None:
        shallow, deep = plain
        parts.append(f"{_change('plain', *plain)}:")
        if deep["train_error"] <= shallow["train_error"]:
            parts.append("no degradation at this budget and these depths.")
        elif full:
            parts.append("the deeper plain net ends worse on its own training set, which is degradation.")
        elif carries(study):
            parts.append(
                "the deeper plain net ends worse on its own training set, which is degradation at this budget; "
                "a longer one may narrow it."
            )
        else:
            parts.append(
                "the deeper plain net is behind on its own training set, as degradation has it; "
                "a budget this short cannot tell a worse end from a slower start."
            )
    else:
        parts.append("Fewer than two plain nets have finished: nothing can be said of degradation.")
    if len(means.index.unique("kind")) == 2:
        gaps = (means.loc["plain"] - means.loc["residual"]).dropna()
        if len(gaps):
            told = ", ".join(
                f"{gap['train_error']:+.1f} and {gap['test_error']:+.1f} at {depth} layers"
                for depth, gap in gaps.iterrows()
            )
            parts.append(f"Plain less residual twin, in points of training and test error: {told}.")
    if residual is not None:
        shallow, deep = residual
        parts.append(f"{_change('ResNet', *residual)}:")
        if deep["train_error"] < shallow["train_error"]:
            parts.append("the deeper residual net is the better one.")
        else:
            parts.append(f"the deeper residual net is not {'' if full else 'yet '}the better one.")
    if not full:
        parts.append(
            f"This is {study.iterations / PAPER_ITERATIONS:.1%} of the paper's {PAPER_ITERATIONS:,} iterations, "
            "so the figures cannot be set against its final errors."
        )
    counts = study.finals().groupby("net").size()
    if counts.max() == 1:
        parts.append("One run a net: no interval can be given.")
    if study.info.warning:
        parts.append(f"All of this is about the {study.dataset} and says nothing about CIFAR-10.")
    return " ".join(parts) + "\n"
