"""The manifest of a store: what counts, in which order, and how its files are read; nothing is written here."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from openbook.common.errors import ConflictError, DataError, StorageError
from openbook.common.strict_json import mismatch, parse_json
from openbook.market.tables import Market, Spans

MANIFEST = "manifest.json"
FORMAT = 2
# With a table `rewritten`, which an openbook that does not know it must not pass over.
REWRITTEN = 3
_FILES = {str: {"file": str, "sha256": str}}
ABOUT = {"source": dict, "name": str, "execution": str, "notes": [str], "fields": [str], "sessions": {str: str}}
FIRST = {"files": _FILES}
LATER = {
    "tables": [str],
    "index?": (str, type(None)),
    "listed": ({str: str}, type(None)),
    "second?": {str: [str]},
    "deltas": [{"first": str, "known": str, "chain": str, "files": _FILES}],
}
_REPAIR = "restore the folder from a backup, or delete it, then openbook reset --restored and openbook data update"


def exists(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def require_same_source(manifest: dict | None, settings: dict, folder: Path) -> None:
    """ConflictError names the settings that differ from those that the store was made with."""
    if manifest is None or manifest["source"] == settings:
        return
    had = manifest["source"]
    changed = [key for key in sorted(had.keys() | settings.keys()) if had.get(key) != settings.get(key)]
    changes = "; ".join(f"{key} was {had.get(key)!r}, is {settings.get(key)!r}" for key in changed)
    raise ConflictError(f"the store at {folder} belongs to a different source ({changes}); use another folder")


def describe(market: Market, settings: dict) -> dict:
    """The manifest without its sessions, names and deltas."""
    known = ("fundamentals", "index", "members", "sector_spells", "sectors")
    optional = [name for name in known if getattr(market, name) is not None]
    return {
        "format": FORMAT,
        "source": settings,
        "name": market.name,
        "execution": market.execution,
        "notes": list(market.notes),
        "fields": [*market.bar_fields, *([] if market.market_cap is None else ["market_cap"])],
        "tables": ["actions", *optional],
        "index": None if market.index is None else market.index.name,
    }


def sessions_of(manifest: dict) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(list(manifest["sessions"]), name="date").as_unit("us")


def second_of(manifest: dict | None) -> Spans:
    """What of a store comes from a second source: by symbol the first and last session, and the source."""
    return {} if manifest is None else manifest.get("second", {})


def dated(listed: pd.Series) -> dict[str, str]:
    """Symbols and the session at which each was first known, from the manifest."""
    days = pd.DatetimeIndex(listed).strftime("%Y-%m-%d")
    return dict(sorted(zip(listed.index, days, strict=True)))


def read_parts(folder: Path, delta: dict, wanted: set[str]) -> dict[str, pa.Table]:
    """The wanted tables that a delta has."""
    return {name: read_part(folder, **entry) for name, entry in delta["files"].items() if name in wanted}


def last_parts(folder: Path, manifest: dict, year: int) -> tuple[dict[str, dict], dict[str, pa.Table]]:
    """Of the last delta, the files of other years' bars, and all other tables."""
    delta = manifest["deltas"][-1]
    other = {name for name in delta["files"] if name.startswith("bars-") and name != f"bars-{year}"}
    return {name: delta["files"][name] for name in sorted(other)}, read_parts(
        folder, delta, delta["files"].keys() - other
    )


def read_part(folder: Path, file: str, sha256: str) -> pa.Table:
    """One file, its hash compared before any parser sees a byte, and its page checksums before any number is used."""
    path = folder / file
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {_REPAIR}") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path} is damaged: its sha256 differs from {MANIFEST}; {_REPAIR}")
    try:
        return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged: {str(error).splitlines()[0]}; {_REPAIR}") from None


def require_manifest(folder: Path) -> dict:
    if not exists(folder):
        raise DataError(f"no market store at {folder}; create it with `openbook data update`")
    return read_manifest(folder)


def read_manifest(folder: Path) -> dict:
    """The manifest, if it is as it was written; one of the first format as a store of one delta."""
    path = folder / MANIFEST
    try:
        manifest = parse_json(path.read_bytes(), {"seal": str, "format": int})
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}; {_REPAIR}") from None
    seal = manifest.pop("seal")
    if seal != seal_of(manifest):
        raise DataError(f"{path} is damaged: it does not match its seal; {_REPAIR}")
    first = manifest["format"] == 1
    if not first and manifest["format"] not in (FORMAT, REWRITTEN):
        known = f"{FORMAT} and {REWRITTEN}"
        raise DataError(f"{path} has format {manifest['format']}, this openbook reads {known}; use a new folder")
    if wrong := mismatch(manifest, ABOUT | (FIRST if first else LATER)) or _odd_day(manifest):
        raise DataError(f"{path} is damaged: {wrong}; {_REPAIR}")
    if first:
        return from_first_format(manifest)
    if manifest["deltas"] != chained(manifest["deltas"]):
        raise DataError(f"{path} is damaged: broken chain of deltas; {_REPAIR}")
    return manifest


def _odd_day(manifest: dict) -> str:
    """What is wrong with the sessions of a manifest, in words; empty if nothing is."""
    days = [*manifest["sessions"], *(manifest.get("listed") or {}).values()]
    try:
        pd.to_datetime(days, format="%Y-%m-%d")
    except ValueError as error:
        return str(error).partition(". ")[0]
    return "" if manifest["sessions"] else "it has no sessions"


def from_first_format(manifest: dict) -> dict:
    """What the first format called files is the first delta; its digests are those of today."""
    files, days = manifest["files"], list(manifest["sessions"])
    tables = ["actions", *(name for name in ("fundamentals", "index", "members", "sectors") if name in files)]
    deltas = chained([{"first": days[0], "known": days[-1], "files": files}])
    rest = {name: value for name, value in manifest.items() if name != "files"}
    return rest | {"format": FORMAT, "tables": tables, "listed": None, "deltas": deltas}


def seal_of(manifest: dict) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def chained(deltas: list[dict]) -> list[dict]:
    """The deltas, each with a running hash that covers it and all before it."""
    out, chain = [], ""
    for delta in deltas:
        body = {name: delta[name] for name in ("first", "known", "files")}
        chain = seal_of({"after": chain} | body)
        out.append(body | {"chain": chain})
    return out


def format_of(deltas: list[dict]) -> int:
    """The format that these deltas are in."""
    return REWRITTEN if any("rewritten" in delta["files"] for delta in deltas) else FORMAT


def files_of(manifest: dict) -> set[str]:
    """Names of the files that a manifest counts."""
    return {entry["file"] for delta in manifest["deltas"] for entry in delta["files"].values()}
