"""An update of the store: which sessions are new or completed, its delta, its digests and names."""

from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.restatements import composed, restated_rows
from openbook.market.store.fingerprints import Earlier, digests_of, rows_known
from openbook.market.store.layout import (
    after_session,
    before_session,
    fold,
    frame_of,
    from_tables,
    late_names,
    spells_of,
    table_of,
)
from openbook.market.store.merge import Delta, differences, plain_members, plain_part
from openbook.market.tables import REFUSED_COLUMNS, Market


class UpdateStep(NamedTuple):
    """Where an update stands.

    appends, mends : it brings later sessions; it ends with the last stored one, which may be corrected; neither: it
        ends before that one
    closed : the last session that it cannot change
    known : the session at whose close it was known
    redone : the sessions that get a digest; before : the session before them
    """

    appends: bool
    mends: bool
    closed: pd.Timestamp
    known: pd.Timestamp
    redone: pd.DatetimeIndex
    before: pd.Timestamp


def next_step(sessions: pd.DatetimeIndex, sent: Market) -> UpdateStep:
    """The step from a store of two sessions or more; DataError if all that was sent lies before it."""
    last, end = sessions[-1], sent.dates[-1]
    if end < sessions[0]:
        raise DataError(f"the vendor data end on {end:%Y-%m-%d}, before the store starts on {sessions[0]:%Y-%m-%d}")
    if end > last:
        redone = calendar.sessions(last + pd.Timedelta(days=1), end)
        return UpdateStep(True, False, last, end, redone, last)
    return UpdateStep(False, end == last, sessions[-2] if end == last else last, last, sessions[-1:], sessions[-2])


def first_delta(sent: Market, refused: pd.DataFrame) -> Delta:
    """All of the first delivery."""
    spells = None if sent.members is None else spells_of(sent.members)
    return Delta(sent, spells, restated_rows(), refused[REFUSED_COLUMNS].assign(known=refused["date"]))


def next_delta(step: UpdateStep, sent: Market, stored: Market, listed: pd.Index, *, since) -> Delta:
    """What `sent` adds to `stored`, its table of the refused left empty.

    stored : the newest values from `since` on, up to the last session that counts as delivered
    listed : the symbols that were known before
    """
    past = stored.upto(step.closed)
    past = past.without(past.symbols.difference(listed))
    members = plain_members(sent, step.closed, listed, past.dates[0])
    return Delta(
        plain=plain_part(sent, step.closed, listed),
        spells=None if members is None else spells_of(members),
        restated=differences(past, sent, since=since, known=step.known),
        refused=pd.DataFrame(),
    )


def newly_refused(refused: pd.DataFrame, had: pd.DataFrame, step: UpdateStep) -> pd.DataFrame:
    """What ingest refused now and not before, with the session since which that is known."""
    both = [pd.MultiIndex.from_frame(table[REFUSED_COLUMNS]) for table in (refused, had)]
    new = refused[~both[0].isin(both[1])].drop_duplicates()
    return new.assign(known=new["date"].where(new["date"] > step.closed, step.known))


def mended(
    last: dict[str, pa.Table], listed: pd.Series, step: UpdateStep, sessions: pd.DatetimeIndex
) -> tuple[dict[str, pa.Table], pd.Series]:
    """The last delta without its last session, and the names without those that only that session listed."""
    late = late_names(frame_of(last, "restated"))
    alone = {name for name in listed.index[listed >= step.known] if name not in late}
    return before_session(last, step.known, sessions, alone), listed[~listed.index.isin(list(alone))]


def joined(last: dict[str, pa.Table], new: dict[str, pa.Table], step: UpdateStep, sessions) -> dict[str, pa.Table]:
    """Merge two deltas of one session: restatements of earlier sessions in both are kept once."""
    both = fold([last, new], sessions)
    kept = frame_of(both, "restated")
    if "restated" not in new:
        return both
    parts = [frame_of(part, "restated") for part in (last, new)]
    now = pd.concat([part[part["known"] == step.known] for part in parts], ignore_index=True)
    rows = pd.concat([kept[kept["known"] != step.known], composed(now)], ignore_index=True)
    rest = {name: table for name, table in both.items() if name != "restated"}
    return rest | ({"restated": table_of(rows)} if len(rows) else {})


def sealed(
    tables: dict[str, pa.Table], step: UpdateStep, description: dict, earlier: Earlier
) -> tuple[list[str], pd.Series]:
    """The digests of the sessions that an update brings, and every known symbol with the session that first knew it.

    tables : of the delta; rows of before the step are left out
    """
    before = earlier.listed[earlier.listed <= step.before]
    new = after_session(tables, step.before, before.index)
    restated = frame_of(new, "restated")
    names = {*before.index, *late_names(restated)}
    first_values = {name: table for name, table in new.items() if name not in ("restated", "rewritten")}
    market = from_tables(first_values, step.redone, description, names=names)
    rows = rows_known(market, restated, before)
    young = (rows < len(step.redone)) & ~market.symbols.isin(before.index)
    found = pd.Series(step.redone[rows[young]], index=market.symbols[young])
    return digests_of(market, restated, earlier._replace(listed=before)), pd.concat([before, found]).sort_index()


def names_known(market: Market) -> pd.Series:
    """Each symbol with the session that first knew it by a bar, of a market as first delivered."""
    rows = rows_known(market, restated_rows())
    return pd.Series(market.dates[rows[rows < len(market.dates)]], index=market.symbols[rows < len(market.dates)])
