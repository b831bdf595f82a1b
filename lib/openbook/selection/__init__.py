"""Model selection: a score to rank by, gates to pass, corrections for luck, and a champion, or none."""

from openbook import lazily
from openbook.selection.combination_metrics import FIGURES, against, judge, regime_consistency, summarise_backtests
from openbook.selection.gates import (
    FIGURE_NAMES,
    GATE_NAMES,
    GATES,
    SCALES,
    SelectionWeights,
    Thresholds,
    calculate_weighted_score,
    filter_by_thresholds,
)
from openbook.selection.holdout import Look, holdout_look
from openbook.selection.report import write_report
from openbook.selection.trials import Trials, count_trials, detailed_results, trial_id
from openbook.selection.verdict import Selection, create_comparison_matrix, rank_stability, select_champion

__all__ = [
    "FIGURES",
    "FIGURE_NAMES",
    "GATES",
    "GATE_NAMES",
    "SCALES",
    "Look",
    "Selection",
    "SelectionWeights",
    "Thresholds",
    "Trials",
    "against",
    "calculate_weighted_score",
    "count_trials",
    "create_comparison_matrix",
    "detailed_results",
    "filter_by_thresholds",
    "holdout_look",
    "judge",
    "rank_stability",
    "regime_consistency",
    "select_champion",
    "summarise_backtests",
    "trial_id",
    "write_report",
]

__getattr__ = lazily(__name__)
