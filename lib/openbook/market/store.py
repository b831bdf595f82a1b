"""The market on disk: parquet with page checksums, and a manifest of hashes that is replaced as a whole.

A store is a folder: one file of bars per calendar year, one per other table, each named by its content and never
changed, and `manifest.json`, which says which of them count. A crash at any point leaves the old manifest with all of
its files; what the crash left behind is removed by the next update that has something to write. The same history gives
the same bytes, whether it came in one update or in a thousand. One writer at a time: the runner's lock sees to that.
"""

import hashlib
import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from openbook.errors import ConflictError, DataError, StorageError
from openbook.market import calendar
from openbook.market.arrival import admit
from openbook.market.fingerprints import fingerprint, session_digests
from openbook.market.layout import from_tables, refused_until, to_tables
from openbook.market.merge import merge
from openbook.market.providers import Source, fetch
from openbook.market.revisions import find_revisions, late_bars
from openbook.market.tables import REFUSED_COLUMNS, Market

__all__ = ["StoreReport", "fingerprint", "load_market", "put_market", "read_store", "store_fingerprint", "update_store"]

MANIFEST = "manifest.json"
FORMAT = 1
_REPAIR = "restore the folder from a backup, or delete it and run `openbook data update`"
_PART = re.compile(r"(bars-\d{4}|[a-z]+)-[0-9a-f]{16}\.parquet")


@dataclass(frozen=True, eq=False)
class StoreReport:
    """What an update did.

    new_sessions : sessions that were appended
    revisions : how what the vendor sends now contradicts what is stored (`revisions.find_revisions`)
    late : bars of stored sessions that came only now: symbol, first, last, values
    refused : what the door refused, of everything sent up to now
    fingerprint : of the market up to the last session that was sent
    """

    new_sessions: pd.DatetimeIndex
    revisions: pd.DataFrame
    late: pd.DataFrame
    refused: pd.DataFrame
    fingerprint: str


def update_store(folder, source: Source, *, through, today=None) -> StoreReport:
    """Bring the store up to `through`: fetch, admit, and write what is new; without news not a byte changes.

    Stored values stay as they were: a revision is listed and, for now, not taken (but see `merge`: the last session may
    be corrected until a later one is stored). Bars that were missing are filled in.

    Raises ConflictError if the store was made with other settings of the source, and whatever `fetch` and `admit` do.
    """
    folder, settings = Path(folder), source.model_dump(mode="json")
    _require_same_source(_read_manifest(folder) if _exists(folder) else None, settings, folder)
    market, refused = admit(fetch(source), through=through, today=today)
    return put_market(folder, market, refused, settings=settings)


def put_market(folder, sent: Market, refused: pd.DataFrame, *, settings: dict) -> StoreReport:
    """Write what `sent`, an admitted market, adds to the store; `settings` say where it came from."""
    folder, settings = Path(folder), json.loads(json.dumps(settings))
    manifest = _read_manifest(folder) if _exists(folder) else None
    _require_same_source(manifest, settings, folder)
    stored, merged = None, sent
    if manifest is not None:
        stored, known = _read(folder, manifest)
        merged = merge(stored, sent)
        refused = pd.concat([known, refused]).drop_duplicates().sort_values(REFUSED_COLUMNS, ignore_index=True)
    digests = session_digests(merged)
    _write(folder, manifest, _describe(merged, digests, settings), to_tables(merged, refused))
    return StoreReport(
        new_sessions=merged.dates if stored is None else merged.dates.difference(stored.dates),
        revisions=find_revisions(stored, sent),
        late=late_bars(stored, merged),
        refused=refused,
        fingerprint=digests[merged.dates.get_loc(sent.dates[-1])],
    )


def read_store(folder, *, through=None) -> tuple[Market, pd.DataFrame]:
    """The stored market up to `through`, and what the door refused; every byte is checked before a number is used.

    Raises DataError if there is no store, if it begins after `through`, or if a file is damaged.
    """
    folder = Path(folder)
    if not _exists(folder):
        raise DataError(f"no market store at {folder}; fill it with `openbook data update`")
    return _read(folder, _read_manifest(folder), through)


def has_session(folder, date) -> bool:
    """Whether the store has bars of that session, read from the manifest alone; False where there is no store."""
    folder = Path(folder)
    return _exists(folder) and f"{calendar.as_day(date):%Y-%m-%d}" in _read_manifest(folder)["sessions"]


def store_fingerprint(folder, date) -> str:
    """`fingerprint(market.upto(date))` of the stored market, read from the manifest alone."""
    folder, day = Path(folder), f"{calendar.as_day(date):%Y-%m-%d}"
    if not _exists(folder):
        raise DataError(f"no market store at {folder}; fill it with `openbook data update`")
    digests = _read_manifest(folder)["sessions"]
    known = sorted(digests)
    at = bisect_right(known, day)
    if not at:
        raise DataError(f"the store at {folder} begins on {known[0]}, after {day}")
    return digests[known[at - 1]]


def load_market(source: Source, *, store=None, through=None) -> tuple[Market, pd.DataFrame]:
    """The market up to `through` and what the door refused: from the store if one is given, else from the provider.

    Raises ConflictError if the store was made with other settings of the source.
    """
    if store is None:
        return admit(fetch(source), through=through)
    if _exists(Path(store)):
        _require_same_source(_read_manifest(Path(store)), source.model_dump(mode="json"), Path(store))
    return read_store(store, through=through)


def _exists(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _require_same_source(manifest: dict | None, settings: dict, folder: Path) -> None:
    """ConflictError names the settings that differ from those that the store was made with."""
    if manifest is None or manifest["source"] == settings:
        return
    had = manifest["source"]
    changed = [key for key in sorted(had.keys() | settings.keys()) if had.get(key) != settings.get(key)]
    told = "; ".join(f"{key} was {had.get(key)!r}, is {settings.get(key)!r}" for key in changed)
    raise ConflictError(f"the store at {folder} was made from another source ({told}); use another folder for it")


def _describe(market: Market, digests: list[str], settings: dict) -> dict:
    """The manifest without its files."""
    return {
        "format": FORMAT,
        "source": settings,
        "name": market.name,
        "execution": market.execution,
        "notes": list(market.notes),
        "fields": [*market.bar_fields, *([] if market.market_cap is None else ["market_cap"])],
        "index": None if market.index is None else market.index.name,
        "sessions": dict(zip(market.dates.strftime("%Y-%m-%d"), digests, strict=True)),
    }


def _read(folder: Path, manifest: dict, through=None) -> tuple[Market, pd.DataFrame]:
    """The market that a manifest describes, up to `through`, and the refused bars."""
    dates = pd.DatetimeIndex(list(manifest["sessions"]), name="date").as_unit("us")
    kept = dates if through is None else dates[dates <= calendar.as_day(through)]
    if kept.empty:
        raise DataError(
            f"the store at {folder} begins on {dates[0]:%Y-%m-%d}, after {calendar.as_day(through):%Y-%m-%d}"
        )
    needed = [name for name in manifest["files"] if not name.startswith("bars-") or int(name[5:]) <= kept[-1].year]
    tables = {name: _read_part(folder, **manifest["files"][name]) for name in needed}
    return from_tables(tables, kept, manifest["fields"], manifest), refused_until(tables["refused"], kept[-1])


def _read_part(folder: Path, file: str, sha256: str) -> pa.Table:
    """One file, its hash compared before any parser sees a byte, and its page checksums before any number is used."""
    path = folder / file
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {_REPAIR}") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path} is damaged: its sha256 is not the one in {MANIFEST}; {_REPAIR}")
    try:
        return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged: {str(error).splitlines()[0]}; {_REPAIR}") from None


def _read_manifest(folder: Path) -> dict:
    """The manifest, if it is as it was written."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        seal = manifest.pop("seal")
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DataError(f"{path} is damaged; {_REPAIR}") from None
    if seal != _seal(manifest):
        raise DataError(f"{path} is damaged: it does not match its seal; {_REPAIR}")
    if manifest["format"] != FORMAT:
        raise DataError(f"{path} has format {manifest['format']}, this openbook reads {FORMAT}; fill a new folder")
    return manifest


def _seal(manifest: dict) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _write(folder: Path, old: dict | None, description: dict, tables: Iterable[tuple[str, pa.Table]]) -> None:
    """Put the tables beside those of the old manifest, then replace it; if nothing differs, touch nothing."""
    parts = {name: _encode(table) for name, table in tables}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    files = {name: {"file": f"{name}-{sha[:16]}.parquet", "sha256": sha} for name, sha in hashes.items()}
    manifest = description | {"files": files}
    if manifest == old:
        return
    kept = set() if old is None else {entry["file"] for entry in old["files"].values()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, kept)
        for name, data in parts.items():
            if files[name]["file"] not in kept:
                _put(folder / files[name]["file"], data)
        _sync(folder)
        text = json.dumps(manifest | {"seal": _seal(manifest)}, sort_keys=True, indent=1)
        _put(folder / f"{MANIFEST}.tmp", text.encode())
        os.replace(folder / f"{MANIFEST}.tmp", folder / MANIFEST)
        _sync(folder)
    except OSError as error:
        raise StorageError(f"the store at {folder} cannot be written: {error.strerror or error}") from error


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
        if (_PART.fullmatch(path.name) and path.name not in kept) or path.name == f"{MANIFEST}.tmp":
            path.unlink()


def _put(path: Path, data: bytes) -> None:
    """Write a file through to the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Write a folder's names through to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
