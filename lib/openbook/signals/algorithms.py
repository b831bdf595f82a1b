"""What a candidate may be: every learner, the ensemble of several, and the desk's own scores."""

from collections import ChainMap

from openbook.signals.ensemble import ENSEMBLE_OF_LEARNERS
from openbook.signals.learners import LEARNERS, Algorithm, Binned, Recipe, Rows
from openbook.signals.own_scores import OWN_SCORES, SCORES

__all__ = ["ALGORITHMS", "ENSEMBLE", "SCORES", "Algorithm", "Binned", "Recipe", "Rows"]

ENSEMBLE = "ensemble"
ALGORITHMS = ChainMap({ENSEMBLE: ENSEMBLE_OF_LEARNERS, SCORES: OWN_SCORES}, LEARNERS)  # a desk may add to the learners
