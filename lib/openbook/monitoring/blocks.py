"""The blocks of the monitoring log: results of the metrics, as plain numbers, text and None."""

import math
from functools import cache

import numpy as np
import pandas as pd

from openbook import metrics

EVERY = 5  # sessions between two checks of the features; neighbors are nearly the same
WORST = 5  # features that the log names
SEED = 0  # of every simulation here: the same log each time


def scores_block(scores: pd.DataFrame, recent: int) -> dict:
    """This session's scores in numbers, and the last `recent` sessions' against those before.

    autocorrelation : rank correlation with the scores of the session before; usual_autocorrelation : its median before
    psi, ks : None until there are as many sessions before as recent ones
    """
    last = scores.iloc[-1].dropna()
    alike = metrics.score_autocorrelation(scores)
    before, now = scores.iloc[:-recent], scores.iloc[-recent:]
    enough = len(before) >= recent
    return {
        "n_scored": len(last),
        "n_distinct": int(last.nunique()),
        "mean": number(last.mean()),
        "std": number(last.std(ddof=1)),
        "autocorrelation": number(alike.iloc[-1]),
        "usual_autocorrelation": number(alike.iloc[:-1].median()),
        "psi": number(metrics.population_stability_index(_known(before), _known(now))) if enough else None,
        "ks": number(metrics.kolmogorov_smirnov(_known(before), _known(now))) if enough else None,
    }


def ic_block(ic: pd.DataFrame, horizon: int, lookback: int) -> dict:
    """Mean, spread, Newey–West error and t of the matured rank ICs, and the last `lookback` of them by signal date.

    matured_through is the last signal date whose label is known, None if there is none; rolling is the mean of the last
    `lookback` with its error.
    """
    rank_ic = matured(ic)
    last = metrics.rolling_ic(rank_ic, lookback, horizon).iloc[-1:]
    return {
        "matured_through": f"{rank_ic.index[-1]:%Y-%m-%d}" if len(rank_ic) else None,
        "n_matured": len(rank_ic),
        "n_not_matured": len(ic) - len(rank_ic),
        "mean_rank_ic": number(rank_ic.mean()),
        "error": number(metrics.newey_west_error(rank_ic, horizon)),
        "std_rank_ic": number(rank_ic.std(ddof=1)),
        "mean_ic": number(ic["ic"].mean()),
        "icir": number(metrics.icir(rank_ic)),
        "newey_west_t": number(metrics.newey_west_t(rank_ic, horizon)),
        "rolling": {name: number(last[name].iloc[0]) if len(last) else None for name in ("mean", "error")},
        "recent_rank_ic": {f"{day:%Y-%m-%d}": number(value) for day, value in rank_ic.iloc[-lookback:].items()},
    }


def quantile_block(table: pd.DataFrame, cumulative: pd.DataFrame) -> dict:
    """Mean label by quantile, best less worst, and what each quantile has earned in all."""
    means = table["avg_return"]
    earned = cumulative.ffill().iloc[-1] if len(cumulative) else pd.Series(np.nan, index=means.index)
    return {
        "avg_return": {str(quantile): number(value) for quantile, value in means.items()},
        "cumulative": {str(quantile): number(value) for quantile, value in earned.items()},
        "top_minus_bottom": number(means.iloc[-1] - means.iloc[0]),
        "n_dates": int(table["n_dates"].max()),
    }


def decay_block(table: pd.DataFrame) -> dict:
    """Rank IC, its error and the number of dates by horizon, of `metrics.alpha_decay`."""
    return {str(horizon): {name: number(value) for name, value in row.items()} for horizon, row in table.iterrows()}


def false_alarm_block(mean: float, std: float, horizon: int, lookback: int, threshold: float) -> dict | None:
    """How often the drift rule fires for a model whose rank IC has this mean and deviation; None where undefined."""
    alarm = metrics.drift_false_alarm(mean, std, horizon=horizon, lookback=lookback, threshold=threshold, seed=SEED)
    if not math.isfinite(alarm.session):
        return None
    return {
        "mean_rank_ic": number(mean),
        "std_rank_ic": number(std),
        "evening": number(alarm.session),
        "year": number(alarm.year),
    }


def cusum_block(rank_ic: pd.Series, target: float, deviation: float, horizon: int, rule: metrics.Cusum) -> dict:
    """The CUSUM at this session, its last alarm, and the mean sessions between alarms of a healthy model."""
    table = metrics.cusum(rank_ic, target, deviation, horizon=horizon, rule=rule)
    alarms = table.index[table["alarm"]]
    return {
        "target": number(target),
        "deviation": number(deviation),
        "allowance": rule.allowance,
        "threshold": rule.threshold,
        "statistic": number(table["statistic"].iloc[-1]) if len(table) else 0.0,
        "alarm": bool(table["alarm"].iloc[-1]) if len(table) else False,
        "last_alarm": f"{alarms[-1]:%Y-%m-%d}" if len(alarms) else None,
        "healthy_run_length": number(healthy_run_length(rule, horizon)),
    }


@cache
def healthy_run_length(rule: metrics.Cusum, horizon: int) -> float:
    """Sessions between two alarms of a healthy model on average, simulated once in a process from the same seed."""
    return metrics.cusum_run_length(rule, horizon=horizon, draws=500, seed=SEED)


def warm_up() -> None:
    """Simulate, in the process that kernels are forked from, what the page of a label of one or four weeks shows."""
    for horizon in (5, 20):
        healthy_run_length(metrics.Cusum(), horizon)


def features_block(features: pd.DataFrame, recent: int, psi_limit: float) -> dict | None:
    """The last `recent` sessions' features against those before; None until there are twice as many before.

    features : (date, symbol) × feature, through the session
    n_beyond : features whose stability index is above psi_limit; missing_rise : largest growth of a missing share
    domain_auc, usual_domain_auc : of the last stretch, and the highest of those before it
    structure_percentile : share of earlier sessions with correlations closer to their past than this session's
    """
    dates = features.index.unique("date").sort_values()
    if len(dates) < 3 * recent:
        return None
    before, now = _split(features, dates[::-1][::EVERY], dates[-recent])
    drift = metrics.column_drift(before, now)
    worst = drift.sort_values("psi", ascending=False, kind="stable").iloc[:WORST]
    domain = metrics.domain_history(features, recent, every=EVERY, seed=SEED)
    structure = metrics.structure_drift(features, len(dates) // 2).dropna()
    return {
        "n_features": len(drift),
        "n_beyond": int((drift["psi"] > psi_limit).sum()),
        "psi_limit": psi_limit,
        "worst": {str(name): {k: number(v) for k, v in row.items()} for name, row in worst.iterrows()},
        "missing_rise": number((drift["missing_now"] - drift["missing_before"]).max()),
        "domain_auc": number(domain.iloc[-1]),
        "usual_domain_auc": number(domain.iloc[:-1].max()),
        "structure_percentile": number((structure.iloc[:-1] < structure.iloc[-1]).mean()) if len(structure) else None,
    }


def distribution_block(features: pd.DataFrame, recent: int) -> dict | None:
    """Share of names with an unusual combination of features, and their symbols; None without twice as many sessions
    before the recent ones.
    """
    dates = features.index.unique("date").sort_values()
    if len(dates) < 3 * recent:
        return None
    days = features.index.get_level_values("date")
    found = metrics.out_of_distribution(features[days < dates[-recent]], features[days == dates[-1]])
    return {
        "share": number(found.share),
        "expected": found.expected,
        "usual_high": number(found.usual_high),
        "n_names": len(found.names),
        "names": [str(name) for name in found.names[:WORST]],
    }


def regimes_block(table: pd.DataFrame) -> dict:
    """What was earned in each regime, of `OpsMonitor.check_regime_performance`."""
    return {str(regime): {k: number(v) for k, v in row.items()} for regime, row in table.iterrows()}


def book_block(book: pd.Series, backtest: pd.Series) -> dict:
    """The book's position in the cone of its backtest."""
    place = metrics.standing(book, backtest, seed=SEED)
    cone = metrics.backtest_cone(backtest, max(place.sessions, 1), seed=SEED).iloc[-1]
    return {
        "sessions": place.sessions,
        "total_return": number(place.total_return),
        "percentile": number(place.percentile),
        "cone": {f"{level:g}": number(value) for level, value in cone.items()} if place.sessions else None,
    }


def tracking_block(table: pd.DataFrame) -> dict:
    """Sums over the sessions of `metrics.tracking_difference`."""
    totals = table[["difference", *metrics.TRACKING_PARTS]].sum(skipna=False)
    return {"sessions": len(table)} | {name: number(value) for name, value in totals.items()}


def checks_block(checks: pd.DataFrame) -> dict:
    """Every check with its value beside its limit; a check that is not plainly true has failed."""
    rows = [{name: _plain(value) for name, value in row.items()} for row in checks.to_dict("records")]
    for row in rows:
        row["ok"] = row["ok"] is True
    return {"all_ok": all(row["ok"] for row in rows), "n_checks": len(rows), "rows": rows}


def matured(ic: pd.DataFrame) -> pd.Series:
    """Rank ICs up to the last date with any label: what comes after has not matured."""
    labeled = np.flatnonzero(ic["n"].to_numpy() > 0)
    return ic["rank_ic"].iloc[: labeled[-1] + 1 if len(labeled) else 0]


def number(value) -> float | int | None:
    """A plain number; None for what is not finite."""
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if math.isfinite(value) else None


# ---- inside ----


def _known(table: pd.DataFrame) -> np.ndarray:
    """The known numbers of a table, one after another: a name that is not scored is no score."""
    values = table.to_numpy(dtype="float64").ravel()
    return values[np.isfinite(values)]


def _split(features: pd.DataFrame, kept: pd.Index, start) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the kept dates before `start`, and from it on."""
    days = features.index.get_level_values("date")
    chosen = days.isin(kept)
    return features[chosen & (days < start)], features[chosen & (days >= start)]


def _plain(value):
    """A cell as JSON has it: bool, number, text or None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.integer | np.floating):
        return number(value)
    return None if pd.isna(value) else str(value)
