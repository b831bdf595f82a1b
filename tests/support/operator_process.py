"""A process that plays the operator: evening after evening, run, look and approve; it begins where the last one ended.

python operator_process.py RUNS VENDOR: the vendor's folder holds everything that he will ever send, in full.parquet.
"""

import sys
from pathlib import Path

import pandas as pd

from openbook.cli import main
from openbook.ledger import book_commands
from openbook.ledger.book import read_book
from openbook.runs.runs_folder import RunsFolder
from support.trained_desk import Files, Terminal, Vendor, clock

FULL = "full.parquet"


def evenings(runs: Path, days: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The evening that was sealed last, which may lack its end, and all after it."""
    sealed = RunsFolder(runs).latest("daily_run")
    return days[days >= sealed.name] if sealed else days


def evening(runs: Path, vendor: Vendor, day: pd.Timestamp) -> None:
    """One page, and the approval of its orders by the operator."""
    vendor.deliver(vendor.files.upto(day))
    date, book = f"{day:%Y-%m-%d}", runs / "books" / "paper.db"
    sets = ["--set", vendor.source, "--set", "require_manual_approval=true", "--set", "kill_switch.min_sharpe=-1000"]
    with clock(f"{date}T21:00Z"):
        code = main(["--runs", str(runs), "run", "daily_run", "--date", date, *sets])
        assert code == 0, code
        if len(read_book(book).pending):
            sys.stdin = Terminal(book_commands.read_batch(book, date).code + "\n")
            code = main(["--runs", str(runs), "approve", date, "--by", "Ann"])
            assert code == 0, code


if __name__ == "__main__":
    place, folder = Path(sys.argv[1]), Path(sys.argv[2])
    sent = Files(pd.read_parquet(folder / FULL), pd.read_parquet(folder / "actions_full.parquet"))
    every = pd.DatetimeIndex(sorted(sent.bars["date"].unique()))[int(sys.argv[3]) :]
    for session in evenings(place, every):
        evening(place, Vendor(folder, sent), session)
