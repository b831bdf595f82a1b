"""`openbook status positions|orders|runs|log`: one table each, for a terminal and for a program."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openbook.app.status import altered_runs, disagreeing
from openbook.common.errors import UsageError
from openbook.report.overview import read_overview
from openbook.runs import audit_log
from openbook.runs.summaries import read_rows

Rows = list[dict[str, Any]]
HASH = 12  # characters of a hash that a table shows


def read_part(folder: Path, part: str) -> tuple[Rows, list[str]]:
    """The rows of one part, and what was altered, in words, as the status itself says it.

    positions : of every book, as in current_positions.csv; orders : as in trade_history.csv; runs : sealed and failed;
    log : its entries. UsageError (64) for another part.
    """
    if part not in PARTS:
        raise UsageError(f"unknown part {part!r} of the status; choose from {', '.join(PARTS)}")
    seen = read_overview(folder)
    return PARTS[part](folder), [*disagreeing(folder), *altered_runs(seen).values()]


def table_lines(rows: Rows) -> list[str]:
    """Rows for a terminal: a head, then a line each; numbers to the right."""
    if not rows:
        return ["none"]
    columns = [[name, *(_cell(row[name]) for row in rows)] for name in rows[0]]
    right = [all(isinstance(row[name], int | float | None) for row in rows) for name in rows[0]]
    aligned = [_aligned(cells, to_right=side) for cells, side in zip(columns, right, strict=True)]
    return ["  ".join(cells).rstrip() for cells in zip(*aligned, strict=True)]


def _positions(folder: Path) -> Rows:
    return _of_books(folder, "current_positions")


def _orders(folder: Path) -> Rows:
    return _of_books(folder, "trade_history")


def _of_books(folder: Path, view: str) -> Rows:
    """The rows of one view of each book, beginning with the kind of the book."""
    from openbook.app.book_places import books
    from openbook.common.frames import plain_rows
    from openbook.ledger import book

    tables = {kind: book.views(place)[view] for kind, place in books(folder).items()}
    return [{"book": kind, **row} for kind, table in tables.items() for row in plain_rows(table)]


def _runs(folder: Path) -> Rows:
    return [asdict(row) for row in read_rows(folder)]


def _log(folder: Path) -> Rows:
    return audit_log.entries(folder)


PARTS: dict[str, Callable[[Path], Rows]] = {"positions": _positions, "orders": _orders, "runs": _runs, "log": _log}


def _cell(value: Any) -> str:
    """A value for a terminal: at most four decimals, the beginning of a hash, nothing for what is missing."""
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    text = "" if value is None else str(value)
    return text[:HASH] if len(text) == 64 and text.isalnum() else text


def _aligned(cells: list[str], *, to_right: bool) -> list[str]:
    """Cells of one column, all of the same width."""
    width = max(map(len, cells))
    return [cell.rjust(width) if to_right else cell.ljust(width) for cell in cells]
