"""The inputs of a run, before it starts: its settings, prices, model, book and earlier runs, all hashed."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from openbook.app import champions
from openbook.app.book_places import book_place, books
from openbook.app.service import obey_halts, require_own_clock, store_of, update_prices
from openbook.app.settings import DailyRun, Settings, TrainCandidates
from openbook.app.source_binding import require_carrying, require_own_source, require_same_marks
from openbook.common.desk_folder import inside
from openbook.common.errors import (
    ApprovalError,
    BookError,
    ConflictError,
    DataNotReady,
    OutOfOrderError,
    UsageError,
)
from openbook.ledger import book
from openbook.ledger.supersede import require_supersedable
from openbook.market import calendar
from openbook.market.store import has_session, store_fingerprint
from openbook.market.store.manifest import require_manifest, sessions_of
from openbook.monitoring.monitoring_log import SCORED
from openbook.runs import score_files
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.runs.verification import require_as_logged
from openbook.selection.champion import own_scores_of, read_card
from openbook.signals.own_scores import SCORES, in_time, latest_rows, read_rows, read_scores, require_rows, rows_digest

# Which sealed runs a notebook reads, and the parameter that holds the folder of each.
NEEDS = {
    "train_candidates": (),
    "compare": ("train_candidates",),
    "select_champion": ("train_candidates", "compare"),
    "daily_run": (),
}
ON_A_CLUSTER = ("train_candidates", "compare")  # their tasks can run elsewhere
HANDED_AS = {"train_candidates": "training", "compare": "comparison"}


@dataclass(frozen=True)
class Plan:
    """One run, checked and ready: nothing in it changes until it is sealed or failed.

    inputs : hashes of what decides the outputs, beside the parameters: data, model, book, earlier runs
    handed : parameters that locate inputs; no output depends on them
    version : 1, or more where it supersedes a run of the same date
    """

    notebook: str
    session: pd.Timestamp
    profile: str
    settings: Settings
    inputs: dict[str, str]
    handed: dict[str, Any]
    version: int

    @property
    def date(self) -> str:
        """The session as text."""
        return f"{self.session:%Y-%m-%d}"

    @property
    def params(self) -> dict:
        """The settings as plain values, as papermill takes them."""
        return self.settings.model_dump(mode="json")

    @property
    def inputs_hash(self) -> str:
        """One hash of everything that decides the outputs."""
        content = {**self.inputs, "notebook": self.notebook, "date": self.date, "params": self.params}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def make_plan(
    folder: RunsFolder,
    notebook: str,
    session: pd.Timestamp,
    profile: str,
    settings: Settings,
    engine: str,
    *,
    version: int,
) -> Plan:
    """Fetch missing prices, find the outputs of earlier runs, and hash all of it.

    Raises AuditError (90) if an earlier run is not the one in the log: its tables are inputs of this one.
    """
    inputs: dict[str, str] = {}
    handed: dict[str, Any] = {"date": f"{session:%Y-%m-%d}", **({"engine": engine} if engine else {})}
    if hasattr(settings, "source"):
        require_own_source(folder.folder, _books_of(folder.folder, notebook, settings), settings.source)
        store = store_of(folder.folder, settings.source)
        if not has_session(store, session):
            update_prices(folder, settings.source, through=calendar.last_closed())  # all that there is
        inputs["data"], handed["store"] = store_fingerprint(store, session), str(store.resolve())
    for earlier in NEEDS[notebook]:
        found = folder.latest(earlier, upto=session)
        if found is None:
            raise UsageError(
                f"{notebook} needs a sealed {earlier} run of {handed['date']} or earlier; run {earlier} first"
            )
        require_as_logged(folder.folder, found)
        inputs[earlier], handed[HANDED_AS[earlier]] = read_run(found)["inputs_hash"], str(found.resolve())
    if notebook == "train_candidates":
        for one in cast(TrainCandidates, settings).candidates:
            if one.algorithm == SCORES:
                inputs[f"scores {one.name}"] = rows_digest(read_scores(one.path))
        handed["storage"] = (
            cast(TrainCandidates, settings).storage or f"sqlite:///{folder.folder.resolve() / 'studies.db'}"
        )
    if notebook == "select_champion":
        _plan_selection(folder, inputs, handed, version)
    if notebook == "daily_run":
        _plan_daily(folder, session, settings, inputs, handed, version)
    return Plan(notebook, session, profile, settings, inputs, handed, version)


def _plan_selection(folder: RunsFolder, inputs: dict, handed: dict, version: int) -> None:
    """Adds earlier trials, earlier holdout evaluations and the incumbent to `inputs` and `handed`."""
    earlier = champions.comparisons_before(folder, Path(handed["comparison"]))
    looks = champions.looks_before(folder, handed["date"], version)
    incumbent = champions.incumbent_of(folder.folder, handed["date"])
    for path in earlier:
        require_as_logged(folder.folder, path)
    inputs["earlier"] = " ".join(read_run(path)["inputs_hash"] for path in earlier)
    inputs["looks"], inputs["incumbent"] = " ".join(looks), incumbent.name if incumbent else ""
    handed |= {"earlier": [str(path.resolve()) for path in earlier], "looks": looks}
    handed["incumbent"] = str(incumbent.resolve()) if incumbent else None


def _plan_daily(folder: RunsFolder, session, settings, inputs: dict, handed: dict, version: int) -> None:
    """The champion and the book of a daily run, into `inputs` and `handed`."""
    place = _book_of(folder, settings)
    require_carrying(place, settings.source, Path(handed["store"]), paper=settings.dry_run)
    champion, note = champions.champion_of(folder.folder, settings.fallback_champion)
    card = read_card(champion)
    if not card.vetted and not settings.dry_run:
        raise ApprovalError("the champion did not pass every gate: it may only run a paper book")
    require_same_marks(folder.folder, kind_of(settings), place, settings.source, Path(handed["store"]))
    obey_halts(folder, kind_of(settings), place)
    last, sealed = book.read_book(place).last_session, folder.version("daily_run", session)
    if book.decision(place, session) is None:
        _require_new(folder, place, session, last, sealed)
    elif version > max(sealed, 1):
        require_supersedable(place, f"{session:%Y-%m-%d}")
    if path := own_scores_of(champion):
        file = _kept_scores(folder.folder, path, session, smoothed=card.portfolio.score_window)
        inputs["scores"], handed["scores_file"] = file.stem, str(file.resolve())
    inputs |= {"champion": champion.name, "champion_note": note, "book": book.head(place, before=session)}
    handed |= {"champion": str(champion.resolve()), "champion_note": note, "book": str(place)}
    _require_arrived(handed["store"], session)
    before = folder.latest("daily_run", upto=session - pd.Timedelta(days=1))
    inputs["previous"] = read_run(before)["inputs_hash"] if before else ""
    handed["previous"] = str(before.resolve()) if before else None


def _kept_scores(runs: Path, path: str, session: pd.Timestamp, *, smoothed: int) -> Path:
    """The desk's own scores of the sessions that a page uses, kept in the runs folder.

    smoothed : sessions whose scores enter tonight's

    DataNotReady (31) while the file, the scores of the session or all rows of a session in `smoothed` are not there.
    """
    if not Path(inside(path)).is_file():
        raise DataNotReady(f"the scores {path} are not there yet; try again when they are")
    dates = calendar.sessions(session - pd.Timedelta(days=2 * SCORED), session)[-SCORED:]
    table = read_rows(path)
    rows = latest_rows(in_time(table, path), dates)
    if not (rows["date"] == session).any():
        raise DataNotReady(
            f"{path} has no score for {session:%Y-%m-%d} known by its close"
            f"{f', the latest are of {rows.date.max():%Y-%m-%d}' if len(rows) else ''}; try again when they are there"
        )
    require_rows(table, dates[-smoothed:], path)
    return score_files.keep(runs, rows)


def _require_new(folder: RunsFolder, place, session, last, sealed: int) -> None:
    """Raise unless a session that the book has not settled is the next to be: after its last, which is whole, and
    without a page that another book has already."""
    date = f"{session:%Y-%m-%d}"
    if last is not None and session < last:
        raise OutOfOrderError(f"{date} is before the book's last session, {last:%Y-%m-%d}")
    if sealed:
        raise ConflictError(
            f"{date} already has a sealed page, of another book than {place}; start this book on the next "
            "session, or in a separate runs folder: openbook --runs FOLDER"
        )
    version = 1 if last is None else cast(tuple[int, str], book.decision(place, last))[0]
    if version > max(1, 0 if last is None else folder.version("daily_run", last)):
        raise ConflictError(_unsealed(f"{last:%Y-%m-%d}", version))


def _unsealed(date: str, version: int) -> str:
    """What a crash between the book and the seal of a second decision leaves, and the way out."""
    return (
        f"decision {version} of {date} is in the book but its page is not sealed, because the run crashed "
        "in between; run it again with --supersede"
    )


def next_version(plan: Plan) -> int:
    """The version of a run that supersedes the newest sealed one, which `plan` is compared with; where a crash left a
    decision in the book without its page, that one if it was made from these inputs, else the one after it."""
    if plan.notebook != "daily_run":
        return plan.version + 1
    known, inputs = cast(tuple[int, str], book.decision(plan.handed["book"], plan.session))
    return max(known if inputs == plan.inputs_hash else known + 1, plan.version + 1)


def require_sealed(plan: Plan) -> None:
    """ConflictError (62) if the book holds a later decision for that session than the sealed page."""
    known = book.decision(plan.handed["book"], plan.session) if plan.notebook == "daily_run" else None
    if known and known[0] > plan.version:
        raise ConflictError(_unsealed(plan.date, known[0]))


def kind_of(settings: DailyRun) -> str:
    """The kind of the book of a daily run."""
    return "paper" if settings.dry_run else "live"


def _books_of(runs: Path, notebook: str, settings) -> dict[str, Path | str]:
    """The books, by kind, that a run is about: its own for a daily run, else all that its champion may serve."""
    there = books(runs)
    return {kind: there[kind] for kind in there if notebook != "daily_run" or kind == kind_of(settings)}


def _require_arrived(store: str, session: pd.Timestamp) -> None:
    """DataNotReady (31) before a kernel works for nothing: the source has not delivered the session."""
    if not has_session(store, session):
        last = sessions_of(require_manifest(Path(store)))[-1]
        raise DataNotReady(
            f"no bars for {session:%Y-%m-%d} yet, the latest are of {last:%Y-%m-%d}; try again when the source has them"
        )


def _book_of(folder: RunsFolder, settings) -> Path | str:
    """The book of a daily run; ApprovalError for a live one without approvals, BookError if there is none."""
    kind = kind_of(settings)
    if kind == "live" and not settings.require_manual_approval:
        raise ApprovalError(
            "the live book needs a person's approval: require_manual_approval: false is allowed for paper only"
        )
    require_own_clock(kind)
    place = book_place(folder.folder, kind)
    if not book.exists(place):
        wanted = "" if kind == "paper" else " --book live"
        raise BookError(f"no book at {place}; create one with: openbook init --cash 100000{wanted}")
    if (found := book.read_book(place).kind) != kind:
        raise BookError(f"the book at {place} is a {found} book, not a {kind} book; check dry_run")
    return place
