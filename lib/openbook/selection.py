"""Whom we trust: a score to rank by, gates to pass, and a champion, or none."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, model_validator

from openbook import metrics
from openbook.errors import DataError
from openbook.portfolio.backtest import BacktestResult, VectorizedBacktester
from openbook.portfolio.grid import label
from openbook.portfolio.regime import RegimeSettings

# The value that scores 0 and the value that scores 1, each clipped beyond.
SCALES = {
    "sharpe": (0.0, 2.0),
    "max_drawdown": (-0.30, 0.0),
    "calmar": (0.0, 1.5),
    "turnover": (0.50, 0.0),
    "regime_consistency": (0.0, 1.0),
}
# What a backtest tells of itself, beside what is computed here.
FIGURES = (
    "cagr",
    "total_return",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "calmar",
    "win_rate",
    "total_costs",
)
# Gate: the figure that it looks at, the comparison with its limit, and that comparison in words.
GATES = {
    "sharpe_min": ("sharpe", operator.ge, "at least"),
    "max_drawdown_min": ("max_drawdown", operator.ge, "at least"),
    "calmar_min": ("calmar", operator.ge, "at least"),
    "turnover_max": ("turnover", operator.le, "at most"),
    "deflated_sharpe_min": ("deflated_sharpe", operator.ge, "at least"),
}


class SelectionWeights(BaseModel, frozen=True, extra="forbid"):
    """What each criterion counts for; sums to 1. Sharpe, drawdown and Calmar are close to one bet counted thrice."""

    sharpe: float = Field(default=0.30, ge=0, le=1, description="annual, out of sample")
    max_drawdown: float = Field(default=0.25, ge=0, le=1, description="a negative number")
    calmar: float = Field(default=0.20, ge=0, le=1, description="CAGR over the size of the maximum drawdown")
    turnover: float = Field(
        default=0.15, ge=0, le=1, description="mean one-way turnover of a rebalance; less is better"
    )
    regime_consistency: float = Field(default=0.10, ge=0, le=1, description="see regime_consistency()")

    @model_validator(mode="after")
    def _sum_to_one(self) -> "SelectionWeights":
        total = sum(self.model_dump().values())
        if not (abs(total - 1) <= 1e-9):
            raise ValueError(f"selection weights must sum to 1, not {total:g}")
        return self


class Thresholds(BaseModel, frozen=True, extra="forbid"):
    """Gates; a candidate passes all of them or is not promoted. A value on the limit passes."""

    sharpe_min: float = Field(default=1.0, allow_inf_nan=False, description="annual, out of sample")
    max_drawdown_min: float = Field(default=-0.20, ge=-1, le=0, description="max_drawdown >= this; -0.19 passes -0.20")
    calmar_min: float = Field(default=0.5, allow_inf_nan=False, description="CAGR over the maximum drawdown")
    turnover_max: float = Field(default=0.40, ge=0, description="mean one-way turnover of a rebalance")
    deflated_sharpe_min: float = Field(default=0.95, ge=0, le=1, description="probability that it is not luck")

    def summary(self) -> pd.DataFrame:
        """The gates in words: figure, rule, limit."""
        rows = [(GATES[gate][0], GATES[gate][2], limit) for gate, limit in self.model_dump().items()]
        return pd.DataFrame(rows, columns=["figure", "rule", "limit"])


@dataclass(frozen=True, eq=False)
class Selection:
    """What a tournament decided.

    promoted : the row of the best that passed every gate, or None: then the incumbent stays
    best_unvetted : the row of the best that failed one, or None; paper may run it, marked as such, live never
    gates : model, optimizer, one boolean column per gate, passed; in the order of `results`
    ranking : every row of `results` with its score, best first
    reason : which gate stopped whom, in words
    n_trials : combinations tried, what a deflated Sharpe ratio has to be told
    """

    promoted: pd.Series | None
    best_unvetted: pd.Series | None
    gates: pd.DataFrame
    ranking: pd.DataFrame
    reason: str
    n_trials: int

    @property
    def sentence(self) -> str:
        """The decision alone, without who was stopped by what."""
        return self.reason.split("; ")[0] + "."


def regime_consistency(sharpes: Mapping[int, float], shares: Mapping[int, float]) -> float:
    """Share of the sessions that fell in a regime in which the strategy's Sharpe ratio was positive, in [0, 1].

    sharpes : by regime; NaN (too few sessions) counts as not positive
    shares : sessions by regime, as counts or fractions

    Weighted by sessions because the Sharpe ratio of a rare regime is mostly noise. Blunt: three regimes give eight
    possible values.
    """
    total = sum(shares.values())
    if not (total > 0 and set(shares) == set(sharpes)):
        raise DataError(f"regimes of sharpes {sorted(sharpes)} and shares {sorted(shares)} must be the same, not empty")
    return sum(shares[regime] for regime in shares if sharpes[regime] > 0) / total


def calculate_weighted_score(row: Mapping[str, float], weights: SelectionWeights) -> float:
    """Weighted mean of the criteria, each rescaled by SCALES to [0, 1] and clipped; a NaN criterion scores 0."""
    return sum(weight * _rescale(row[name], *SCALES[name]) for name, weight in weights.model_dump().items())


def _rescale(value: float, worst: float, best: float) -> float:
    return float(np.clip((value - worst) / (best - worst), 0.0, 1.0)) if np.isfinite(value) else 0.0


def filter_by_thresholds(matrix: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """One boolean column per gate, by the rows of `matrix`; a value that is NaN or infinite fails its gate."""
    _require_columns(matrix, _gated())
    return pd.DataFrame({gate: _passes(matrix, gate, limit) for gate, limit in thresholds.model_dump().items()})


def _passes(matrix: pd.DataFrame, gate: str, limit: float) -> pd.Series:
    metric, compare, _ = GATES[gate]
    return np.isfinite(matrix[metric]) & compare(matrix[metric], limit)


def select_champion(results: pd.DataFrame, weights: SelectionWeights, thresholds: Thresholds) -> Selection:
    """The best score among those that pass every gate. That nobody passes is a result, not an error.

    results : one row per combination tried: model, optimizer, the criteria and the gated figures. Each row is a trial,
        so none may be left out beforehand. Equal scores are ordered by name.
    """
    _require_columns(results, ["model", "optimizer", *SCALES, *_gated()])
    _require_unique(results)
    results = results.reset_index(drop=True).astype(dict.fromkeys({*SCALES, *_gated()}, float))
    passed = filter_by_thresholds(results, thresholds)
    score = [calculate_weighted_score(row, weights) for row in results.to_dict("records")]
    gates = results[["model", "optimizer"]].join(passed).assign(passed=passed.all(axis=1))
    scored = results.assign(score=score, passed=gates["passed"])
    ranking = scored.sort_values(["score", "model", "optimizer"], ascending=[False, True, True], ignore_index=True)
    return Selection(
        promoted=_first(ranking[ranking["passed"]]),
        best_unvetted=_first(ranking[~ranking["passed"]]),
        gates=gates,
        ranking=ranking,
        reason=_explain(ranking, thresholds),
        n_trials=len(results),
    )


def create_comparison_matrix(results: pd.DataFrame, value: str = "sharpe") -> pd.DataFrame:
    """One figure of every combination: models × optimizers, both sorted; NaN where a combination was not tried."""
    _require_columns(results, ["model", "optimizer", value])
    _require_unique(results)
    return results.pivot(index="model", columns="optimizer", values=value).sort_index().sort_index(axis=1)


def write_report(selection: Selection, weights: SelectionWeights, thresholds: Thresholds) -> str:
    """model_selection_report.md: the verdict, the ranking, and which gate stopped whom."""
    shown = ["model", "optimizer", "score", *SelectionWeights.model_fields, "deflated_sharpe"]
    rows = [" | ".join(_text(row[name]) for name in shown) for row in selection.ranking.to_dict("records")]
    counted = ", ".join(f"{name} {weight:.0%}" for name, weight in weights.model_dump().items())
    gates = [f"- {row.figure} {row.rule} {row.limit:g}" for row in thresholds.summary().itertuples()]
    failed = selection.ranking[~selection.ranking["passed"]]
    stopped = [f"- {_name(row)} stopped by {_failed(row, thresholds)}" for _, row in failed.iterrows()] or ["- nobody"]
    return "\n".join(
        [
            "# Model selection",
            "",
            f"**{selection.sentence}** {selection.n_trials} combinations were tried, and every one is counted.",
            "",
            f"Score: {counted}.",
            "",
            "## Ranking",
            "",
            f"| {' | '.join(shown)} |",
            f"|{' --- |' * len(shown)}",
            *[f"| {row} |" for row in rows],
            "",
            "## Gates",
            "",
            *gates,
            "",
            "## Stopped",
            "",
            *stopped,
            "",
        ]
    )


def _text(value) -> str:
    """A cell of the report."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _explain(ranking: pd.DataFrame, thresholds: Thresholds) -> str:
    """The decision, then each combination that scored higher (all, if none passed) with the gates that stopped it."""
    champion = _first(ranking[ranking["passed"]])
    if champion is None:
        head, stopped = f"no promotion: none of {len(ranking)} combinations passed every gate", ranking
    else:
        head = f"{_name(champion)}: score {champion['score']:.3f}, the best of those that passed every gate"
        stopped = ranking.iloc[: champion.name]
    return "; ".join([head, *(f"{_name(row)} stopped by {_failed(row, thresholds)}" for _, row in stopped.iterrows())])


def _failed(row: pd.Series, thresholds: Thresholds) -> str:
    """The gates that one combination failed, each with its value and limit."""
    words = []
    for gate, limit in thresholds.model_dump().items():
        metric, compare, side = GATES[gate]
        if not (np.isfinite(row[metric]) and compare(row[metric], limit)):
            words.append(f"{metric} {row[metric]:.3f} ({side} {limit:g})")
    return ", ".join(words)


def _gated() -> list[str]:
    return [metric for metric, _, _ in GATES.values()]


def _name(row: pd.Series) -> str:
    return f"{row['model']} × {row['optimizer']}"


def _first(table: pd.DataFrame) -> pd.Series | None:
    return None if table.empty else table.iloc[0]


def _require_columns(table: pd.DataFrame, columns: list[str]) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing or table.empty:
        raise DataError(f"the results lack {missing or 'rows'}: give every combination tried, with every figure")


def _require_unique(results: pd.DataFrame) -> None:
    twice = results[results.duplicated(["model", "optimizer"])]
    if len(twice):
        raise DataError(f"{_name(twice.iloc[0])} is in the results twice; give each combination once")


def summarise_backtests(results: Mapping[tuple[str, str], BacktestResult], regimes: pd.Series) -> pd.DataFrame:
    """One row of figures per combination (model, optimizer), in the order given: what `select_champion` judges.

    The deflated Sharpe ratio counts every combination in `results` as a trial. Raises DataError for no result.
    """
    if not results:
        raise DataError("no backtest to summarise; give every combination that was tried")
    daily = np.array([result.sharpe for result in results.values()]) / metrics.PERIODS**0.5
    known = daily[np.isfinite(daily)]  # one that held nothing has no Sharpe ratio, and still counts as a trial
    spread = float(known.var(ddof=1)) if len(known) > 1 else 0.0
    rows = []
    for (model, optimizer), result in results.items():
        row = {"combination": label((model, optimizer)), "model": model, "optimizer": optimizer}
        figures = {name: getattr(result, name) for name in FIGURES}
        deflated = metrics.deflated_sharpe(result.returns, len(results), spread)
        rows.append({**row, **figures, "turnover": result.mean_turnover, "deflated_sharpe": deflated,
                     "skewness": metrics.skewness(result.returns), "kurtosis": metrics.kurtosis(result.returns),
                     "regime_consistency": _consistency(result.returns, regimes)})  # fmt: skip
    return pd.DataFrame(rows)


def _consistency(returns: pd.Series, regimes: pd.Series) -> float:
    """`regime_consistency` of daily returns; the return of t→t+1 belongs to the regime known at t."""
    known = regimes.shift(1).reindex(returns.index)
    groups = {code: returns[known == code] for code in sorted(known.dropna().unique())}
    sharpes = {code: metrics.sharpe(group) if len(group) > 1 else float("nan") for code, group in groups.items()}
    return regime_consistency(sharpes, {code: len(group) for code, group in groups.items()})


def detailed_results(
    summary: pd.DataFrame, baselines: pd.DataFrame, *, backtester: VectorizedBacktester, regime: RegimeSettings
) -> dict:
    """backtest_detailed_results.json: every figure of every combination, and the settings that travel with a champion.

    summary, baselines : as `summarise_backtests` gives them
    """
    return {
        "schema_version": 1,
        "settings": {
            "portfolio": backtester.settings.model_dump(mode="json"),
            "regime": regime.model_dump(mode="json"),
            "costs": backtester.costs.model_dump(mode="json"),
        },
        "combinations": summary.to_dict("records"),
        "baselines": baselines.to_dict("records"),
        "baseline_names": list(baselines["combination"]),
    }
