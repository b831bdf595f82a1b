"""Champions: the one that decides a session, the one that a selection promotes, and the rollback."""

from pathlib import Path
from typing import cast

from openbook.app.service import MOMENT, working
from openbook.common.errors import ModelError, UsageError
from openbook.common.strict_json import parse_json
from openbook.market import calendar
from openbook.runs import registry
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.selection.champion import CARD, champion_hash, read_champion


def champion_of(runs: Path, fallback: str) -> tuple[Path, str]:
    """The champion's folder and ""; with `fallback` "previous", the one before and a warning for the page.

    Only a missing bundle is stood in for. An altered one, or one that predicts something else, always ends the run.
    """
    entries = registry.history(runs)
    if not entries:
        raise ModelError("no champion yet; run train_candidates, compare and select_champion first")
    if fallback == "none" or registry.place(runs, entries[-1]["sha256"]).is_dir():
        return cast(tuple[Path, dict], registry.champion(runs))[0], ""
    lost = registry.describe(entries[-1])
    for entry in registry.before(runs):
        folder = registry.place(runs, entry["sha256"])
        if _is_whole(folder):
            return folder, (
                f"The champion's bundle ({lost}) is missing; the previous champion, "
                f"{registry.describe(entry)}, is used instead."
            )
    raise ModelError(
        f"the champion's bundle ({lost}) is missing and no earlier champion is intact; restore one from a backup"
    )


def _is_whole(folder: Path) -> bool:
    """Whether a bundle has every file, with its hash, and predicts what it did when it was saved."""
    try:
        read_champion(folder)
    except ModelError:
        return False
    return True


def incumbent_of(runs: Path, date: str) -> Path | None:
    """The bundle of the champion that a selection of `date` challenges: the last one selected before; None if none is.

    Not the champion of the moment: a selection that is run again must find what it found.
    """
    earlier = [entry for entry in registry.history(runs) if entry["metadata"].get("selected", "") < date]
    folder = registry.place(runs, earlier[-1]["sha256"]) if earlier else None
    return folder if folder is not None and folder.is_dir() else None


def comparisons_before(folder: RunsFolder, last: Path) -> list[Path]:
    """The sealed comparisons before the one in `last`; their combinations count as trials, too."""
    found = folder.list("compare")
    mine = next(run for run in found if run.folder.name == last.name)
    return [run.folder for run in found if run < mine]


def looks_before(folder: RunsFolder, date: str, version: int) -> list[str]:
    """The holdouts evaluated by selections before version `version` of `date`, as spans of sessions."""
    before = [run for run in folder.list("select_champion") if (run.date, run.version) < (date, version)]
    recorded = [read_run(run.folder)["recorded"] for run in before]
    return [found["holdout_looked_at"] for found in recorded if found.get("holdout_looked_at")]


def promote_selected(runs: Path, files: dict[str, bytes]) -> None:
    """Promote a champion, unless its card keeps the incumbent, or only the incumbent passed the gates."""
    try:
        card, entries = parse_json(files[CARD], registry.SAID), registry.history(runs)
    except ValueError as error:
        raise ModelError(f"{CARD} cannot be read: {error}; run select_champion again") from None
    incumbent = entries[-1]["metadata"] if entries else None  # of the pointer: a missing bundle must not stop a new one
    lost = incumbent is not None and incumbent.get("vetted") and not card.get("vetted")
    kept = lost or (incumbent is not None and card.get("decision") == "keep")
    if not kept:
        registry.promote(runs, files, card, champion_hash(files))


def rollback(runs: Path, *, who: str, reason: str) -> str:
    """Restore the previous champion at a person's request; returns the result in words.

    Its bundle must be whole and predict what it predicted when it was saved: ModelError (40), and nothing moves.
    """
    if not registry.history(runs):
        raise UsageError("nothing to roll back: no champion yet")
    when = f"{calendar.machine_now():{MOMENT}}"
    with working(runs):
        was = registry.history(runs)[-1]
        entry = registry.rollback(runs, who=who, reason=reason, when=when, verify=read_champion)
    text = f"{registry.describe(entry)} is the champion again"
    if entry == was:
        return f"already done: {text} since {entry['rollback']['when']}; to roll back further, give a different reason"
    card = entry["metadata"]
    unvetted = "" if card.get("vetted") else "; NOT VETTED: paper only"
    trained = card.get("trained_through", "an unknown session")
    return f"{text}, replacing {registry.describe(was)}; trained through {trained}{unvetted}"
