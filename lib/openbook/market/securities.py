"""Which company a ticker was on a day: a security master of dated intervals, recycled tickers, buckets by size."""

import numpy as np
import pandas as pd

from openbook.common.errors import DataError

MASTER_COLUMNS = ["id", "ticker", "start", "end"]
CAP_BUCKETS = ("mega", "large", "mid", "small", "micro")
# USD, lower limits of all but the last: FINRA, "Market Cap, Explained" (2022).
CAP_LIMITS = (200e9, 10e9, 2e9, 250e6)
# Cumulative share of the universe's value, largest first: 70%, 85% and 99% are the large, standard and investable
# segments of the MSCI Global Investable Market Indexes; the 40% for the largest of all are ours.
CAP_COVERAGE = (0.40, 0.70, 0.85, 0.99)


def check_master(master: pd.DataFrame) -> pd.DataFrame:
    """MASTER_COLUMNS sorted by ticker and start; `end` is the first day without, NaT: still; start NaT: since ever.

    DataError if an interval ends before it starts, a ticker has two owners on one day, or an id two tickers.
    """
    table = master[MASTER_COLUMNS].drop_duplicates().astype({"id": "str", "ticker": "str"})
    table = table.assign(start=table["start"].fillna(pd.Timestamp.min.ceil("D")).astype("datetime64[us]"))
    table = table.assign(end=table["end"].fillna(pd.Timestamp.max.floor("D")).astype("datetime64[us]"))
    for row in table[~(table["start"] < table["end"])].itertuples():
        raise DataError(
            f"{row.id} owns {row.ticker} until {row.end:%Y-%m-%d}, before its start; correct the security master"
        )
    for key, words in (("ticker", "has two owners"), ("id", "has two tickers")):
        ordered = table.sort_values([key, "start"], ignore_index=True)
        clash = (ordered[key] == ordered[key].shift(1)) & (ordered["start"] < ordered["end"].shift(1))
        for row in ordered[clash].itertuples():
            raise DataError(f"{getattr(row, key)} {words} on {row.start:%Y-%m-%d}; correct the security master")
    return table.sort_values(["ticker", "start"], ignore_index=True)


def symbols_of(master: pd.DataFrame) -> pd.Series:
    """The symbol of each security, by id: its last ticker, until another security takes it over.

    An earlier owner is called by the year in which it gave the ticker up, as LIFE@2014; by the day, if two gave it up
    in that year. Which one is the plain ticker may change when a ticker is recycled: the id never does.
    """
    table = check_master(master)
    last = table.sort_values(["id", "start"]).drop_duplicates("id", keep="last").sort_values(["ticker", "start"])
    newest_owner = table.drop_duplicates("ticker", keep="last").set_index("ticker")["id"]
    is_owner = last["id"].to_numpy() == newest_owner.reindex(last["ticker"]).to_numpy()
    dated = last["ticker"] + "@" + last["end"].dt.strftime("%Y")
    twice = dated.duplicated(keep=False) & ~is_owner
    dated = dated.where(~twice, last["ticker"] + "@" + last["end"].dt.strftime("%Y-%m-%d"))
    names = last["ticker"].where(is_owner, dated).astype("str")
    return pd.Series(names.to_numpy(), index=pd.Index(last["id"], name="id"), name="symbol").sort_index()


def resolve(table: pd.DataFrame, master: pd.DataFrame, *, on: str = "date") -> tuple[pd.DataFrame, pd.DataFrame]:
    """A dated long table with the symbol of the company in place of the ticker of the day.

    table : columns symbol (the ticker on that day) and `on`, a date
    master : see `check_master`

    Tickers that the master does not name stay as they are. Returns the table, and the rows whose ticker the master
    assigns to no security on that day: they are left out, because they would continue another company's history.
    """
    master = check_master(master)
    known = table["symbol"].isin(set(master["ticker"])).to_numpy()
    asked = table.loc[known, ["symbol", on]].astype({"symbol": "str", on: "datetime64[us]"})
    asked = asked.assign(place=np.flatnonzero(known)).sort_values(on, kind="stable")
    owners = master.sort_values("start", kind="stable").rename(columns={"ticker": "symbol"})
    found = pd.merge_asof(asked, owners, left_on=on, right_on="start", by="symbol")
    owned = (found[on] < found["end"]).to_numpy()
    names = table["symbol"].astype("str").to_numpy(object)
    names[found.loc[owned, "place"]] = symbols_of(master).reindex(found.loc[owned, "id"]).to_numpy(object)
    nobody = np.zeros(len(table), dtype=bool)
    nobody[found.loc[~owned, "place"]] = True
    out = table.assign(symbol=pd.Series(names, index=table.index, dtype="str"))
    _refuse_strangers(table.loc[~known, "symbol"], master)
    return out[~nobody].reset_index(drop=True), table[nobody].reset_index(drop=True)


def resolve_spells(spells: pd.DataFrame, master: pd.DataFrame) -> pd.DataFrame:
    """Intervals of tickers (symbol, start, end) as intervals of companies: each is cut where the ticker changed
    companies.

    Tickers that the master does not name stay as they are. An interval in which no security had the ticker is dropped.
    """
    master = check_master(master)
    known = spells["symbol"].isin(set(master["ticker"]))
    both = spells[known].merge(master.rename(columns={"ticker": "symbol"}), on="symbol", suffixes=("", "_owned"))
    start = both["start"].fillna(both["start_owned"]).clip(lower=both["start_owned"])
    end = both["end"].fillna(both["end_owned"]).clip(upper=both["end_owned"])
    symbol = symbols_of(master).reindex(both["id"]).to_numpy()
    is_open = both["end"].isna() & (both["end_owned"] == master["end"].max())
    cut = both.assign(symbol=symbol, start=start, end=end.mask(is_open))[start < end]
    out = pd.concat([spells[~known], cut[list(spells.columns)]], ignore_index=True)
    return out.astype({"symbol": "str"}).sort_values(["symbol", "start"], ignore_index=True)


def cap_buckets(market_cap: pd.DataFrame, members: pd.DataFrame | None = None, *, by: str = "limits") -> pd.DataFrame:
    """Size of each company on each session: position in CAP_BUCKETS, −1 where it has no value or is no member.

    market_cap : sessions × symbols, USD, as known at the close
    members : sessions × symbols, bool; everybody if None
    by : "limits", the fixed USD of CAP_LIMITS; or "coverage", CAP_COVERAGE of the value of that session's members: a
        company is in the bucket in which its own value begins, and equal values share a bucket
    """
    value = market_cap.to_numpy("float64", copy=True)
    value[~((value > 0) & np.isfinite(value))] = np.nan
    if members is not None:
        value[~members.to_numpy(bool)] = np.nan
    if by == "limits":
        code = np.sum([value < limit for limit in CAP_LIMITS], axis=0)
    elif by == "coverage":
        code = np.sum([_share_above(value) >= share for share in CAP_COVERAGE], axis=0)
    else:
        raise DataError(f"cap_buckets accepts limits and coverage, not {by!r}")
    out = np.where(np.isnan(value), -1, code).astype(np.int8)
    return pd.DataFrame(out, index=market_cap.index, columns=market_cap.columns)


def _share_above(value: np.ndarray) -> np.ndarray:
    """Share of each row's value that belongs to strictly larger companies."""
    order = np.argsort(-value, axis=1, kind="stable")
    ranked = np.nan_to_num(np.take_along_axis(value, order, axis=1))
    above = np.cumsum(ranked, axis=1) - ranked
    equal = np.append(np.zeros((len(value), 1), dtype=bool), ranked[:, 1:] == ranked[:, :-1], axis=1)
    above = np.maximum.accumulate(np.where(equal, 0.0, above), axis=1)
    total = ranked.sum(axis=1, keepdims=True)
    out = np.empty_like(value)
    with np.errstate(invalid="ignore"):
        np.put_along_axis(out, order, above / total, axis=1)
    return out


def _refuse_strangers(tickers: pd.Series, master: pd.DataFrame) -> None:
    """DataError if an unknown ticker equals a symbol that the master generates."""
    made = set(symbols_of(master)) - set(master["ticker"])
    for name in sorted(made.intersection(tickers.unique())):
        raise DataError(f"{name} is a ticker of the data and an earlier owner's symbol; rename one in the source")
