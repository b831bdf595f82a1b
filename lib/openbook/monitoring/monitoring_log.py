"""Is the model still good? Its scores, the returns that followed, and the monitoring log of a session.

Scores are those of the daily run, or stitched out-of-sample ones: scores of dates that the model learned from would
flatter it. A result is keyed by the date of its signal and known only once the label has matured, so the last horizon+1
sessions have no labels yet; they are shown as not matured, never as bad or good.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from openbook import metrics
from openbook.common.constants import REGIME_NAMES
from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.monitoring import blocks
from openbook.monitoring.summary import health

__all__ = ["BLOCKS", "SCHEMA_VERSION", "SCORED", "Evidence", "OpsMonitor", "SessionFacts", "health", "monitoring_log"]

SCHEMA_VERSION = 2  # 2: errors, false alarms, CUSUM, decay, drift of inputs and scores, regimes, book against backtest
BLOCKS = {
    "schema_version": "version of this schema; readers reject a version that they do not know",
    "session": "YYYY-MM-DD, the session scored",
    "data": "coverage of the active names, number of excluded names",
    "model": "name, last training session, age in days, label horizon in sessions",
    "scores": "summary statistics of the session's scores, autocorrelation, drift (PSI, KS)",
    "ic": "rank IC by matured signal date, its mean and Newey–West standard error",
    "quantiles": "mean label by score quantile, cumulative quantile returns, top-minus-bottom spread",
    "decay": "IC decay: rank IC by horizon, or None",
    "drift": "the drift rule, its false-alarm rate for a healthy model, and the CUSUM (None: no expected rank IC)",
    "features": "feature drift, recent against earlier sessions, or None",
    "out_of_distribution": "out-of-distribution names, or None",
    "regime": "market regime at the close of the session",
    "regimes": "book performance by regime, or None",
    "book": "percentile of the book's return among bootstrapped backtest paths, or None",
    "tracking": "attribution of the tracking difference between book and backtest, or None",
    "portfolio": "value, cash, names, trades, turnover and cost of the proposed orders",
    "checks": "every risk check with its value and limit",
}
SCORED = 120  # sessions that the daily page scores again, to judge the model on labels that have matured


class OpsMonitor(Settings):
    """The monitor's settings; data arrives by method."""

    ic_lookback: int = Field(20, ge=2, description="lookback of the drift rule, in matured sessions")
    ic_threshold: float = Field(0.02, description="rank IC below which the drift rule fires")
    n_quantiles: int = Field(5, ge=2, description="number of score quantiles")
    cusum: metrics.Cusum = Field(metrics.Cusum(), description="settings of the CUSUM of the rank IC shortfall")
    recent: int = Field(20, ge=blocks.EVERY, description="recent window for feature and score drift, in sessions")
    psi_limit: float = Field(
        0.25, gt=0, description="population stability index above which a feature counts as drifted"
    )

    def calculate_information_coefficient(self, scores: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
        """Columns ic, rank_ic, n by signal date, see `metrics`; a date that has not matured is NaN with n = 0."""
        return metrics.information_coefficient(scores, labels)

    def calculate_rolling_ic(self, ic: pd.DataFrame, horizon: int) -> pd.DataFrame:
        """Columns rank_ic, mean, error by matured signal date: mean of the last `ic_lookback`, its Newey–West error.

        ic : of `calculate_information_coefficient`; horizon : sessions of the label
        """
        return metrics.rolling_ic(blocks.matured(ic), self.ic_lookback, horizon)

    def calculate_top_quantile_performance(self, scores: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
        """By quantile, n_quantiles the best: avg_return (mean over dates of the per-date mean label), std_return over
        dates, n_dates. A quantile without labels is NaN.
        """
        by_date = metrics.quantile_returns_by_date(scores, labels, self.n_quantiles)
        return pd.DataFrame(
            {"avg_return": by_date.mean(), "std_return": by_date.std(ddof=1), "n_dates": by_date.count()}
        )

    def detect_model_drift(self, ic: pd.DataFrame) -> dict:
        """The rule: suspected when the mean rank IC of the last `ic_lookback` matured sessions is below `ic_threshold`
        and so are at least half of them.

        ic : columns rank_ic, n by signal date, oldest first; a matured date without a defined IC (constant scores)
            counts as below
        Fewer matured sessions than `ic_lookback` are reported as insufficient history: degraded and action are then
        None, which is not "healthy". The rule fires on one session in four for a good model (rank IC 0.05 ± 0.1, labels
        of 5 sessions: `metrics.drift_false_alarm`), so it asks for a review, not for a halt.
        """
        matured = blocks.matured(ic)
        window = matured.iloc[-self.ic_lookback :]
        found = {
            "lookback": self.ic_lookback,
            "threshold": self.ic_threshold,
            "n_matured": len(matured),
            "avg_ic": blocks.number(window.mean()),
            "days_below_threshold": int((~(window >= self.ic_threshold)).sum()),
        }
        if len(matured) < self.ic_lookback:
            status = f"insufficient history: {len(matured)} of {self.ic_lookback} sessions have matured"
            return found | {"degraded": None, "action": None, "status": status}
        healthy = not metrics.is_drifting(window, self.ic_threshold)
        action, status = ("continue", "within the threshold") if healthy else ("review_model", "below the threshold")
        return found | {"degraded": not healthy, "action": action, "status": status}

    def check_regime_performance(self, returns: pd.Series, regimes: pd.Series) -> pd.DataFrame:
        """By regime: n_sessions, avg_return, volatility, sharpe, win_rate; NaN where a regime has too few sessions.

        returns : by session, earned from the session before to this one
        regimes : 0, 1, 2 by session, as known at its close
        The return from t to t+1 belongs to the regime at t: a later one was not yet known.
        """
        start = regimes.dropna().sort_index()
        row = start.index.searchsorted(returns.index, side="left") - 1
        earned = returns[row >= 0].to_numpy(dtype="float64")
        regime = start.to_numpy()[row[row >= 0]]
        return pd.DataFrame(
            [_performance(earned[regime == r]) for r in REGIME_NAMES], index=pd.Index(list(REGIME_NAMES), name="regime")
        )


class SessionFacts(BaseModel, frozen=True, extra="forbid"):
    """Facts from the notebook that are not computed from scores and labels."""

    session: date
    coverage: float = Field(description="share of the active names with a usable bar, 0 to 1")
    n_left_out: int = Field(ge=0, description="names excluded by the quality check")
    model: str = Field(min_length=1, description="name of the champion")
    trained_through: date = Field(description="last session in the training labels")
    model_age: int = Field(ge=0, description="days since trained_through")
    horizon: int = Field(ge=1, description="label horizon in sessions")
    regime: int = Field(description="0, 1, 2 market regime at the close of the session")
    regime_name: str
    portfolio_value: float = Field(description="USD")
    cash_weight: float = Field(description="target, fraction of the portfolio")
    n_positions: int = Field(ge=0, description="names with a target weight")
    n_trades: int = Field(ge=0)
    turnover: float = Field(description="½·Σ|Δ|, cash included")
    cost: float = Field(description="estimated, USD")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Optional inputs; without one, the blocks that need it are None.

    expected_ic : mean and standard deviation of the rank IC by date that the model was promised to have, out of sample,
        before the dates that are judged
    labels_by_horizon : horizon → labels of that horizon, dates × symbols, NaN where not matured
    features : (date, symbol) × feature, through the session; needs at least 3 · `OpsMonitor.recent` sessions
    book_returns : of the book by session; regimes : 0, 1, 2 by session, as known at its close
    backtest_returns : out of sample, after costs, by session
    tracking : of `metrics.tracking_difference`
    """

    expected_ic: tuple[float, float] | None = None
    labels_by_horizon: Mapping[int, pd.DataFrame] | None = None
    features: pd.DataFrame | None = None
    book_returns: pd.Series | None = None
    regimes: pd.Series | None = None
    backtest_returns: pd.Series | None = None
    tracking: pd.DataFrame | None = None


def monitoring_log(
    facts: SessionFacts,
    *,
    scores: pd.DataFrame,
    labels: pd.DataFrame | None,
    checks: pd.DataFrame,
    monitor: OpsMonitor | None = None,
    evidence: Evidence | None = None,
) -> dict:
    """The monitoring log of the session, BLOCKS: plain numbers, text and None; NaN is None; no time of day in it.

    scores : dates × symbols up to the session, of daily runs or out of sample
    labels : dates × symbols, NaN where not matured; None if nothing has matured yet
    checks : columns check, value, limit, ok, status, detail

    What lies after the session changes nothing, but labels must be those that were known then.

    Examples
    --------
    >>> day = ob.TradingDay("2022-12-28", {"provider": "sample"})
    >>> day.log["model"]["age_days"]  # made by `ob.monitor` from the day's scores, labels and book
    58
    """
    monitor, evidence = monitor or OpsMonitor(), evidence or Evidence()
    session = pd.Timestamp(facts.session)
    if scores.empty or scores.index.max() != session:
        last = "none" if scores.empty else f"{scores.index.max():%Y-%m-%d}"
        raise DataError(f"the last scores are of {last}, not of {session:%Y-%m-%d}; score the session first")
    labels = scores.iloc[:0] if labels is None else labels
    log = {
        "schema_version": SCHEMA_VERSION,
        "session": facts.session.isoformat(),
        "data": {"coverage": blocks.number(facts.coverage), "n_left_out": facts.n_left_out},
        "model": {
            "name": facts.model,
            "trained_through": facts.trained_through.isoformat(),
            "age_days": facts.model_age,
            "horizon": facts.horizon,
        },
        "scores": blocks.scores_block(scores, monitor.recent),
        **_judged(scores, labels, facts.horizon, monitor, evidence),
        **_inputs(evidence.features, session, monitor),
        "regime": {"regime": facts.regime, "name": facts.regime_name},
        **_money(evidence, session, monitor),
        "portfolio": {
            name: blocks.number(getattr(facts, name))
            for name in ("portfolio_value", "cash_weight", "n_positions", "n_trades", "turnover", "cost")
        },
        "checks": blocks.checks_block(checks),
    }
    return {name: log[name] for name in BLOCKS}


def _judged(scores, labels, horizon: int, monitor: OpsMonitor, evidence: Evidence) -> dict:
    """The blocks that judge scores by what followed."""
    ic = monitor.calculate_information_coefficient(scores, labels)
    rank_ic = blocks.matured(ic)
    mean, std = _healthy(rank_ic, monitor.ic_lookback) if evidence.expected_ic is None else evidence.expected_ic
    rule = {
        "false_alarm": blocks.false_alarm_block(mean, std, horizon, monitor.ic_lookback, monitor.ic_threshold),
        "cusum": None
        if evidence.expected_ic is None
        else blocks.cusum_block(rank_ic, mean, std, horizon, monitor.cusum),
    }
    later = evidence.labels_by_horizon
    return {
        "ic": blocks.ic_block(ic, horizon, monitor.ic_lookback),
        "quantiles": blocks.quantile_block(
            monitor.calculate_top_quantile_performance(scores, labels),
            metrics.cumulative_quantile_returns(scores, labels, horizon, monitor.n_quantiles),
        ),
        "decay": None if later is None else blocks.decay_block(metrics.alpha_decay(scores, later)),
        "drift": monitor.detect_model_drift(ic) | rule,
    }


def _healthy(rank_ic: pd.Series, fewest: int) -> tuple[float, float]:
    """Mean and deviation of the rank ICs that were observed; NaN below `fewest` dates."""
    return (rank_ic.mean(), rank_ic.std(ddof=1)) if rank_ic.count() >= fewest else (np.nan, np.nan)


def _inputs(features: pd.DataFrame | None, session: pd.Timestamp, monitor: OpsMonitor) -> dict:
    """The blocks on this session's features. Raises DataError if they are of another session."""
    if features is None:
        return {"features": None, "out_of_distribution": None}
    features = features.dropna(how="all")  # a name without any feature is not scored
    days = features.index.get_level_values("date")
    if not (days == session).any():
        raise DataError(f"no features of {session:%Y-%m-%d}; compute those of the session first")
    known = features if days.max() == session else features[days <= session]
    return {
        "features": blocks.features_block(known, monitor.recent, monitor.psi_limit),
        "out_of_distribution": blocks.distribution_block(known, monitor.recent),
    }


def _money(evidence: Evidence, session: pd.Timestamp, monitor: OpsMonitor) -> dict:
    """The blocks on what the book earned."""
    known_then: list[Any] = [
        None if part is None else part[part.index <= session]
        for part in (evidence.book_returns, evidence.regimes, evidence.backtest_returns, evidence.tracking)
    ]
    book, regimes, backtest, tracking = known_then
    known, compared = book is not None and regimes is not None, book is not None and backtest is not None
    return {
        "regimes": blocks.regimes_block(monitor.check_regime_performance(book, regimes)) if known else None,
        "book": blocks.book_block(book, backtest) if compared else None,
        "tracking": None if tracking is None else blocks.tracking_block(tracking),
    }


def _performance(earned: np.ndarray) -> dict:
    """The row of one regime."""
    return {
        "n_sessions": len(earned),
        "avg_return": float(np.nanmean(earned)) if np.isfinite(earned).any() else np.nan,
        "volatility": metrics.volatility(earned),
        "sharpe": metrics.sharpe(earned),
        "win_rate": metrics.win_rate(earned),
    }
