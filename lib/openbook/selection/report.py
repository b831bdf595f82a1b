"""model_selection_report.md: the verdict, and what a committee asks about it."""

import numpy as np
import pandas as pd

from openbook.selection.gates import FIGURE_NAMES, PERCENT, SelectionWeights, Thresholds, failed_gates
from openbook.selection.holdout import Look
from openbook.selection.trials import Trials
from openbook.selection.verdict import Selection, combination_name

LUCK = ["active_return", "active_low", "active_high", "active_low_all", "deflated_sharpe", "track_record"]


def write_report(
    selection: Selection,
    weights: SelectionWeights,
    thresholds: Thresholds,
    *,
    trials: Trials | None = None,
    effective: float | None = None,
    stability: pd.DataFrame | None = None,
    look: Look | None = None,
) -> str:
    """The report as markdown: verdict, trials, ranking, luck, gates and what they stopped, stability, holdout.

    trials, effective, stability, look : as `count_trials`, `metrics.effective_trials`, `rank_stability` and
        `holdout_look` give them; what is not given is left out
    """
    counted = ", ".join(f"{FIGURE_NAMES[name]} {weight:.0%}" for name, weight in weights.model_dump().items())
    shown = ["model", "optimizer", "score", *SelectionWeights.model_fields]
    parts = [
        ["# Model selection", f"**{selection.sentence}** {_tried(selection, trials, effective)}"],
        [
            "## Ranking",
            f"Selection score: {counted}. The score ranks; the gates decide.",
            _table(selection.ranking, shown),
        ],
        ["## Multiple testing", *_luck(selection.ranking)],
        ["## Gates", "A combination passes all of them or is not promoted.", _gates(selection, thresholds)],
        ["## Rejected by the gates", _stopped(selection, thresholds)],
        [] if stability is None else ["## Sensitivity to the score weights", *_stable(stability)],
        [] if look is None else ["## Holdout", f"{look.sentence} The selection was made before this evaluation."],
    ]
    return "\n\n".join(paragraph for part in parts for paragraph in part) + "\n"


def _tried(selection: Selection, trials: Trials | None, effective: float | None) -> str:
    """How much was tried, and how much of that was different."""
    compared = f"{len(selection.ranking)} combinations compared, {selection.n_trials} trials counted."
    count = compared if trials is None else trials.sentence
    worth = (
        "" if effective is None else f" Effective number of independent trials among those compared: {effective:.1f}."
    )
    return f"{count}{worth} The deflated Sharpe ratio uses all {selection.n_trials} trials."


def _luck(ranking: pd.DataFrame) -> list[str]:
    """Paragraphs on what chance explains."""
    pbo = ranking["pbo"].iloc[0]
    verdict = f"{pbo:.0%}" if np.isfinite(pbo) else "undefined (fails the gate)"
    text = (
        f"Probability of backtest overfitting (PBO): {verdict}. The share of combinatorial splits in "
        "which the best in-sample combination ranks at or below the out-of-sample median; strategies "
        "without skill give about 50%."
    )
    above = (
        "Active return: annualized return above the equal-weight universe, after costs, with its 95% "
        "stationary bootstrap interval; an interval that includes zero is not significant. "
        "Adjusted lower bound: that interval's lower end, adjusted for multiple testing. Deflated Sharpe ratio: "
        "probability "
        "that the true Sharpe ratio exceeds the maximum expected from that many trials without skill. "
        "Track record / minimum length: sessions available over the minimum track record length."
    )
    return [text, above, _table(ranking, ["model", "optimizer", *[name for name in LUCK if name in ranking]])]


def _gates(selection: Selection, thresholds: Thresholds) -> str:
    """Each gate with its limit and how many passed it."""
    number = len(selection.gates)
    rows = zip(thresholds.summary().itertuples(), thresholds.model_dump(), strict=True)
    lines = [
        f"- {row.figure} {row.rule} {row.limit}: {selection.gates[gate].sum()} of {number} passed" for row, gate in rows
    ]
    return "\n".join(lines)


def _stopped(selection: Selection, thresholds: Thresholds) -> str:
    """Who was stopped, by which gates."""
    failed = selection.ranking[~selection.ranking["passed"]]
    lines = [f"- {combination_name(row)} failed {failed_gates(row, thresholds)}" for _, row in failed.iterrows()]
    return "\n".join(lines or ["- none"])


def _stable(stability: pd.DataFrame) -> list[str]:
    """How much of the ranking the weights decide."""
    best = stability.iloc[0]
    text = (
        f"{best['combination']} ranks first in {best['first']:.0%} of random draws in which each weight "
        "is scaled by a factor between 1/2 and 2."
    )
    top = stability.iloc[:8]
    lines = [
        f"- {row.combination}: first in {row.first:.0%}, in the top three in {row.top_three:.0%}"
        for row in top.itertuples()
    ]
    return [text, "\n".join(lines)]


def _table(table: pd.DataFrame, columns: list[str]) -> str:
    """A markdown table of these columns."""
    rows = [" | ".join(_text(name, row[name]) for name in columns) for row in table.to_dict("records")]
    heads = [FIGURE_NAMES.get(name, name) for name in columns]
    return "\n".join([f"| {' | '.join(heads)} |", f"|{' --- |' * len(columns)}", *[f"| {row} |" for row in rows]])


def _text(name: str, value) -> str:
    """A cell of the report."""
    if name in PERCENT and np.isfinite(value):
        return f"{value:.1%}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
