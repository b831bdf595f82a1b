"""The champion, since when and why, and its predecessors: lines for a terminal."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openbook.runs import registry
from openbook.runs.runs_folder import RunsFolder, read_run

WIDTH, INDENT = 110, 10
_NONE_PASSED = re.compile(r"no promotion: none of (\d+) combinations passed every gate", re.ASCII)
NOBODY = "No champion yet: run train_candidates, compare and select_champion."


def champion_lines(folder: str | Path) -> list[str]:
    """The champion and its history, newest first; reads small files only, so it does not open the bundle.

    Raises ModelError (40) if the pointer cannot be read. A missing bundle is reported; the history is still shown.
    """
    runs = RunsFolder(folder)
    entries = registry.history(runs.folder)
    if not entries:
        return [NOBODY]
    lines = [_wrap(f"{name:{INDENT}}", text) for name, text in _facts(runs, entries)]
    return [*lines, "", "history, newest first:", *_history(entries)]


def champion_document(folder: str | Path) -> dict[str, Any]:
    """The same for a program: `champion`, null before the first, and `history`, newest first. Raises as above."""
    runs = RunsFolder(folder)
    entries = registry.history(runs.folder)
    gone = registry.rolled_back(entries)
    rows = [_row(entry, taken_back=entry["sha256"] in gone) for entry in reversed(entries)]
    return {"champion": _champion_row(runs, entries[-1], rows[0]) if rows else None, "history": rows}


def _row(entry: dict, *, taken_back: bool) -> dict[str, Any]:
    """A promotion or a rollback."""
    card = {name: entry["metadata"].get(name) for name in ("model", "optimizer", "vetted", "selected")}
    taken = taken_back and "rollback" not in entry
    return {"sha256": entry["sha256"], **card, "rolled_back": taken, "rollback": entry.get("rollback")}


def _champion_row(runs: RunsFolder, entry: dict, row: dict) -> dict[str, Any]:
    """The champion: its row in the history, and where it comes from."""
    card = entry["metadata"]
    more = {name: card.get(name) for name in ("reason", "trained_through")}
    there = registry.place(runs.folder, entry["sha256"]).is_dir()
    return {**row, **more, "bundle_present": there, "lineage": _runs(runs, card)}


def _facts(runs: RunsFolder, entries: list[dict]) -> Iterator[tuple[str, str]]:
    """Name and text of each line about the champion; a name that is empty goes on with the one above."""
    entry = entries[-1]
    card = entry["metadata"]
    yield "champion", f"{_who(card)}, {vetted(card)}"
    yield "since", f"{card.get('selected', 'an unknown session')}, the session of its selection"
    if "rollback" in entry:
        back = entry["rollback"]
        yield "restored", f"{back['when']}, by a rollback by {back['who']}: {back['reason']}"
    yield "why", _why(card)
    yield "trained", f"through {card.get('trained_through', 'an unknown session')}"
    there = "" if registry.place(runs.folder, entry["sha256"]).is_dir() else ", MISSING"
    yield "bundle", f"{entry['sha256']}{there}"
    led = _runs(runs, card)
    yield from zip(["lineage", *[""] * len(led)], led, strict=False)


def _why(card: dict) -> str:
    """Why a champion was selected, and which gates it failed, if any."""
    head, *others = str(card.get("reason", "no reason was given")).split("; ")
    if found := _NONE_PASSED.match(head):
        head = f"best score of {found[1]} combinations; none passed every gate, so it may run the paper book only"
    own = f"{_who(card)} failed "
    return "; ".join([head, *(f"failed: {part.removeprefix(own)}" for part in others if part.startswith(own))])


def _runs(runs: RunsFolder, card: dict) -> list[str]:
    """The runs that led to a champion, each with its session if it is still here."""
    known = card.get("runs", {})
    sealed = {(run.notebook, read_run(run.folder)["inputs_hash"]): run for run in runs.list() if run.notebook in known}
    lines = []
    for notebook, inputs in sorted(known.items(), reverse=True):  # training, then what was compared
        run = sealed.get((notebook, inputs))
        session = f"of {run.date}" if run else "(no longer in this folder)"
        code = card.get("code", {}).get(notebook, "")[: registry.SHORT]
        lines.append(f"{notebook} {session}, inputs {inputs[: registry.SHORT]}{f', code {code}' if code else ''}")
    selection = runs.sealed("select_champion", card["selected"]) if "selected" in card else None
    return [*lines, f"select_champion of {card['selected']}"] if selection else lines


def _history(entries: list[dict]) -> Iterator[str]:
    """A promotion or a rollback each, newest first."""
    gone = registry.rolled_back(entries)
    for entry in reversed(entries):
        card, back = entry["metadata"], entry.get("rollback")
        day = back["when"][:10] if back else card.get("selected", "?")
        head = f"  {day:10}  {entry['sha256'][: registry.SHORT]}  "
        if back:
            yield _wrap(head, f"{_who(card)} restored by a rollback by {back['who']}: {back['reason']}")
        else:
            taken = ", rolled back" if entry["sha256"] in gone else ""
            yield _wrap(head, f"{_who(card)}, {vetted(card)}{taken}")


def _who(card: dict) -> str:
    return f"{card.get('model', 'unnamed')} × {card.get('optimizer', 'unnamed')}"


def vetted(card: dict) -> str:
    """Whether a champion passed every gate when it was selected, in words."""
    return "passed every gate" if card.get("vetted") is True else "not vetted: paper only"


def _wrap(head: str, text: str) -> str:
    """A head and a text, which goes on below itself where it is long."""
    return textwrap.fill(
        text,
        width=WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
