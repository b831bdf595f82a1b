"""What a book says of itself, as plain JSON: asked of the code that wrote it, and of today's."""

from openbook.ledger.book import event_hashes, read_book, views

PENDING = ["order_id", "decided", "session", "symbol", "shares", "price", "reason", "status"]
VIEWS = {"current_positions": ["symbol", "shares", "price", "value", "weight", "as_of"]}  # columns of format 2


def said(path) -> dict:
    """Everything that can be asked of the book at `path`: now, and as it was before each of its sessions."""
    now = read_book(path)
    days = [f"{day:%Y-%m-%d}" for day in now.history["date"]]
    tables = {name: table[VIEWS.get(name, list(table))] for name, table in views(path).items()}
    return {
        "events": [hash_ for _, hash_ in event_hashes(path)],
        "now": state(now),
        "before": {day: state(read_book(path, before=day)) for day in days},
        "views": {name: table.to_csv(index=False) for name, table in tables.items()},
    }


def state(book) -> dict:
    """One state of a book."""
    return {
        "kind": book.kind,
        "cash_cents": book.cash_cents,
        "cash_now_cents": book.cash_now_cents,
        "invested_cents": book.invested_cents,
        "equity": book.equity,
        "positions": book.positions.to_dict(),
        "positions_now": book.positions_now.to_dict(),
        "pending": book.pending[PENDING].to_csv(index=False),
        "last_session": str(book.last_session),
        "history": book.history.to_csv(index=False),
        "head": book.head,
        "recorded": [[fill.fill_id, fill.order_id, fill.symbol, fill.shares] for fill in book.recorded],
        "flows": [[flow.kind, flow.cents] for flow in book.flows],
        "switch": book.switch,
        "switch_reason": book.switch_reason,
        "marks": book.marks.to_csv(index=False),
        "fills": book.fills.to_csv(index=False),
        "unsettled": book.unsettled,
    }
