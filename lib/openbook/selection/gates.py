"""The score that ranks, and the gates that decide."""

import operator
from collections.abc import Mapping

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from openbook.common.errors import DataError
from openbook.common.settings import Settings

# The value that scores 0 and the value that scores 1, each clipped beyond.
SCALES = {
    "sharpe": (0.0, 2.0),
    "max_drawdown": (-0.30, 0.0),
    "calmar": (0.0, 1.5),
    "turnover": (0.50, 0.0),
    "regime_consistency": (0.0, 1.0),
}
FIGURE_NAMES = {  # in a sentence and above a column
    "sharpe": "Sharpe ratio",
    "max_drawdown": "maximum drawdown",
    "calmar": "Calmar ratio",
    "turnover": "turnover per rebalance",
    "regime_consistency": "regime consistency",
    "active_return": "active return",
    "active_low": "active return, 95% lower bound",
    "active_high": "active return, 95% upper bound",
    "active_low_all": "active return, adjusted lower bound",
    "deflated_sharpe": "deflated Sharpe ratio",
    "pbo": "PBO",
    "track_record": "track record / minimum length",
}
PERCENT = ("max_drawdown", "turnover", "active_return", "active_low", "active_high", "active_low_all", "pbo")
# Gate: its figure, the comparison with its limit, and that comparison in words.
GATES = {
    "sharpe_min": ("sharpe", operator.ge, "at least"),
    "max_drawdown_min": ("max_drawdown", operator.ge, "at least"),
    "calmar_min": ("calmar", operator.ge, "at least"),
    "turnover_max": ("turnover", operator.le, "at most"),
    "deflated_sharpe_min": ("deflated_sharpe", operator.ge, "at least"),
    "pbo_max": ("pbo", operator.le, "at most"),
    "active_low_min": ("active_low_all", operator.ge, "at least"),
    "track_record_min": ("track_record", operator.ge, "at least"),
}
GATE_NAMES = {  # above a column of the table of gates
    "sharpe_min": "Sharpe",
    "max_drawdown_min": "drawdown",
    "calmar_min": "Calmar",
    "turnover_max": "turnover",
    "deflated_sharpe_min": "deflated Sharpe",
    "pbo_max": "PBO",
    "active_low_min": "adjusted active return",
    "track_record_min": "track record",
}


class SelectionWeights(Settings):
    """What each criterion counts for; sums to 1. Sharpe, drawdown and Calmar are close to one bet counted thrice.

    Examples
    --------
    >>> ob.SelectionWeights().sharpe
    0.3
    """

    sharpe: float = Field(default=0.30, ge=0, le=1, description="annual, out of sample")
    max_drawdown: float = Field(default=0.25, ge=0, le=1, description="maximum drawdown, a negative number")
    calmar: float = Field(default=0.20, ge=0, le=1, description="CAGR over absolute maximum drawdown")
    turnover: float = Field(
        default=0.15, ge=0, le=1, description="mean one-way turnover per rebalance; lower is better"
    )
    regime_consistency: float = Field(
        default=0.10, ge=0, le=1, description="share of sessions in regimes with a positive Sharpe ratio"
    )

    @model_validator(mode="after")
    def _sum_to_one(self) -> "SelectionWeights":
        total = sum(self.model_dump().values())
        if not (abs(total - 1) <= 1e-9):
            raise ValueError(f"selection weights must sum to 1, not {total:g}")
        return self


class Thresholds(Settings):
    """Gates; a candidate passes all of them or is not promoted. A value on the limit passes.

    Examples
    --------
    >>> ob.Thresholds(sharpe_min=1.5).sharpe_min
    1.5
    """

    sharpe_min: float = Field(default=1.0, description="annual, out of sample")
    max_drawdown_min: float = Field(default=-0.20, ge=-1, le=0, description="max_drawdown >= this; -0.19 passes -0.20")
    calmar_min: float = Field(default=0.5, description="CAGR over absolute maximum drawdown")
    turnover_max: float = Field(default=0.40, ge=0, description="mean one-way turnover per rebalance")
    deflated_sharpe_min: float = Field(default=0.95, ge=0, le=1, description="deflated Sharpe ratio, a probability")
    pbo_max: float = Field(
        default=0.5, ge=0, le=1, description="probability of backtest overfitting, over all combinations"
    )
    active_low_min: float = Field(
        default=0.0,
        description="lower bound of the annualized return above equal weight, adjusted for multiple testing",
    )
    track_record_min: float = Field(
        default=1.0, ge=0, description="sessions available over the minimum track record length"
    )

    def summary(self) -> pd.DataFrame:
        """The gates in words: figure, rule, limit."""
        rows = [
            (FIGURE_NAMES[GATES[gate][0]], GATES[gate][2], _limit(GATES[gate][0], limit))
            for gate, limit in self.model_dump().items()
        ]
        return pd.DataFrame(rows, columns=["figure", "rule", "limit"])


def calculate_weighted_score(row: Mapping[str, float], weights: SelectionWeights) -> float:
    """Weighted mean of the criteria, each rescaled by SCALES to [0, 1] and clipped; a NaN criterion scores 0."""
    return sum(weight * rescale(row[name], *SCALES[name]) for name, weight in weights.model_dump().items())


def rescale(value: float, worst: float, best: float) -> float:
    """A value on the way from worst to best, clipped to [0, 1]; 0 if it is not a number."""
    return float(np.clip((value - worst) / (best - worst), 0.0, 1.0)) if np.isfinite(value) else 0.0


def filter_by_thresholds(matrix: pd.DataFrame, thresholds: Thresholds) -> pd.DataFrame:
    """One boolean column per gate, by the rows of `matrix`; a value that is NaN or infinite fails its gate."""
    require_columns(matrix, gated())
    return pd.DataFrame({gate: _passes(matrix, gate, limit) for gate, limit in thresholds.model_dump().items()})


def _passes(matrix: pd.DataFrame, gate: str, limit: float) -> pd.Series:
    metric, compare, _ = GATES[gate]
    return np.isfinite(matrix[metric]) & compare(matrix[metric], limit)


def failed_gates(row: pd.Series, thresholds: Thresholds) -> str:
    """The gates that one combination failed, each with its value and limit."""
    words = []
    for gate, limit in thresholds.model_dump().items():
        metric, compare, side = GATES[gate]
        if not (np.isfinite(row[metric]) and compare(row[metric], limit)):
            words.append(
                f"{FIGURE_NAMES[metric]} {_beside(metric, row[metric], limit)} ({side} {_limit(metric, limit)})"
            )
    return ", ".join(words)


def _limit(metric: str, limit: float) -> str:
    return f"{100 * limit:g}%" if metric in PERCENT else f"{limit:g}"


def _beside(metric: str, value: float, limit: float) -> str:
    """A value with enough digits to differ from its limit."""
    if not np.isfinite(value):
        return "undefined" if np.isnan(value) else "infinite"
    kind, least = ("%", 1) if metric in PERCENT else ("f", 2)
    digits = next((n for n in range(least, 16) if f"{value:.{n}{kind}}" != f"{limit:.{n}{kind}}"), least)
    return f"{value:.{digits}{kind}}"


def gated() -> list[str]:
    """The figures used by the gates."""
    return [metric for metric, _, _ in GATES.values()]


def require_columns(table: pd.DataFrame, columns: list[str]) -> None:
    """Raise DataError unless the table has these columns and a row."""
    missing = [name for name in columns if name not in table.columns]
    if missing or table.empty:
        raise DataError(f"the results have no {missing or 'rows'}; pass every combination with every metric")
