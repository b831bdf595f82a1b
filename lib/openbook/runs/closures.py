"""Days on which the exchange did not open, or closed early, against its calendar: recorded once, with a name, in
`runs/closures.json`.

Commands hand them to this process and to its kernels in an environment variable, which `market.calendar` reads. The
log knows every entry, and `verify` compares them.
"""

import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from openbook.common.errors import AuditError, UsageError
from openbook.common.files import replace_file, storage
from openbook.common.interrupts import durably
from openbook.common.strict_json import parse_json
from openbook.common.text import require_line
from openbook.market.calendar import CLOSURES, parse_date
from openbook.runs import audit_log
from openbook.runs.stage import json_bytes

FILE = "closures.json"
OPENS, CLOSES = "09:30", "16:00"  # of an ordinary session, in New York
ENTRY = {"date": str, "close": str, "who": str, "reason": str, "when": str, "reversed?": bool}
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)


def entries(runs: Path) -> list[dict]:
    """Every entry, oldest first: date, close (HH:MM in New York of a session cut short, else empty), who, reason, when,
    and `reversed` in one that takes the closure of its date back. Raises AuditError (90) if the file cannot be read."""
    file = runs / FILE
    try:
        found = parse_json(file.read_bytes(), [ENTRY])
        for row in found:
            parse_date(row["date"])
            if row["close"] and not _TIME.fullmatch(row["close"]):
                raise ValueError(f"{row['close']!r} is not a time")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, UsageError) as error:
        raise AuditError(f"{file} cannot be read: {error}; restore it from a copy") from None
    return found


def closures(runs: Path) -> list[dict]:
    """The entries that are in force, one for each date."""
    last = {row["date"]: row for row in entries(runs)}
    return [row for row in last.values() if not row.get("reversed")]


def announce(runs: Path) -> None:
    """Update the calendar of this process and of the kernels that it will start."""
    days = (f"{row['date']}T{row['close']}" if row["close"] else row["date"] for row in closures(runs))
    os.environ[CLOSURES] = ",".join(days)


def close_session(runs: Path, *, date: str, close: str, who: str, reason: str, when: str) -> bool:
    """Write a closure down; whether it is new. The caller holds the folder.

    UsageError (64) for a day that is already recorded differently, or for an invalid time.
    """
    day = f"{parse_date(date):%Y-%m-%d}"
    if close and not (_TIME.fullmatch(close) and OPENS < close < CLOSES):
        raise UsageError(f"{close!r} is not a time of the session; write HH:MM in New York time, such as 13:00")
    entry = {"date": day, "close": close, "when": when, **_signed(who, reason)}
    before = _in_force(runs, day)
    if before is not None and before["close"] == close:
        return False
    if before is not None:
        raise UsageError(
            f"{day} is already recorded by {before['who']}: {before['reason']}; if that was a mistake, first: "
            f"openbook closure {day} --reverse"
        )
    _add(runs, entry, f"the closure of {day} was recorded")
    return True


def reverse_closure(runs: Path, *, date: str, who: str, reason: str, when: str) -> bool:
    """Take the closure of a day back, or its early close; whether that is new. The caller holds the folder.

    UsageError (64) for a day that was never recorded.
    """
    day = f"{parse_date(date):%Y-%m-%d}"
    if _in_force(runs, day) is None:
        if day in {row["date"] for row in entries(runs)}:
            return False
        raise UsageError(f"no closure of {day} is recorded; there is nothing to reverse")
    entry = {"date": day, "close": "", "when": when, **_signed(who, reason), "reversed": True}
    _add(runs, entry, f"the closure of {day} was reversed")
    return True


def went_by(runs: Path, day: str) -> str:
    """The first daily run of a later date that was sealed since a closure was recorded, by the log; else nothing."""
    logged = [(entry["kind"], entry["subject"]) for entry in audit_log.entries(runs)]
    names = [name for kind, name in logged if kind == "closure" and name.split("#")[0] == f"closures/{day}"]
    since = logged[logged.index(("closure", names[-1])) :] if names else []
    later = (name for kind, name in since if kind == "run" and name.startswith("daily_run/") and name[10:20] > day)
    return next(later, "")


def digests(runs: Path) -> dict[str, str]:
    """sha256 of each entry by its name in the log; the second entry of a date has its number in the name."""
    found: dict[str, str] = {}
    for row in entries(runs):
        name = f"closures/{row['date']}"
        number = sum(key.split("#")[0] == name for key in found) + 1
        found[name if number == 1 else f"{name}#{number}"] = sha256(json_bytes(row)).hexdigest()
    return found


def _in_force(runs: Path, day: str) -> dict | None:
    return next((row for row in closures(runs) if row["date"] == day), None)


def _signed(who: str, reason: str) -> dict[str, str]:
    return {"who": require_line(who, "--who"), "reason": require_line(reason, "--reason")}


def _add(runs: Path, entry: Mapping, done: str) -> None:
    with storage(f"write {runs / FILE}"), durably(done):
        replace_file(runs / FILE, json_bytes([*entries(runs), entry]))
