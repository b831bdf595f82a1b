"""Whole columns that cannot be what they are called: returns for closes, two columns swapped, a line of totals."""

import re

import numpy as np
import pandas as pd

from openbook.common.constants import SESSIONS_A_YEAR
from openbook.common.errors import DataError

TOTAL = re.compile(r"(?i)(grand )?(total|sum|average|mean|median|count)s?")
# Ends of symbols by which vendors name exchanges abroad: Yahoo's and Refinitiv's, and Bloomberg's.
ABROAD = (
    r"\.(?:L|TO|V|T|DE|F|PA|AS|BR|MI|MC|SW|VX|ST|CO|OL|HE|VI|IR|LS|HK|KS|KQ|TW|SS|SZ|SI|NS|BO|AX|NZ|SA|MX|JO|TA)$"
    r"| (?:LN|GY|GR|FP|NA|IM|SM|SW|JP|JT|HK|CN|CT|AU|SS|DC|NO|FH|KS|TT|IN|BZ)(?: Equity)?$"
)
DEAR = 20_000.0  # USD; half of all names do not close above
MOST = 0.5  # of the rows: what is odd in so many is a column, not a bar
NOISE = 1.0  # standard deviation of changes over that of levels: 1.4 for returns, far below 1 for prices


def require_plausible(bars: pd.DataFrame, names: dict[str, str], where: str) -> None:
    """DataError for columns that hold something else; each line names the file, the columns and the way out.

    bars : long, symbol, date, close and any of open, high, low, volume
    names : our column → theirs
    """
    checks = (_totals, _spelling, _foreign, _indexes, _not_daily, _swapped_range, _swapped_volume, _returns)
    for check in (*checks, _outside, _unit):
        said = check(bars, names)
        if said:
            raise DataError(f"{where}: {said}")


def _totals(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """A symbol that is a line of totals: it is called so, and its closes are the sum or the mean of the others."""
    called = [symbol for symbol in bars["symbol"].unique() if TOTAL.fullmatch(symbol)]
    odd = next((symbol for symbol in called if _adds_up(bars, symbol)), "")
    column = f"column {names['symbol']!r}" if "symbol" in names else "the header"
    return f"{column} holds {odd!r}; remove the totals" if odd else ""


def require_rare(actions: pd.DataFrame, bars: pd.DataFrame, names: dict[str, str], where: str) -> None:
    """DataError where splits or dividends come too often or too large: a column of factors, yields or shifted closes.

    actions : ACTION_COLUMNS; names : by kind, the column that they are from
    """
    years = max(len(bars) / SESSIONS_A_YEAR, 1.0)
    for kind, most in (("split", 2.0), ("dividend", 16.0)):
        told = actions[actions["kind"] == kind]
        if len(told) > max(most * years, 20):
            column = f"column {names[kind]!r} of {where}" if kind in names else f"the table of {kind}s beside {where}"
            raise DataError(
                f"{column} has {len(told):,} {kind}s in {years:,.0f} years of one name: not {kind}s on their days, but "
                "a factor, a yield or a shifted column; name another column, or leave it out"
            )


def _spelling(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """A file name that holds more than the ticker, and one symbol in two spellings."""
    symbols = pd.Series(bars["symbol"].unique(), dtype="str")
    odd = symbols[symbols.str.contains(r"\(\d+\)$|_\d{4}|\d{8}", regex=True)]
    if len(odd) and "symbol" not in names:
        return f"the file of {odd.iloc[0]!r} is named by more than its ticker; rename it, or set symbol_format"
    twice = symbols[symbols.str.upper().duplicated()]
    return (
        f"symbol {twice.iloc[0]!r} is there in capitals and in small letters; write it in one way" if len(twice) else ""
    )


def _foreign(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """Listings outside the US, by what their symbols end with."""
    symbols = pd.Series(bars["symbol"].unique(), dtype="str")
    abroad = symbols[symbols.str.contains(ABROAD, regex=True)]
    if len(abroad) > MOST * len(symbols):
        return f"{abroad.iloc[0]} and {len(abroad) - 1} more are listed outside the US; use US listings, in USD"
    return ""


def _indexes(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """A market index among the stocks."""
    odd = next((symbol for symbol in bars["symbol"].unique() if symbol.startswith("^")), "")
    alone = bool(odd) and all(symbol.startswith("^") for symbol in bars["symbol"].unique())
    return (
        "" if not odd or alone else f"{odd} is an index, not a stock; move it out, or name it as `index` in the source"
    )


def _not_daily(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """Weekly or monthly bars."""
    table = bars[["symbol", "date"]].drop_duplicates().sort_values(["symbol", "date"])
    days = table.groupby("symbol", observed=True)["date"].diff().dt.days
    apart = days.groupby(table["symbol"], observed=True).median().dropna()
    wide = apart[apart >= 4]
    if not len(wide):
        return ""
    column = names.get("date", "date")
    return f"column {column!r}: bars of {wide.index[0]} are {wide.iloc[0]:.0f} days apart; get daily bars"


def _unit(bars: pd.DataFrame, names: dict[str, str]) -> str:
    """Closes of most names in another unit than USD a share."""
    usual = bars.groupby("symbol", observed=True)["close"].median()
    dear = usual[usual > DEAR]
    if len(dear) <= MOST * len(usual):
        return ""
    column = names.get("close", "close")
    return (
        f"column {column!r} holds {dear.iloc[0]:,.0f} for {dear.index[0]}: no price of a share in USD; name the closes"
    )


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
    if is_negative and not _without_memory(bars.assign(close=bars["close"].abs())):
        column = names.get("close", "close")
        return (
            f"column {column!r} has closes below zero (a sign before a quote, as CRSP sets it); write them without it"
        )
    if is_negative or _without_memory(bars):
        return f"column {names.get('close', 'close')!r} holds returns, not closes ({spread}); name the column of closes"
    return ""


def _without_memory(bars: pd.DataFrame) -> bool:
    """Whether the closes of the median name change from day to day by as much as they differ at all."""
    table = bars[["symbol", "date", "close"]].dropna().sort_values(["symbol", "date"])
    table = table[table["close"] > 0]
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
