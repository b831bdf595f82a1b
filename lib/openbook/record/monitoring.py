"""Is the model still worth listening to? What its scores said, what followed, and tonight's monitoring log.

Scores are those of the evening, or stitched out-of-sample ones: scores of dates that the model learned from would
flatter it. A result is keyed by the date of its signal and known only once the label has matured, so the last horizon+1
sessions say nothing yet; they are shown as not matured, never as bad or good.
"""

import math
from datetime import date

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from openbook import metrics
from openbook.errors import DataError

SCHEMA_VERSION = 1
SCORED = 120  # sessions that the daily page scores again, to judge the model on labels that have matured
REGIMES = (0, 1, 2)  # risk-off, normal, risk-on


class OpsMonitor(BaseModel, frozen=True, extra="forbid"):
    """The monitor's settings; data arrives by method."""

    ic_lookback: int = Field(20, ge=2, description="matured sessions that the drift rule looks at")
    ic_threshold: float = Field(0.02, description="rank IC below which a model is suspected")
    n_quantiles: int = Field(5, ge=2, description="groups of names, by score")

    def calculate_information_coefficient(self, scores: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
        """Columns ic, rank_ic, n by signal date, see `metrics`; a date that has not matured is NaN with n = 0."""
        return metrics.information_coefficient(scores, labels)

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
        None, which is not "healthy". The rule alone fires about one time in six for a healthy model (labels overlap),
        so it asks for a review, not for a halt.
        """
        matured = _matured(ic)
        window = matured.iloc[-self.ic_lookback :]
        found = {
            "lookback": self.ic_lookback,
            "threshold": self.ic_threshold,
            "n_matured": len(matured),
            "avg_ic": _number(window.mean()),
            "days_below_threshold": int((~(window >= self.ic_threshold)).sum()),
        }
        if len(matured) < self.ic_lookback:
            status = f"insufficient history: {len(matured)} of {self.ic_lookback} sessions have matured"
            return found | {"degraded": None, "action": None, "status": status}
        healthy = window.mean() >= self.ic_threshold or 2 * found["days_below_threshold"] < self.ic_lookback
        action, status = ("continue", "within the threshold") if healthy else ("review_model", "below the threshold")
        return found | {"degraded": not healthy, "action": action, "status": status}

    def check_regime_performance(self, returns: pd.Series, regimes: pd.Series) -> pd.DataFrame:
        """By regime: n_sessions, avg_return, volatility, sharpe, win_rate; NaN where a regime has too few sessions.

        returns : by session, earned from the session before to this one
        regimes : 0, 1, 2 by session, as known at its close
        The return from t to t+1 belongs to the regime at t: nobody could have acted on a later one.
        """
        start = regimes.dropna().sort_index()
        row = start.index.searchsorted(returns.index, side="left") - 1
        earned = returns[row >= 0].to_numpy(dtype="float64")
        regime = start.to_numpy()[row[row >= 0]]
        return pd.DataFrame(
            [_performance(earned[regime == r]) for r in REGIMES], index=pd.Index(REGIMES, name="regime")
        )


class SessionFacts(BaseModel, frozen=True, extra="forbid"):
    """What the night's notebook knows that is not computed from scores and labels."""

    session: date
    coverage: float = Field(description="share of the active names with a usable bar, 0 to 1")
    n_left_out: int = Field(ge=0, description="names left out by the quality check")
    model: str = Field(min_length=1, description="name of the champion")
    trained_through: date = Field(description="last session whose label the model learned from")
    model_age: int = Field(ge=0, description="days since trained_through")
    horizon: int = Field(ge=1, description="sessions of the label")
    regime: int = Field(description="0, 1, 2 at the close of the session")
    regime_name: str
    portfolio_value: float = Field(description="USD")
    cash_weight: float = Field(description="target, fraction of the portfolio")
    n_positions: int = Field(ge=0, description="names with a target weight")
    n_trades: int = Field(ge=0)
    turnover: float = Field(description="½·Σ|Δ|, cash included")
    cost: float = Field(description="estimated, USD")


def monitoring_log(
    facts: SessionFacts,
    *,
    scores: pd.DataFrame,
    labels: pd.DataFrame | None,
    checks: pd.DataFrame,
    monitor: OpsMonitor | None = None,
) -> dict:
    """The night's health record: plain numbers, text and None; NaN is None; no time of day in it.

    scores : dates × symbols up to the session, of the evening or out of sample
    labels : dates × symbols, NaN where not matured; None if nothing has matured yet
    checks : columns check, value, limit, ok, status, detail
    """
    monitor = monitor or OpsMonitor()
    session = pd.Timestamp(facts.session)
    if scores.empty or scores.index.max() != session:
        last = "none" if scores.empty else f"{scores.index.max():%Y-%m-%d}"
        raise DataError(f"the last scores are of {last}, not of {session:%Y-%m-%d}; score the session first")
    labels = scores.iloc[:0] if labels is None else labels
    ic = monitor.calculate_information_coefficient(scores, labels)
    return {
        "schema_version": SCHEMA_VERSION,
        "session": facts.session.isoformat(),
        "data": {"coverage": _number(facts.coverage), "n_left_out": facts.n_left_out},
        "model": {
            "name": facts.model,
            "trained_through": facts.trained_through.isoformat(),
            "age_days": facts.model_age,
            "horizon": facts.horizon,
        },
        "scores": _scores_block(scores),
        "ic": describe_ic(ic, facts.horizon, monitor.ic_lookback),
        "quantiles": _quantile_block(monitor.calculate_top_quantile_performance(scores, labels)),
        "drift": monitor.detect_model_drift(ic),
        "regime": {"regime": facts.regime, "name": facts.regime_name},
        "portfolio": {
            name: _number(getattr(facts, name))
            for name in ("portfolio_value", "cash_weight", "n_positions", "n_trades", "turnover", "cost")
        },
        "checks": _checks_block(checks),
    }


def health(log: dict) -> pd.DataFrame:
    """The part of a monitoring log that a portfolio manager reads: measure, value, what it means."""
    ic, drift, scores = log["ic"], log["drift"], log["scores"]
    groups = len(log["quantiles"]["avg_return"])
    rows = [
        ("signal dates judged", _say(ic["n_matured"], "d"), f"matured through {ic['matured_through'] or 'none yet'}"),
        ("mean rank IC", _say(ic["mean_rank_ic"], ".3f"), "scores against what came of them; 0.02 to 0.05 is good"),
        ("t-value (Newey–West)", _say(ic["newey_west_t"], ".1f"), "beyond 2 is unlikely to be luck"),
        (f"mean rank IC, last {drift['lookback']}", _say(drift["avg_ic"], ".3f"), str(drift["status"])),
        (
            f"best of {groups} groups less worst",
            _say(log["quantiles"]["top_minus_bottom"], ".2%"),
            "mean return of a label",
        ),
        ("score autocorrelation", _say(scores["autocorrelation"], ".2f"), "tonight's ranks against the evening before"),
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "meaning"], dtype="str")


def _say(value, form: str) -> str:
    """A number in words; what is undefined says so."""
    return "not yet known" if value is None else format(value, form)


def describe_ic(ic: pd.DataFrame, horizon: int, lookback: int) -> dict:
    """Mean, spread and Newey–West t of the matured rank ICs, and the last `lookback` of them by signal date.

    matured_through is the last signal date whose label is known, None if there is none.
    """
    rank_ic = _matured(ic)
    return {
        "matured_through": f"{rank_ic.index[-1]:%Y-%m-%d}" if len(rank_ic) else None,
        "n_matured": len(rank_ic),
        "n_not_matured": len(ic) - len(rank_ic),
        "mean_rank_ic": _number(rank_ic.mean()),
        "mean_ic": _number(ic["ic"].mean()),
        "icir": _number(metrics.icir(rank_ic)),
        "newey_west_t": _number(metrics.newey_west_t(rank_ic, horizon)),
        "recent_rank_ic": {f"{day:%Y-%m-%d}": _number(value) for day, value in rank_ic.iloc[-lookback:].items()},
    }


def _matured(ic: pd.DataFrame) -> pd.Series:
    """Rank ICs up to the last date with any label: what comes after has not matured."""
    labelled = np.flatnonzero(ic["n"].to_numpy() > 0)
    return ic["rank_ic"].iloc[: labelled[-1] + 1 if len(labelled) else 0]


def _performance(earned: np.ndarray) -> dict:
    """The row of one regime."""
    return {
        "n_sessions": len(earned),
        "avg_return": float(np.nanmean(earned)) if np.isfinite(earned).any() else np.nan,
        "volatility": metrics.volatility(earned),
        "sharpe": metrics.sharpe(earned),
        "win_rate": metrics.win_rate(earned),
    }


def _scores_block(scores: pd.DataFrame) -> dict:
    """Tonight's scores in numbers; autocorrelation is the rank correlation with the scores of the session before."""
    tonight = scores.iloc[-1].dropna()
    return {
        "n_scored": len(tonight),
        "n_distinct": int(tonight.nunique()),
        "mean": _number(tonight.mean()),
        "std": _number(tonight.std(ddof=1)),
        "autocorrelation": _number(metrics.score_autocorrelation(scores.iloc[-2:]).iloc[-1]),
    }


def _quantile_block(table: pd.DataFrame) -> dict:
    """Mean label by quantile, and best less worst."""
    means = table["avg_return"]
    return {
        "avg_return": {str(quantile): _number(value) for quantile, value in means.items()},
        "top_minus_bottom": _number(means.iloc[-1] - means.iloc[0]),
        "n_dates": int(table["n_dates"].max()),
    }


def _checks_block(checks: pd.DataFrame) -> dict:
    """Every check with its value beside its limit; a check that is not plainly true has failed."""
    rows = [{name: _plain(value) for name, value in row.items()} for row in checks.to_dict("records")]
    for row in rows:
        row["ok"] = row["ok"] is True
    return {"all_ok": all(row["ok"] for row in rows), "n_checks": len(rows), "rows": rows}


def _plain(value):
    """A cell as JSON has it: bool, number, text or None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.integer | np.floating):
        return _number(value)
    return None if pd.isna(value) else str(value)


def _number(value) -> float | int | None:
    """A plain number; None for what is not finite."""
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if math.isfinite(value) else None
