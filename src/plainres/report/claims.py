"""The paper's claims as data, each with the test that our records put it to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plainres.catalog.datasets import CIFAR10
from plainres.report import architecture, cifar_claims, imagenet_claims, layer_claims
from plainres.report.imagenet import is_ilsvrc, read_scores
from plainres.report.parts import INDICATIVE, NOT_ENOUGH, NOT_REPRODUCED, REPRODUCED
from plainres.report.records import Study
from plainres.report.verdicts import Verdict

CIFAR, IMAGENET, SCORES, NETS = "CIFAR-10", "ImageNet", "scores", "nets"
LEVELS = {
    NOT_ENOUGH: "no records, less than an eighth of the paper's budget, single runs whose difference chance can "
    "explain, or an interval that does not decide",
    INDICATIVE: "the direction is as claimed, from one run per net beyond what chance explains, or from several at "
    "less than the paper's budget",
    REPRODUCED: "the 95% interval over seeds supports the claim, at the paper's budget; or an exact count agrees with "
    "the paper's (8a)",
    NOT_REPRODUCED: "the interval at the paper's budget contradicts the claim, or includes zero and excludes the "
    "published effect; that something never happens (3a to 3c) can be refuted at any budget",
}
FIELDS = ("direction", "magnitude", "interval", "n", "budget", "records", "several_seeds", "reason")
HOW_JUDGED = (
    "A claim about errors or layers is judged on one study (1c: on two): of those with most of its nets, the one with "
    "the largest budget (claims 3a to 3c, 4b and 5a: with the most seeds). Where this study has single runs, *several "
    "seeds* has the same comparison at another budget, if all nets have several seeds there. The level does not rest "
    "on it. *By chance, up to* is the largest difference that chance explains between single runs in 95% of cases. The "
    "spread of a net is estimated from its own seeds, at the largest budget with several seeds that does not exceed "
    "the budget of the study. A net without such a budget is given the largest spread of any net. Claims 4b and 5a are "
    "about early errors, which mean the same at every budget, so they can have any level at each. Claim 11 is judged "
    "by the number of test images, not by seeds."
)


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        id: Number in the list. Letters mark parts of a claim and claims that belong to it.
        sentence: What the paper says, for readers who have not read it.
        evidence: Where it says so.
        test: From records to a verdict.
        records: Kind of the records: studies on CIFAR-10 or on ImageNet, scores, or counted nets.
    """

    id: str
    sentence: str
    evidence: str
    test: Callable[[Sequence], Verdict]
    records: str = CIFAR


CLAIMS = (
    Claim(
        "1",
        "Degradation: a deeper plain net ends with a higher training error than a shallower one",
        "Figures 1 and 6",
        cifar_claims.degradation,
    ),
    Claim(
        "1a",
        "Plain nets get worse with every step from 20 to 32, 44 and 56 layers",
        "Figure 6",
        cifar_claims.plain_nets_get_worse_step_by_step,
    ),
    Claim("1b", "A plain net of 110 layers ends above 60% error", "Section 4.2", cifar_claims.plain_110_fails),
    Claim(
        "1c",
        "Three times the iterations do not remove degradation",
        "Section 4.1, footnote, there on ImageNet",
        cifar_claims.longer_training_does_not_help,
    ),
    Claim(
        "2",
        "It is not overfitting: the deeper plain net is worse on the training set and on the test set",
        "Figures 1 and 6",
        cifar_claims.not_overfitting,
    ),
    Claim(
        "3a",
        "With batch normalization, forward signals do not vanish in a deep plain net",
        "Section 4.1, there on ImageNet",
        layer_claims.signals_do_not_vanish,
    ),
    Claim(
        "3b",
        "With batch normalization, gradients do not vanish in a deep plain net",
        "Section 4.1, there on ImageNet",
        layer_claims.gradients_do_not_vanish,
    ),
    Claim(
        "3c",
        "With batch normalization, gradients do not explode in a deep plain net",
        'Section 4.1, "healthy norms", there on ImageNet',
        layer_claims.gradients_do_not_explode,
    ),
    Claim(
        "4",
        "Shortcuts reverse degradation: deeper residual nets have lower errors, up to 110 layers",
        "Figure 6, Table 6",
        cifar_claims.deeper_residual_is_better,
    ),
    Claim(
        "4a",
        "Residual nets get better with every step from 20 to 32, 44 and 56 layers",
        "Table 6",
        cifar_claims.residual_nets_get_better_step_by_step,
    ),
    Claim(
        "4b",
        "ResNet-110 needs the warm-up: at the full learning rate it is slow to start",
        "Section 4.2, footnote",
        cifar_claims.warmup_is_needed,
    ),
    Claim(
        "5",
        "At equal depth, parameters and cost a residual net beats its plain twin, and more so when deeper",
        "Table 2, Figure 6",
        cifar_claims.residual_beats_plain,
    ),
    Claim(
        "5a",
        "At equal depth a residual net converges faster than its plain twin",
        "Section 4.1, there on ImageNet",
        cifar_claims.residual_is_faster,
    ),
    Claim(
        "6",
        "At 18 layers plain and residual nets end alike, and the residual net converges faster",
        "Figure 4, Table 2",
        imagenet_claims.alike_at_18,
        IMAGENET,
    ),
    Claim(
        "7",
        "Shortcut options A, B and C all beat the plain net and differ little, so projections are not what matters",
        "Table 3, there on ImageNet",
        cifar_claims.shortcuts_alike,
    ),
    Claim(
        "8",
        "Deeper nets have lower errors: the error falls from 34 to 50, 101 and 152 layers",
        "Tables 3 and 4",
        imagenet_claims.depth_pays,
        IMAGENET,
    ),
    Claim(
        "8a",
        "The 152-layer residual net costs less than VGG-16 and VGG-19",
        "Section 4.1, Table 1",
        imagenet_claims.depth_is_cheap,
        NETS,
    ),
    Claim(
        "9",
        "Layers of residual nets respond less than those of plain nets, and less still in deeper residual nets",
        "Figure 7",
        layer_claims.smaller_responses,
    ),
    Claim(
        "10",
        "A net of 1202 layers can be trained, but generalizes worse than one of 110",
        "Table 6",
        cifar_claims.a_thousand_layers,
    ),
    Claim(
        "11",
        "Combining models of different depth lowers the error",
        "Table 5",
        imagenet_claims.ensembles_help,
        SCORES,
    ),
    Claim(
        "12",
        "A residual net has a lower error than a highway net of the same depth",
        "Section 2, Table 6",
        cifar_claims.residual_beats_highway,
    ),
    Claim(
        "13",
        "ResNet-110 has fewer parameters and a lower error than FitNet-19 and Highway-19",
        "Section 4.2, Table 6",
        cifar_claims.fewer_parameters,
    ),
)


def judge(studies: Sequence[Study], scores: Sequence[dict] = (), nets: Sequence[dict] = ()) -> dict[str, Verdict]:
    """Put every claim to the test on the records that it is about.

    Args:
        studies: Studies in any order. Those of other data sets than the paper's are left out.
        scores: From `read_scores`.
        nets: From `architecture.read_nets`.

    Returns:
        Verdicts by id of the claim.
    """
    ordered = sorted((study for study in studies if study.runs), key=lambda study: -study.iterations)
    records = {
        CIFAR: [study for study in ordered if study.info is CIFAR10],
        IMAGENET: [study for study in ordered if is_ilsvrc(study)],
        SCORES: scores,
        NETS: nets,
    }
    return {claim.id: claim.test(records[claim.records]) for claim in CLAIMS}


def judge_results(studies: Sequence[Study], results: Path) -> dict[str, Verdict]:
    """Judge all claims on the studies, and on the scores and counted nets below a results folder."""
    counted = results / architecture.FOLDER
    nets = architecture.read_nets(counted) if (counted / "nets.json").exists() else []
    return judge(studies, read_scores(results), nets)


def claims_summary(verdicts: dict[str, Verdict]) -> str:
    """Return the claims that have been decided as a Markdown list, one per line, and the number of the others.

    For a refuted claim, the line ends with the reason.
    """
    lines = []
    for level in (REPRODUCED, INDICATIVE, NOT_REPRODUCED):
        for claim in CLAIMS:
            verdict = verdicts[claim.id]
            if verdict.level == level:
                seeds = f"{verdict.n} seed{'' if verdict.n == '1' else 's'}" if verdict.n != "-" else ""
                basis = "; ".join(filter(None, [claim.evidence, seeds, verdict.budget.strip("-")]))
                reason = f": {verdict.reason}" if level == NOT_REPRODUCED else ""
                lines.append(f"- *{level}*: {claim.sentence} (claim {claim.id}; {basis}){reason}")
    undecided = sum(verdict.level == NOT_ENOUGH for verdict in verdicts.values())
    if undecided:
        lines.append(f"- *{NOT_ENOUGH}*: {f'the other {undecided}' if lines else f'all {undecided}'}")
    return "\n".join(lines)


def claims_table(verdicts: dict[str, Verdict]) -> pd.DataFrame:
    """One row per claim: its level, direction, number of seeds, budget and records."""
    fields = ("direction", "n", "budget", "records")
    return pd.DataFrame(
        [
            {"claim": f"{claim.id}. {claim.sentence}", "level": verdicts[claim.id].level}
            | {field: getattr(verdicts[claim.id], field) for field in fields}
            for claim in CLAIMS
        ]
    )


def _fields(verdict: Verdict) -> list[tuple[str, str]]:
    """The name and value of each field of a verdict that has a value."""
    values = [(field.replace("_", " "), getattr(verdict, field)) for field in FIELDS]
    return [(name, value) for name, value in values if value not in ("", "-")]


def claims_text(verdicts: dict[str, Verdict], ids: Sequence[str] = ()) -> str:
    """Return every claim as one sentence, followed by its verdict line by line, for a terminal.

    Args:
        verdicts: From `judge`.
        ids: Claims to print. By default all.
    """
    lines = []
    for claim in CLAIMS:
        if ids and claim.id not in ids:
            continue
        verdict = verdicts[claim.id]
        lines += [f"{claim.id}. {claim.sentence} ({claim.evidence}).", f"    {verdict.level.upper()}"]
        lines += [f"    {name + ':':<15}{value}" for name, value in _fields(verdict)]
        lines.append("")
    return "\n".join(lines)


def claims_markdown(verdicts: dict[str, Verdict]) -> str:
    """The same as Markdown, one item per claim, after the meaning of the levels."""
    lines = [f"- *{level}*: {meaning}." for level, meaning in LEVELS.items()] + ["", HOW_JUDGED, ""]
    for claim in CLAIMS:
        verdict = verdicts[claim.id]
        lines.append(f"**{claim.id}. {claim.sentence}** ({claim.evidence}). *{verdict.level.capitalize()}.*\n")
        lines += [f"- {name}: {value}" for name, value in _fields(verdict)]
        lines.append("")
    return "\n".join(lines).strip()
