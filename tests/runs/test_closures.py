"""A day on which the exchange stays closed without notice: written down, it is no session for anything."""

import json

import pandas as pd
import pytest

from openbook.market import calendar
from openbook.runs import audit_log
from support.trained_desk import clock, openbook, succeed

WHO = ("--who", "Ann", "--reason", "a day of mourning")


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Commands tell the calendar of this process; the next test knows nothing of it."""
    monkeypatch.setenv(calendar.CLOSURES, "")


@pytest.fixture
def closed(monkeypatch):
    """The calendar of this process, told of closures."""
    return lambda text: monkeypatch.setenv(calendar.CLOSURES, text)


def test_a_closed_day_is_no_session_and_a_session_cut_short_ends_earlier(closed):
    """9 January 2025: the exchange closed for the funeral of a president; here as if nobody had announced it."""
    assert calendar.is_session("2025-01-10")
    closed("2025-01-10,2025-01-13T13:00")
    assert not calendar.is_session("2025-01-10")
    assert calendar.next_session("2025-01-08") == pd.Timestamp("2025-01-13")
    assert calendar.previous_session("2025-01-13") == pd.Timestamp("2025-01-08")
    assert calendar.session_close("2025-01-13") == pd.Timestamp("2025-01-13 18:00", tz="UTC")
    assert calendar.approval_deadline("2025-01-08") == pd.Timestamp("2025-01-13 15:00", tz="UTC")
    assert len(calendar.sessions("2025-01-08", "2025-01-14")) == 3
    closed("")
    assert len(calendar.sessions("2025-01-08", "2025-01-14")) == 4


def test_an_evening_without_a_session_waits_for_nobody_and_its_orders_are_filled_at_the_next(desk):
    """Nobody has a bar of the day: 31 before, no session after; the orders for it are filled on the next one."""
    day, following = desk.days[3], desk.days[4]
    waiting = desk.state().pending["symbol"].tolist()
    assert waiting
    desk.vendor.deliver(desk.vendor.files.upto(desk.days[2]))
    with clock(f"{day:%Y-%m-%d}T21:00Z"):
        assert desk.run("daily_run", day).code == 31
        text = f"{day:%Y-%m-%d}"
        assert (
            "its orders move to the next session" in succeed(openbook("--runs", desk.runs, "closure", text, *WHO)).out
        )
        assert "(already recorded)" in succeed(openbook("--runs", desk.runs, "closure", text, *WHO)).out
        assert "unscheduled closure" in succeed(desk.run("daily_run", day)).out
    rest = desk.evening(following).without(desk.vendor.files.bars["symbol"].unique(), day)
    with clock(f"{following:%Y-%m-%d}T21:00Z"):
        succeed(desk.daily(rest, date=following))
    settled = json.loads((desk.page(following) / "settlement.json").read_bytes())
    filled = {row["symbol"] for row in settled["fill_rows"]}
    assert filled
    assert filled <= set(waiting)
    assert [mark["date"] for mark in settled["marks"]] == [f"{following:%Y-%m-%d}"]
    assert openbook("--runs", desk.runs, "verify").code == 0
    file = desk.runs / "closures.json"
    file.write_text(file.read_text().replace("mourning", "joy"))
    assert openbook("--runs", desk.runs, "verify").code == 90


@pytest.mark.parametrize(
    ("date", "more", "said"),
    [
        ("2024-06-22", (), "2024-06-22 is not an exchange session"),
        ("2024-06-28", (), "2024-06-28 is in the future"),
        ("2024-06-25", (), "2024-06-25 already has a sealed daily run"),
        ("2024-06-26", ("--close", "1pm"), "'1pm' is not a time"),
        ("2024-06-26", ("--close", "03:00"), "'03:00' is not a time of the session"),
        ("2024-06-26", ("--close", "16:00"), "'16:00' is not a time of the session"),
        ("2024-06-26", ("--reverse",), "no closure of 2024-06-26 is recorded"),
        ("2024-06-26", ("--reverse", "--close", "13:00"), "give either --close or --reverse"),
    ],
)
def test_what_is_no_closure_is_refused(desk, date, more, said):
    with clock("2024-06-26T21:00Z"):
        answer = openbook("--runs", desk.runs, "closure", date, *WHO, *more)
    assert answer.code == 64
    assert said in answer.err
    assert not (desk.runs / "closures.json").exists()


@pytest.mark.parametrize("failed_before", [False, True], ids=["written_down_first", "after_its_run_had_failed"])
def test_a_backfill_passes_over_a_closed_day_and_settles_on_both_sides_of_it(desk, failed_before):
    """days[4] had no session: days[3] and days[5] have a page, and the orders of days[3] are filled on days[5]."""
    before, day, after = desk.days[3:6]
    files = desk.vendor.files
    quiet = files.without(files.bars["symbol"].unique(), day)
    back = ["--runs", desk.runs, "backfill", "daily_run", "--set", desk.vendor.source, "--from", f"{before:%Y-%m-%d}"]
    if failed_before:
        desk.vendor.deliver(quiet.upto(day))
        stopped = openbook(*back, "--to", f"{day:%Y-%m-%d}")
        assert (stopped.code, f"no bars for {day:%Y-%m-%d}" in stopped.err) == (31, True)
        assert desk.page(before).is_dir()
    desk.vendor.deliver(quiet)
    succeed(openbook("--runs", desk.runs, "closure", f"{day:%Y-%m-%d}", *WHO))
    back += ["--to", f"{after:%Y-%m-%d}"]
    told = succeed(openbook(*back)).out.splitlines()
    assert [line[:5] for line in told if line.startswith("[")] == ["[1/2]", "[2/2]"]
    assert ("already done" in told[0]) == failed_before
    assert not desk.page(day).exists()
    left, right = (json.loads((desk.page(date) / "settlement.json").read_bytes()) for date in (before, after))
    assert [[mark["date"] for mark in found["marks"]] for found in (left, right)] == [[f"{before:%Y-%m-%d}"],
                                                                                  [f"{after:%Y-%m-%d}"]]  # fmt: skip
    trades = pd.read_csv(desk.page(before) / "trades.csv", keep_default_na=False).set_index("symbol")["shares"]
    opens = quiet.bars[quiet.bars["date"] == after].set_index("symbol")["open"]
    assert len(trades)
    assert {row["date"] for row in right["fill_rows"]} == {f"{after:%Y-%m-%d}"}
    filled = {row["symbol"]: row for row in right["fill_rows"]}
    assert {name: row["shares"] for name, row in filled.items()} == trades.to_dict()
    for name, row in filled.items():  # slippage is at most a percent of the open
        assert row["price"] == pytest.approx(opens[name], rel=0.01)
    held = [pd.Series({row["symbol"]: row["shares"] for row in found["holdings"]}) for found in (left, right)]
    moved = held[1].sub(held[0], fill_value=0)
    assert moved[moved != 0].to_dict() == trades.to_dict()
    closes = quiet.bars[quiet.bars["date"] == after].set_index("symbol")["close"]
    worth = sum(round(100 * n * closes[name]) for name, n in held[1].items())
    assert sum(row["value_cents"] for row in right["holdings"]) == pytest.approx(worth, abs=len(held[1]))
    assert len(desk.state().history[desk.state().history["date"] > before]) == 1
    assert openbook("--runs", desk.runs, "verify").code == 0


def test_a_closure_that_was_recorded_by_mistake_is_reversed(desk):
    """The day is a session again; the log knows of both entries."""
    day, text = desk.days[3], f"{desk.days[3]:%Y-%m-%d}"
    closure = ("--runs", desk.runs, "closure", text, *WHO)
    with clock(f"{text}T21:00Z"):
        succeed(openbook(*closure))
        assert "unscheduled closure" in succeed(desk.run("daily_run", day)).out
        again = openbook(*closure, "--close", "13:00")
        assert (again.code, f"openbook closure {text} --reverse" in again.err) == (64, True)
        assert f"the closure of {text} is reversed" in succeed(openbook(*closure, "--reverse")).out
        assert "(already recorded)" in succeed(openbook(*closure, "--reverse")).out
        assert "closing early, at 13:00" in succeed(openbook(*closure, "--close", "13:00")).out
        assert "is reversed\n" in succeed(openbook(*closure, "--reverse")).out
        assert calendar.is_session(day)
        assert openbook("--runs", desk.runs, "verify").code == 0
    file = desk.runs / "closures.json"
    rows = json.loads(file.read_bytes())
    assert [row.get("reversed", False) for row in rows] == [False, True, False, True]
    file.write_text(json.dumps(rows[:-1]))
    with clock(f"{text}T21:30Z"):
        assert openbook("--runs", desk.runs, "verify").code == 90


def test_a_closure_that_a_later_page_went_by_stays(desk):
    """And one of a day before pages that were there already does not."""
    closure = ("--runs", desk.runs, "closure", f"{desk.days[0]:%Y-%m-%d}", *WHO)
    with clock(f"{desk.days[3]:%Y-%m-%d}T21:00Z"):
        succeed(openbook(*closure))
        succeed(openbook(*closure, "--reverse"))
        succeed(openbook(*closure))
        sealed = [("run", f"daily_run/{desk.days[2]:%Y-%m-%d}.2", "0" * 64)]
        audit_log.record(desk.runs, sealed, when=f"{desk.days[3]:%Y-%m-%d} 21:30:00 UTC")
        answer = openbook(*closure, "--reverse")
    assert (answer.code, "was sealed since and went by the closure" in answer.err) == (64, True)
