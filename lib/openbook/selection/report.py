"""model_selection_report.md: the verdict, and what a committee asks about it."""

import numpy as np
import pandas as pd

from openbook.selection.gates import SelectionWeights, Thresholds, failed_gates
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
    """The report as markdown: verdict, trials, ranking, luck, gates and whom they stopped, stability, holdout.

    trials, effective, stability, look : as `count_trials`, `metrics.effective_trials`, `rank_stability` and
        `holdout_look` give them; what is not given is left out
    """
    counted = ", ".join(f"{name} {weight:.0%}" for name, weight in weights.model_dump().items())
    shown = ["model", "optimizer", "score", *SelectionWeights.model_fields]
    parts = [
        ["# Model selection", f"**{selection.sentence}** {_tried(selection, trials, effective)}"],
        ["## Ranking", f"Score: {counted}. It ranks; the gates decide.", _table(selection.ranking, shown)],
        ["## Luck", *_luck(selection.ranking)],
        ["## Gates", "A combination passes all of them or is not promoted.", _gates(selection, thresholds)],
        ["## Stopped", _stopped(selection, thresholds)],
        [] if stability is None else ["## Under other weights", *_stable(stability)],
        [] if look is None else ["## Holdout", f"{look.sentence} The verdict was reached before this look."],
    ]
    return "\n\n".join(paragraph for part in parts for paragraph in part) + "\n"


def _tried(selection: Selection, trials: Trials | None, effective: float | None) -> str:
    """How much was tried, and how much of that was different."""
    compared = f"{len(selection.ranking)} combinations were compared, {selection.n_trials} trials are counted."
    count = compared if trials is None else trials.sentence
    worth = (
        "" if effective is None else f" By the correlation of their returns, those compared are worth {effective:.1f}."
    )
    return f"{count}{worth} The deflated Sharpe ratio is told {selection.n_trials}, not fewer."


def _luck(ranking: pd.DataFrame) -> list[str]:
    """Paragraphs on what chance explains."""
    pbo = ranking["pbo"].iloc[0]
    verdict = f"{pbo:.0%}" if np.isfinite(pbo) else "undefined, which passes no gate"
    told = (
        f"Probability of overfitting: {verdict}. It is the share of the ways to halve history in which the best "
        "combination of one half was no better than the median of the other; choosing among worthless ones gives about "
        "50%."
    )
    above = (
        "Return a year above the universe at equal weight, after costs, with the 95% interval of a stationary "
        "bootstrap: one that reaches below zero says that luck would do. deflated_sharpe is the probability that the "
        "Sharpe ratio is not the luck of so many trials; track_record the sessions there are, by those that such a "
        "Sharpe ratio needs."
    )
    return [told, above, _table(ranking, ["model", "optimizer", *[name for name in LUCK if name in ranking]])]


def _gates(selection: Selection, thresholds: Thresholds) -> str:
    """Each gate with its limit and how many passed it."""
    number = len(selection.gates)
    rows = zip(thresholds.summary().itertuples(), thresholds.model_dump(), strict=True)
    lines = [
        f"- {row.figure} {row.rule} {row.limit:g}: {selection.gates[gate].sum()} of {number} passed"
        for row, gate in rows
    ]
    return "\n".join(lines)


def _stopped(selection: Selection, thresholds: Thresholds) -> str:
    """Who was stopped, by which gates."""
    failed = selection.ranking[~selection.ranking["passed"]]
    lines = [f"- {combination_name(row)} stopped by {failed_gates(row, thresholds)}" for _, row in failed.iterrows()]
    return "\n".join(lines or ["- nobody"])


def _stable(stability: pd.DataFrame) -> list[str]:
    """How much of the ranking the weights decide."""
    best = stability.iloc[0]
    said = (
        f"{best['combination']} is first in {best['first']:.0%} of the draws in which every weight was halved, doubled "
        "or anything between."
    )
    top = stability.iloc[:8]
    lines = [
        f"- {row.combination}: first {row.first:.0%}, among the first three {row.top_three:.0%}"
        for row in top.itertuples()
    ]
    return [said, "\n".join(lines)]


def _table(table: pd.DataFrame, columns: list[str]) -> str:
    """A markdown table of these columns."""
    rows = [" | ".join(_text(row[name]) for name in columns) for row in table.to_dict("records")]
    return "\n".join([f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}", *[f"| {row} |" for row in rows]])


def _text(value) -> str:
    """A cell of the report."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
