"""The messages of a runs folder, one small JSON file each: which wait, which were sent, which were given up."""

import json
from pathlib import Path

from openbook.common.errors import OpenbookError
from openbook.common.files import read_itself
from openbook.runs.runs_folder import OUTBOX, check_date

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"


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
        entry = json.loads(read_itself(path))
        for state in entry["channels"].values():
            _ = state["tries"], state["status"], state["left"], state["error"], state["next_try"]
        _ = entry["recipe"], entry["subject"], entry["marked"], entry["date"], entry["kind"], entry["alarm"]
        if entry["alarm"]:
            check_date(entry["date"])  # it becomes part of a file's name
        return entry if entry["queued"] and entry["id"] == path.stem else None
    except (OpenbookError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
