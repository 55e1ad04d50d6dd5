"""The claims of the paper as cards."""

from dataclasses import dataclass

from plainres.report.claims import CLAIMS, LEVELS, NETS, SCORES, Claim
from plainres.report.layer_claims import FACTORS
from plainres.report.verdicts import Verdict

LEVEL_SIGNS = dict(zip(LEVELS, "○◐●✕", strict=True))


@dataclass(frozen=True)
class Card:
    """A claim with its verdict.

    Attributes:
        claim: The claim.
        verdict: The verdict.
    """

    claim: Claim
    verdict: Verdict

    @property
    def sign(self) -> str:
        """A character for the level, so that it can be told without colour."""
        return LEVEL_SIGNS[self.verdict.level]

    @property
    def has_records(self) -> bool:
        """Whether the verdict rests on records."""
        return self.verdict.records != "-"

    @property
    def figure(self) -> str:
        """The section of the page that shows what the claim is about."""
        if self.claim.records in (NETS, SCORES):
            return "tables"
        return "layers" if any(part.unit == FACTORS for part in self.verdict.parts) else "curves"

    @property
    def studies(self) -> list[str]:
        """Names of the studies that the verdict rests on."""
        return list(dict.fromkeys(part.judged.name for part in self.verdict.parts))

    @property
    def without_published(self) -> str:
        """Why the paper's figure is not drawn beside the effect, where there is one. Empty if it is drawn."""
        hidden = any(part.reference and not part.comparable for part in self.verdict.parts)
        return "The published effect is not drawn: the budget is below the paper's budget." if hidden else ""


def claim_cards(verdicts: dict[str, Verdict]) -> list[Card]:
    """Return every claim with its verdict, in the order of the claims.

    Args:
        verdicts: Verdicts by id of the claim.
    """
    return [Card(claim, verdicts[claim.id]) for claim in CLAIMS]
