"""The paper's ways of testing: what a net, or several together, get wrong on a folder of photographs."""

from plainres.testing.scores import Scores, count_wrong, probabilities, score
from plainres.testing.ways import SCALES, WAYS, dense_logits

__all__ = ["SCALES", "WAYS", "Scores", "count_wrong", "dense_logits", "probabilities", "score"]
