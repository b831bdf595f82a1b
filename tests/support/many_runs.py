"""A runs folder of any length in a moment: what the calendar and the status read, and nothing else."""

import datetime
import json
from pathlib import Path

from openbook.runs.stage import json_bytes

MONTHLY = ("train_candidates", "compare", "select_champion")
START = datetime.date(2019, 1, 2)


def weekdays(n: int) -> list[str]:
    """The first n weekdays since START."""
    days = (START + datetime.timedelta(days=i) for i in range(2 * n + 7))
    return [day.isoformat() for day in days if day.weekday() < 5][:n]


def write_run(runs: Path, notebook: str, folder: str, **recorded) -> Path:
    """A sealed run as far as its run.json tells, of about the size that a real one has."""
    place = runs / notebook / folder
    place.mkdir(parents=True)
    content = {
        "schema_version": 1,
        "complete": True,
        "notebook": notebook,
        "date": folder[:10],
        "params": {f"parameter_{i}": {"value": i, "why": "as in the profile"} for i in range(40)},
        "outputs": {f"file_{i}.csv": "ab" * 32 for i in range(5)},
        "recorded": recorded,
    }
    (place / "run.json").write_text(json.dumps(content, indent=1))
    (place / "report.html").write_text("<!DOCTYPE html>")
    return place


def write_day(runs: Path, folder: str, orders: int = 0, switch: str = "ACTIVE", verdict: str = "") -> Path:
    """A sealed daily run."""
    said = verdict or (f"{orders} orders" if orders else "No orders")
    return write_run(runs, "daily_run", folder, orders=orders, switch=switch, verdict=said, equity=1e5)


def write_failure(runs: Path, folder: str, error: tuple[str, str] | None = None, notebook: str = "daily_run") -> Path:
    """What a failed attempt leaves: an executed notebook, with the error that ended it if there is one."""
    place = runs / "failed" / notebook / folder
    place.mkdir(parents=True)
    outputs = [{"output_type": "error", "ename": error[0], "evalue": error[1], "traceback": []}] if error else []
    cells = [{"cell_type": "markdown", "source": "# x"}, {"cell_type": "code", "source": "1", "outputs": outputs}]
    (place / f"{notebook}.ipynb").write_text(json.dumps({"cells": cells}))
    return place


def write_book(
    runs: Path, summary: list[str], history: list[tuple[str, float, float]] = (), kind: str = "paper"
) -> Path:
    """A book's published summary and history: date, equity, daily return."""
    place = runs / "books" / kind
    place.mkdir(parents=True)
    (place / "summary.json").write_bytes(json_bytes(summary))
    lines = [f"{date},{equity!r},0,0,{daily!r},0,0,0" for date, equity, daily in history]
    head = "date,equity,cash,invested,daily_return,turnover,costs,n_positions"
    (place / "performance_history.csv").write_text("\n".join([head, *lines]) + "\n")
    return place


def write_history(runs: Path, n: int) -> Path:
    """n daily runs of every kind with their monthly ones, a few failures, a book, and a champion; returns `runs`."""
    days, equity, history = weekdays(n), 1e5, []
    for i, day in enumerate(days):
        switch = {29: "HALTED", 19: "REDUCE_ONLY", 20: "REDUCE_ONLY"}.get(i % 97, "ACTIVE")
        if i % 61 == 7:
            write_failure(runs, f"{day}-1", ("DataNotReady", f"no bars for {day}; try again later"))
        if i % 83 != 5:
            write_day(runs, day, orders=7 if i % 5 == 0 else 0, switch=switch)
        if i % 21 == 0:
            for notebook in MONTHLY:
                write_run(runs, notebook, day, verdict=f"{notebook} done")
        daily = 0.0004 + 0.009 * ((i * 7919) % 101 / 50 - 1)
        equity *= 1 + daily
        history.append((day, round(equity, 2), daily))
    write_book(runs, [f"paper book: kill switch not tripped (ACTIVE), cash {equity:,.2f} USD"], history)
    card = {"model": "ridge", "optimizer": "hrp", "selected": days[0], "vetted": True}
    entry = {"sha256": "ab" * 32, "metadata": card}
    (runs / "production" / entry["sha256"]).mkdir(parents=True)
    (runs / "production" / "champion.json").write_bytes(json_bytes({**entry, "history": [entry]}))
    return runs
