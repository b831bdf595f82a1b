"""The last sessions up to the one that is checked, as arrays for the session rules."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from openbook.common.errors import DataNotReady
from openbook.market.checks.thresholds import QualityRules
from openbook.market.tables import Market

# Sessions that make a name's usual turnover.
USUAL = 20


class SessionBars(NamedTuple):
    """The last sessions as arrays, sessions × symbols; `bar`: there is one; `level`: log adjusted close.

    fields : close and the other fields of a bar that this source has, by name
    expected : (n_symbols,) had a bar lately, is a member if there are members, is not delisted
    concerned : (n_symbols,) expected or held: the others are not checked
    delisted : (n_symbols,) has no bar since a recorded delisting
    """

    market: Market
    dates: pd.DatetimeIndex
    symbols: pd.Index
    close: np.ndarray
    level: np.ndarray
    volume: np.ndarray | None
    fields: dict[str, np.ndarray]
    bar: np.ndarray
    expected: np.ndarray
    concerned: np.ndarray
    delisted: np.ndarray


def look(market: Market, date: pd.Timestamp, held: list[str], rules: QualityRules) -> SessionBars:
    """This session's arrays of a market up to `date`; DataNotReady if the source, or its index, ends before."""
    _require_arrived(market, date)
    depth = rules.jump_window + max(rules.active_window, USUAL) + 1
    fields = {name: getattr(market, name).to_numpy()[-depth:] for name in market.bar_fields}
    close = fields["close"]
    bar = ~np.isnan(close)
    delisted = ~bar[-1] & market.symbols.isin(_delisted_since_last_bar(market))
    expected = bar[-rules.active_window - 1 :].any(axis=0) & ~delisted
    if market.members is not None:
        expected &= market.members.to_numpy()[-1]
    return SessionBars(
        market=market,
        dates=market.dates[-depth:],
        symbols=market.symbols,
        close=close,
        level=np.log(market.adjusted.to_numpy()[-depth:]),
        volume=fields.get("volume"),
        fields=fields,
        bar=bar,
        expected=expected,
        concerned=expected | market.symbols.isin(held),
        delisted=delisted,
    )


def _require_arrived(market: Market, date: pd.Timestamp) -> None:
    if market.dates.empty or market.dates[-1] != date:
        last = "there are none before" if market.dates.empty else f"the latest are of {market.dates[-1]:%Y-%m-%d}"
        raise DataNotReady(f"no bars for {date:%Y-%m-%d} yet, {last}; update the data, or try again later")
    if market.index is not None and (market.index.empty or market.index.index[-1] != date):
        raise DataNotReady(
            f"the index {market.index.name} has no close for {date:%Y-%m-%d} yet; update it, or remove it "
            "from the source"
        )


def _delisted_since_last_bar(market: Market) -> list[str]:
    """Symbols with a recorded delisting and no bar after it; a symbol used again for another stock trades."""
    actions = market.actions[market.actions["kind"] == "delisting"]
    known = actions[actions["symbol"].isin(market.symbols)]
    last_bar = [market.close[symbol].last_valid_index() for symbol in known["symbol"]]
    ended = [last is not None and last <= date for last, date in zip(last_bar, known["date"], strict=True)]
    return list(known["symbol"][ended])
