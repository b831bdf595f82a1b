"""What people do to a book from the command line: approve, reject, fill, reconcile, halt, reset, export.

Each shows first, then changes one thing under the lock, then brings views and log up to date; each can be repeated.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from openbook.app import approvals, champions
from openbook.app.agreement import compare, require_agreement
from openbook.app.book_places import book_place, the_book
from openbook.app.service import (
    MOMENT,
    log_time,
    note,
    obey_halts,
    parameters_digest,
    publish_all_views,
    read_trades,
    require_own_clock,
    require_own_clocks,
    store_of,
    switch_text,
    when,
    working,
)
from openbook.app.settings import check_params
from openbook.common.constants import BOOK_KINDS
from openbook.common.errors import ApprovalError, BookError, IncompleteRun, OpenbookError, StorageError, UsageError
from openbook.common.frames import each_row
from openbook.common.text import require_line
from openbook.execution import brokers, fill_collars
from openbook.execution.ticker_spellings import match_symbols
from openbook.ledger import approval_tokens, book, book_commands, reversals
from openbook.ledger.book_commands import Batch
from openbook.ledger.records import BookState, owed_text
from openbook.market import calendar
from openbook.market.sources import origin
from openbook.market.store import has_session, read_store, store_fingerprint
from openbook.market.store.manifest import require_manifest
from openbook.market.tables import Market
from openbook.report.calendar_page import publish_calendar
from openbook.runs import bytecode, closures, halt_markers, provenance, verification
from openbook.runs.code_changes import void_because
from openbook.runs.key_files import read_key, read_once
from openbook.runs.runs_folder import RunsFolder, check_date, read_run
from openbook.runs.stage import Stage

ORDERS = ["symbol", "side", "shares", "price", "notional", "commission_est", "slippage_est", "reason"]

PAPER = "PAPER-"  # before the id of each order of a paper book that is exported, and before the file's name

Said = TypeVar("Said")


@dataclass(frozen=True, eq=False)
class Proposal:
    """A batch, the sealed run that proposed it, and until when it may be approved (UTC)."""

    batch: Batch
    run: dict
    folder: Path
    kind: str
    place: Path | str
    expires: pd.Timestamp

    @property
    def trades(self) -> pd.DataFrame:
        """trades.csv of the sealed run."""
        return read_trades(self.folder / "trades.csv")

    @property
    def orders(self) -> pd.DataFrame:
        """ORDERS, from the book; what the sealed run estimated that they cost."""
        orders, costs = self.batch.orders, self.trades.set_index("symbol")[["commission_est", "slippage_est"]]
        known = costs.reindex(orders["symbol"]).reset_index(drop=True)
        side = pd.Series(np.where(orders["shares"] > 0, "BUY", "SELL"), index=orders.index)
        return orders.assign(side=side, notional=orders["shares"].abs() * orders["price"], **known)

    def lines(self) -> list[str]:
        """The orders as the book has them, their costs and the checks, shown before an approval."""
        trades, recorded = self.orders, self.run["recorded"]
        table = trades[ORDERS].to_string(index=False, float_format="{:,.2f}".format) if len(trades) else "no orders"
        costs = float(trades["commission_est"].sum() + trades["slippage_est"].sum())
        by_side = trades.groupby("side")["notional"].sum()
        bought, sold = by_side.get("BUY", 0.0), by_side.get("SELL", 0.0)
        said = [(row["check"], row["status"], row["detail"]) for row in recorded["not_passed"]]
        notes = [f"check {name}: {status}: {detail.removeprefix(f'{status}: ')}" for name, status, detail in said]
        where = f"{self.run['date']}, {self.kind} book, kill switch {switch_text(recorded['switch'])}"
        return [
            f"{where}: {recorded['verdict']}",
            *table.splitlines(),
            f"buys {bought:,.2f} USD, sells {sold:,.2f} USD, estimated costs {costs:,.2f} USD",
            *(notes or ["all checks passed"]),
            f"batch {self.batch.digest}; approval deadline {self.expires:%Y-%m-%d %H:%M} UTC",
        ]


def proposal(runs: Path, date: str, *, of_the_log: bool = True) -> Proposal:
    """What was proposed for `date`; UsageError (64) if that run is not sealed.

    of_the_log : False for a fill, which happened whatever was done to the page since

    Raises AuditError (90), before anything of it is read, if the run is not the one in the log; ApprovalError (55) for
    the live book while the clock is overridden.
    """
    folder = RunsFolder(runs).sealed("daily_run", date)
    if folder is None:
        raise UsageError(f"no sealed daily_run of {check_date(date)} in {runs}; see openbook status")
    if of_the_log:
        verification.require_as_logged(runs, folder)
    run = read_run(folder)
    kind = _kind_of(run)
    require_own_clock(kind)
    place = book_place(runs, kind)
    return Proposal(book_commands.read_batch(place, date), run, folder, kind, place, calendar.approval_deadline(date))


def _proposal_to_go(runs: Path, date: str) -> Proposal:
    """A proposal whose orders may be let forward: ApprovalError (55) if anything stops its book, AuditError (90) if the
    log and the book do not agree."""
    found = proposal(runs, date)
    halt_markers.require_none(runs, found.kind)
    require_agreement(runs)
    return found


def _kind_of(run: dict) -> str:
    """The kind of the book that a sealed daily run is about."""
    return "paper" if run["params"]["dry_run"] else "live"


def approve(runs: Path, date: str, *, who: str, ask: Callable[[Proposal], str]) -> str:
    """Approve the orders of a session, if the person asked answers with the last six characters of their hash."""
    seen = _proposal_to_go(runs, date)
    approvals.require_terminal_suffices(runs, seen.place)
    _require_time(seen)
    _require_standing(runs, seen)
    answer = ask(seen).strip().lower()
    if answer != seen.batch.code:
        raise ApprovalError(
            f"{answer!r} does not match the last six characters of the batch hash of {date}; nothing was approved"
        )
    return _approve(runs, date, seen.batch.digest, who=who, how=book_commands.TERMINAL)


def approve_by_token(runs: Path, date: str, *, tokens: Sequence[Path]) -> str:
    """Approve with a token, or the tokens of two people, checked with the public keys that the desk lists."""
    signed = approvals.read_tokens(tokens, date)
    who, how = approval_tokens.signers(signed), approval_tokens.nonces(signed)
    return _approve(runs, date, signed[0]["batch"], who=who, how=how, signed=signed)


def sign(batch: str, date: str, *, who: str, key: Path, runs: Path, orders: str = "") -> bytes:
    """A token that approves the batch of that hash; it expires when the batch does. Needs no runs folder.

    orders : ids with commas, if the signature is for these alone; empty: all orders of the batch
    """
    if not (len(batch) == 64 and set(batch) <= set("0123456789abcdef")):
        raise UsageError(
            f"{batch!r} is not a batch hash; copy all 64 characters from openbook approve or openbook status"
        )
    deadline = calendar.approval_deadline(calendar.require_session(calendar.parse_date(date)))
    said: dict[str, Any] = {"batch": batch, "session": date, "orders": approvals.order_ids(orders)}
    said |= {"who": require_line(who, "--by"), "when": when(), "expires": deadline.isoformat()}
    return approval_tokens.to_bytes(approval_tokens.sign_approval(said, read_key(key, runs)))


def _approve(runs: Path, date: str, digest: str, *, who: str, how: str, signed: Sequence[Mapping] = ()) -> str:
    """The approval itself: everything is checked again, under the lock."""
    with working(runs) as folder:
        found = _proposal_to_go(runs, date)
        if signed:
            approvals.require_signatures(runs, found.batch, signed)
        else:
            approvals.require_terminal_suffices(runs, found.place)
        _require_time(found)
        _require_unaltered(found)
        _require_standing(runs, found)
        said: dict[str, Any] = {
            "digest": digest,
            "about": standing_on(folder, found),
            "who": who,
            "when": when(),
            "how": how,
            "signed": signed,
        }
        n = book_commands.approve(
            found.place, date, **said, may_go=partial(halt_markers.require_none, runs, found.kind)
        )
    return f"{n} orders of {date} approved by {who}, for execution on {found.batch.orders['session'].iloc[0]}"


def _require_time(found: Proposal) -> None:
    """ApprovalError once the orders can no longer be approved."""
    if not calendar.now() <= found.expires:
        date = found.run["date"]
        raise ApprovalError(f"the approval deadline for the orders of {date} was {found.expires:%Y-%m-%d %H:%M} UTC")


def _require_unaltered(found: Proposal) -> None:
    """ApprovalError if the sealed run, or its orders, differ from what the book recorded."""
    try:
        Stage(found.folder).require_finished()
    except IncompleteRun as error:
        raise ApprovalError(f"the sealed run of {found.run['date']} was altered: {error}") from None
    written = found.trades.set_index("symbol")["shares"].astype(float).to_dict()
    if written != dict(zip(found.batch.orders["symbol"], found.batch.orders["shares"].astype(float), strict=True)):
        raise ApprovalError(
            f"trades.csv of {found.run['date']} does not match the orders in the book; see openbook verify"
        )


def _require_standing(runs: Path, found: Proposal) -> None:
    """ApprovalError naming the file or the champion that changed since the orders were decided."""
    bytecode.require_faithful()
    date = found.run["date"]
    if why := void_because(runs, date):
        raise ApprovalError(
            f"the orders of {date} are void: {why}; undo the change, or decide again: openbook run "
            f"daily_run --date {date} --supersede"
        )


def standing_on(folder: RunsFolder, found: Proposal) -> dict[str, str]:
    """Current hashes of model, data, parameters and code; an approval is void if one of them has changed."""
    settings = check_params("daily_run", found.run["params"])
    champion, _ = champions.champion_of(folder.folder, settings.fallback_champion)
    return {
        "model": champion.name,
        "data": store_fingerprint(store_of(folder.folder, settings.source), pd.Timestamp(found.run["date"])),
        "parameters": parameters_digest(found.run["params"]),
        "code": provenance.deciding("daily_run")["sha256"],
        "source": origin(settings.source),
    }


def reject(runs: Path, date: str, *, who: str, reason: str) -> str:
    """Reject the orders of a session."""
    proposal(runs, date)  # whether it can be, before the folder is held
    with working(runs):
        found = proposal(runs, date)
        n = book_commands.reject(found.place, date, who=who, reason=reason, when=when())
    return f"{n} orders of {date} rejected by {who}: {reason}"


def export(runs: Path, date: str, form: str, *, paper_account: bool = False) -> tuple[str, bytes, str]:
    """Name and bytes of the approved orders of a session, in a broker's format, and what was left out;
    never sent anywhere. Of an order that is filled in part what is still open is written. Orders of a paper book are
    marked PAPER, and leave in a broker's own format only for a `paper_account`: ApprovalError (55) otherwise.

    ApprovalError (55) unless every order was approved, in time, and stands on what it was approved on; for a live book
    of a desk that lists its approvers, also unless they signed.
    """
    if form not in brokers.FORMATS:
        raise UsageError(f"unknown format {form!r}; choose from {', '.join(brokers.FORMATS)}")
    found = _proposal_to_go(runs, date)
    paper = found.kind == "paper"
    if paper and form != "generic" and not paper_account:
        raise ApprovalError(
            f"the orders of {date} are of the paper book; {form} would take them for real ones. For a broker's paper "
            "account: --paper-account"
        )
    orders = found.batch.orders
    states = set(orders["status"])
    waits = orders["status"].isin(["APPROVED", "PARTIALLY_FILLED"])
    if not (waits.any() and states <= {"APPROVED", "PARTIALLY_FILLED", "FILLED"}):
        raise ApprovalError(
            f"the orders of {date} are {', '.join(sorted(states)) or 'none'}; only approved orders can be exported"
        )
    if not calendar.now() <= found.expires:
        raise ApprovalError(f"the approval of {date} expired at {found.expires:%Y-%m-%d %H:%M} UTC")
    _require_unaltered(found)
    _require_standing(runs, found)
    about = standing_on(RunsFolder(runs), found)
    if about != found.batch.about or found.batch.moved:
        raise ApprovalError(f"the approval of {date} is void because its inputs changed; nothing was exported")
    approvals.require_signed(runs, found.place, found.batch)
    left = orders[waits].assign(shares=orders["open"], symbol=orders["ticker"])
    # Whatever came while this batch was checked. No halt can be recorded meanwhile, so none slips in between.
    now = book_commands.release(found.place, date, may_go=partial(halt_markers.require_none, runs, found.kind))
    if now.moved or not now.orders["status"].equals(orders["status"]):
        raise ApprovalError(f"the orders of {date} changed while they were exported; nothing was exported")
    left = left.assign(order_id=PAPER + left["order_id"]) if paper else left
    data = brokers.FORMATS[form](left, _execution(runs, found.run))
    return f"{PAPER if paper else ''}{brokers.FILENAMES[form]}", data, _left_out(orders)


def _left_out(orders: pd.DataFrame) -> str:
    """What of some orders is filled, and is not exported again; empty if nothing is."""
    filled = orders[orders["open"] != orders["shares"]]
    said = [f"{row.symbol} {abs(row.shares - row.open)} of {abs(row.shares)}" for row in each_row(filled)]
    return f"already filled, not exported: {', '.join(said)}" if said else ""


def _execution(runs: Path, run: dict) -> str:
    """When the orders of a sealed run execute, next_open or next_close; from its store if the run did not record it."""
    recorded = run["recorded"].get("execution")
    if recorded in brokers.AUCTIONS:
        return recorded
    source = check_params("daily_run", run["params"]).source
    return require_manifest(store_of(runs, source))["execution"]


def fills(
    runs: Path, date: str, file: Path, *, accepted: tuple[str, str] = ("", ""), forced: Iterable[str] = ()
) -> str:
    """Record the broker's fills for the orders of a session; fills that match no order need a name, and fills that are
    not plausible must be `forced` by their ids."""
    data = read_once(file)
    table = _understood(brokers.parse_fills, data, file)
    if unknown := sorted({*forced} - {*table["fill_id"]}):
        raise UsageError(f"--force names {', '.join(unknown)}, which {file} does not have")
    if forced and not all(accepted):
        raise UsageError("--force needs --who NAME and --reason WHY")
    proposal(runs, date, of_the_log=False)  # whether it can be, before the folder is held
    with working(runs):
        found = proposal(runs, date, of_the_log=False)
        _require_past(table)
        brokers.require_named_alike(table, found.batch.orders)
        how: dict[str, Any] = {"when": when(), "source": hashlib.sha256(data).hexdigest(), "accepted": accepted}
        how |= {"outside": _outside(runs, found, table), "forced": frozenset(forced)}
        n = book_commands.record_fills(found.place, date, table, **how)
    known = f", {len(table) - n} already recorded" if n < len(table) else ""
    return f"{n} fills of {date} recorded{known}"


def _outside(runs: Path, found: Proposal, fills: pd.DataFrame) -> dict[str, str]:
    """What is not plausible about those fills that are not in the book yet, by fill_id."""
    state, known = book.read_book(found.place), book_commands.recorded_fills(found.place)
    return fill_collars.outside(
        fills[~fills["fill_id"].isin(known)],
        found.batch.orders,
        session=found.batch.session,
        market=_bars(runs, found.run, fills["date"]),
        equity=_equity(state),
        held=_by_symbol(state.positions_now),
        prices=_by_symbol(book.marked_prices(found.place)),
    )


def _by_symbol(values: pd.Series) -> dict[str, float]:
    return {str(symbol): float(value) for symbol, value in values.items()}


def _bars(runs: Path, run: dict, days: pd.Series) -> Market | None:
    """The market on some days, as the store of a sealed run has it; None where it has none of them, or is damaged: a
    fill that happened is recorded whatever became of the store."""
    with suppress(OpenbookError):
        store = store_of(runs, check_params("daily_run", run["params"]).source)
        known = [day for day in sorted(set(days)) if has_session(store, day)]
        if known:
            return read_store(store, first=known[0], through=known[-1])[0]
    return None


def _equity(state: BookState) -> float:
    """Equity at the last close, and the cash that came or went since, USD."""
    flows = sum(row.cents for row in state.flows) + sum(row.cents for row in state.adjustments)
    return (state.equity_cents + flows) / 100


def reverse(runs: Path, fill_id: str, *, who: str, reason: str) -> str:
    """Take back a fill that was recorded in the live book; the right one can then be recorded under another id."""
    kind = "live" if book.exists(book_place(runs, "live")) else ""
    kind, place = _own_book(runs, kind)
    with working(runs):
        done = reversals.reverse_fill(place, fill_id, who=who, reason=reason, when=when())
    return done


def _require_past(fills: pd.DataFrame) -> None:
    """BookError (60) for a fill dated after today: it cannot have happened."""
    today = f"{calendar.today():%Y-%m-%d}"
    for row in each_row(fills[fills["date"] > today]):
        raise BookError(f"fill {row.fill_id} is dated {row.date}, after today, {today}; correct the file or the clock")


def _understood(parse: Callable[[bytes], Said], data: bytes, file: Path) -> Said:
    """The contents of a broker's file; BookError (60) names the file."""
    try:
        return parse(data)
    except BookError as error:
        raise BookError(f"{file}: {error}") from None


def reconcile(
    runs: Path, file: Path, *, kind: str = "", accepted: tuple[str, str] = ("", ""), force: bool = False
) -> str:
    """Compare the broker's statement with the book; BookError (60) names every difference, unless a person accepts the
    statement: then the book is corrected to it under that name. One that is not plausible needs `force` too."""
    data = read_once(file)
    shares, cash = _understood(brokers.parse_statement, data, file)
    prices = _understood(brokers.parse_prices, data, file)
    closed = f"{calendar.last_closed():%Y-%m-%d}"
    kind, place = _own_book(runs, kind)
    with working(runs):
        names = _our_names(book.read_book(place), shares.index)
        prices = {names[symbol]: price for symbol, price in prices.items()}
        shares = shares.rename(names).sort_index()
        off = _outside_statement(place, shares, cash, prices) if any(accepted) else ""
        if off and not force:
            raise BookError(f"{file}: {off}; correct the statement, or, if it is right, accept it with --force")
        how: dict[str, Any] = {"closed": closed, "when": when(), "accepted": accepted, "prices": prices, "forced": off}
        difference = book_commands.reconcile(place, shares, cash, **how)
    if difference and not accepted[0]:
        raise BookError(
            f"the statement differs: {difference}; runs stop until a statement agrees, or book the difference "
            "with --who and --reason"
        )
    said = f"booked by {accepted[0]}: {difference}" if difference else f"{kind} book and statement agree"
    owed = book.read_book(place).receivables_now
    return f"{said}; outstanding receivables: {owed_text(owed)}" if owed and not difference else said


def _outside_statement(place: Path | str, shares: pd.Series, cash: int, prices: Mapping[str, float]) -> str:
    """What is not plausible about the difference between a statement and a book, in words; empty if nothing is."""
    state, marked = book.read_book(place), _by_symbol(book.marked_prices(place))
    change = _by_symbol(shares.sub(state.positions_now, fill_value=0))
    differs = {symbol: n for symbol, n in change.items() if n}
    off = (cash - state.cash_now_cents) / 100
    return fill_collars.outside_statement(differs, {**prices, **marked}, off, _equity(state))


def _our_names(state: BookState, said: Iterable[str]) -> dict[str, str]:
    """The book's symbol for each symbol of a statement; unknown symbols stay as they are."""
    waits = state.pending["security"].map(state.names).fillna(state.pending["symbol"])
    return match_symbols(said, held={*state.positions_now.index, *waits}, known=state.securities)


def cash(
    runs: Path,
    *,
    flow: str,
    amount: str,
    who: str,
    reason: str,
    kind: str = "",
    again: bool = False,
    force: bool = False,
) -> str:
    """Record a deposit, a withdrawal, a fee or interest; an identical second entry needs `again`, an amount that is not
    plausible for the book `force`."""
    said: dict[str, Any] = {"flow": flow, "cents": _cents(amount), "who": who, "reason": reason}
    kind, place = _own_book(runs, kind)
    with working(runs):
        before = "" if again else book_commands.cash_recorded(place, **said)
        off = fill_collars.outside_cash(flow, said["cents"] / 100, _equity(book.read_book(place)))
        if off and not force and not before:
            raise BookError(f"{off}; correct the amount, or, if it is right, record it with --force")
        now = book_commands.record_cash(place, **said, when=when(), again=again, forced=off)
    done = f"already recorded at {before}; use --again to record a second one" if before else "recorded"
    return f"{flow} of {said['cents'] / 100:,.2f} USD {done}; cash is {now / 100:,.2f} USD"


def rename(runs: Path, *, symbol: str, to: str, date: str, who: str, reason: str, kind: str = "") -> str:
    """Record the new ticker of a security of a book, from a session on."""
    day = calendar.require_session(calendar.parse_date(date))
    said = {"symbol": symbol, "to": to, "date": f"{day:%Y-%m-%d}", "who": who, "reason": reason}
    kind, place = _own_book(runs, kind)
    with working(runs):
        book_commands.rename(place, **said, when=when())
    return f"{symbol} is renamed to {to} from {day:%d %B %Y}; its shares, orders and cost basis stay the same"


def _cents(amount: str) -> int:
    """USD as text in whole cents; UsageError (64) for anything else."""
    if not brokers.USD.fullmatch(amount):
        raise UsageError(f"{amount!r} is not an amount in USD; write it like 1234.56")
    return int(Decimal(amount) * 100)


def _own_book(runs: Path, kind: str) -> tuple[str, Path | str]:
    """Kind and place of the book that is meant; ApprovalError (55) for a live one under a rehearsed clock."""
    kind, place = the_book(runs, kind)
    require_own_clock(kind)
    return kind, place


def closure(runs: Path, date: str, *, who: str, reason: str, close: str = "") -> str:
    """Record that the exchange did not open on a day, or closed early; this desk's calendar follows it.

    UsageError (64) for a day that is not a session, is in the future, or already has a sealed daily run.
    """
    require_own_clocks(runs)
    day = calendar.parse_date(date)
    said = {"date": date, "close": close, "who": who, "reason": reason}
    if not calendar.is_session(day) and date not in {row["date"] for row in closures.closures(runs)}:
        raise UsageError(f"{date} is not an exchange session; there is nothing to record")
    if day > calendar.today():
        raise UsageError(f"{date} is in the future; record a closure on the day itself or later")
    if RunsFolder(runs).sealed("daily_run", date) is not None and not close:
        raise UsageError(f"{date} already has a sealed daily run with prices of that session, so the exchange was open")
    with working(runs) as folder:
        new = closures.close_session(folder.folder, when=when(), **said)
        closures.announce(folder.folder)
    how = (
        f"recorded as closing early, at {close} New York time"
        if close
        else "recorded as closed; its orders move to the next session"
    )
    return f"{date} {how}{'' if new else ' (already recorded)'}"


def reverse_closure(runs: Path, date: str, *, who: str, reason: str) -> str:
    """Take a recorded closure back: the day is a session again, as the exchange's calendar has it.

    UsageError (64) for a day that was never recorded, or if the daily run of a later session was sealed since, which
    went by it.
    """
    require_own_clocks(runs)
    if later := closures.went_by(runs, f"{calendar.parse_date(date):%Y-%m-%d}"):
        raise UsageError(f"{later} was sealed since and went by the closure of {date}, which can no longer be reversed")
    with working(runs) as folder:
        new = closures.reverse_closure(folder.folder, date=date, who=who, reason=reason, when=when())
        closures.announce(folder.folder)
    return f"the closure of {date} is reversed{'' if new else ' (already recorded)'}"


def halt(runs: Path, *, who: str, reason: str, kind: str = "") -> str:
    """Halt one book or all, and void open orders; whatever else is wrong.

    A marker that stops every order comes first (`halt_markers`). Then each book records the halt, and the log that of
    the books, as far as that is possible now; the next command records what is missing. This machine's clock counts,
    whatever OPENBOOK_NOW or the log says.

    Raises UsageError (64) if there is no book, StorageError (74) if no marker could be written and some book did not
    record the halt either.
    """
    now, kinds = f"{calendar.machine_now():{MOMENT}}", [the_book(runs, kind)[0]] if kind else list(BOOK_KINDS)
    signed = {"who": require_line(who, "--who"), "reason": require_line(reason, "--reason")}
    unmarked = ""
    try:
        halt_markers.drop(runs, kinds, **signed, when=now)
    except StorageError as error:
        unmarked = str(error)
    voided: dict[str, int] = {}
    unrecorded: dict[str, str] = {}
    for each in kinds:
        try:
            if (n := _record_halt(runs, each, signed | {"when": now})) is not None:
                voided[each] = n
        except (OpenbookError, OSError) as error:
            unrecorded[each] = f"the {each} book has not recorded it: {error}"
    if not (voided or unrecorded):
        raise UsageError(f"no {kind} book in {runs}" if kind else f"no book in {runs}")
    if unmarked and unrecorded:
        raise StorageError("; ".join([unmarked, *unrecorded.values()]))
    return _halted(runs, voided, unrecorded) + _log_halt(runs)


def _record_halt(runs: Path, kind: str, signed: dict[str, str]) -> int | None:
    """Record a halt in a book, with those whose command was killed before, and remove their markers; how many orders
    that voided, or None where there is no such book."""
    place = the_book(runs, kind)[1]
    if not book.exists(place):
        for mark in halt_markers.markers(runs, kind):
            halt_markers.clear(mark)
        return None
    return obey_halts(RunsFolder(runs), kind, place) + book_commands.halt(place, **signed)


def _log_halt(runs: Path) -> str:
    """Bring views and log up to date after a halt; why that has to wait, else nothing.

    What does not agree with the log stays out of it: else a halt would make a restored or planted part a good one.
    """
    folder = RunsFolder(runs)
    try:
        with folder.lock(patience=0.5):
            publish_all_views(folder)  # also of a book whose commit seemed to fail
            if broken := compare(runs).broken:
                return f"; not logged yet, because {broken[0].said}; see openbook verify --restored"
            note(folder, at=log_time(runs))
            publish_calendar(runs)
    except (OpenbookError, OSError) as error:
        return f"; log and views follow with the next command: {error}"
    return ""


def _halted(runs: Path, voided: dict[str, int], unrecorded: dict[str, str]) -> str:
    """What a halt did, in words."""
    places = [str(mark.file) for kind in unrecorded for mark in halt_markers.markers(runs, kind)]
    done = f"HALTED: {', '.join(voided)}; {sum(voided.values())} open orders voided; " if voided else ""
    waits = f"HALTED by {', '.join(places)}: no order goes out; {'; '.join(unrecorded.values())}; " if places else ""
    return f"{done}{waits}to resume: openbook reset"


def reset(runs: Path, *, who: str, reason: str, kind: str = "", rearm: bool = False, key: Path | None = None) -> str:
    """Arm the kill switch of a book again; an ACTIVE one only with `rearm`, because that discards its history.

    key : private key of somebody who may reset; a live book needs one if the desk lists its approvers (55)
    """
    kind, place = _own_book(runs, kind)
    with working(runs):
        if stops := halt_markers.stops(runs, kind):
            raise UsageError(f"{'; '.join(stops)}; remove the file first")
        said = {"who": who, "reason": reason, "when": when()}
        sign_it = approvals.reset_signature(runs, place, key, **said)
        was = book_commands.reset(place, **said, rearm=rearm, sign=sign_it)
    return f"the {kind} book was {was} and is now ACTIVE; the kill switch restarts from here, without earlier losses"
