"""The verdict: the best that passed every gate, or none; and how much it depends on the weights."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from openbook.backtest.grid import label
from openbook.common.errors import DataError, ParameterError
from openbook.common.shown import Shown
from openbook.selection.gates import (
    SCALES,
    SelectionWeights,
    Thresholds,
    calculate_weighted_score,
    failed_gates,
    filter_by_thresholds,
    gated,
    require_columns,
    rescale,
)

SHAKEN = 2.0  # a weight is multiplied by up to this, or divided by it


@dataclass(frozen=True, eq=False)
class Selection(Shown):
    """Result of a model selection.

    promoted : the row of the best that passed every gate, or None: then the incumbent stays
    best_unvetted : the row of the best that failed one, or None; paper may run it, marked as such, live never
    gates : model, optimizer, one boolean column per gate, passed; in the order of `results`
    ranking : every row of `results` with its score, best first
    reason : which gate stopped which combination, in words
    n_trials : all trials so far, as used in the deflated Sharpe ratio
    """

    promoted: pd.Series | None
    best_unvetted: pd.Series | None
    gates: pd.DataFrame
    ranking: pd.DataFrame
    reason: str
    n_trials: int

    @property
    def sentence(self) -> str:
        """The decision alone, without the stopped combinations."""
        return self.reason.split("; ")[0] + "."


def select_champion(
    field: pd.DataFrame, weights: SelectionWeights, thresholds: Thresholds, *, n_trials: int | None = None
) -> Selection:
    """The best score among those that pass every gate. "None passes" is a result, not an error.

    field : one row per combination compared: model, optimizer, the criteria and the gated figures, as `judge` gives
        them. None may be left out beforehand. Equal scores are ordered by name.
    n_trials : as passed to `judge`; None: the combinations of `field`

    Examples
    --------
    >>> from openbook.app import inputs
    >>> tried = inputs.comparison(None, None, "2022-11-29")
    >>> field = ob.judge(tried.summary, tried.alone, n_trials=2, benchmark=tried.universe)
    >>> len(ob.select(field, ob.SelectionWeights(), ob.Thresholds()).ranking)
    2
    """
    require_columns(field, ["model", "optimizer", *SCALES, *gated()])
    _require_unique(field)
    field = field.reset_index(drop=True).astype(dict.fromkeys({*SCALES, *gated()}, float))
    passed = filter_by_thresholds(field, thresholds)
    score = [calculate_weighted_score(row, weights) for row in cast(list[dict[str, float]], field.to_dict("records"))]
    gates = field[["model", "optimizer"]].join(passed).assign(passed=passed.all(axis=1))
    scored = field.assign(score=score, passed=gates["passed"])
    ranking = scored.sort_values(["score", "model", "optimizer"], ascending=[False, True, True], ignore_index=True)
    return Selection(
        promoted=_first(ranking[ranking["passed"]]),
        best_unvetted=_first(ranking[~ranking["passed"]]),
        gates=gates,
        ranking=ranking,
        reason=_explain(ranking, thresholds),
        n_trials=len(field) if n_trials is None else n_trials,
    )


def rank_stability(field: pd.DataFrame, weights: SelectionWeights, *, draws: int = 1000, seed: int) -> pd.DataFrame:
    """How often each combination is first, and among the first three, when the weights are shaken.

    In each of `draws` every weight is multiplied by a factor of its own between 1/2 and 2 (uniform in its logarithm),
    and all are rescaled to sum to 1; a weight of 0 stays 0, and the given weights are not among the draws. The gates
    play no part. Columns combination, first, top_three (shares of the draws), the most often first at the top. Too calm
    where the scales of the criteria, which are not shaken, decide.
    """
    require_columns(field, ["model", "optimizer", *SCALES])
    if not draws >= 1:
        raise ParameterError(f"draws must be at least 1, not {draws}")
    ordered = field.sort_values(["model", "optimizer"]).astype(dict.fromkeys(SCALES, float))  # equal scores: by name
    asked = weights.model_dump()
    parts = np.array([[rescale(value, *SCALES[name]) for value in ordered[name]] for name in asked])
    factors = SHAKEN ** np.random.default_rng(seed).uniform(-1.0, 1.0, (draws, len(asked)))
    shaken = factors * list(asked.values())
    order = np.argsort(-(shaken / shaken.sum(axis=1, keepdims=True)) @ parts, axis=1, kind="stable")
    shares = {
        "first": np.bincount(order[:, 0], minlength=len(ordered)) / draws,
        "top_three": np.bincount(order[:, :3].ravel(), minlength=len(ordered)) / draws,
    }
    found = pd.DataFrame({"combination": [combination_name(row) for _, row in ordered.iterrows()], **shares})
    return found.sort_values(["first", "top_three"], ascending=False, kind="stable", ignore_index=True)


def create_comparison_matrix(results: pd.DataFrame, value: str = "sharpe") -> pd.DataFrame:
    """One figure of every combination: models × optimizers, both sorted; NaN where a combination was not tried."""
    require_columns(results, ["model", "optimizer", value])
    _require_unique(results)
    return results.pivot(index="model", columns="optimizer", values=value).sort_index().sort_index(axis=1)


def combination_name(row: pd.Series) -> str:
    """What a row's combination is called: model × optimizer."""
    return label((row["model"], row["optimizer"]))


# ---- inside ----


def _explain(ranking: pd.DataFrame, thresholds: Thresholds) -> str:
    """The decision, then each combination that scored higher (all, if none passed) with the gates that stopped it."""
    champion = _first(ranking[ranking["passed"]])
    if champion is None:
        head, stopped = f"no promotion: none of {len(ranking)} combinations passed every gate", ranking
    else:
        head = (
            f"{combination_name(champion)}: score {champion['score']:.3f}, the best of the combinations that "
            "passed every gate"
        )
        stopped = ranking.iloc[: champion.name]
    return "; ".join(
        [
            head,
            *(f"{combination_name(row)} failed {failed_gates(row, thresholds)}" for _, row in stopped.iterrows()),
        ]
    )


def _first(table: pd.DataFrame) -> pd.Series | None:
    return None if table.empty else table.iloc[0]


def _require_unique(results: pd.DataFrame) -> None:
    twice = results[results.duplicated(["model", "optimizer"])]
    if len(twice):
        raise DataError(f"{combination_name(twice.iloc[0])} appears twice in the results; pass each combination once")
