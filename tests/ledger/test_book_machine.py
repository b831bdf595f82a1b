"""A live and a paper book, driven at random beside a slow and obvious model of them: they agree after every step."""

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing, suppress
from copy import deepcopy
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openbook.app import service
from openbook.common import interrupts
from openbook.common.errors import ApprovalError, BookError, ConflictError, LimitError, OutOfOrderError, UsageError
from openbook.execution.kill_switch import KillSwitch
from openbook.ledger import book_commands, projection
from openbook.ledger.book import audit_book, commit_session, open_book, read_book, settle
from openbook.ledger.facts import OPEN_END
from openbook.ledger.reversals import reverse_fill
from openbook.portfolio.costs import Costs
from openbook.runs import halt_markers
from openbook.runs.runs_folder import RunsFolder
from support.book_model import ACTIONS, COMMISSION, LEAST, NEVER, OPEN, SLIPPAGE, SYMBOLS, Model, Order, make_prices
from support.books import ABOUT, CALM, DAYS, day, make_market, make_trades

# A disk that really syncs makes this four times as slow, and what a disk does is tested elsewhere.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
NOW = "2025-03-03 21:00:00 UTC"
CLOCKS = [NOW, "1970-01-01 00:00:00 UTC", "2025-03-10 03:00:00 UTC", "2099-12-31 23:59:59 UTC"]
CASH = 1_000_000
CLOSE, OPENS = make_prices(len(DAYS))
COSTS = Costs(
    commission_bps=float(COMMISSION * 10_000), slippage_bps=float(SLIPPAGE * 10_000), min_commission=LEAST / 100
)
TIGHT = KillSwitch(max_daily_loss=0.03, max_drawdown=0.06, min_sharpe=-8, sharpe_sessions=3)
SHARES = st.integers(-60, 60).filter(bool)
ORDERS = st.dictionaries(st.sampled_from(SYMBOLS), SHARES, max_size=4)
MANUAL = st.sampled_from([True, True, False])
WHO = st.sampled_from(["Ann", "Bob"])
PICK = st.integers(0, 30)  # above 8: the last session
PICK_LAST = 30


def usd(cents: dict, units: int) -> dict:
    """Prices of whole shares, where the model has those of a unit of a share."""
    return {symbol: [None if c is None else c / 100 * units for c in row] for symbol, row in cents.items()}


def market_of(units: int):
    per_share = {"split": 1, "delisting": 1, "dividend": units}
    actions = [(DAYS[at], symbol, kind, float(value) * per_share[kind]) for at, symbol, kind, value in ACTIONS]
    return make_market(usd(CLOSE, units), opens=usd(OPENS, units), actions=actions)


# "states" is in the order of the events: the last of an order is the one that it is in.
QUERIES = {
    "events": "SELECT body, hash FROM events ORDER BY seq",
    "states": "SELECT order_id, status FROM order_states ORDER BY seq, n",
    "fills": "SELECT fill_id, order_id, shares, seq FROM fills",
    "approved": "SELECT order_id, min(seq) FROM order_states WHERE status = 'APPROVED' GROUP BY order_id",
    "halted": "SELECT coalesce(max(seq), 0) FROM switch WHERE cause = 'halted'",
    "decided": "SELECT order_id, seq FROM orders JOIN sessions ON decided = sessions.session",
    "closed": "SELECT security, sum(cost_cents) FROM closed_lots GROUP BY security",
    "corrected": "SELECT adjustments_cents FROM history ORDER BY date",
    "owed": "SELECT due, cents FROM receivables WHERE session = (SELECT max(session) FROM sessions) ORDER BY n",
    "proposed": """SELECT json_extract(body, '$.switch.state'), json_extract(body, '$.settlement.holdings'),
        json_extract(body, '$.orders') FROM events WHERE kind = 'session'""",
}


class Crash(BaseException):
    """The power fails when everything is written, and nothing is committed."""


def ending(end: type[BaseException], write=projection.apply):
    """`projection.apply`, and then the end of the process."""

    def write_and_end(db, seq, body):
        write(db, seq, body)
        raise end

    return write_and_end


class Book(RuleBasedStateMachine):
    """Every rule says to the model first what must happen, then does it to the book.

    units : of a whole share in the book; a share of the model is one unit
    """

    kind: str
    units = 1

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="book-machine-", dir=MEMORY))
        self.runs = Path(tempfile.mkdtemp(prefix="book-machine-runs-", dir=MEMORY))
        self.path, self.when, self.marked = self.folder / "book.db", NOW, []
        self.storm, self.committed, self.count = None, [], 0
        self.content, self.state, self.rows, self.chain = b"", None, {}, []
        self.model = Model(self.kind, CLOSE, OPENS, CASH)
        self.market = market_of(self.units)
        open_book(self.path, cash=CASH / 100, kind=self.kind, share_units=self.units)

    def teardown(self):
        shutil.rmtree(self.folder)
        shutil.rmtree(self.runs)

    @initialize(switch=st.sampled_from([CALM, TIGHT]), first=st.integers(0, 8), days=st.lists(ORDERS, max_size=4))
    def begin(self, switch, first, days):
        """Some ordinary days, so that there is something to go wrong with."""
        self.limits = switch
        self.cash("deposit", 150_000, False)
        self.commit({"A": 20, "B": 15, "D": 30}, first, True, False)
        for orders in days:
            self.ordinary_day(orders, True)

    # ---- how an act is done ----

    def accepted(self, act):
        """Do an act; in a storm it crashes first, which changes nothing, and is then repeated. After Ctrl-C the command
        could say what is true: that the book was changed, or that nothing was."""
        if self.storm:
            end, self.storm, before = self.storm, None, self.path.read_bytes()
            interrupts.begin()
            with patch.object(projection, "apply", ending(end)), suppress(end):
                act()
            self.same_as(before)
            assert interrupts.done() == ()
        interrupts.begin()
        before = self.path.read_bytes()
        result = act()
        changed = self.path.read_bytes() != before
        assert interrupts.done() == ((f"the book {self.path} was changed",) if changed else ())
        return result

    def refused(self, error, act) -> None:
        before = self.path.read_bytes()
        with pytest.raises(error):
            act()
        self.same_as(before)

    def repeated(self, act) -> None:
        """An act that changes nothing, and does not say so."""
        before = self.path.read_bytes()
        act()
        self.same_as(before)

    def same_as(self, before: bytes) -> None:
        assert self.path.read_bytes() == before
        assert [file.name for file in self.folder.iterdir()] == [self.path.name]

    def some_session(self, pick: int) -> int:
        """The last session most often, else an older one."""
        numbers = [n for n, _ in self.committed]
        return numbers[-1] if pick > 8 else numbers[pick % len(numbers)]

    # ---- evenings ----

    def evening(self, path, n: int, orders: dict, manual: bool, *, limits, inputs="in"):
        """Settle session n and commit it with some orders, in the book at `path`."""
        settled = settle(read_book(path, before=DAYS[n]), self.market, COSTS, DAYS[n]).to_json()
        orders = {symbol: shares / self.units for symbol, shares in orders.items()}
        how = {"switch": limits, "manual": manual, "about": ABOUT, "inputs_hash": inputs, "may_go": self.may_go}
        return commit_session(path, session=DAYS[n], settlement=settled, trades=make_trades(**orders), **how)

    def next_day(self, jump: int) -> int:
        return jump if self.model.last is None else self.model.last + 1 + jump

    @precondition(lambda self: self.model.last is None or self.model.last < len(DAYS) - 4)
    @rule(
        orders=ORDERS,
        jump=st.sampled_from([0, 0, 0, 1, 2]),
        manual=MANUAL,
        exits=st.booleans(),
    )
    def commit(self, orders, jump, manual, exits):
        """An evening, perhaps after some that were missed; what waits from the one before is filled or expires."""
        n = self.next_day(jump)
        if self.model.unaccounted(n):
            return self.refused(BookError, lambda: self.evening(self.path, n, {}, manual, limits=self.limits))
        if self.stopped():
            trial, known = deepcopy(self.model), len(self.model.marks)
            trial.settle(n)
            if trial.evaluate(self.limits, len(trial.marks) - known) != "HALTED":
                act = lambda: self.evening(self.path, n, orders, manual, limits=self.limits)  # noqa: E731
                return self.refused((ApprovalError, LimitError), act)
        known = len(self.model.marks)
        self.model.settle(n)
        latched = self.model.evaluate(self.limits, len(self.model.marks) - known)
        if latched != "ACTIVE" and self.model.adds(orders):
            bad = orders
            self.refused(LimitError, lambda: self.evening(self.path, n, bad, manual, limits=self.limits))
            orders = {}
        if latched != "ACTIVE" and exits:
            orders = {symbol: -shares for symbol, shares in self.model.shares.items()}
        verdict = self.accepted(lambda: self.evening(self.path, n, orders, manual, limits=self.limits))
        assert verdict.state == latched
        by_hand = manual or self.kind == "live" or latched == "HALTED"
        for symbol, shares in orders.items():
            key = f"{day(n)}-{symbol}"
            status = "PENDING" if by_hand else "APPROVED"
            self.model.orders[key] = Order(key, n, n + 1, symbol, shares, status, approved=not by_hand)
        self.model.events.append(("session", n))
        self.committed.append((n, (orders, manual)))

    @precondition(lambda self: self.model.last is not None and self.model.last < len(DAYS) - 4)
    @rule(orders=ORDERS, manual=MANUAL)
    def ordinary_day(self, orders, manual):
        """What was proposed is approved and filled whole, the statement agrees, and the evening follows."""
        self.approve(PICK_LAST, "Ann")
        last = self.committed[-1][0]
        rows = [
            self.new_fill(o, o.shares - o.filled, n) for n, o in enumerate(self.model.batch(last)) if o.status in OPEN
        ]
        if self.kind == "live":
            if rows:
                self.record(last, rows)
            self.reconcile("", "", 1)
        self.commit(orders, 0, manual, True)

    @rule(pick=PICK, orders=ORDERS, how=st.sampled_from(["again", "missed", "dry run"]))
    def evening_that_changes_nothing(self, pick, orders, how):
        if how == "again":
            self.commit_again(self.some_session(pick))
        if how == "missed" and (missed := sorted(set(range(self.model.last)) - {n for n, _ in self.committed})):
            n = missed[pick % len(missed)]
            self.refused(OutOfOrderError, lambda: self.evening(self.path, n, {}, True, limits=self.limits))
        if how == "dry run":
            self.dry_run(min(self.next_day(pick % 3), len(DAYS) - 1), orders)

    def commit_again(self, n: int) -> None:
        """The same evening again changes nothing; with other inputs or other orders it is refused."""
        orders, manual = dict(self.committed)[n]
        self.repeated(lambda: self.evening(self.path, n, orders, manual, limits=self.limits))
        other = {"limits": self.limits, "inputs": "other"}
        self.refused(ConflictError, lambda: self.evening(self.path, n, orders, manual, **other))
        fewer = dict(list(orders.items())[1:])
        if orders:
            self.refused(ConflictError, lambda: self.evening(self.path, n, fewer, manual, limits=self.limits))

    def dry_run(self, n: int, orders: dict) -> None:
        """An evening on a copy leaves the book alone."""
        before, copy = self.path.read_bytes(), self.folder / "copy.db"
        shutil.copyfile(self.path, copy)
        with suppress(BookError, LimitError, ApprovalError):
            self.evening(copy, n, orders, True, limits=CALM)
        copy.unlink()
        self.same_as(before)

    @rule(how=st.sampled_from([Crash, KeyboardInterrupt]))
    def power_cut(self, how):
        """The next act crashes before its commit, or somebody presses Ctrl-C."""
        self.storm = how

    @rule(when=st.sampled_from(CLOCKS))
    def clock(self, when):
        """The clock is set, forwards or back, by years."""
        self.when = when

    # ---- halts that are not recorded yet, and KILL ----

    def may_go(self) -> None:
        halt_markers.require_none(self.runs, self.kind)

    def stopped(self) -> bool:
        return bool(self.marked) or (self.runs / halt_markers.KILL).is_symlink()

    @rule(who=WHO)
    def halt_that_is_killed(self, who):
        """Its marker is there, and nothing else."""
        halt_markers.drop(self.runs, [self.kind], who=who, reason="drill", when=self.when)
        self.marked.append(who)

    @rule()
    def kill(self):
        """KILL comes, as a link that leads nowhere, or goes."""
        file = self.runs / halt_markers.KILL
        file.unlink() if file.is_symlink() else file.symlink_to("nowhere")

    @rule()
    def any_command(self):
        """What every command does first: halts that are not recorded are, in the order in which they came."""
        if self.stopped():
            marks = [mark.who for mark in halt_markers.markers(self.runs, self.kind)]
            service.obey_halts(RunsFolder(self.runs), self.kind, self.path)
            assert sorted(marks) == sorted(self.marked)
            self.marked = []
            for who in marks:
                if not self.model.says("halted", who):
                    self.model.halt()
                    self.model.events.append(("halted", who))
            if (self.runs / halt_markers.KILL).is_symlink() and self.model.switch != "HALTED":
                self.model.halt()
                self.model.events.append(("halted", "the KILL file"))
        assert halt_markers.markers(self.runs, self.kind) == []

    @rule(pick=PICK)
    def export(self, pick):
        """The last look of an export: nothing that was decided before a halt."""
        n = self.some_session(pick)
        if self.stopped():
            return self.refused(ApprovalError, lambda: book_commands.release(self.path, day(n), may_go=self.may_go))
        batch = book_commands.release(self.path, day(n), may_go=self.may_go)
        approved = batch.orders["status"].isin(["APPROVED", "PARTIALLY_FILLED"]).any() and not batch.moved
        at = max(k for k, event in enumerate(self.model.events) if event[:2] == ("session", n))
        assert not (approved and any(event[0] == "halted" for event in self.model.events[at:]))

    # ---- approvals ----

    @rule(pick=PICK, who=WHO, approve=st.booleans())
    def judge(self, pick, who, approve):
        return self.approve(pick, who) if approve else self.reject(pick, who)

    def approve(self, pick, who):
        n, said = self.some_session(pick), {"who": who, "when": self.when, "how": "terminal", "about": ABOUT}
        batch = book_commands.read_batch(self.path, day(n))
        self.say(
            "approved",
            ("PENDING",),
            n,
            who,
            lambda: book_commands.approve(self.path, day(n), digest=batch.digest, may_go=self.may_go, **said),
        )

    def reject(self, pick, who):
        n, said = self.some_session(pick), {"who": who, "reason": "too much", "when": self.when}
        self.say("rejected", ("PENDING", "APPROVED"), n, who, lambda: book_commands.reject(self.path, day(n), **said))

    def say(self, verb: str, states: tuple, n: int, who: str, act) -> None:
        orders = self.model.batch(n)
        if orders and self.model.says(verb, n, who):
            return self.repeated(act)
        if not self.model.may_judge(n, states) or (verb == "approved" and self.stopped()):
            return self.refused(ApprovalError, act)
        assert self.accepted(act) == len(orders)
        self.model.judge(n, verb.upper())
        self.model.events.append((verb, n, who))

    @rule(pick=PICK, other=st.sampled_from([*ABOUT, "digest", "older"]))
    def approve_something_else(self, pick, other):
        """Another batch than the one that is there, or one whose model, data, parameters or code changed."""
        n = self.some_session(pick)
        older = self.committed[0][0]
        digest = book_commands.read_batch(self.path, day(older if other == "older" else n)).digest
        if other == "older" and older == n:
            return
        said = {"digest": "0" * 64 if other == "digest" else digest, "about": dict(ABOUT)}
        if other in ABOUT:
            said["about"][other] = "changed"
            if self.model.events[-1][:2] == ("approved", n):
                return  # said again by the same person, it is a repeated command
        self.refused(
            ApprovalError,
            lambda: book_commands.approve(self.path, day(n), who="Ann", when=self.when, how="terminal", **said),
        )

    # ---- fills ----

    def record(self, n: int, rows: list[dict]) -> None:
        """Record a file of fills, which the model takes or refuses."""
        names = ["fill_id", "order_id", "shares", "price", "commission_cents", "date"]
        table = [
            (
                r["id"],
                r["order"],
                r["shares"] / self.units,
                r["cents"] / 100 * self.units,
                r["commission"],
                day(r["due"]),
            )
            for r in rows
        ]
        file = pd.DataFrame(table, columns=names)
        act = lambda: book_commands.record_fills(self.path, day(n), file, when=self.when, source="0" * 64)  # noqa: E731
        if self.kind == "paper" or not self.model.may_fill(n, rows):
            return self.refused((BookError, ApprovalError), act)
        if not any(row["id"] not in self.model.fills for row in rows):
            return self.repeated(act)
        new = self.accepted(act)
        assert new == self.model.fill(rows)
        self.model.events.append(("fills", n))

    def new_fill(self, order: Order, shares: int, dimes: int) -> dict:
        self.count += 1
        fill = {"id": f"x{self.count:04d}", "order": order.key, "symbol": order.symbol, "shares": shares}
        return fill | {"cents": 2000 + 20 * dimes, "commission": dimes, "due": order.due}

    @precondition(lambda self: self.model.orders)
    @rule(pick=PICK, parts=st.lists(st.tuples(PICK, st.integers(1, 4)), min_size=1, max_size=3))
    def fill(self, pick, parts):
        """Some of what is open in a batch, whole or in parts, in any order."""
        orders = self.model.batch(self.some_session(pick)) or list(self.model.orders.values())[-1:]
        n, rows, taken = orders[0].decided, [], Counter()
        for which, part in parts:
            order = orders[which % len(orders)]
            left = order.shares - order.filled - taken[order.key]
            shares = left if part == 1 else int(left / part)
            if shares:
                taken[order.key] += shares
                rows.append(self.new_fill(order, shares, which))
        if rows:
            self.record(n, rows[::-1])

    @precondition(lambda self: self.kind == "live" and self.model.fills)
    @rule(pick=PICK, change=st.sampled_from(["", "", "shares", "cents", "commission"]))
    def fill_again(self, pick, change):
        """A fill that is known, as it was or with other content."""
        row = list(self.model.fills.values())[pick % len(self.model.fills)]
        changed = {change: row[change] + (20 if change == "cents" else 1)} if change else {}
        self.record(self.model.orders[row["order"]].decided, [row | changed])

    @precondition(lambda self: self.model.orders)
    @rule(pick=PICK, wrong=st.sampled_from(["order", "side", "day", "too much", "twice", "one share"]))
    def wrong_fill(self, pick, wrong):
        """What cannot have happened; beside it a good one, which is then not taken either."""
        order = list(self.model.orders.values())[-1 - pick % min(len(self.model.orders), 4)]
        side = 1 if order.shares > 0 else -1
        row, good = self.new_fill(order, side, pick), self.new_fill(order, side, pick)
        row |= {
            "order": {"order": f"{order.key}Z"},
            "side": {"shares": -side},
            "day": {"due": order.due - 1},
            "too much": {"shares": order.shares - order.filled + side},
            "twice": {"id": good["id"]},
            "one share": {},
        }[wrong]
        self.record(order.decided, [good, row])

    @precondition(lambda self: self.kind == "live" and self.model.fills)
    @rule(pick=PICK)
    def reverse(self, pick):
        """A fill is taken back, whenever it was recorded; it can be so once."""
        key = list(self.model.fills)[-1 - pick % min(len(self.model.fills), 8)]
        act = lambda: reverse_fill(self.path, key, who="Ann", reason="typo", when=self.when)  # noqa: E731
        if self.model.says("reversed", self.model.orders[self.model.fills[key]["order"]].decided, key):
            return self.repeated(act)
        if key in self.model.reversed:
            return self.refused(BookError, act)
        if self.model.reverse(key):
            self.accepted(act)
            self.model.events.append(("reversed", self.model.orders[self.model.fills[key]["order"]].decided, key))

    # ---- cash, the switch, statements ----

    @rule(flow=st.sampled_from(list(book_commands.FLOWS)), cents=st.integers(1, 150_000), all_of_it=st.booleans())
    def cash(self, flow, cents, all_of_it):
        self.count += 1
        now, sign = self.model.cash_now(), book_commands.FLOWS[flow]
        cents = now + 1 if all_of_it and flow == "withdrawal" and now > 0 else cents
        said = {"flow": flow, "cents": cents, "who": "Ann", "reason": f"no. {self.count}", "when": self.when}
        act = lambda: book_commands.record_cash(self.path, **said)  # noqa: E731
        if now + sign * cents < 0 and flow == "withdrawal":
            return self.refused(BookError, act)
        assert self.accepted(act) == now + sign * cents
        self.repeated(act)
        self.model.flows.append((flow, sign * cents))
        self.model.events.append(("cash",))

    @rule(who=WHO, stop=st.booleans())
    def switch(self, who, stop):
        return self.halt(who) if stop else self.reset(who)

    def halt(self, who):
        act = lambda: book_commands.halt(self.path, who=who, reason="drill", when=self.when)  # noqa: E731
        if self.model.says("halted", who):
            return self.repeated(act)
        voided = self.model.halt()
        assert self.accepted(act) == voided
        assert read_book(self.path).pending.empty
        self.model.events.append(("halted", who))

    def reset(self, who):
        act = lambda: book_commands.reset(self.path, who=who, reason="understood", when=self.when)  # noqa: E731
        if self.model.says("reset", who):
            return self.repeated(act)
        if self.model.switch == "ACTIVE":
            self.refused(UsageError, act)
            act = lambda: book_commands.reset(self.path, who=who, reason="understood", when=self.when, rearm=True)  # noqa: E731
        assert self.accepted(act) == self.model.switch
        self.model.reset()
        self.model.events.append(("reset", who))

    @rule(
        wrong=st.sampled_from(["", "", "", "cash", "shares"]),
        by=st.sampled_from(["", "Ann"]),
        over=st.integers(0, 1),
        priced=st.booleans(),
        paid=st.integers(0, 2),
    )
    def reconcile(self, wrong, by, over, priced=True, paid=0):
        """A statement that agrees, or one that does not, and by which somebody corrects the book, or nobody; it may
        show that the oldest dividends were paid."""
        unpriced = wrong == "shares" and by and not priced and self.model.price("A") is None
        before = deepcopy(self.model) if unpriced else None
        if exact := wrong != "cash" and self.model.pay(paid):
            self.model.events.append(("paid",))
        shares, cents = self.model.shares_now(), self.model.cash_now() + (2 if wrong == "cash" else not exact)
        if wrong == "shares":
            shares = {**shares, "A": shares.get("A", 0) + 1}
        closed = (self.model.last or 0) + over
        how = {"closed": day(closed), "when": self.when, "accepted": (by, "known") if by else ("", "")}
        how["prices"] = {"A": 40.0 * self.units} if priced else {}
        table = pd.Series(shares, dtype="float64") / self.units
        act = lambda: book_commands.reconcile(self.path, table, cents, **how)  # noqa: E731
        if before is not None:  # a statement that is refused pays no dividend either
            self.model = before
            return self.refused(BookError, act)
        booked = bool(by) and self.model.says("adjusted", by)
        ended = 0 if wrong and not by else self.model.reconcile(closed)
        assert bool(self.accepted(act)) == bool(wrong or (booked and not ended))
        self.repeated(act)
        self.model.differs = bool(wrong) and not by
        if ended or not (self.model.says("reconciled", wrong, by) or (booked and not wrong)):
            self.model.events.append(("reconciled", wrong, by))
        if wrong and by:
            changes = {"A": 1} if wrong == "shares" else {}
            self.correct(by, changes, cents - self.model.cash_now(), stated=4000)

    def correct(self, who: str, shares: dict, cents: int, *, stated: int, due: int | None = None) -> None:
        """The model takes in what was corrected: cash, or what is owed from a session on, and shares."""
        blank = {"symbol": "A", "shares": 0, "cents": 0, "price": 0, "due": None}
        prices = {symbol: self.model.price(symbol) or stated for symbol in shares}
        rows = [{**blank, "cents": cents, "due": due}] if cents else []
        rows += [{**blank, "symbol": key, "shares": n, "price": prices[key]} for key, n in shares.items()]
        self.model.adjusted += rows
        self.model.events.append(("adjusted", who))

    @rule(
        shares=st.dictionaries(st.sampled_from(SYMBOLS), st.integers(-5, 5).filter(bool), max_size=2),
        cents=st.integers(-2_000, 2_000).filter(bool),
        due=st.sampled_from([None, None, -1, 0, 1, 2, 5]),
    )
    def adjust(self, shares, cents, due):
        """A person corrects shares, and cash or what is owed to the book."""
        self.count += 1
        late = None if due is None else min(max((self.model.last or 0) + due, 0), len(DAYS) - 1)
        owed = [] if due is None else [{"symbol": "A", "kind": "claim", "due": day(late), "cents": cents}]
        said = {"who": "Bob", "reason": f"no. {self.count}", "when": self.when, "receivables": owed}
        said |= {"shares": {symbol: n / self.units for symbol, n in shares.items()}, "cash_cents": 0 if owed else cents}
        said["prices"] = dict.fromkeys(SYMBOLS, 30.0 * self.units)
        act = lambda: book_commands.adjust(self.path, **said)  # noqa: E731
        self.accepted(act)
        self.repeated(act)
        self.correct("Bob", shares, cents, stated=3000, due=late)

    # ---- what is true after every step ----

    def look(self) -> None:
        """Everything that is compared, read anew whenever a byte has changed; the chain and the tables are checked."""
        content = self.path.read_bytes()
        if content == self.content:
            return
        audit_book(self.path)
        self.content, self.state = content, read_book(self.path)
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            self.rows = {name: db.execute(query).fetchall() for name, query in QUERIES.items()}
        self.require_chain()

    def require_chain(self) -> None:
        """Each hash follows from the one before; the chain only ever grows."""
        last, hashes = "0" * 64, []
        for body, hash_ in self.rows["events"]:
            last = hashlib.sha256(f"{last}|{body}".encode()).hexdigest()
            assert hash_ == last
            hashes.append(hash_)
        assert hashes[: len(self.chain)] == self.chain
        self.chain = hashes

    @invariant()
    def the_book_is_what_the_model_says(self):
        self.look()
        self.require_holdings()
        self.require_lots()
        self.require_orders_and_fills()
        self.require_restraint()
        assert len(self.chain) == 1 + len(self.model.events)

    def require_holdings(self) -> None:
        """Cash and shares to the cent, as settled and now."""
        state, model = self.state, self.model
        assert (state.cash_cents, state.invested_cents) == (model.cash, model.value)
        assert state.units == {state.securities[key]: n for key, n in model.shares.items()}
        assert state.positions.to_dict() == {key: n / self.units for key, n in model.shares.items()}
        assert state.cash_now_cents == model.cash_now()
        assert state.positions_now.to_dict() == {key: n / self.units for key, n in model.shares_now().items()}
        due = {NEVER: OPEN_END}
        assert self.rows["owed"] == [(due.get(n) or day(n), cents) for n, cents, _ in model.owed]
        assert [cents for (cents,) in self.rows["corrected"]] == model.corrected
        assert (state.switch, bool(state.unsettled)) == (model.switch, model.differs)

    def require_lots(self) -> None:
        """Each lot as the model has it; and of all that was ever paid, every cent is open or closed."""
        names, model = self.state.names, self.model
        found = {names[key]: [(lot.opened, lot.shares, lot.cost_cents) for lot in lots] for key, lots in
                 self.state.lots.items()}  # fmt: skip
        held = {
            key: [(day(n), *rest) for n, *rest in lots] for key, lots in model.lots.items() if model.shares.get(key)
        }
        assert found == held
        closed = Counter()
        for security, cost in self.rows["closed"]:
            closed[security.partition("@")[0]] += cost
        open_ = {key: sum(lot[2] for lot in lots) for key, lots in model.lots.items()}
        assert all(model.spent[key] == open_[key] + closed[key] == open_[key] + model.ended[key] for key in open_)

    def require_orders_and_fills(self) -> None:
        """Each order in its state; each fill once, and after the approval of its order."""
        assert dict(self.rows["states"]) == {key: order.status for key, order in self.model.orders.items()}
        filled = {key: (row["order"], row["shares"]) for key, row in self.model.fills.items()}
        assert sorted((key, (order, n)) for key, order, n, _ in self.rows["fills"]) == sorted(filled.items())
        approved = dict(self.rows["approved"])
        assert all(approved[order] < seq for _, order, _, seq in self.rows["fills"])

    def require_restraint(self) -> None:
        """Nothing that waited outlives a halt; what is proposed while the switch is not ACTIVE only reduces."""
        halted, open_ = self.rows["halted"][0][0], self.state.pending.set_index("order_id")["status"]
        decided = dict(self.rows["decided"])
        assert all(decided[key] > halted for key, status in open_.items() if status != "PARTIALLY_FILLED")
        for state, held, orders in self.rows["proposed"]:
            holding = {row["security"]: row["shares"] for row in json.loads(held)}
            for order in json.loads(orders):
                have, n = holding.get(order["security"], 0), order["shares"]
                assert state == "ACTIVE" or (n * have < 0 and abs(n) <= abs(have))


class PaperBook(Book):
    kind = "paper"


class LiveBook(Book):
    kind = "live"


class PaperBookOfFractions(PaperBook):
    units = 1000


class LiveBookOfFractions(LiveBook):
    units = 1000


MACHINES = [PaperBook, LiveBook, PaperBookOfFractions, LiveBookOfFractions]


def run(machine, sequences: int) -> None:
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    how = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": quiet}
    run_state_machine_as_test(machine, settings=settings(max_examples=sequences, stateful_step_count=20, **how))


@pytest.mark.parametrize("machine", MACHINES)
def test_a_book_is_what_a_slow_model_says(machine):
    run(machine, 15)


@pytest.mark.long
@pytest.mark.parametrize("machine", MACHINES)
def test_a_book_is_what_a_slow_model_says_for_long(machine):
    run(machine, 1000)
