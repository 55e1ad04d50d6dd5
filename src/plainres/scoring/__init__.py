"""Errors of one net, or of an ensemble, on a folder of photographs, with the paper's views of each photograph."""

from plainres.scoring.scores import Scores, probabilities, score
from plainres.scoring.views import SCALES, VIEWS, dense_logits

__all__ = ["SCALES", "VIEWS", "Scores", "dense_logits", "probabilities", "score"]
