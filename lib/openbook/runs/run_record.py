"""run.json of a sealed run, read back: its own hashes do not protect it, so its shape is checked at every reading."""

from pathlib import Path
from typing import Any

from openbook.common.errors import AuditError
from openbook.common.files import storage
from openbook.common.strict_json import parse_json
from openbook.runs.stage import RUN

_OR_NONE = (str, type(None))
# What later commands read. Everything may be missing here, because older runs lack much of it: see `RunRecord`.
SHAPE = {
    "notebook?": str,
    "date?": str,
    "profile?": str,
    "inputs_hash?": str,
    "params?": {
        "dry_run?": bool,
        "source?": dict,
        "quality?": dict,
        "limits?": dict,
        "min_trade_size?": float,
        "candidates?": [{"name": str}],
    },
    "inputs?": ({str: str}, type(None)),
    "outputs?": {str: str},
    "formats?": {str: int},
    "code?": (
        {
            "sha256?": _OR_NONE,
            "cells?": _OR_NONE,
            "sources?": _OR_NONE,
            "commit?": _OR_NONE,
            "modified?": (bool, type(None)),
        },
        type(None),
    ),
    "environment?": {"python": str, "platform": str, "distributions": {str: str}},
    "recorded?": {
        "verdict?": str,
        "sentence?": _OR_NONE,
        "switch?": _OR_NONE,
        "orders?": int,
        "regime?": int,
        "is_rebalance?": bool,
        "due?": bool,
        "execution?": _OR_NONE,
        "look?": _OR_NONE,
        "warning?": _OR_NONE,
        "champion_note?": _OR_NONE,
        "holdout_looked_at?": _OR_NONE,
        "not_passed?": [{"check": str, "status": str, "detail": str}],
    },
}


class RunRecord(dict):
    """Content of a run.json, or a direct part of it: a key that is asked for and missing is an AuditError (90)."""

    file: Path

    def __missing__(self, key: str) -> Any:
        raise _altered(self.file, f"it has no {key!r}")


def read_run(folder: Path) -> RunRecord:
    """The run.json of a sealed run; AuditError (90) if it was altered."""
    file = folder / RUN
    with storage(f"read {file}"):
        data = file.read_bytes()
    try:
        found = parse_json(data, SHAPE)
    except ValueError as error:
        raise _altered(file, str(error)) from None
    parts = {name: _record(part, file) if isinstance(part, dict) else part for name, part in found.items()}
    return _record(parts, file)


def _record(content: dict, file: Path) -> RunRecord:
    record = RunRecord(content)
    record.file = file
    return record


def _altered(file: Path, why: str) -> AuditError:
    return AuditError(f"{file} was altered: {why}; restore it from a backup, see openbook verify")
