"""Small markets and books, made by hand, for the tests of this room."""

import numpy as np
import pandas as pd

from openbook.execution.kill_switch import KillSwitch
from openbook.ledger.book import commit_session, read_book, settle
from openbook.market.calendar import sessions
from openbook.market.tables import ACTION_COLUMNS, Market, adjust, empty_actions
from openbook.portfolio.costs import Costs

DAYS = sessions("2025-03-03", "2025-03-31")
FREE = Costs(commission_bps=0, slippage_bps=0)
CALM = KillSwitch(max_daily_loss=0.99, min_sharpe=-1e9, max_drawdown=0.99)  # trips on nothing that happens here
ABOUT = {"model": "m", "data": "d", "parameters": "p", "code": "c"}


def make_market(close: dict, *, actions=(), opens: dict | None = None, volume: dict | None = None, start: int = 0):
    """A market of `close` by symbol from DAYS[start] on; `actions` are (date, symbol, kind, value).

    With `opens` orders are filled at the open, else at the close.
    """
    n = len(next(iter(close.values())))
    dates = DAYS[start : start + n]
    table = pd.DataFrame(close, index=dates, dtype=float).sort_index(axis=1)
    listed = pd.DataFrame(list(actions), columns=ACTION_COLUMNS) if actions else empty_actions()
    listed["date"] = pd.to_datetime(listed["date"]).astype("datetime64[us]")
    return Market(
        close=table,
        adjusted=adjust(table, listed),
        name="by hand",
        execution="next_close" if opens is None else "next_open",
        actions=listed,
        open=None if opens is None else pd.DataFrame(opens, index=dates, dtype=float)[table.columns],
        volume=None if volume is None else pd.DataFrame(volume, index=dates, dtype=float)[table.columns],
    )


def make_trades(**shares: int) -> pd.DataFrame:
    """Orders of signed shares by symbol, at a reference price of 1 USD."""
    rows = [(symbol, n, 1.0, "by hand") for symbol, n in shares.items()]
    return pd.DataFrame(rows, columns=["symbol", "shares", "price", "reason"])


def day(n: int) -> str:
    """The n-th session as text."""
    return f"{DAYS[n]:%Y-%m-%d}"


def commit(path, market, n: int, trades=None, *, costs: Costs = FREE, inputs="in", switch=CALM, manual=False):
    """Settle and commit session n with `trades`, approved by rule or not; returns the settlement."""
    state = read_book(path, before=DAYS[n])
    settlement = settle(state, market, costs, DAYS[n])
    orders = make_trades() if trades is None else trades
    how = {"switch": switch, "manual": manual, "about": ABOUT}
    commit_session(path, session=DAYS[n], inputs_hash=inputs, settlement=settlement.to_json(), trades=orders, **how)
    return settlement


def random_market(seed: int, n_symbols: int = 6, n: int = 18) -> Market:
    """Prices in cents with splits, reverse splits, dividends, delistings and missing bars, at random."""
    rng = np.random.default_rng(seed)
    symbols = [f"S{i}" for i in range(n_symbols)]
    returns = rng.normal(0, 0.03, (n, n_symbols))
    close = np.exp(np.log(rng.uniform(5, 300, n_symbols)) + returns.cumsum(axis=0))
    actions = []
    for j, symbol in enumerate(symbols):
        for t in range(1, n):
            if rng.random() < 0.06:
                ratio = float(rng.choice([2, 3, 4, 1.5, 0.1, 0.125]))
                close[t:, j] /= ratio
                actions.append((DAYS[t], symbol, "split", ratio))
            if rng.random() < 0.06:
                actions.append((DAYS[t], symbol, "dividend", round(float(rng.uniform(0.01, 0.5)), 3)))
    close = np.maximum(close.round(2), 0.05)
    opens = np.maximum((close * np.exp(rng.normal(0, 0.01, close.shape))).round(2), 0.05)
    gaps = rng.random(close.shape) < 0.03
    gaps[[0, -1]] = False
    if rng.random() < 0.5:
        last = int(rng.integers(4, n - 2))
        gaps[last + 1 :, 0] = True
        actions.append((DAYS[last + 1], symbols[0], "delisting", float(rng.choice([-1.0, -0.3, 0.0]))))
    close[gaps] = opens[gaps] = np.nan
    frame = dict(zip(symbols, close.T, strict=True))
    return make_market(frame, actions=actions, opens=dict(zip(symbols, opens.T, strict=True)))
