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
ENTRY = ("date", "close", "who", "reason", "when")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)


def closures(runs: Path) -> list[dict]:
    """Every closure, oldest entry first: date, close (HH:MM in New York of a session cut short, else empty), who,
    reason and when. Raises AuditError (90) if the file cannot be read."""
    file = runs / FILE
    try:
        found = parse_json(file.read_bytes(), [dict.fromkeys(ENTRY, str)])
        for row in found:
            parse_date(row["date"])
            if row["close"] and not _TIME.fullmatch(row["close"]):
                raise ValueError(f"{row['close']!r} is not a time")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, UsageError) as error:
        raise AuditError(f"{file} cannot be read: {error}; restore it from a copy") from None
    return found


def announce(runs: Path) -> None:
    """Update the calendar of this process and of the kernels that it will start."""
    days = (f"{row['date']}T{row['close']}" if row["close"] else row["date"] for row in closures(runs))
    os.environ[CLOSURES] = ",".join(days)


def close_session(runs: Path, *, date: str, close: str, who: str, reason: str, when: str) -> bool:
    """Write a closure down; whether it is new. The caller holds the folder.

    UsageError (64) for a day that is already recorded differently, or for an invalid time.
    """
    day, known = f"{parse_date(date):%Y-%m-%d}", closures(runs)
    if close and not _TIME.fullmatch(close):
        raise UsageError(f"{close!r} is not a time; write HH:MM in New York time, such as 13:00")
    entry = {"date": day, "close": close, "when": when}
    entry |= {"who": require_line(who, "--who"), "reason": require_line(reason, "--reason")}
    before = next((row for row in known if row["date"] == day), None)
    if before is not None and before["close"] == close:
        return False
    if before is not None:
        raise UsageError(f"{day} is already recorded by {before['who']}: {before['reason']}")
    with storage(f"write {runs / FILE}"), durably(f"the closure of {day} was recorded"):
        replace_file(runs / FILE, json_bytes([*known, entry]))
    return True


def digest(entry: Mapping) -> str:
    """sha256 of an entry."""
    return sha256(json_bytes(entry)).hexdigest()


def altered(runs: Path) -> list[str]:
    """What was altered in the list, in words, against the log. Raises AuditError (90) if either cannot be read."""
    found = {f"closures/{row['date']}": digest(row) for row in closures(runs)}
    logged = {entry["subject"]: entry["digest"] for entry in audit_log.entries(runs) if entry["kind"] == "closure"}
    names = sorted({*found, *logged})
    return [f"{name} of {FILE} does not match the log" for name in names if found.get(name) != logged.get(name)]
