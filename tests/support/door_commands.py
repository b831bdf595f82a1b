"""Commands that read what comes in by each door."""

import contextlib
import random
from pathlib import Path
from typing import Any

from support.doors import DAY, SHA, _private, written
from support.runs_doors import DOORS

WHO = ("--who", "Ann", "--reason", "a test")
OF = ("--runs", "{place}")
# By door, commands that read what it brings; {given} is the input itself, a word or a file with these bytes.
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "parameters": (("--desk", "{place}", *OF, "data", "compact"),),
    "set_option": ((*OF, "whatif", DAY, "--set", "{given}"),),
    "source_file": (("data", "check", "--source", "{given}.yaml"),
                    ("data", "check", "{given}", "--beside", "{given}.yaml")),
    "desk_marker": (("--desk", "{place}", *OF, "champion"),),
    "approvers_list": (("--runs", "{place}/runs", "approve", DAY, "--token", "{given}"),),
    "bars_csv": (("data", "check", "{place}/bars.csv"),),
    "bars_parquet": (("data", "check", "{place}/bars.parquet"),),
    "wide_closes": (("data", "check", "{place}/close.csv"),),
    "fills": ((*OF, "fills", DAY, "{given}"), (*OF, "fills", DAY, "{given}", *WHO)),
    "statement": ((*OF, "reconcile", "{given}"), (*OF, "reconcile", "{given}", *WHO)),
    "words": (
        (*OF, "cash", "deposit", "{given}", *WHO), (*OF, "cash", "{given}", "5", *WHO),
        (*OF, "closure", "{given}", *WHO), (*OF, "closure", DAY, "--close", "{given}", *WHO),
        (*OF, "approve", "{given}", "--by", "Ann"), (*OF, "approve", DAY, "--by", "{given}"),
        (*OF, "reject", DAY, "--by", "{given}", "--reason", "{given}"), (*OF, "export", "{given}"),
        (*OF, "export", DAY, "--format", "{given}"), (*OF, "rename", "{given}", "{given}", "--date", DAY, *WHO),
        (*OF, "rename", "A", "B", "--date", "{given}", *WHO), (*OF, "halt", "--who", "{given}", "--reason", "{given}"),
        (*OF, "reset", "--who", "{given}", "--reason", "{given}"), (*OF, "init", "--cash", "{given}"),
        (*OF, "init", "--cash", "100", "--parts", "{given}"), (*OF, "init", "--cash", "100", "--book", "{given}"),
        (*OF, "verify", "--head", "{given}"), (*OF, "diff", "{given}", DAY), (*OF, "replay", "{given}"),
        (*OF, "open", "{given}"), (*OF, "rollback", "--who", "{given}", "--reason", "{given}"),
        (*OF, "data", "revisions", "{given}"), (*OF, "data", "update", "--through", "{given}", "--profile", "{given}"),
        (*OF, "backfill", "{given}", "--from", "{given}", "--to", DAY), (*OF, "views", "--book", "{given}"),
        ("sign", "{given}", "--date", "{given}", "--by", "{given}", "--key", "{given}", "--out", "{place}/t"),
        ("--runs", "{given}", "status"), ("--desk", "{given}", "status"), ("{given}",), ("data", "{given}"),
    ),
    "environment": ((*OF, "status"), ("status",), ("notify",), ("verify",), ("cash", "deposit", "5", *WHO)),
    "token": ((*OF, "approve", DAY, "--token", "{given}"),),
    "private_key": (("--runs", "{place}/runs", "sign", SHA, "--date", DAY, "--by", "Ann", "--key", "{place}/key",
                     "--out", "{place}/t"),),
    "closures_list": ((*OF, "champion"), (*OF, "closure", DAY, *WHO), (*OF, "verify")),
    "sealed_run": ((*OF, "status"), (*OF, "verify"), (*OF, "diff", DAY, DAY), (*OF, "fills", DAY, "{given}"),
                   (*OF, "whatif", DAY, "--set", "min_trade_size=5"), (*OF, "data", "revisions", DAY),
                   (*OF, "open", DAY)),
    "champion_pointer": ((*OF, "champion"), (*OF, "rollback", *WHO), (*OF, "status"), (*OF, "verify")),
    "audit_trail": ((*OF, "verify"), (*OF, "reset", "--clock", *WHO), (*OF, "closure", DAY, *WHO), (*OF, "status")),
    "halt_marker": ((*OF, "status"), (*OF, "halt", *WHO)),
    "outbox_entry": ((*OF, "status"), (*OF, "notify")),
    "rows_index": ((*OF, "status"), (*OF, "closure", DAY, *WHO)),
    "book_summary": ((*OF, "status"), (*OF, "verify")),
    "performance_history": ((*OF, "status"), (*OF, "closure", DAY, *WHO)),
    "failure_note": ((*OF, "status"), (*OF, "notify"), (*OF, "closure", DAY, *WHO)),
    "kept_commits": ((*OF, "verify"),),
    "book_file": ((*OF, "views"), (*OF, "cash", "deposit", "5", *WHO), (*OF, "verify"), (*OF, "halt", *WHO),
                  (*OF, "upgrade")),
}  # fmt: skip


def command_of(name: str, place: Path, given: Any, chance: random.Random) -> tuple[list[str], dict[str, str]]:
    """A command that reads what a door brings, and its environment; the input is put in its place first."""
    with contextlib.suppress(Exception):
        DOORS[name].enter(place, given)  # which puts it there
    said = given[1] if name in ("words", "environment") else given
    environment = {given[0]: said} if name == "environment" else {}
    data = next((part for part in (given if isinstance(given, tuple) else (given,)) if isinstance(part, bytes)), None)
    if data is not None:
        for suffix in ("", ".yaml"):
            _private(place / f"given{suffix}", data)
        said = str(place / "given")
    if name == "book_file":
        written(place / "books" / "paper.db", given)
    line = chance.choice(COMMANDS[name])
    return [word.replace("{place}", str(place)).replace("{given}", str(said)) for word in line], environment
