"""The last entry of a log that this user has seen, kept in the user's state folder, outside of the runs folder.

A log that lacks that entry was put back from a backup, or replaced. This is a memory and no proof: whoever can write
as this user can change it, and where there is no state folder nothing is remembered.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from openbook.common.desk_folder import runs_key, state_folder
from openbook.common.files import replace_file
from openbook.common.strict_json import parse_json
from openbook.runs import audit_log
from openbook.runs.stage import json_bytes


def remember(runs: Path) -> None:
    """Keep the last entry of the log as it is now; a state folder that cannot be written changes nothing."""
    found = audit_log.entries(runs)
    if found and found[-1]["hash"] != (remembered(runs) or {}).get("hash"):
        with suppress(OSError):
            _file(runs).parent.mkdir(parents=True, exist_ok=True)
            replace_file(_file(runs), json_bytes({name: found[-1][name] for name in ("n", "when", "hash")}))


def remembered(runs: Path) -> Mapping | None:
    """`n`, `when` and `hash` of the entry that was last seen; None if none was, or the note cannot be read."""
    try:
        return parse_json(_file(runs).read_bytes(), {"n": int, "when": str, "hash": str})
    except (OSError, ValueError):
        return None


def _file(runs: Path) -> Path:
    return state_folder() / f"head.{runs_key(runs)}"
