"""The paper's ways of testing: what a net, or several together, get wrong on a folder of photographs."""

from plainres.scoring.scores import Scores, probabilities, score
from plainres.scoring.views import SCALES, VIEWS, dense_logits

__all__ = ["SCALES", "VIEWS", "Scores", "dense_logits", "probabilities", "score"]
