"""The messages of a runs folder, one small JSON file each: which wait, which were sent, which were given up."""

from datetime import datetime
from pathlib import Path

from openbook.common.errors import UsageError
from openbook.common.files import read_itself
from openbook.common.strict_json import parse_json
from openbook.runs.runs_folder import OUTBOX, check_date

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"
CHANNEL = {"tries": int, "status": str, "left": [str], "error": str, "next_try": str}
ENTRY = {
    **dict.fromkeys(("id", "kind", "date", "subject", "queued"), str),
    **dict.fromkeys(("alarm", "marked"), bool),
    "recipe": dict,
    "channels": {str: CHANNEL},
}


def entries(runs: Path) -> list[dict]:
    """Everything that was ever queued, oldest first; a broken file is left out, and `status_lines` names it."""
    found = [read_entry(path) for path in (runs / OUTBOX).glob("*.json")]
    return sorted(filter(None, found), key=lambda entry: (entry["queued"], entry["id"]))


def count_waiting(runs: Path) -> int:
    """Messages that some channel still waits for."""
    return sum(any(state["status"] == WAITING for state in entry["channels"].values()) for entry in entries(runs))


def read_entry(path: Path) -> dict | None:
    """An entry; None for a file that is not one."""
    try:
        entry = parse_json(read_itself(path), ENTRY)
        times = [entry["queued"], *filter(None, (state["next_try"] for state in entry["channels"].values()))]
        zoned = all(datetime.fromisoformat(time).tzinfo for time in times)
        check_date(entry["date"])  # part of a file's name
    except (OSError, ValueError, UsageError):
        return None
    return entry if zoned and entry["id"] == path.stem else None
