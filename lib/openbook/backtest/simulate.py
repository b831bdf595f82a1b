"""A portfolio's walk through time on plain arrays: trade at the next execution price, pay, drift, mark at the close.

Positions are shares of total-return price series, so that dividends are reinvested and splits do not matter. A name
without bars is locked: it is no cash, it cannot be sold, and it counts at its last price, or at the lower one that was
refused as doubtful, until it trades again, its delisting is recorded, or the history ends. The loops are in `kernels`,
which is imported where it is used: it brings numba in, which reading parameters does not need.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from openbook.common.frames import places_in
from openbook.market.ingest import INGEST_RULES, LEVEL_BARS, LEVEL_MEMORY
from openbook.market.tables import Market, adjust
from openbook.portfolio.costs import BPS, Costs

# Beyond this a rise over a silence is another company under the ticker, or a new unit; see INGEST_RULES["level"].
LIMIT = INGEST_RULES["level"].threshold
# A fall in doubt for so many sessions counts in full, accepted or not: nothing confirmed it, and nothing revoked it.
IN_DOUBT = LEVEL_BARS
# Sessions without a bar after which a note reports a locked name, as `market.checks.session` stops expecting it.
SILENT = LEVEL_MEMORY
KINDS = ("delisting", "another level")


@dataclass(frozen=True, eq=False)
class PriceArrays:
    """A market as the walk needs it; made once, good for every backtest of that market. Its arrays are read-only.

    dates, symbols : the sessions and the n names; notes : sentences that every page shows
    close : (sessions, n) adjusted, carried over gaps, a fall in doubt for IN_DOUBT sessions with it; NaN before the
        first bar
    execution : (sessions, n) adjusted, NaN where a name cannot trade
    age : (sessions, n) sessions since the last bar, 0 if there is one, −1 before the first
    exit_starts : (sessions + 1,) the exits of session t are those from exit_starts[t] to exit_starts[t + 1]
    exit_names, exit_growth, exit_kinds : by exit, the name that becomes cash then, at its last close × growth, and
        why: an index into KINDS
    doubted : (sessions, n) adjusted close of the last bar that was refused as a fall since the last accepted one, NaN
        where there is none
    """

    dates: pd.DatetimeIndex
    symbols: pd.Index
    notes: tuple[str, ...]
    close: np.ndarray
    execution: np.ndarray
    age: np.ndarray
    exit_starts: np.ndarray
    exit_names: np.ndarray
    exit_growth: np.ndarray
    exit_kinds: np.ndarray
    doubted: np.ndarray

    @property
    def prices(self) -> tuple[np.ndarray, np.ndarray]:
        """Closes and execution prices, as the kernels take them."""
        return self.close, self.execution

    @property
    def exits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Starts, names and growth of the exits, as the kernels take them."""
        return self.exit_starts, self.exit_names, self.exit_growth


@dataclass(frozen=True, eq=False)
class Walk:
    """What happened, on arrays: k decisions, sessions from the first decision on.

    equity, cash : (sessions,) USD at each close; targets, held : (k, n) weights decided, and at that close before
    turnover, costs : (k,) at execution; NaN for a decision on the last session, which nothing executes
    forced_exits : (session, name, kind, USD) of each held name that became cash without an order
    shares : (n,) held at the end
    """

    equity: np.ndarray
    cash: np.ndarray
    targets: np.ndarray
    held: np.ndarray
    turnover: np.ndarray
    costs: np.ndarray
    forced_exits: list[tuple[int, int, str, float]]
    shares: np.ndarray


def read_prices(market: Market) -> PriceArrays:
    """The tape of a market; all of it is known on the session it belongs to."""
    from openbook.backtest.kernels import carry

    adjusted = _plain(market.adjusted)
    believed, age = carry(adjusted)
    doubted, close = _in_doubt(market, believed, age)
    events = sorted(_delistings(market, age, close, doubted) + _other_levels(adjusted, believed))
    sessions, names, growth, kinds = (np.array(column) for column in zip(*events, strict=True)) if events else [[]] * 4
    counts = np.bincount(np.asarray(sessions, dtype=np.int64), minlength=len(age))
    late = ("executed at the next close: the source has no opens",) if market.execution == "next_close" else ()
    return PriceArrays(
        dates=market.dates,
        symbols=market.symbols,
        notes=(*market.notes, *late),
        close=_read_only(close),
        execution=_read_only(_execution(market)),
        age=_read_only(age),
        exit_starts=_read_only(np.concatenate([[0], np.cumsum(counts)])),
        exit_names=_read_only(np.asarray(names, dtype=np.int64)),
        exit_growth=_read_only(np.asarray(growth, dtype=float)),
        exit_kinds=_read_only(np.asarray(kinds, dtype=np.int64)),
        doubted=_read_only(doubted),
    )


def _execution(market: Market) -> np.ndarray:
    """`Market.adjusted_execution` as a plain array."""
    adjusted = _plain(market.adjusted)
    if market.execution == "next_close":
        return adjusted
    price = adjusted / _plain(market.close)
    price *= _plain(cast(pd.DataFrame, market.open))
    return price


def _plain(table: pd.DataFrame) -> np.ndarray:
    """The numbers in row order: every other layout would be compiled anew."""
    return np.ascontiguousarray(np.asarray(table.to_numpy(dtype=float)))


def _read_only(values: np.ndarray) -> np.ndarray:
    """The same array, read-only."""
    values = values.view()
    values.flags.writeable = False
    return values


def _in_doubt(market: Market, believed: np.ndarray, age: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Tape.doubted`, and the closes in which a fall counts from its IN_DOUBT-th session of doubt on."""
    doubted, close = _refused_falls(market, believed, age), believed.copy()
    for column in np.flatnonzero((doubted > 0).any(axis=0)):
        spell = np.cumsum(age[:, column] == 0)  # from one accepted bar to the next
        last = pd.Series(doubted[:, column]).groupby(spell).ffill()
        lasts = last.notna().groupby(spell).cumsum() >= IN_DOUBT
        doubted[:, column] = last
        close[lasts, column] = last[lasts]
    return doubted, close


def _refused_falls(market: Market, believed: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Adjusted closes that ingest refused and that lie below the last accepted one, (sessions, n), else NaN."""
    out, table = np.full(believed.shape, np.nan), market.doubtful
    if table is None:
        return out
    rows, columns = places_in(market.dates, table["date"]), places_in(market.symbols, table["symbol"])
    known = (rows >= 0) & (columns >= 0)
    known[known] = age[rows[known], columns[known]] > 0  # else a corrected bar has come in its place
    cells = rows[known], columns[known]
    sent = market.close.to_numpy(copy=True)
    sent[cells] = table["close"].to_numpy()[known]
    out[cells] = adjust(pd.DataFrame(sent, market.dates, market.symbols), market.actions).to_numpy()[cells]
    out[~(out < believed)] = np.nan
    return out


def _delistings(market: Market, age, close, doubted) -> list[tuple[int, int, float, int]]:
    """Exits by recorded delistings: the session after the last bar at or before the record, never before it.

    The recorded return counts from the last bar that was sent, one that was refused as a fall included.
    """
    rows = market.actions[market.actions["kind"] == "delisting"]
    names = places_in(market.symbols, rows["symbol"])
    events = []
    for date, name, final in zip(rows["date"], names.tolist(), rows["value"], strict=True):
        known = int(market.dates.searchsorted(date, side="right")) - 1  # last session at or before the record
        first = int(market.dates.searchsorted(date))
        if name < 0 or known < 0 or age[known, name] < 0:
            continue
        session = max(known - int(age[known, name]) + 1, first)
        if session < len(market.dates):
            growth = 1.0 + (0.0 if pd.isna(final) else float(final))
            last = doubted[max(known, session - 1), name]
            events.append((session, name, growth if np.isnan(last) else growth * last / close[session - 1, name], 0))
    return events


def _other_levels(adjusted: np.ndarray, believed: np.ndarray) -> list[tuple[int, int, float, int]]:
    """Exits on the bars that close more than LIMIT times above the last accepted one, at that one.

    Ingest admits such a bar only after a silence or weeks of refused bars: a holder made no such gain.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rows, columns = np.nonzero(adjusted[1:] > LIMIT * believed[:-1])
    return [(int(row) + 1, int(column), 1.0, 1) for row, column in zip(rows, columns, strict=True)]


def rates(costs: Costs) -> tuple[float, float, float]:
    """Commission and slippage per USD of notional, and the least commission in USD, as the kernels take them."""
    return costs.commission_bps * BPS, costs.slippage_bps * BPS, costs.min_commission


def walk_given(tape: PriceArrays, rows: Sequence[int], targets: np.ndarray, costs: Costs, capital: float) -> Walk:
    """Walk target weights (k, n) that are known beforehand, from the first decision to the end of the tape.

    rows : sessions of the decisions, increasing
    """
    from openbook.backtest import kernels

    sessions = np.array(rows, dtype=np.int64)
    done = kernels.walk_given(tape.prices, tape.exits, sessions, targets, rates(costs), float(capital))
    equity, cash, held, turnover, paid, received, shares = done
    return Walk(
        equity[rows[0] :], cash[rows[0] :], targets, held, turnover, paid, _forced_exits(tape, received), shares
    )


def walk_deciding(
    tape: PriceArrays,
    rows: Sequence[int],
    decide: Callable[[int, np.ndarray], np.ndarray],
    costs: Costs,
    capital: float,
) -> Walk:
    """The same walk where each decision depends on what is held by then.

    decide : (k, held weights (n,) at that close) -> target weights (n,)
    """
    from openbook.backtest import kernels

    sessions, n = tape.close.shape
    lines = np.full(sessions, np.nan), np.full(sessions, np.nan)
    targets, helds = np.empty((len(rows), n)), np.empty((len(rows), n))
    turnover, paid, received = (np.full(size, np.nan) for size in (len(rows), len(rows), len(tape.exit_names)))
    shares, cash, fees = np.zeros(n), float(capital), rates(costs)
    lines[0][rows[0]] = lines[1][rows[0]] = cash
    for k, (row, following) in enumerate(zip(rows, [*rows[1:], sessions - 1], strict=True)):
        kernels.weigh(shares, cash, tape.close[row], helds[k])
        targets[k] = decide(k, helds[k])
        if row + 1 < sessions:
            span, order = (row + 1, following + 1), (targets[k], helds[k])
            lived = kernels.live(tape.prices, tape.exits, span, order, shares, cash, fees, lines, received)
            cash, turnover[k], paid[k] = lived
    first = rows[0]
    return Walk(
        lines[0][first:], lines[1][first:], targets, helds, turnover, paid, _forced_exits(tape, received), shares
    )


def _forced_exits(tape: PriceArrays, received: np.ndarray) -> list[tuple[int, int, str, float]]:
    """The exits of names that were held, in the order of their sessions."""
    found = np.flatnonzero(np.isfinite(received))
    sessions = np.searchsorted(tape.exit_starts, found, side="right") - 1
    return [
        (int(session), int(tape.exit_names[e]), KINDS[tape.exit_kinds[e]], float(received[e]))
        for session, e in zip(sessions, found, strict=True)
    ]
