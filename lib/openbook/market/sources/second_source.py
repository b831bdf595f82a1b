"""A second source in place of names that the first one does not deliver: by whole names, checked, and marked.

Two vendors never share one symbol's history, unless their closes agree where both have it: then the sessions after the
last one of the first source are appended, and nothing before is touched. What came from the second source is kept by
symbol (`Spans`), until the first one delivers those sessions itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, cast

import pandas as pd

from openbook.common.errors import DataError, DataNotReady
from openbook.market import calendar
from openbook.market.ingest import Bars, admit, read_bars
from openbook.market.side_tables import clean_actions, clean_index
from openbook.market.tables import ACTION_COLUMNS, BAR_FIELDS, Delivery, Market, Spans, empty_actions

AGREE = 0.005  # relative difference of two vendors' closes of one session
OVERLAP = 5  # sessions that both must have
NAMED = 20  # symbols named in a note; the rest are counted
WHOLE = pd.Timestamp("1900-01-01")


@dataclass(frozen=True)
class Stored:
    """What a store has already.

    read : gives its market from the first session that is asked for on
    spans : which of it came from a second source
    listed : every symbol that was ever in the store
    """

    read: Callable[[], Market]
    spans: Spans
    listed: pd.Index

    @cached_property
    def market(self) -> Market:
        """Read when it is needed first."""
        return self.read()

    def closes(self, symbol: str) -> pd.Series:
        """Closes of a symbol, or of the index, by session."""
        index = self.market.index
        if index is not None and symbol == index.name:
            return index
        return self.market.close[symbol].dropna() if symbol in self.market.symbols else pd.Series(dtype="float64")

    def own(self, symbol: str) -> pd.Series:
        """Those of the first source alone."""
        closes = self.closes(symbol)
        if symbol not in self.spans:
            return closes
        first, last, _ = self.spans[symbol]
        return closes[(closes.index < first) | (closes.index > last)]


class Joint(NamedTuple):
    """After which session the second source goes on for a symbol, WHOLE if it has all of it; or why it does not."""

    after: pd.Timestamp
    fault: str = ""


def require_usable(first: Delivery, second: Delivery, closed: pd.Timestamp) -> Delivery:
    """The second delivery up to `closed`, its actions and its index in order; DataError if its prices or fields are of
    another kind, or if ingest would reject the bars of the names that are missing: a bad one must not spoil the first.
    """
    if second.adjusted:
        raise DataError("its prices are adjusted; a second source has prices as traded")
    if second.actions is None:
        raise DataError("it has no splits and dividends, so a split would look like a loss; add them to its settings")
    lacking = [field for field in BAR_FIELDS if field in first.bars and field not in second.bars]
    lacking += [column for column in ACTION_COLUMNS if column not in second.actions]
    if lacking:
        raise DataError(f"it has no column {lacking[0]}, which the first source has")
    read, until = read_bars(second), pd.DatetimeIndex([closed])
    missing = read.take(read.symbols.isin(list(first.missing))[read.column])
    table = _table(missing)
    if (table["date"] <= closed).any():
        admit(Delivery(table, name=second.name), through=closed)
    return replace(
        second,
        bars=table.drop_duplicates(),
        actions=clean_actions(second, read.symbols, until)[0],
        index=clean_index(second.index, until),
    )


def stand_in(
    first: Delivery, second: Delivery, *, name: str, stored: Stored | None, begins: pd.Timestamp, closed: pd.Timestamp
) -> Delivery:
    """The first delivery, with what it misses from the second one in the sessions from `begins` to `closed`.

    second : as `require_usable` returns it
    name : of the second source, for the pages; stored : None where there is no store yet

    Raises DataNotReady if the first one was `unready` and the second has nothing newer, or no index where that is what
    is missing.
    """
    missing = _between(second.bars[second.bars["close"].notna()], begins, closed)
    joints = {str(name): _joint(str(name), rows.set_index("date")["close"], stored) for name, rows in _by(missing)}
    after = {symbol: joint.after for symbol, joint in joints.items() if not joint.fault}
    new = _later(missing, after)
    index, told = _index(first, second, name, stored, begins, closed)
    if first.unready and new.empty and not told:
        raise DataNotReady(f"{first.unready}; the second source {name} has no newer bars that agree with those before")
    kept = _stored_bars(stored, after)
    actions = _between(cast(pd.DataFrame, second.actions), begins, closed)
    had = empty_actions() if stored is None else _between(stored.market.actions, begins, closed)
    refused = {symbol: joint.fault for symbol, joint in joints.items() if joint.fault}
    spans = {str(symbol): _span(rows["date"], name) for symbol, rows in _by(new)} | told
    return replace(
        first,
        bars=_together([first.bars, kept, new], ["date", "symbol"]),
        actions=_together(
            [cast(pd.DataFrame, first.actions), _until(had, after), _later(actions, after)], ["date", "symbol", "kind"]
        ),
        index=index,
        notes=(*first.notes, *_left_out(refused, name)),
        second=spans,
    )


def unmixed(first: Delivery, stored: Stored) -> Delivery:
    """The first delivery without the names whose earlier history stays with a second source and does not agree: a jump
    between two vendors is no return. They count as missing."""
    apart = {}
    for symbol, span in stored.spans.items():
        rows = first.bars[first.bars["symbol"] == symbol]
        if len(rows) and _undelivered(span, pd.DatetimeIndex(rows["date"])):
            apart[symbol] = _difference(stored.closes(symbol), rows.set_index("date")["close"])
    apart = {symbol: why for symbol, why in apart.items() if why}
    if not apart:
        return first
    one, why = next(iter(sorted(apart.items())))
    note = (
        f"Bars of {first.name} were left out, because they differ from the earlier ones of a second source ({one}: "
        f"{why}); openbook data update --whole takes them: {_listed(apart)}."
    )
    bars = first.bars[~first.bars["symbol"].isin(list(apart))].reset_index(drop=True)
    actions = None if first.actions is None else first.actions[~first.actions["symbol"].isin(list(apart))]
    missing = tuple(sorted({*first.missing, *apart}))
    return replace(first, bars=bars, actions=actions, missing=missing, notes=(*first.notes, note))


def carried(before: Spans, delivery: Delivery, *, through) -> Spans:
    """What of a store comes from a second source after a delivery, up to `through`: the sessions that the first source
    has delivered itself since are left out."""
    until = f"{calendar.as_day(through):%Y-%m-%d}"
    new = delivery.second or {}
    out: Spans = {}
    for symbol in sorted(before.keys() | new.keys()):
        if symbol in new:
            spans = [span for span in (before.get(symbol), new[symbol]) if span]
            out[symbol] = [min(span[0] for span in spans), max(span[1] for span in spans), new[symbol][2]]
        elif left := _undelivered(before[symbol], _days_of(delivery, symbol)):
            out[symbol] = [*left, before[symbol][2]]
    return {symbol: [a, min(b, until), name] for symbol, (a, b, name) in out.items() if a <= until}


def marks(spans: Spans) -> tuple[str, ...]:
    """A sentence for the pages about each second source."""
    out = []
    for name in sorted({span[2] for span in spans.values()}):
        those = {symbol: span for symbol, span in spans.items() if span[2] == name}
        first, last = min(span[0] for span in those.values()), max(span[1] for span in those.values())
        what = "name" if len(those) == 1 else "names"
        out.append(
            f"Bars of {len(those)} {what}, {first} to {last}, came from the second source {name}: {_listed(those)}."
        )
    return tuple(out)


def said(notes: Iterable[str]) -> tuple[str, ...]:
    """The notes about a second source: what came from it, and what did not."""
    return tuple(note for note in notes if "second source" in note)


def marked(delivery: Delivery) -> Delivery:
    """The delivery with a note on what came from a second source."""
    return replace(delivery, notes=(*delivery.notes, *marks(delivery.second or {})))


# ---- inside ----


def _table(bars: Bars) -> pd.DataFrame:
    """The arrays as a long table."""
    keys = {"symbol": bars.symbols[bars.column], "date": bars.day.astype("datetime64[us]")}
    return pd.DataFrame(keys | bars.values)


def _between(table: pd.DataFrame, begins: pd.Timestamp, closed: pd.Timestamp) -> pd.DataFrame:
    return table[(table["date"] >= begins) & (table["date"] <= closed)]


def _by(table: pd.DataFrame):
    return table.groupby("symbol", sort=True, observed=True)


def _later(table: pd.DataFrame, after: dict[str, pd.Timestamp]) -> pd.DataFrame:
    """The rows of these symbols after the sessions given."""
    return _parted(table, after, later=True)


def _until(table: pd.DataFrame, after: dict[str, pd.Timestamp]) -> pd.DataFrame:
    """The rows of these symbols up to the sessions given."""
    return _parted(table, after, later=False)


def _parted(table: pd.DataFrame, after: dict[str, pd.Timestamp], *, later: bool) -> pd.DataFrame:
    ours = table[table["symbol"].isin(list(after))]
    ends = pd.DatetimeIndex([after[symbol] for symbol in ours["symbol"]])
    return ours[(pd.DatetimeIndex(ours["date"]) > ends) == later]


def _joint(symbol: str, theirs: pd.Series, stored: Stored | None) -> Joint:
    """Whether, and where, the second source may go on for a symbol."""
    if stored is None:
        return Joint(WHOLE)
    own = stored.own(symbol)
    if own.empty:
        is_ours = symbol in stored.listed and symbol not in stored.spans
        return Joint(WHOLE, "no stored close of these weeks to compare with" if is_ours else "")
    fault = _difference(own, theirs)
    return Joint(WHOLE, fault) if fault else Joint(own.index[-1])


def _difference(own: pd.Series, theirs: pd.Series) -> str:
    """Why two histories of closes by session are not the same one, in words; "" if they agree."""
    both = own.index.intersection(theirs.index)
    if len(both) < OVERLAP:
        return f"{len(both)} sessions in common, fewer than {OVERLAP}"
    agree = (theirs[both] / own[both] - 1).abs() <= AGREE
    if agree.all():
        return ""
    day = both[~agree.to_numpy()][-1]
    return f"close {theirs[day]:,.2f} on {day:%Y-%m-%d}, not {own[day]:,.2f}"


def _stored_bars(stored: Stored | None, after: dict[str, pd.Timestamp]) -> pd.DataFrame:
    """The bars of the first source of these symbols, as they are stored: sent again, they change nothing."""
    parts = [pd.DataFrame({"symbol": [], "date": []})]
    if stored is not None:
        for symbol in (symbol for symbol, last in after.items() if last > WHOLE):
            days = stored.own(symbol).index
            fields = {field: getattr(stored.market, field).loc[days, symbol] for field in stored.market.bar_fields}
            parts.append(pd.DataFrame(fields).rename_axis("date").reset_index().assign(symbol=symbol))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _index(
    first: Delivery, second: Delivery, name: str, stored: Stored | None, begins: pd.Timestamp, closed: pd.Timestamp
) -> tuple[pd.Series | None, Spans]:
    """The index of the first source; where it has none that was asked for, the stored one and the second's after it."""
    if first.index is None or len(first.index):
        return first.index, {}
    wanted = str(first.index.name)
    theirs = first.index if second.index is None else second.index
    theirs = theirs[(theirs.index >= begins) & (theirs.index <= closed)]
    joint = _joint(wanted, theirs, stored) if len(theirs) else Joint(WHOLE, "no closes of these sessions")
    if joint.fault:
        raise DataNotReady(f"{first.unready}; the index of the second source {name} does not stand in: {joint.fault}")
    new = theirs[theirs.index > joint.after]
    own = [] if stored is None else [stored.own(wanted)]
    told = {wanted: _span(new.index.to_series(), name)} if len(new) else {}
    return pd.concat([*own, new]).rename(wanted), told


def _span(days: pd.Series, name: str) -> list[str]:
    return [f"{days.min():%Y-%m-%d}", f"{days.max():%Y-%m-%d}", name]


def _days_of(delivery: Delivery, symbol: str) -> pd.DatetimeIndex:
    """The sessions of which the first source delivered a symbol, or the index."""
    index = delivery.index
    if index is not None and symbol == index.name:
        return pd.DatetimeIndex(index.index)
    return pd.DatetimeIndex(delivery.bars.loc[delivery.bars["symbol"] == symbol, "date"])


def _undelivered(span: list[str], days: pd.DatetimeIndex) -> list[str]:
    """First and last session of a span without those days; empty if none is left."""
    left = calendar.sessions(span[0], span[1]).difference(days)
    return [f"{left[0]:%Y-%m-%d}", f"{left[-1]:%Y-%m-%d}"] if len(left) else []


def _together(tables: list[pd.DataFrame], key: list[str]) -> pd.DataFrame:
    """Tables under each other, with the columns and types of the first one, sorted."""
    like = tables[0]
    filled = [table[like.columns].astype(like.dtypes.to_dict()) for table in tables if len(table)]
    return pd.concat([like[:0], *filled]).sort_values(key, ignore_index=True) if filled else like


def _left_out(refused: dict, name: str) -> Iterable[str]:
    """A note on the names for which the second source does not stand in."""
    if refused:
        one, why = next(iter(sorted(refused.items())))
        yield (
            f"The second source {name} did not stand in for {len(refused)} of the names that are missing, because it "
            f"differs ({one}: {why}): {_listed(refused)}."
        )


def _listed(names: Iterable[str]) -> str:
    """The first names, and how many more."""
    known = sorted(names)
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return ", ".join(known[:NAMED]) + more
