"""Receivables of a book: what corrections leave of them, and which of them a statement's cash shows to be paid."""

from collections.abc import Iterable, Sequence

from openbook.ledger.facts import OPEN_END, Adjustment, Receivable

# So many sums of receivables are looked at: those of 16 names in every combination, or of hundreds in order of age.
MOST_SUMS = 1 << 16


def owed_after(receivables: Iterable[Receivable], adjustments: Iterable[Adjustment]) -> list[Receivable]:
    """Receivables of the book after a correction: one without a date is closed by its opposite, which states
    that it was paid, or named."""
    rows = list(receivables)
    for fix in adjustments:
        if not fix.due:
            continue
        row = Receivable(symbol=fix.symbol, security=fix.security, kind=fix.kind, due=fix.due, cents=-fix.cents)
        same = [n for n, known in enumerate(rows) if fix.due == OPEN_END and _is_same(known, row)]
        if same:
            del rows[same[0]]
        else:
            rows.append(row.model_copy(update={"cents": fix.cents}))
    return rows


def _is_same(one: Receivable, other: Receivable) -> bool:
    """Whether both are the same, even if the ticker has changed."""
    return one.model_copy(update={"symbol": other.symbol}) == other


def paid_by(owed: Sequence[Receivable], cents: int) -> tuple[Receivable, ...]:
    """The receivables, oldest first, that together make up so much more cash; none if no combination does.

    A broker rounds every payment and its tax by itself, so each may differ by a cent. The oldest ones in a row are
    tried first, then any combination, the most exact and of these the oldest.
    """
    total = 0
    for n, row in enumerate(owed, start=1):
        total += row.cents
        if abs(total - cents) <= n:
            return tuple(owed[:n])
    sums: dict[int, tuple[int, ...]] = {0: ()}
    for n, row in enumerate(owed):
        if len(sums) > MOST_SUMS:
            break
        for known, which in list(sums.items()):
            sums.setdefault(known + row.cents, (*which, n))
    found = [(abs(known - cents), which) for known, which in sums.items() if abs(known - cents) <= len(which)]
    return tuple(owed[n] for n in min(found)[1]) if cents and found else ()


def taken_away(rows: Iterable[Receivable]) -> list[dict]:
    """The rows of an adjustment that take receivables away."""
    return [row.model_dump() | {"shares": 0, "price": None, "cents": -row.cents} for row in rows]
