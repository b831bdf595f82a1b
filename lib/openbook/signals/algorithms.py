"""What a candidate may be: every learner, and the ensemble of several."""

from collections import ChainMap

from openbook.signals.ensemble import ENSEMBLE_OF_LEARNERS
from openbook.signals.learners import LEARNERS, Algorithm, Binned, Recipe, Rows

__all__ = ["ALGORITHMS", "ENSEMBLE", "Algorithm", "Binned", "Recipe", "Rows"]

ENSEMBLE = "ensemble"
ALGORITHMS = ChainMap({ENSEMBLE: ENSEMBLE_OF_LEARNERS}, LEARNERS)  # a desk may add to the learners
