"""The kill switch: whether the book may no longer buy, or must stop, decided from its own equity alone.

Nothing here sells, latches or forgets: the book keeps the state, and only a person resets it.
"""

from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from openbook import metrics
from openbook.common.errors import BookError, ParameterError
from openbook.common.settings import Settings
from openbook.metrics.returns import known

ACTIVE, REDUCE_ONLY, HALTED = "ACTIVE", "REDUCE_ONLY", "HALTED"
STATES = (ACTIVE, REDUCE_ONLY, HALTED)  # least to most restrictive
CHECK_COLUMNS = ["check", "value", "limit", "status", "detail"]
ASKS = {"daily_loss": HALTED, "sharpe": REDUCE_ONLY, "drawdown": HALTED}  # the state that each check asks for
NEAR = Fraction(1, 5)  # of the limit
FEWEST = 20  # fewest returns for an estimate of false alarms
_ALARMS = ("unevaluable", "trip")  # the later hides the earlier, and both hide the result of a newer session


def worst(*states: str) -> str:
    """The most restrictive of some states; BookError names an unknown one."""
    unknown = [state for state in states if state not in STATES]
    if unknown:
        raise BookError(f"unknown kill switch state {unknown[0]!r}; choose from {', '.join(STATES)}")
    return max(states, key=STATES.index)


@dataclass(frozen=True)
class Trip:
    """One check that tripped at the close of `session`, the state that it asks for, and the numbers."""

    session: str
    check: str
    state: str
    detail: str


@dataclass(frozen=True, eq=False)
class Verdict:
    """The verdict of the switch.

    state : never less than what was latched
    trips : to be latched, oldest first
    checks : CHECK_COLUMNS, one row a check: `value` and `limit` as fractions (the Sharpe ratio annualized), losses
        negative; `status` is ok, near (within a fifth of the limit), trip, latched (beyond the limit, and known), n/30
        (so many of the sessions that it needs), undefined or unevaluable
    """

    state: str
    trips: tuple[Trip, ...]
    checks: pd.DataFrame


@dataclass(frozen=True)
class _Session:
    """One mark: its return exactly, how far the growth index is below its peak, and why both are unknown, if so."""

    date: str
    gain: Fraction
    depth: Fraction
    fault: str


@dataclass(frozen=True)
class _Row:
    """One row of the checks."""

    check: str
    value: float
    limit: float
    status: str
    detail: str = ""


class KillSwitch(Settings):
    """Limits of the switch. Each is broken strictly beyond its value: a loss of exactly 3% does not trip.

    Examples
    --------
    >>> ob.KillSwitch(max_daily_loss=0.02).max_daily_loss
    0.02
    """

    max_daily_loss: float = Field(0.03, gt=0, lt=1, description="loss in one session that trips HALTED")
    # Its standard error over 30 sessions is about √(252/30) = 2.9: expect false alarms, and check their rate.
    min_sharpe: float = Field(
        0.5,
        description="annualized Sharpe ratio over sharpe_sessions below which REDUCE_ONLY trips",
    )
    sharpe_sessions: int = Field(
        30, ge=2, description="window of the Sharpe rule, in sessions since the last reset, or since inception"
    )
    max_drawdown: float = Field(
        0.10,
        gt=0,
        lt=1,
        description="drawdown that trips HALTED, from the peak since the last reset, or since inception",
    )

    def evaluate(self, marks: pd.DataFrame, *, latched: str, unseen: int) -> Verdict:
        """Evaluate every session not evaluated before, in order, as if the switch had run on that session.

        marks : one row per settled session since the switch was armed, oldest first: date (YYYY-MM-DD), before_cents
            (equity at the session before), flows_cents (deposits less withdrawals that entered before the session),
            equity_cents
        latched : state kept in the book; BookError if it is unknown
        unseen : number of last rows that were never judged; 0 shows the last again and trips nothing

        A loss trips in each session that has one; a Sharpe ratio or a drawdown that stays beyond its limit trips once,
        when it makes the state worse. What cannot be evaluated asks for REDUCE_ONLY and is no trip. Nothing raises.
        """
        kept = worst(latched)
        try:
            return self._judge(marks, kept, unseen)
        except Exception as error:  # any failure: no new buys
            why = f"the kill switch could not be evaluated: {type(error).__name__}: {error}"
            rows = [_Row(check, np.nan, limit, "unevaluable", why) for check, limit in self._limits().items()]
            return Verdict(worst(kept, REDUCE_ONLY), (), _table(rows))

    def _judge(self, marks: pd.DataFrame, state: str, unseen: int) -> Verdict:
        """`evaluate`, where exceptions may happen."""
        sessions = _read(marks)
        if not 0 <= unseen <= len(sessions):
            raise BookError(f"{unseen} sessions have not been evaluated, but there are marks for {len(sessions)}")
        trips, looks = [], []
        for end in range(len(sessions) - unseen + 1, len(sessions) + 1) or (len(sessions),):
            rows = [_no_news(row, state, unseen) for row in self._look(sessions[:end])]
            broken = [row for row in rows if row.status == "trip"]
            trips += [Trip(sessions[end - 1].date, row.check, ASKS[row.check], row.detail) for row in broken]
            state = worst(state, *(ASKS[row.check] for row in rows if row.status in ("trip", "latched")))
            looks.append(rows)
        rows = [_summary(each, trips) for each in zip(*looks, strict=True)]
        blind = any(row.status == "unevaluable" for look in looks for row in look)
        return Verdict(worst(state, REDUCE_ONLY if blind else ACTIVE), tuple(trips), _table(rows))

    def _limits(self) -> dict[str, float]:
        """Limit by check, losses negative."""
        return {"daily_loss": -self.max_daily_loss, "sharpe": self.min_sharpe, "drawdown": -self.max_drawdown}

    def _look(self, known: list[_Session]) -> list[_Row]:
        """The checks at the close of the last of some sessions."""
        today = known[-1:]
        return [
            _loss("daily_loss", [s.gain for s in today], -self.max_daily_loss, _fault(today)),
            self._sharpe(known[-self.sharpe_sessions :]),
            _loss("drawdown", [s.depth - 1 for s in today], -self.max_drawdown, _fault(known)),
        ]

    def _sharpe(self, window: list[_Session]) -> _Row:
        """The Sharpe ratio of the last sessions, once there are enough."""
        blank = _Row("sharpe", np.nan, self.min_sharpe, f"{len(window)}/{self.sharpe_sessions}")
        if fault := _fault(window):
            return replace(blank, status="unevaluable", detail=fault)
        if len(window) < self.sharpe_sessions:
            return blank
        value = metrics.sharpe([float(session.gain) for session in window])
        if np.isnan(value):
            return replace(blank, status="undefined", detail="all returns are the same; look for a frozen price feed")
        detail = _beside(value, self.min_sharpe, "f")
        if not (value >= self.min_sharpe):
            return replace(blank, value=value, status="trip", detail=detail)
        near = value <= self.min_sharpe + float(NEAR) * abs(self.min_sharpe)
        return replace(blank, value=value, status="near" if near else "ok", detail=detail if near else "")


def reducing(trades: pd.DataFrame, positions: pd.Series) -> pd.DataFrame:
    """The orders that only make a holding smaller, in their order and with their columns.

    trades : TRADE_COLUMNS; symbol and shares are used; positions : signed shares by symbol

    An order for more than is held, for a symbol that is not held or is ordered twice, or without a number of shares is
    not among them.
    """
    held = positions.reindex(trades["symbol"]).fillna(0.0).to_numpy(dtype=float)
    shares = trades["shares"].to_numpy(dtype=float)
    smaller = (shares * held < 0) & (np.abs(shares) <= np.abs(held))
    return trades[smaller & ~trades["symbol"].duplicated(keep=False).to_numpy()].reset_index(drop=True)


def false_alarm_rates(
    returns: np.ndarray | pd.Series,
    settings: KillSwitch,
    *,
    sessions: int = 252,
    n_paths: int = 1000,
    block: int = 10,
    seed: int = 0,
) -> dict[str, float]:
    """Chance that each check, and `any` of them, trips at least once within `sessions` sessions after arming, if the
    returns to come are like these: stationary block bootstrap (Politis & Romano 1994).

    returns : simple returns per session; NaN sessions are dropped
    block : mean length of the blocks that are drawn, in sessions

    Fewer than 20 returns, or an infinite one, give NaN. Too low when the record has seen no bad spell: what never
    happened is never drawn.
    """
    if not (sessions >= 1 and n_paths >= 1 and block >= 1):
        raise ParameterError("sessions, n_paths and block must be at least 1")
    values = known(returns)
    if not (len(values) >= FEWEST and np.isfinite(values).all()):
        return dict.fromkeys([*ASKS, "any"], np.nan)
    drawn = metrics.stationary_bootstrap_indices(
        len(values), length=sessions, draws=n_paths, mean_block=block, seed=seed
    )
    trips = _path_trips(values[drawn], settings)
    trips["any"] = np.logical_or.reduce(list(trips.values()))
    return {check: float(tripped.mean()) for check, tripped in trips.items()}


# ---- inside ----


def _path_trips(paths: np.ndarray, settings: KillSwitch) -> dict[str, np.ndarray]:
    """Whether each check trips anywhere on each path of returns, (n_paths, sessions); in floats, for the rates only."""
    rolling = metrics.rolling_sharpe(paths, settings.sharpe_sessions)
    wealth = np.cumprod(1.0 + paths, axis=1)
    peak = np.maximum(np.maximum.accumulate(wealth, axis=1), 1.0)
    trips: dict[str, Any] = {
        "daily_loss": (paths < -settings.max_daily_loss).any(axis=1),
        "sharpe": (rolling < settings.min_sharpe).any(axis=1),
        "drawdown": (wealth / peak - 1.0 < -settings.max_drawdown).any(axis=1),
    }
    return trips


def _read(marks: pd.DataFrame) -> list[_Session]:
    """The sessions of some marks; what is wrong with one is its fault, and no exception."""
    found, depth, last = [], Fraction(1), None
    row: Any
    for row in marks[["date", "before_cents", "flows_cents", "equity_cents"]].itertuples(index=False, name="Mark"):
        try:
            growth, fault = _growth(row, last), ""
        except BookError as error:
            growth, fault = Fraction(1), f"{row.date}: {error}"
        depth = min(depth * growth, Fraction(1))
        found.append(_Session(row.date, growth - 1, depth, fault))
        last = row
    return found


def _growth(row: Any, last: Any) -> Fraction:
    """Growth of the equity in a session, E[t] / (E[t−1] + flows), exact; BookError if it is unknown."""
    if not isinstance(row.date, str):
        raise BookError("the mark has no date")
    before, flows, equity = _cents(row.before_cents), _cents(row.flows_cents), _cents(row.equity_cents)
    if last is not None and not (str(last.date) < row.date and last.equity_cents == before):
        raise BookError(f"the mark does not follow that of {last.date}")
    if not before + flows > 0:
        raise BookError(f"{(before + flows) / 100:,.2f} USD were there before the session; no return can be computed")
    return Fraction(equity, before + flows)


def _cents(value: Any) -> int:
    """A whole number of cents, or BookError."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole or (isinstance(value, float) and value.is_integer())):
        raise BookError(f"{value!r} is not a whole number of cents")
    return int(value)


def _fault(sessions: list[_Session]) -> str:
    """What is wrong with the first of some sessions that cannot be evaluated, or nothing."""
    return next((session.fault for session in sessions if session.fault), "")


def _loss(check: str, values: list[Fraction], limit: float, fault: str) -> _Row:
    """A row for a loss (of one session, or none yet) and its limit, both negative; compared as exact fractions."""
    if fault or not values:
        return _Row(check, np.nan, limit, "unevaluable" if fault else "ok", fault or "no session yet")
    value, exact = values[0], Fraction(str(limit))
    status = "trip" if value < exact else "near" if value <= exact * (1 - NEAR) else "ok"
    return _Row(check, float(value), limit, status, "" if status == "ok" else _beside(float(value), limit, "%"))


def _no_news(row: _Row, state: str, unseen: int) -> _Row:
    """A breach is latched, and no trip, in a session that was judged before, or if it lasts and `state` covers it."""
    lasts = row.check != "daily_loss" and worst(state, ASKS[row.check]) == state
    return replace(row, status="latched") if row.status == "trip" and (lasts or not unseen) else row


def _summary(rows: tuple[_Row, ...], trips: list[Trip]) -> _Row:
    """One check over several sessions: the last row, or the last of the worst alarm, naming every alarm."""
    alarms = [row for row in rows if row.status in _ALARMS]
    if not alarms:
        return rows[-1]
    shown = max(reversed(alarms), key=lambda row: _ALARMS.index(row.status))
    named = [f"{trip.session}: {trip.detail}" for trip in trips if trip.check == shown.check]
    faults = [row.detail for row in alarms if row.status == "unevaluable"]
    return replace(shown, detail="; ".join(dict.fromkeys(named + faults)))


def _beside(value: float, limit: float, kind: str) -> str:
    """A value beside its limit, with enough digits to distinguish them; kind : "f" or "%"."""
    digits = next((n for n in range(2, 16) if f"{value:.{n}{kind}}" != f"{limit:.{n}{kind}}"), 2)
    sign = "<" if value < limit else ">" if value > limit else "="
    return f"{value:.{digits}{kind}} {sign} {limit:.{digits}{kind}}"


def _table(rows: list[_Row]) -> pd.DataFrame:
    """The checks in their order."""
    text = dict.fromkeys(("check", "status", "detail"), "str")
    return pd.DataFrame([asdict(row) for row in rows], columns=CHECK_COLUMNS).astype(text)
