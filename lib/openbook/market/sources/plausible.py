"""Whole columns that cannot be what they are called: returns for closes, two columns swapped, a line of totals."""

import re

import numpy as np
import pandas as pd

from openbook.common.errors import DataError

TOTAL = re.compile(r"(?i)(grand )?(total|sum|average|mean|median|count)s?")
MOST = 0.5  # of the rows: what is odd in so many is a column, not a bar
NOISE = 1.0  # standard deviation of changes over that of levels: 1.4 for returns, far below 1 for prices


def require_plausible(bars: pd.DataFrame, names: dict[str, str], where: str) -> None:
    """DataError for columns that hold something else; each line names the file, the columns and the way out.

    bars : long, symbol, date, close and any of open, high, low, volume
    names : our column → theirs
    """
    for check in (_totals, _swapped_range, _swapped_volume, _returns, _outside):
        said = check(bars, names)
        if said:
            raise DataError(f"{where}: {said}")


def _totals(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """A symbol that is a line of totals: it is called so, and its closes are the sum or the mean of the others."""
    called = [symbol for symbol in bars["symbol"].unique() if TOTAL.fullmatch(symbol)]
    odd = next((symbol for symbol in called if _adds_up(bars, symbol)), "")
    column = f"column {names['symbol']!r}" if "symbol" in names else "the header"
    return f"{column} holds {odd!r}; remove the totals" if odd else ""


def _adds_up(bars: pd.DataFrame, symbol: str) -> bool:
    """Whether the closes of a symbol are the sum or the mean of all others, on most days."""
    is_it = (bars["symbol"] == symbol).to_numpy()
    others = bars[~is_it].groupby("date")["close"]
    own = bars[is_it].groupby("date")["close"].first()
    off = [(own / each.reindex(own.index) - 1.0).abs() < 1e-3 for each in (others.sum(), others.mean())]
    return any(each.mean() > MOST for each in off)


def _returns(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """Closes that are returns: below zero as often as above, or without memory."""
    close = bars["close"].dropna()
    spread = f"values from {close.min():.4g} to {close.max():.4g}" if len(close) else ""
    is_negative = len(close) > 0 and (close < 0).mean() > 0.1
    if is_negative or _without_memory(bars):
        return f"column {names.get('close', 'close')!r} holds returns, not closes ({spread}); name the column of closes"
    return ""


def _without_memory(bars: pd.DataFrame) -> bool:
    """Whether the closes of the median name change from day to day by as much as they differ at all."""
    table = bars[["symbol", "date", "close"]].dropna().sort_values(["symbol", "date"])
    grouped = table.groupby("symbol", observed=True)["close"]
    long = grouped.size() >= 30
    if not long.any():
        return False
    level, change = grouped.std(), grouped.diff().groupby(table["symbol"], observed=True).std()
    return float((change / level.where(level > 0))[long].median()) > NOISE


def _swapped_range(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """High and low the other way round."""
    if not {"high", "low"} <= set(bars):
        return ""
    both = bars[["high", "low"]].dropna()
    if len(both) and (both["high"] < both["low"]).mean() > MOST:
        return f"columns {names['high']!r} and {names['low']!r} are swapped: the high is below the low; swap them"
    return ""


def _swapped_volume(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """Volume and close the other way round: shares traded are whole, and prices lie within the day's range."""
    if "volume" not in bars:
        return ""
    both = bars[["close", "volume"]].dropna()
    both = both[both["volume"] > 0]
    is_whole = {name: (both[name] == both[name].round()).mean() for name in both} if len(both) else {}
    if is_whole and is_whole["close"] > 0.99 and is_whole["volume"] < MOST and both["close"].median() > 1000:
        return (
            f"columns {names['close']!r} and {names['volume']!r} are swapped: the volumes have fractions and the "
            "closes have none; swap them"
        )
    return ""


def _outside(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """A close that lies outside of high and low on most days is of another kind than they are."""
    if not {"high", "low"} <= set(bars):
        return ""
    all_three = bars[["high", "low", "close"]].dropna()
    slack = 1e-4 * all_three["close"].abs()
    out = (all_three["close"] > all_three["high"] + slack) | (all_three["close"] < all_three["low"] - slack)
    if len(all_three) and np.mean(out) > MOST:
        named = ", ".join(repr(names[field]) for field in ("high", "low", "close"))
        return (
            f"columns {named} do not fit: the close is outside the day's range in {np.mean(out):.0%} of the rows "
            "(adjusted beside raw, or columns swapped); name columns of one kind"
        )
    return ""
