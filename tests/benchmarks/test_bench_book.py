"""What the book costs: committing a day's batch, every fsync included, and verifying a year.

    pytest -m benchmark -s tests/benchmarks/test_bench_book.py

There is no public peer that does the same work; the rounds are printed as they are.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openbook.app import audit
from openbook.execution.kill_switch import KillSwitch
from openbook.ledger import book_commands
from openbook.ledger.book import audit_book, commit_session, event_hashes, open_book, read_book, settle, views
from openbook.market.calendar import sessions
from openbook.market.tables import Market, empty_actions
from openbook.portfolio.costs import Costs
from openbook.runs import audit_log
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.verification import run_digest

pytestmark = pytest.mark.benchmark

N_ORDERS, EVENINGS = 45, 250
NOW = "2024-01-01 00:00:00 UTC"
CALM = KillSwitch(max_daily_loss=0.99, min_sharpe=-1e9, max_drawdown=0.99)
COSTS = Costs()


def busy_market() -> Market:
    """90 names, a year; closes only."""
    days = sessions("2023-01-03", "2024-03-28")[: EVENINGS + 12]
    rng = np.random.default_rng(0)
    close = pd.DataFrame(
        np.exp(rng.normal(0, 0.01, (len(days), 2 * N_ORDERS)).cumsum(axis=0)) * 50,
        index=days,
        columns=[f"S{i:02d}" for i in range(2 * N_ORDERS)],
    )
    return Market(close=close, adjusted=close, name="busy", execution="next_close", actions=empty_actions())


def evening(path: Path, market: Market, n: int, *, manual: bool = False) -> float:
    """Settle and commit session n with 45 orders; returns the seconds of the commit alone."""
    day, state = market.dates[n], read_book(path)
    settlement = settle(state, market, COSTS, day)
    held = settlement.positions
    names = market.symbols[(np.arange(N_ORDERS) * 2 + n) % (2 * N_ORDERS)]
    shares = [-int(held[s]) if s in held.index else 10 for s in names]
    rows = {"symbol": names, "shares": shares, "price": market.close.loc[day, names].to_numpy(), "reason": "benchmark"}
    how = {"inputs_hash": f"{n}", "settlement": settlement.to_json(), "trades": pd.DataFrame(rows), "switch": CALM}
    started = time.perf_counter()
    commit_session(path, session=day, manual=manual, about={"model": "m"}, **how)
    return time.perf_counter() - started


def say(what: str, seconds: list[float]) -> None:
    shown = " ".join(f"{1000 * each:.0f}" for each in seconds)
    print(f"\n{what}: median {1000 * np.median(seconds):.0f} ms; {shown}")


def timed(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def test_committing_an_evening_of_45_orders_and_acts_upon_it(tmp_path):
    market, path = busy_market(), tmp_path / "paper.db"
    open_book(path, cash=1_000_000)
    first = [evening(path, market, n) for n in range(10)]
    for n in range(10, EVENINGS):
        evening(path, market, n)
    last = [evening(path, market, n, manual=True) for n in range(EVENINGS, EVENINGS + 10)]
    audit_book(path)
    say("commit, first evenings", first)
    say(f"commit, after {EVENINGS} evenings ({path.stat().st_size / 2**20:.0f} MB)", last)
    batch = book_commands.read_batch(path, f"{market.dates[EVENINGS + 9]:%Y-%m-%d}")
    how = {"digest": batch.digest, "about": batch.about, "who": "Ann", "when": "now", "how": "terminal"}
    say("approve", [timed(lambda: book_commands.approve(path, batch.session, **how))])
    say("read", [timed(lambda: read_book(path)) for _ in range(5)])
    say("views", [timed(lambda: views(path)) for _ in range(3)])
    say("whole audit", [timed(lambda: audit_book(path)) for _ in range(3)])
    assert np.median(last) < 0.1


def test_verifying_a_year(tmp_path):
    """250 sealed runs of about 1 MB, a book of as many evenings, their log."""
    market, folder = busy_market(), RunsFolder(tmp_path)
    path = tmp_path / "books" / "paper.db"
    path.parent.mkdir()
    open_book(path, cash=1_000_000)
    rng = np.random.default_rng(0)
    for n in range(EVENINGS):
        evening(path, market, n)
        stage = folder.stage("daily_run", market.dates[n], profile="demo", params={}, inputs_hash="")
        stage.write("signals.json", rng.bytes(1_000_000))
        stage.finish()
        (stage.folder / "daily_run.ipynb").write_text("{}")
        (stage.folder / "report.html").write_bytes(rng.bytes(200_000))
        sealed = folder.seal(stage)
        audit_log.record(tmp_path, [("run", f"daily_run/{sealed.name}", run_digest(sealed))], when=NOW)
    found = [("event", f"paper/{seq}", digest) for seq, digest in event_hashes(path)]
    audit_log.record(tmp_path, found, when=NOW)
    seconds = [timed(lambda: print(audit.verify(tmp_path)[1][-2:])) for _ in range(3)]
    say(f"verify {EVENINGS} days", seconds)
    assert np.median(seconds) < 20
