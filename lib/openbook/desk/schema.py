"""Tables of a book. Nothing in them is ever changed or deleted: what a book was on any evening is a `WHERE` away.

`events` is the record, a chain of hashes; every other table is derived from its bodies, in the same transaction.
"""

APPLICATION_ID = 0x6F62_6F6B  # "obok", at a fixed place in the file: tells a book from any other SQLite file
SCHEMA_VERSION = 1

# What may follow what. Approvals use the states between PENDING and a fill; the paper book goes straight.
TRANSITIONS = (
    ("NEW", "PROPOSED"),
    ("PROPOSED", "PENDING"),
    ("PENDING", "APPROVED"),
    ("PENDING", "REJECTED"),
    ("PENDING", "EXPIRED"),
    ("PENDING", "VOID"),
    ("PENDING", "PARTIALLY_FILLED"),
    ("PENDING", "FILLED"),
    ("APPROVED", "EXPIRED"),
    ("APPROVED", "VOID"),
    ("APPROVED", "PARTIALLY_FILLED"),
    ("APPROVED", "FILLED"),
    ("PARTIALLY_FILLED", "PARTIALLY_FILLED"),
    ("PARTIALLY_FILLED", "FILLED"),
    ("PARTIALLY_FILLED", "EXPIRED"),
    ("PARTIALLY_FILLED", "RECONCILED"),
    ("FILLED", "RECONCILED"),
)

TABLES = """
CREATE TABLE book (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    kind TEXT NOT NULL CHECK (kind IN ('paper', 'live')),
    cash_cents INTEGER NOT NULL CHECK (cash_cents > 0)
) STRICT;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
    kind TEXT NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.kind')) VIRTUAL,
    session TEXT NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.session')) VIRTUAL
) STRICT;

CREATE TABLE sessions (
    session TEXT PRIMARY KEY CHECK (date(session) = session),
    seq INTEGER NOT NULL UNIQUE REFERENCES events,
    inputs_hash TEXT NOT NULL,
    cash_cents INTEGER NOT NULL CHECK (cash_cents >= 0),
    invested_cents INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE positions (
    session TEXT NOT NULL REFERENCES sessions,
    symbol TEXT NOT NULL CHECK (symbol <> 'CASH'),
    shares INTEGER NOT NULL CHECK (shares <> 0),
    price REAL NOT NULL CHECK (price > 0),
    value_cents INTEGER NOT NULL,
    PRIMARY KEY (session, symbol)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    date TEXT PRIMARY KEY CHECK (date(date) = date),
    committed TEXT NOT NULL REFERENCES sessions CHECK (committed >= date),
    before_cents INTEGER NOT NULL,
    equity_cents INTEGER NOT NULL,
    cash_cents INTEGER NOT NULL CHECK (cash_cents >= 0),
    invested_cents INTEGER NOT NULL,
    buys_cents INTEGER NOT NULL CHECK (buys_cents >= 0),
    sells_cents INTEGER NOT NULL CHECK (sells_cents >= 0),
    pnl_cents INTEGER NOT NULL,
    dividends_cents INTEGER NOT NULL,
    commission_cents INTEGER NOT NULL CHECK (commission_cents >= 0),
    slippage_cents INTEGER NOT NULL CHECK (slippage_cents >= 0),
    n_positions INTEGER NOT NULL CHECK (n_positions >= 0),
    CHECK (equity_cents = cash_cents + invested_cents),
    CHECK (equity_cents - before_cents = pnl_cents + dividends_cents - commission_cents - slippage_cents)
) STRICT, WITHOUT ROWID;

CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    decided TEXT NOT NULL REFERENCES sessions,
    session TEXT NOT NULL CHECK (date(session) = session AND session > decided),
    symbol TEXT NOT NULL CHECK (symbol <> 'CASH'),
    shares INTEGER NOT NULL CHECK (shares <> 0),
    price REAL NOT NULL CHECK (price > 0),
    reason TEXT NOT NULL,
    UNIQUE (decided, symbol)
) STRICT, WITHOUT ROWID;

CREATE TABLE transitions (
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (before, after)
) STRICT, WITHOUT ROWID;

CREATE TABLE order_states (
    order_id TEXT NOT NULL REFERENCES orders,
    n INTEGER NOT NULL CHECK (n > 0),
    committed TEXT NOT NULL REFERENCES sessions,
    date TEXT NOT NULL,
    before TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (order_id, n),
    FOREIGN KEY (before, status) REFERENCES transitions (before, after)
) STRICT, WITHOUT ROWID;

CREATE TABLE fills (
    fill_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders,
    committed TEXT NOT NULL REFERENCES sessions,
    date TEXT NOT NULL,
    shares INTEGER NOT NULL CHECK (shares <> 0),
    price REAL NOT NULL CHECK (price > 0),
    notional_cents INTEGER NOT NULL CHECK (notional_cents >= 0),
    commission_cents INTEGER NOT NULL CHECK (commission_cents >= 0),
    slippage_cents INTEGER NOT NULL CHECK (slippage_cents >= 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER order_states_follow BEFORE INSERT ON order_states
WHEN NEW.before <> coalesce(
    (SELECT status FROM order_states WHERE order_id = NEW.order_id ORDER BY n DESC LIMIT 1), 'NEW')
    OR NEW.n <> 1 + (SELECT count(*) FROM order_states WHERE order_id = NEW.order_id)
BEGIN SELECT RAISE(ABORT, 'an order changes from the state that it is in'); END;
"""

APPEND_ONLY = """
CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
"""
NAMES = (
    "book",
    "events",
    "sessions",
    "positions",
    "history",
    "orders",
    "transitions",
    "order_states",
    "fills",
)


def statements() -> str:
    """The whole schema as one script, to be run inside one transaction."""
    guards = "".join(APPEND_ONLY.format(table=table, verb=verb) for table in NAMES for verb in ("UPDATE", "DELETE"))
    pairs = ", ".join(f"('{before}', '{after}')" for before, after in TRANSITIONS)
    rows = f"INSERT INTO transitions VALUES {pairs};"
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
    return TABLES + rows + guards + marks
