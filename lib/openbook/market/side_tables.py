"""The tables beside the bars, on arrival: actions, reports, sectors, membership and the index."""

import numpy as np
import pandas as pd

from openbook.common.errors import DataError
from openbook.common.frames import places_in
from openbook.market.tables import (
    ACTION_COLUMNS,
    ACTION_KINDS,
    FUNDAMENTAL_COLUMNS,
    SPELL_COLUMNS,
    Delivery,
    empty_actions,
    refused_rows,
    wide,
)

# What the value of an action may be, and the same in words.
ACTION_VALUES = {
    "split": (lambda value: (value > 0) & np.isfinite(value), "new shares per old share, above 0"),
    "dividend": (lambda value: (value >= 0) & np.isfinite(value), "USD per share, 0 or more"),
    "delisting": (lambda value: ((value >= -1) & np.isfinite(value)) | value.isna(), "the final return, -1 or more"),
}


def clean_actions(delivery: Delivery, symbols: pd.Index, dates: pd.DatetimeIndex) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Actions of these symbols up to the last session, by date; and the copies that were refused.

    DataError for an unknown kind, a value that makes no sense, two different splits of one symbol and day, and for
    splits or dividends beside prices that are adjusted for them already.
    """
    if delivery.actions is None or delivery.actions.empty:
        return empty_actions(), _none_refused()
    table = delivery.actions[ACTION_COLUMNS].astype(dict(empty_actions().dtypes))
    table = table[(table["date"] <= dates[-1]) & table["symbol"].isin(symbols)]
    _require_sense(table)
    if delivery.adjusted and table["kind"].isin(["split", "dividend"]).any():
        raise DataError(
            f"{delivery.name} has splits or dividends with adjusted prices, so they would be applied "
            "twice; use raw prices, or remove the actions"
        )
    again = table.duplicated()
    refused = refused_rows(
        table.loc[again, "date"],
        table.loc[again, "symbol"],
        "action",
        [
            f"{kind} {value:.7g}"
            for kind, value in zip(table.loc[again, "kind"], table.loc[again, "value"], strict=True)
        ],
    )
    return table[~again].sort_values(ACTION_COLUMNS, ignore_index=True), refused


def _require_sense(actions: pd.DataFrame) -> None:
    """DataError names the first action that cannot be true."""
    for row in actions[~actions["kind"].isin(ACTION_KINDS)].itertuples():
        raise DataError(
            f"{row.symbol} has an action {row.kind!r} on {row.date:%Y-%m-%d}; known: {', '.join(ACTION_KINDS)}"
        )
    for kind, (is_sound, words) in ACTION_VALUES.items():
        chosen = actions[actions["kind"] == kind]
        for row in chosen[~is_sound(chosen["value"])].itertuples():
            raise DataError(f"{kind} of {row.symbol} on {row.date:%Y-%m-%d} is {row.value}; it is {words}")
    splits = actions[actions["kind"] == "split"].drop_duplicates()
    for row in splits[splits.duplicated(["date", "symbol"])].itertuples():
        raise DataError(
            f"two different splits of {row.symbol} on {row.date:%Y-%m-%d}; keep the right one in the source"
        )


def clean_filings(
    filings: pd.DataFrame | None, symbols: pd.Index, dates: pd.DatetimeIndex
) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """Items of these symbols that may be used by the last session, by the day of first use; and what was refused.

    A later filing of the same period is another row: which one was known is a matter of the date.
    """
    if filings is None:
        return None, _none_refused()
    table = filings[FUNDAMENTAL_COLUMNS].dropna(subset=["available", "value"])
    table = table[(table["available"] <= dates[-1]) & table["symbol"].isin(symbols)].drop_duplicates()
    key = ["available", "symbol", "item", "period_end"]
    replaced = table[table.duplicated(key, keep="last")]
    detail = [f"{row.item} {row.value:.7g} of the period to {row.period_end}" for row in replaced.itertuples()]
    refused = refused_rows(replaced["available"], replaced["symbol"], "filing", detail)
    table = table.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)
    return table.astype({"value": "float64"}), refused


def clean_sectors(sectors: pd.Series | pd.DataFrame | None, symbols: pd.Index) -> pd.Series | None:
    """Sector by symbol, for the symbols that have one; None if there are none or they are dated."""
    if sectors is None or isinstance(sectors, pd.DataFrame):
        return None
    known = sectors.dropna()
    known = known[known.index.isin(symbols)]
    if not known.index.is_unique:
        raise DataError(f"{known.index[known.index.duplicated()][0]} has more than one sector; keep one in the source")
    out = pd.Series(known.astype("str").to_numpy(), index=known.index.astype("str"), name="sector", dtype="str")
    return out.rename_axis("symbol").sort_index()


def clean_spells(sectors, symbols: pd.Index, dates: pd.DatetimeIndex) -> pd.DataFrame | None:
    """Dated sectors of these symbols that began by the last session, SPELL_COLUMNS; None if they are not dated."""
    if not isinstance(sectors, pd.DataFrame):
        return None
    table = sectors[SPELL_COLUMNS].dropna(subset=["symbol", "sector"])
    table = table.astype({"symbol": "str", "sector": "str", "start": "datetime64[us]"})
    table = table[table["symbol"].isin(symbols) & ~(table["start"] > dates[-1])]
    return table.drop_duplicates().sort_values(SPELL_COLUMNS, na_position="first", ignore_index=True)


def membership(members: pd.DataFrame | None, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame | None:
    """Intervals as sessions × symbols, True from `start` to the session before `end`.

    The day an index provider gives as the end is the first one without the name. No start: since ever; no end: still
    a member. Intervals of one symbol may repeat or overlap.
    """
    if members is None:
        return None
    rows = members[members["symbol"].isin(symbols)]
    begin = dates.searchsorted(rows["start"].fillna(dates[0]))
    end = np.where(rows["end"].isna(), len(dates), dates.searchsorted(rows["end"]))
    column = places_in(symbols, rows["symbol"])
    change = np.zeros((len(dates) + 1, len(symbols)), dtype=np.int32)
    sound = begin < end
    np.add.at(change, (begin[sound], column[sound]), 1)
    np.add.at(change, (end[sound], column[sound]), -1)
    return wide(change[:-1].cumsum(axis=0) > 0, dates, symbols)


def clean_index(index: pd.Series | None, dates: pd.DatetimeIndex) -> pd.Series | None:
    """Closes of the index up to the last session, its own history before the first one included."""
    if index is None:
        return None
    day = pd.DatetimeIndex(index.index).tz_localize(None).normalize().as_unit("us")
    out = pd.Series(index.to_numpy("float64", na_value=np.nan), index=day.rename("date"), name=index.name).sort_index()
    out = out[((out > 0) & np.isfinite(out)).to_numpy() & (day.sort_values() <= dates[-1])]
    if not out.index.is_unique:
        raise DataError(f"the index {index.name} has {out.index[out.index.duplicated()][0]:%Y-%m-%d} twice; keep one")
    return out


def _none_refused() -> pd.DataFrame:
    return refused_rows([], [], "", [])
