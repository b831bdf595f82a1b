"""Whether undescribed closes are as traded, divided by splits, or adjusted for dividends too, by the evidence.

A recorded split of 2:1 halves a close as traded, and leaves one that is divided by splits alone. Where no split is
recorded, those of well-known companies tell; where none of them is there, whole cents do: nothing trades at 41.2873.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from openbook.common.constants import SESSIONS_A_YEAR
from openbook.common.errors import DataError
from openbook.market.adjustment_factors import AdjustedAs, derive_actions
from openbook.market.tables import ACTION_COLUMNS

# Symbol, first session at the new count, new shares per old: by the companies' announcements.
WELL_KNOWN = (
    ("AAPL", "2014-06-09", 7.0), ("AAPL", "2020-08-31", 4.0), ("AMZN", "2022-06-06", 20.0),
    ("AVGO", "2024-07-15", 10.0), ("C", "2011-05-09", 0.1), ("CMG", "2024-06-26", 50.0), ("CSX", "2021-06-29", 3.0),
    ("FTNT", "2022-06-23", 5.0), ("GE", "2021-08-02", 0.125), ("GILD", "2013-01-28", 2.0),
    ("GOOGL", "2022-07-18", 20.0), ("ISRG", "2017-10-06", 3.0),
    ("ISRG", "2021-10-05", 3.0), ("KO", "2012-08-13", 2.0), ("MA", "2014-01-22", 10.0), ("MNST", "2016-11-10", 3.0),
    ("NFLX", "2015-07-15", 7.0), ("NKE", "2012-12-26", 2.0), ("NKE", "2015-12-24", 2.0), ("NVDA", "2021-07-20", 4.0),
    ("NVDA", "2024-06-10", 10.0), ("PANW", "2022-09-14", 3.0), ("ROST", "2015-06-12", 2.0), ("SBUX", "2015-04-09", 2.0),
    ("SHW", "2021-04-01", 3.0), ("TSLA", "2020-08-31", 5.0), ("TSLA", "2022-08-25", 3.0), ("UNP", "2014-06-09", 2.0),
    ("V", "2015-03-19", 4.0), ("WMT", "2024-02-26", 3.0),
)  # fmt: skip
# A day on which a split of at least this much shows in the close, or does not.
TELLING_SPLIT = 1.4
UNTAKEN = "look like splits that nobody took out"
SCATTERED = 0.2  # share of sessions up to the last action on which an adjusted close made that way differs at most
# Where between so many splits that show and that do not, two kinds of prices stand in one file.
MIXED = (0.25, 0.75)
DECIMAL_SINCE = pd.Timestamp("2001-04-09")  # all US stocks are quoted in cents
WHOLE = 0.99  # share of closes as traded that are whole cents, at least
DIVIDEND_SLOPE_ERROR = 0.2  # standard error at which a slope of 0 or 1 can be told


class PriceKind(NamedTuple):
    """prices : as `FilesSource.prices`; why : the evidence, as a sentence for the report
    unused : our columns that must not be read with these prices
    """

    prices: str
    why: str
    unused: tuple[str, ...] = ()


def price_kind(bars: pd.DataFrame, recorded: pd.DataFrame, names: dict[str, str], where: str) -> PriceKind:
    """What the closes of these bars are.

    bars : long, symbol, date, close, and any of adjusted_close, unadjusted_close, split, dividend
    recorded : ACTION_COLUMNS that the source tells, in columns or in tables
    names : our column → theirs, for the sentence; where : the path, for an error

    Raises DataError if some splits show and some do not: closes of two kinds.
    """
    if "adjusted_close" in bars and _are_equal(bars["adjusted_close"], bars["close"]):
        kind = price_kind(bars.drop(columns="adjusted_close"), recorded, names, where)
        return kind._replace(unused=(*kind.unused, "adjusted_close"))
    if "unadjusted_close" in bars and not _by_splits_alone(bars):
        unused = ("unadjusted_close", *({"adjusted_close", "split", "dividend"} & set(bars)))
        return PriceKind("adjusted", f"because {names['unadjusted_close']} shows dividends in the close", unused)
    if "unadjusted_close" in bars:
        unused = tuple({"split"} & set(bars)) + tuple({"adjusted_close"} & set(bars) if "dividend" in bars else ())
        return PriceKind("split_adjusted", f"because {names['unadjusted_close']} is the close as traded", unused)
    splits = recorded[recorded["kind"] == "split"]
    seen = splits_seen(bars, splits if len(_telling(splits)) else _well_known())
    _require_one_kind(seen, where)
    _require_new_per_old(seen, bars, splits, where)
    showing, n = int(seen["shows"].sum()), len(seen)
    which = "recorded" if len(_telling(splits)) else "well-known"
    told = f"because {showing} of {n} {which} splits are visible in the close"
    if "adjusted_close" in bars:
        return _beside_adjusted(bars, names, seen, told)
    if n and showing:
        return PriceKind("raw", told)
    if n:
        return _without_splits(bars, recorded, told)
    return _by_cents(bars, recorded)


def _are_equal(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns are the same but for rounding."""
    return bool(((one / other - 1.0).abs() < 1e-6)[one.notna() & other.notna()].mean() > 0.999)


def _by_splits_alone(bars: pd.DataFrame) -> bool:
    """Whether the close as traded and the close differ by splits alone: dividends move them apart more often."""
    closes = {"close": bars["unadjusted_close"], "adjusted_close": bars["close"]}
    implied, left = derive_actions(bars[["symbol", "date"]].assign(**closes), adjusted_as="today")
    others = len(left) + int((implied["kind"] == "dividend").sum())
    return others <= max(len(implied) - others, len(bars) / (5 * SESSIONS_A_YEAR))


def _require_new_per_old(seen: pd.DataFrame, bars: pd.DataFrame, splits: pd.DataFrame, where: str) -> None:
    """DataError if the splits are written as old shares per new: the closes move by the other way round."""
    if not len(seen) or seen["shows"].any() or not len(_telling(splits)):
        return
    other = splits_seen(bars, splits.assign(value=1.0 / splits["value"]))
    if other["shows"].mean() > MIXED[1]:
        row = other.iloc[0]
        raise DataError(
            f"{where}: the split of {row['symbol']} on {row['date']:%Y-%m-%d} is written as old shares per new "
            f"({1 / row['value']:g}); write new shares per old ({row['value']:g})"
        )


def splits_seen(bars: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Telling splits on days with bars before and on them: symbol, date, value, and whether the close moved by it."""
    splits = _telling(splits)
    own = bars[bars["symbol"].isin(splits["symbol"])].sort_values(["symbol", "date"])
    ratio = own["close"] / own.groupby("symbol", observed=True)["close"].shift()
    moved = own[["symbol", "date"]].assign(ratio=ratio).astype({"symbol": "str"})
    moved = moved.merge(splits, on=["symbol", "date"])
    moved = moved[moved["ratio"] > 0].drop_duplicates(["symbol", "date", "value"])
    shows = np.abs(np.log(moved["ratio"] * moved["value"])) < np.abs(np.log(moved["ratio"]))
    return moved.assign(shows=shows)[["symbol", "date", "value", "shows"]]


def _telling(splits: pd.DataFrame) -> pd.DataFrame:
    """Splits large enough to be told from a day's move."""
    return splits[np.abs(np.log(splits["value"].where(splits["value"] > 0))) > np.log(TELLING_SPLIT)]


def _well_known() -> pd.DataFrame:
    table = pd.DataFrame(WELL_KNOWN, columns=["symbol", "date", "value"]).assign(kind="split")
    return table.astype({"symbol": "str", "date": "datetime64[us]", "kind": "str"})[ACTION_COLUMNS]


def _require_one_kind(seen: pd.DataFrame, where: str) -> None:
    """DataError if closes as traded stand beside closes divided by splits."""
    if not len(seen) or not MIXED[0] < seen["shows"].mean() < MIXED[1]:
        return
    raw, divided = (seen[seen["shows"] == shows].iloc[0] for shows in (True, False))
    raise DataError(
        f"{where} has closes as traded beside adjusted ones: the {raw['value']:g}:1 split of {raw['symbol']} on "
        f"{raw['date']:%Y-%m-%d} is visible in them, that of {divided['symbol']} on {divided['date']:%Y-%m-%d} is not; "
        "use files of one kind"
    )


def _beside_adjusted(bars: pd.DataFrame, names: dict[str, str], seen: pd.DataFrame, told: str) -> PriceKind:
    """Beside an adjusted close the close is raw or divided by splits: which, the growth between the two says."""
    column = names["adjusted_close"]
    if len(seen) and "split" in bars:
        prices = "raw" if seen["shows"].any() else "split_adjusted"
        complete = "dividend" in bars
        spare = ("adjusted_close",) if complete else (("split",) if prices == "raw" else ())
        return PriceKind(prices, told, spare)
    implied, _ = derive_actions(bars, adjusted_as=adjusted_as(bars))
    splits = _telling(implied[implied["kind"] == "split"])
    unused = tuple(name for name in ("split", "dividend") if name in bars)
    if len(splits) or seen["shows"].any():
        first = f"{splits.iloc[0]['symbol']} {splits.iloc[0]['date']:%Y-%m-%d}" if len(splits) else told
        return PriceKind("raw", f"because {column} beside it contains splits ({first})", unused)
    why = f"because {column} beside it contains dividends and no split"
    return PriceKind("split_adjusted", why, tuple(name for name in unused if name == "dividend"))


def adjusted_as(bars: pd.DataFrame) -> AdjustedAs:
    """How an adjusted close beside the close was made; see `derive_actions`.

    Adjusted for all later actions, it differs on every session up to the last action; as it was adjusted one session
    later, it differs on the session before each action alone.
    """
    own = bars[["symbol", "date", "close", "adjusted_close"]].dropna().sort_values(["symbol", "date"])
    differs = (own["adjusted_close"] / own["close"] - 1.0).abs() > 1e-4
    later = differs[::-1].groupby(own["symbol"][::-1], observed=True).cummax()[::-1]  # up to the last difference
    return "next_session" if later.any() and differs[later].mean() < SCATTERED else "today"


def _without_splits(bars: pd.DataFrame, recorded: pd.DataFrame, told: str) -> PriceKind:
    """Splits happened and do not show: are dividends in the closes too?"""
    shows = dividends_show(bars, recorded[recorded["kind"] == "dividend"])
    if shows is None:
        shows = _names_in_cents(bars) > WHOLE
    if shows:
        return PriceKind("split_adjusted", f"{told}, and dividends are")
    if {"split", "dividend"} <= set(bars):
        return PriceKind("adjusted_with_actions", f"{told}; dividends are in it too")
    return PriceKind("adjusted", told)


def dividends_show(bars: pd.DataFrame, dividends: pd.DataFrame) -> bool | None:
    """Whether closes fall by the dividends on their days; None where there are too few to tell.

    The slope of the day's return, less that of the median name, on −dividend / last close: 1 as traded, 0 adjusted.
    """
    own = bars[["symbol", "date", "close"]].sort_values(["symbol", "date"]).astype({"symbol": "str"})
    last = own.groupby("symbol")["close"].shift()
    own = own.assign(last=last, move=own["close"] / last - 1.0)
    own["move"] -= own.groupby("date")["move"].transform("median")
    paid = own.merge(dividends, on=["symbol", "date"]).dropna(subset=["move"])
    x, y = -(paid["value"] / paid["last"]).to_numpy("float64"), paid["move"].to_numpy("float64")
    sound = np.isfinite(x) & np.isfinite(y) & (np.abs(x) < 0.1) & (np.abs(y) < 0.2)
    x, y = x[sound], y[sound]
    if len(x) < 20 or not (x**2).sum():
        return None
    slope = (x * y).sum() / (x**2).sum()
    error = np.sqrt(((y - slope * x) ** 2).mean() / (x**2).sum())
    return bool(slope > 0.5) if error < DIVIDEND_SLOPE_ERROR else None


def _by_cents(bars: pd.DataFrame, recorded: pd.DataFrame) -> PriceKind:
    """No split tells: nothing trades at fractions of a cent."""
    paid = (recorded["kind"] == "dividend").any()
    share, by_name = _in_cents(bars).mean(), _names_in_cents(bars)
    if np.isnan(share) or share == 1.0:
        jumps = split_like_moves(bars)
        if jumps >= 2 and jumps / len(bars) * 100 * SESSIONS_A_YEAR >= 1:  # splits are some four times as frequent
            return PriceKind("raw", f"because {jumps} overnight moves {UNTAKEN}")
        if share == 1.0 and paid and dividends_show(bars, recorded[recorded["kind"] == "dividend"]) is not False:
            return PriceKind("raw", "because all closes are whole cents, and dividends are beside them")
        return PriceKind("adjusted", "assumed: nothing in the file tells; set prices in the source if they are raw")
    if share >= WHOLE:
        return PriceKind("raw", f"because {share:.1%} of the closes are whole cents")
    if by_name > WHOLE:
        return PriceKind(
            "split_adjusted", f"because most names close at whole cents, and {1 - share:.0%} of closes do not"
        )
    return PriceKind("adjusted", f"because {1 - share:.0%} of the closes are no whole cents")


def split_like_moves(bars: pd.DataFrame) -> int:
    """How many closes are a half, a third, … or a multiple of the one before, within a day's usual move."""
    own = bars[["symbol", "date", "close"]].sort_values(["symbol", "date"])
    ratio = (own["close"] / own.groupby("symbol", observed=True)["close"].shift()).to_numpy("float64")
    with np.errstate(all="ignore"):  # what is no number is no split
        factor = np.where(ratio < 1, 1 / ratio, ratio)
        whole = np.round(factor)
        off = np.abs(factor / whole - 1)
    return int(((whole >= 2) & (whole <= 50) & (off < 0.04)).sum())


def _names_in_cents(bars: pd.DataFrame) -> float:
    """The share of whole cents of the median name."""
    return float(_in_cents(bars).groupby(bars["symbol"], observed=True).mean().median())


def _in_cents(bars: pd.DataFrame) -> pd.Series:
    """Which closes since DECIMAL_SINCE, of a dollar or more, are whole cents to the precision of a 32-bit number."""
    close = bars.loc[(bars["date"] >= DECIMAL_SINCE) & (bars["close"] >= 1.0), "close"]
    cents = close * 100
    return ((cents - cents.round()).abs() <= cents * 2e-7 + 1e-6).astype("float64")
