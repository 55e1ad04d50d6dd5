"""The paper's ways of testing: what a net, or several together, get wrong on a folder of photographs."""

from plainres.testing.scores import Scores, probabilities, score
from plainres.testing.ways import SCALES, WAYS, dense_logits

__all__ = ["SCALES", "WAYS", "Scores", "dense_logits", "probabilities", "score"]
