"""The market on disk: parquet with page checksums, and a manifest of hashes that is replaced as a whole.

A store is a folder of deltas, one for each update with new data: its new bars by calendar year, the rows of
the other tables that came with them, and its restatements of earlier sessions (`restated`, and
`rewritten` where a whole history was multiplied by one factor). Each file is named by its content and never changed;
`manifest.json` lists which of them count, in which order, and covers each delta by a running hash. So the past can be
read as it was known on any session, and later restatements never change that. `compact` folds the deltas into one: the
same history then gives the same bytes, whether it came in one update or in a thousand.

A crash at any point leaves the old manifest with all of its files; what the crash left behind is removed by the next
update that has something to write. One writer at a time: the runner's lock sees to that.
"""

import hashlib
import json
import os
import re
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from openbook.common.errors import ConflictError, DataError, DataNotReady, StorageError
from openbook.common.files import make_folder, replace_file, storage, sync, write_synced
from openbook.market import calendar
from openbook.market.ingest import LEVEL_MEMORY, admit, doubtful_closes
from openbook.market.restatements import in_order, restated_rows
from openbook.market.sources import Attempt, Source, fetch, takes_since
from openbook.market.sources.attempt import Tell
from openbook.market.sources.second_source import Stored, carried, marked, said
from openbook.market.store.fingerprints import Earlier, fingerprint, session_digests
from openbook.market.store.layout import fold, frame_of, from_tables, pack, refused_until, stacked, to_tables, unpack
from openbook.market.store.manifest import (
    MANIFEST,
    chained,
    dated,
    describe,
    exists,
    files_of,
    format_of,
    last_parts,
    read_manifest,
    read_parts,
    require_manifest,
    require_same_source,
    seal_of,
    second_of,
    sessions_of,
)
from openbook.market.store.merge import late_bars, require_same_tables
from openbook.market.store.revisions import find_revisions
from openbook.market.store.spool import Spool
from openbook.market.store.update import (
    first_delta,
    joined,
    mended,
    names_known,
    newly_refused,
    next_delta,
    next_step,
    sealed,
)
from openbook.market.tables import REFUSED_COLUMNS, Market, Spans

__all__ = [
    "StoreReport",
    "audit_store",
    "compact",
    "fingerprint",
    "from_second",
    "load_market",
    "put_market",
    "read_store",
    "restatements",
    "snapshot",
    "store_fingerprint",
    "update_store",
]

# So many updates may lie side by side before the next one folds them together.
DELTAS = 20
# Of a partial delivery, the sessions in which ingest may lack an accepted level, and what is asked for beside them.
BLIND, COMPARED = LEVEL_MEMORY + 1, 40
_PART = re.compile(r"(bars-\d{4}|[a-z]+)-[0-9a-f]{16}\.parquet")


class Asked(NamedTuple):
    """What a provider was asked for: by kind, how many in total, and how many of them an earlier attempt had got."""

    totals: dict[str, int]
    reused: dict[str, int]


NOTHING = Asked({}, {})


@dataclass(frozen=True, eq=False)
class StoreReport:
    """What an update did.

    new_sessions : sessions that were appended
    revisions : how what the vendor sends now contradicts what was stored (`revisions.find_revisions`)
    restated : what was taken of that, `restatements.restated_rows`; late bars too
    late : bars of stored sessions that came only now: symbol, first, last, values
    refused : what ingest refused, of everything sent up to now
    earlier : sessions sent that lie before the first of the store, and were left out
    fingerprint : of the market as known at the last session that was sent
    asked : of a provider that is asked for many things one after the other
    second : sentences on what of the store comes from a second source, and where it did not stand in
    """

    new_sessions: pd.DatetimeIndex
    revisions: pd.DataFrame
    restated: pd.DataFrame
    late: pd.DataFrame
    refused: pd.DataFrame
    earlier: int
    fingerprint: str
    asked: Asked = NOTHING
    second: tuple[str, ...] = ()


def update_store(
    folder,
    source: Source,
    *,
    through,
    today=None,
    whole: bool = False,
    announce: Callable[[], None] = lambda: None,
    unfinished: Path | None = None,
    tell: Tell = lambda what, done, total: None,
) -> StoreReport:
    """Bring the store up to `through`: fetch, admit, and write what is new; without news not a byte changes.

    Of a provider that can send the last weeks alone, only those are asked for, unless `whole`. What differs
    from before in sessions already delivered is taken as a restatement, dated by the last session sent, or by the
    last one stored; but the last stored session may be corrected in place until a later one is stored.

    announce : called before the first byte of a change is written
    unfinished : the folder in which a provider's answers are kept while it is asked, so that an update which breaks off
        asks only for the rest when it is called again that day; None: nowhere
    tell : called as the answers come in, see `Attempt`

    Raises ConflictError if the store was made with other settings of the source, and whatever `fetch` and `admit` do.
    """
    folder, settings = Path(folder), source.model_dump(mode="json")
    manifest = read_manifest(folder) if exists(folder) else None
    require_same_source(manifest, settings, folder)
    since = None if manifest is None or whole or not takes_since(source) else _overlap(manifest)
    attempt = Attempt(tell=tell)
    stored = None if manifest is None else _stored(folder, manifest, since)
    with _spooled(unfinished, attempt, settings, since):
        delivery = fetch(source, since=since, attempt=attempt, stored=stored)
        spans = carried(second_of(manifest), delivery, through=through)
        market, refused = admit(marked(replace(delivery, second=spans)), through=through, today=today)
        report = put_market(folder, market, refused, settings=settings, since=since, second=spans, announce=announce)
    return replace(report, asked=Asked(dict(attempt.totals), dict(attempt.reused)), second=said(market.notes))


def _stored(folder: Path, manifest: dict, since: pd.Timestamp | None) -> Stored:
    """What a second source is compared with."""
    listed = _listed(folder, manifest).index
    return Stored(lambda: _read(folder, manifest, first=since)[0], second_of(manifest), listed)


@contextmanager
def _spooled(place: Path | None, attempt: Attempt, settings: dict, since) -> Iterator[None]:
    """Around an update: what its attempt gets is kept until it ends, or until the answers turn out to be bad. An
    interrupt, a crash and a provider that stops to answer leave it for the next one."""
    if place is None:
        yield
        return
    attempt.parts = spool = Spool(place, settings, since, attempt.closed)
    try:
        yield
    except DataNotReady as error:
        if not len(spool):
            raise
        raise DataNotReady(
            f"{error}; {len(spool)} answers are kept for today, and the next call asks only for the rest"
        ) from None
    except (DataError, ConflictError):
        spool.remove()
        raise
    spool.remove()


def _is_rewritten(manifest: dict) -> bool:
    """Whether the source sends adjusted prices, whose histories are rewritten by every dividend.

    Of other stores the format stays what it was: an older openbook, kept to replay the pages that it made, reads them.
    No book runs on adjusted prices, so they have no such pages.
    """
    return manifest["source"].get("prices") == "adjusted"


def _overlap(manifest: dict) -> pd.Timestamp | None:
    """The first session that a partial delivery must have; None: the store is so short that all is asked for."""
    sessions = sessions_of(manifest)
    return None if len(sessions) <= BLIND + COMPARED else sessions[-BLIND - COMPARED]


def put_market(
    folder,
    sent: Market,
    refused: pd.DataFrame,
    *,
    settings: dict,
    since=None,
    second: Spans | None = None,
    announce: Callable[[], None] = lambda: None,
) -> StoreReport:
    """Write what `sent`, an admitted market, adds to the store; `settings` describe its source.

    announce : as in `update_store`
    since : `sent` begins only here; what it lacks before is no news, and its first BLIND sessions are not compared
    second : what of the store comes from a second source then
    """
    folder, settings = Path(folder), json.loads(json.dumps(settings))
    manifest = read_manifest(folder) if exists(folder) else None
    require_same_source(manifest, settings, folder)
    begins = manifest is None or (
        len(manifest["sessions"]) == 1 and f"{sent.dates[-1]:%Y-%m-%d}" in manifest["sessions"]
    )
    put: Callable[..., StoreReport] = _begin if begins else _go_on
    about = describe(sent, settings) | ({"second": second} if second else {})
    return put(folder, manifest, sent, refused, about, since, announce)


def _begin(
    folder: Path, manifest: dict | None, sent: Market, refused: pd.DataFrame, about: dict, _, announce
) -> StoreReport:
    """A store of its first delivery, or of the only session of it, delivered again."""
    stored = None
    if manifest is not None:
        stored, had = _read(folder, manifest)
        require_same_tables(stored, sent)
        refused = pd.concat([had, refused]).drop_duplicates().sort_values(REFUSED_COLUMNS, ignore_index=True)
    entry, parts = _entry(to_tables(first_delta(sent, refused)), first=sent.dates[0], known=sent.dates[-1])
    digests = session_digests(sent)
    sessions = dict(zip(sent.dates.strftime("%Y-%m-%d"), digests, strict=True))
    listed = dated(names_known(sent))
    begun = about | {"sessions": sessions, "listed": listed, "deltas": chained([entry])}
    _write(folder, manifest, begun, parts, announce)
    return StoreReport(
        new_sessions=sent.dates if stored is None else sent.dates.difference(stored.dates),
        revisions=find_revisions(stored, sent),
        restated=restated_rows(),
        late=late_bars(restated_rows()),
        refused=refused,
        earlier=0,
        fingerprint=digests[-1],
    )


def _go_on(
    folder: Path, manifest: dict, sent: Market, refused: pd.DataFrame, about: dict, since, announce
) -> StoreReport:
    """One delta more, or the last one again."""
    sessions = sessions_of(manifest)
    compared = sessions[0] if since is None else sent.dates[min(BLIND, len(sent.dates) - 1)]
    step, listed = next_step(sessions, sent), _listed(folder, manifest)
    # A rewrite of this close is expanded into cells before more restatements are added at it.
    again = not step.appends and "rewritten" in manifest["deltas"][-1]["files"]
    stored, had = _read(folder, manifest, first=None if since is None or again else compared)
    require_same_tables(stored, sent)
    kept, last = ({}, {}) if step.appends else last_parts(folder, manifest, step.known.year)
    last = unpack(last, stored, step.before)
    if step.mends:
        last, listed = mended(last, listed, step, sessions)
    refused = newly_refused(refused[refused["date"] >= compared], had, step)
    delta = next_delta(step, sent, stored, listed.index, since=compared)._replace(refused=refused)
    tables = to_tables(delta) if step.appends else joined(last, to_tables(delta), step, sessions)
    before = Earlier(manifest["sessions"][f"{step.before:%Y-%m-%d}"], sessions[0], listed)
    digests, listed = sealed(tables, step, about, before)
    known = manifest["sessions"] | dict(zip(step.redone.strftime("%Y-%m-%d"), digests, strict=True))
    deltas = manifest["deltas"]
    first = step.redone[0] if step.appends else pd.Timestamp(deltas[-1]["first"])
    tables = pack(tables) if _is_rewritten(about) else tables
    entry, parts = _entry(tables, first=first, known=step.known, kept=kept)
    deltas = chained([*(deltas if step.appends else deltas[:-1]), entry])
    about = about | {"format": format_of(deltas)}
    _write(folder, manifest, about | {"sessions": known, "listed": dated(listed), "deltas": deltas}, parts, announce)
    if len(deltas) > DELTAS:
        compact(folder)  # announced with the delta
    return StoreReport(
        new_sessions=step.redone.difference(sessions),
        revisions=find_revisions(stored, sent, since=None if since is None else compared),
        restated=delta.restated,
        late=late_bars(delta.restated),
        refused=pd.concat([had, refused[REFUSED_COLUMNS]]).sort_values(REFUSED_COLUMNS, ignore_index=True),
        earlier=int((sent.dates < sessions[0]).sum()),
        fingerprint=known[f"{sent.dates[-1]:%Y-%m-%d}"],
    )


def compact(folder, *, announce: Callable[[], None] = lambda: None) -> int:
    """Fold the deltas of a store into one: the same market, the same past, the same fingerprints, in fewer files.

    Returns how many deltas there were; one is left as it is.
    """
    folder = Path(folder)
    manifest = require_manifest(folder)
    deltas, sessions = manifest["deltas"], sessions_of(manifest)
    if len(deltas) > 1:
        names = sorted({name for delta in deltas for name in delta["files"]})
        found = {name: [delta["files"][name] for delta in deltas if name in delta["files"]] for name in names}
        # A store of before has rewrites among the restated rows.
        restatements = {"restated", "rewritten"} if _is_rewritten(manifest) else set()
        kept = {name: files[0] for name, files in found.items() if len(files) == 1 and name not in restatements}
        several = {name for name in names if name not in kept}
        tables = fold([read_parts(folder, delta, several) for delta in deltas], sessions)
        tables = pack(tables) if _is_rewritten(manifest) else tables
        known = pd.Timestamp(deltas[-1]["known"])
        entry, parts = _entry(tables, first=sessions[0], known=known, kept=kept)
        _write(folder, manifest, manifest | {"format": format_of([entry]), "deltas": chained([entry])}, parts, announce)
    return len(deltas)


def restatements(folder, *, known=None) -> pd.DataFrame:
    """Restatements of sessions delivered before, `restatements.restated_rows`, oldest first.

    known : only restatements known at the close of this session; None: all
    """
    folder = Path(folder)
    manifest = require_manifest(folder)
    parts = stacked([read_parts(folder, delta, {"restated", "rewritten"}) for delta in manifest["deltas"]])
    if "rewritten" in parts:
        since = None if known is None else calendar.as_day(known) - pd.Timedelta(days=1)
        parts = unpack(parts, _read(folder, manifest)[0], since)
    rows = in_order(frame_of(parts, "restated"))
    return rows if known is None else rows[rows["known"] == calendar.as_day(known)].reset_index(drop=True)


def read_store(folder, *, through=None, as_known_on=None, first=None) -> tuple[Market, pd.DataFrame]:
    """The stored market up to `through`, and what ingest refused; every byte is checked before a number is used.

    as_known_on : the session at whose close the values were known; nothing: `through`. So later restatements by a
        vendor never change what is read of an earlier session. Without either, the newest values
    first : only sessions from here on, of the files that they need; `adjusted` then starts anew

    Raises DataError if there is no store, if it begins after `through`, or if a file is damaged.
    """
    folder = Path(folder)
    return _read(folder, require_manifest(folder), through, as_known_on, first)


def has_session(folder, date) -> bool:
    """Whether the store has bars of that session, read from the manifest alone; False where there is no store."""
    folder = Path(folder)
    return exists(folder) and f"{calendar.as_day(date):%Y-%m-%d}" in read_manifest(folder)["sessions"]


def from_second(folder, date) -> dict[str, str]:
    """The names whose bars of that session came from a second source, and which one; read from the manifest alone."""
    folder, day = Path(folder), f"{calendar.as_day(date):%Y-%m-%d}"
    spans = second_of(read_manifest(folder)) if exists(folder) else {}
    return {symbol: name for symbol, (first, last, name) in spans.items() if first <= day <= last}


def store_fingerprint(folder, date) -> str:
    """`fingerprint` of the stored market as known at the close of `date`, read from the manifest alone.

    It is that of `read_store(folder, through=date)`, and of `market.upto(date, as_known_on=date)`, read later.
    """
    folder, day = Path(folder), f"{calendar.as_day(date):%Y-%m-%d}"
    digests = require_manifest(folder)["sessions"]
    known = sorted(digests)
    at = bisect_right(known, day)
    if not at:
        raise DataError(f"the store at {folder} starts on {known[0]}, after {day}")
    return digests[known[at - 1]]


def audit_store(folder) -> list[str]:
    """What is wrong with a store, in words: a damaged file, or data other than those that its fingerprints are of."""
    folder = Path(folder)
    try:
        known, (market, _) = require_manifest(folder)["sessions"], read_store(folder)
    except (DataError, StorageError) as error:
        return [str(error)]
    found = dict(zip(market.dates.strftime("%Y-%m-%d"), session_digests(market), strict=True))
    wrong = [day for day in known if found.get(day) != known[day]]
    return [f"{folder}: the data of {wrong[0]} are not those of its fingerprint"] if wrong else []


@contextmanager
def snapshot(folder, place: Path) -> Iterator[Path]:
    """The store as it is now, to be read while others update or compact it: links to its files in a folder of the same
    name below `place`, removed afterwards. Copies, where the file system has no links."""
    folder = Path(folder)
    target = place / folder.name
    with storage(f"make {target}"):
        if place.is_symlink():
            place.unlink()
        shutil.rmtree(place, ignore_errors=True)  # left by a crash
        target.mkdir(parents=True)
        for name in [MANIFEST, *files_of(read_manifest(folder))]:
            try:
                os.link(folder / name, target / name)
            except OSError:
                shutil.copyfile(folder / name, target / name)
    try:
        yield target
    finally:
        shutil.rmtree(place, ignore_errors=True)


def load_market(source: Source, *, store=None, through=None) -> tuple[Market, pd.DataFrame]:
    """The market up to `through` and what ingest refused: from the store if one is given, else from the provider.

    From the store it is the market as known at the close of `through`: later restatements change nothing.
    Raises ConflictError if the store was made with other settings of the source.
    """
    if store is None:
        return admit(marked(fetch(source)), through=through)
    if exists(Path(store)):
        require_same_source(read_manifest(Path(store)), source.model_dump(mode="json"), Path(store))
    return read_store(store, through=through)


def _listed(folder: Path, manifest: dict) -> pd.Series:
    """Symbols and the session at which each was first known; derived for a store of the first format."""
    if manifest["listed"] is None:
        return names_known(_read(folder, manifest)[0])
    listed = manifest["listed"]
    return pd.Series(pd.DatetimeIndex(list(listed.values())).as_unit("us"), index=pd.Index(list(listed), dtype="str"))


def _read(folder: Path, manifest: dict, through=None, as_known_on=None, first=None) -> tuple[Market, pd.DataFrame]:
    """The market that a manifest describes, from `first` up to `through`, as known then, and the refused bars."""
    dates = sessions_of(manifest)
    known = through if as_known_on is None else as_known_on
    known = None if known is None else calendar.as_day(known)
    ends = [calendar.as_day(day) for day in (through, known) if day is not None]
    kept = dates[dates <= min(ends)] if ends else dates
    if kept.empty:
        raise DataError(f"the store at {folder} starts on {dates[0]:%Y-%m-%d}, after {min(ends):%Y-%m-%d}")
    kept = kept if first is None else kept[kept >= calendar.as_day(first)]
    if kept.empty:
        raise DataError(f"the store at {folder} has no session from {calendar.as_day(first):%Y-%m-%d} on")
    years = {f"bars-{year}" for year in range(kept[0].year, kept[-1].year + 1)}
    deltas = [delta for delta in manifest["deltas"] if known is None or pd.Timestamp(delta["first"]) <= known]
    wanted = [years | {name for name in delta["files"] if not name.startswith("bars-")} for delta in deltas]
    tables = stacked([read_parts(folder, *pair) for pair in zip(deltas, wanted, strict=True)])
    refused = refused_until(tables, kept[-1], known)
    market = from_tables(tables, kept, manifest, known=known)
    return replace(market, doubtful=doubtful_closes(refused)), refused


def _entry(
    tables: dict[str, pa.Table], *, first: pd.Timestamp, known: pd.Timestamp, kept: dict[str, dict] | None = None
) -> tuple[dict, dict[str, bytes]]:
    """A delta for the manifest, and the files that it needs beside those that are `kept`, by file name."""
    parts = {name: _encode(table) for name, table in tables.items()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    files = {name: {"file": f"{name}-{sha[:16]}.parquet", "sha256": sha} for name, sha in hashes.items()}
    about = {"first": f"{first:%Y-%m-%d}", "known": f"{known:%Y-%m-%d}"}
    return about | {"files": (kept or {}) | files}, {files[name]["file"]: data for name, data in parts.items()}


def _write(
    folder: Path, old: dict | None, manifest: dict, parts: dict[str, bytes], announce: Callable[[], None]
) -> None:
    """Put the parts beside the files of the old manifest, then replace it; if nothing differs, touch nothing."""
    if manifest == old:
        return
    announce()
    kept = set() if old is None else files_of(old)
    try:
        make_folder(folder)
        _sweep(folder, kept)
        for name, data in parts.items():
            if name not in kept:
                write_synced(folder / name, data)
        sync(folder)
        text = json.dumps(manifest | {"seal": seal_of(manifest)}, sort_keys=True, indent=1)
        replace_file(folder / MANIFEST, text.encode())
    except OSError as error:
        raise StorageError(f"cannot write the store at {folder}: {error.strerror or error}") from error


def _encode(table: pa.Table) -> bytes:
    """A table as parquet bytes with a checksum on every page."""
    sink = pa.BufferOutputStream()
    texts = [name for name in table.column_names if not pa.types.is_floating(table.schema.field(name).type)]
    pq.write_table(
        table, sink, compression="zstd", write_page_checksum=True, use_dictionary=texts, write_statistics=False
    )
    return sink.getvalue().to_pybytes()


def _sweep(folder: Path, kept: set[str]) -> None:
    """Remove what earlier updates superseded and what a crash left behind."""
    for path in folder.iterdir():
        if _PART.fullmatch(path.name) and path.name not in kept:
            path.unlink()
