"""Tables of a book. Rows are never changed or deleted: the book at any past session is a `WHERE` clause.

`events` is the record, a chain of hashes; every other table is derived from its bodies, in the same transaction.
Shares are integers of a unit and money integers of the currency's smallest unit, both stated in `book`. What a row is
about is a security, by its id; beside it stands the symbol, which is what it was called on that day (`securities`).
"""

APPLICATION_ID = 0x6F62_6F6B  # "obok", at a fixed place in the file: distinguishes a book from any other SQLite file
SCHEMA_VERSION = 3

# What may follow what. A fill that really happened is recorded, also when its order was voided or expired before; that
# it had been approved is checked where fills are recorded. The last seven follow from the reversal of a fill.
TRANSITIONS = (
    ("NEW", "PROPOSED"),
    ("PROPOSED", "PENDING"),
    ("PENDING", "APPROVED"),
    ("PENDING", "REJECTED"),
    ("PENDING", "EXPIRED"),
    ("PENDING", "VOID"),
    ("APPROVED", "REJECTED"),
    ("APPROVED", "EXPIRED"),
    ("APPROVED", "VOID"),
    ("APPROVED", "PARTIALLY_FILLED"),
    ("APPROVED", "FILLED"),
    ("PARTIALLY_FILLED", "PARTIALLY_FILLED"),
    ("PARTIALLY_FILLED", "FILLED"),
    ("PARTIALLY_FILLED", "EXPIRED"),
    ("PARTIALLY_FILLED", "VOID"),
    ("EXPIRED", "PARTIALLY_FILLED"),
    ("EXPIRED", "FILLED"),
    ("VOID", "PARTIALLY_FILLED"),
    ("VOID", "FILLED"),
    ("PARTIALLY_FILLED", "RECONCILED"),
    ("FILLED", "RECONCILED"),
    ("FILLED", "PARTIALLY_FILLED"),
    ("FILLED", "APPROVED"),
    ("FILLED", "EXPIRED"),
    ("FILLED", "VOID"),
    ("PARTIALLY_FILLED", "APPROVED"),
    ("RECONCILED", "EXPIRED"),
    ("RECONCILED", "VOID"),
)

TABLES = """
CREATE TABLE book (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    kind TEXT NOT NULL CHECK (kind IN ('paper', 'live')),
    cash_cents INTEGER NOT NULL CHECK (cash_cents > 0),
    currency TEXT NOT NULL CHECK (currency = 'USD'),
    minor_units INTEGER NOT NULL CHECK (minor_units = 100),
    share_units INTEGER NOT NULL CHECK (share_units > 0)
) STRICT;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.kind')) STORED,
    session TEXT NOT NULL GENERATED ALWAYS AS (json_extract(body, '$.session')) STORED,
    trips INTEGER NOT NULL GENERATED ALWAYS AS (coalesce(json_array_length(body, '$.switch.trips'), 0)) STORED,
    hash TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),
    body TEXT NOT NULL
) STRICT;

CREATE TABLE sessions (
    session TEXT PRIMARY KEY CHECK (date(session) = session),
    seq INTEGER NOT NULL UNIQUE REFERENCES events,
    inputs_hash TEXT NOT NULL,
    cash_cents INTEGER NOT NULL,
    invested_cents INTEGER NOT NULL,
    receivables_cents INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE names (
    seq INTEGER NOT NULL REFERENCES events,
    n INTEGER NOT NULL CHECK (n > 0),
    committed TEXT NOT NULL,
    security TEXT NOT NULL CHECK (security <> ''),
    ticker TEXT NOT NULL CHECK (ticker NOT IN ('CASH', 'RECEIVABLES')),
    start TEXT NOT NULL CHECK (date(start) = start OR start = ''),
    PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;

CREATE VIEW securities AS SELECT id, ticker, start, "end" FROM (
    SELECT security AS id, ticker, start,
        lead(start, 1, '') OVER (PARTITION BY security ORDER BY start, seq, n) AS "end" FROM names
) WHERE ticker <> '';

CREATE TABLE positions (
    session TEXT NOT NULL REFERENCES sessions,
    security TEXT NOT NULL CHECK (security <> ''),
    symbol TEXT NOT NULL CHECK (symbol <> 'CASH'),
    shares INTEGER NOT NULL CHECK (shares <> 0),
    price REAL NOT NULL CHECK (price > 0),
    value_cents INTEGER NOT NULL,
    cost_cents INTEGER,
    PRIMARY KEY (session, security)
) STRICT, WITHOUT ROWID;

CREATE TABLE lots (
    session TEXT NOT NULL REFERENCES sessions,
    security TEXT NOT NULL,
    n INTEGER NOT NULL CHECK (n > 0),
    opened TEXT NOT NULL CHECK (date(opened) = opened AND opened <= session),
    shares INTEGER NOT NULL CHECK (shares <> 0),
    cost_cents INTEGER NOT NULL,
    PRIMARY KEY (security, session, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX lots_by_session ON lots (session);

CREATE TABLE closed_lots (
    session TEXT NOT NULL REFERENCES sessions,
    n INTEGER NOT NULL CHECK (n > 0),
    date TEXT NOT NULL CHECK (date(date) = date AND date <= session),
    security TEXT NOT NULL,
    opened TEXT NOT NULL CHECK (opened <= date),
    kind TEXT NOT NULL CHECK (kind IN ('sale', 'cash_in_lieu', 'delisting', 'adjustment')),
    shares INTEGER NOT NULL,
    cost_cents INTEGER NOT NULL,
    proceeds_cents INTEGER NOT NULL,
    PRIMARY KEY (session, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE receivables (
    session TEXT NOT NULL REFERENCES sessions,
    n INTEGER NOT NULL CHECK (n > 0),
    security TEXT NOT NULL,
    symbol TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind <> ''),
    due TEXT NOT NULL CHECK (date(due) = due AND due > session),
    cents INTEGER NOT NULL,
    PRIMARY KEY (session, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    date TEXT PRIMARY KEY CHECK (date(date) = date),
    committed TEXT NOT NULL REFERENCES sessions CHECK (committed >= date),
    before_cents INTEGER NOT NULL,
    flows_cents INTEGER NOT NULL,
    equity_cents INTEGER NOT NULL,
    cash_cents INTEGER NOT NULL,
    invested_cents INTEGER NOT NULL,
    buys_cents INTEGER NOT NULL CHECK (buys_cents >= 0),
    sells_cents INTEGER NOT NULL CHECK (sells_cents >= 0),
    pnl_cents INTEGER NOT NULL,
    dividends_cents INTEGER NOT NULL,
    other_cents INTEGER NOT NULL,
    commission_cents INTEGER NOT NULL CHECK (commission_cents >= 0),
    slippage_cents INTEGER NOT NULL CHECK (slippage_cents >= 0),
    n_positions INTEGER NOT NULL CHECK (n_positions >= 0),
    receivables_cents INTEGER NOT NULL,
    adjustments_cents INTEGER NOT NULL,
    CHECK (equity_cents = cash_cents + invested_cents + receivables_cents),
    CHECK (equity_cents - before_cents - flows_cents
        = pnl_cents + dividends_cents + other_cents + adjustments_cents - commission_cents - slippage_cents)
) STRICT, WITHOUT ROWID;

CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    decided TEXT NOT NULL REFERENCES sessions,
    session TEXT NOT NULL CHECK (date(session) = session AND session > decided),
    security TEXT NOT NULL CHECK (security <> ''),
    symbol TEXT NOT NULL CHECK (symbol <> 'CASH'),
    shares INTEGER NOT NULL CHECK (shares <> 0),
    price REAL NOT NULL CHECK (price > 0),
    reason TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    UNIQUE (decided, version, security)
) STRICT, WITHOUT ROWID;

CREATE TABLE transitions (
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (before, after)
) STRICT, WITHOUT ROWID;

CREATE TABLE order_states (
    order_id TEXT NOT NULL REFERENCES orders,
    seq INTEGER NOT NULL REFERENCES events,
    n INTEGER NOT NULL CHECK (n > 0),
    committed TEXT NOT NULL,
    before TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (order_id, seq, n),
    FOREIGN KEY (before, status) REFERENCES transitions (before, after)
) STRICT, WITHOUT ROWID;

CREATE TABLE fills (
    fill_id TEXT PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders,
    seq INTEGER NOT NULL REFERENCES events,
    committed TEXT NOT NULL,
    date TEXT NOT NULL,
    security TEXT NOT NULL CHECK (security <> ''),
    symbol TEXT NOT NULL,
    shares INTEGER NOT NULL CHECK (shares <> 0),
    price REAL NOT NULL CHECK (price > 0),
    notional_cents INTEGER NOT NULL CHECK (notional_cents >= 0),
    commission_cents INTEGER NOT NULL CHECK (commission_cents >= 0),
    slippage_cents INTEGER NOT NULL CHECK (slippage_cents >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE flows (
    seq INTEGER PRIMARY KEY REFERENCES events,
    committed TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('deposit', 'withdrawal', 'fee', 'interest')),
    cents INTEGER NOT NULL CHECK (cents <> 0)
) STRICT;

CREATE TABLE adjustments (
    seq INTEGER NOT NULL REFERENCES events,
    n INTEGER NOT NULL CHECK (n > 0),
    committed TEXT NOT NULL,
    security TEXT NOT NULL,
    symbol TEXT NOT NULL CHECK (symbol <> 'CASH'),
    shares INTEGER NOT NULL,
    price REAL CHECK (price > 0 OR shares = 0),
    cents INTEGER NOT NULL CHECK ((cents = 0) = (shares <> 0)),
    kind TEXT NOT NULL,
    due TEXT NOT NULL,
    CHECK ((shares <> 0) = (price IS NOT NULL)),
    PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE switch (
    seq INTEGER NOT NULL REFERENCES events,
    n INTEGER NOT NULL CHECK (n > 0),
    committed TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ACTIVE', 'REDUCE_ONLY', 'HALTED')),
    session TEXT NOT NULL,
    cause TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE reconciliations (
    seq INTEGER PRIMARY KEY REFERENCES events,
    committed TEXT NOT NULL,
    settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
    difference TEXT NOT NULL
) STRICT;

CREATE TRIGGER order_states_follow BEFORE INSERT ON order_states
WHEN NEW.before <> coalesce(
    (SELECT status FROM order_states WHERE order_id = NEW.order_id ORDER BY seq DESC, n DESC LIMIT 1), 'NEW')
BEGIN SELECT RAISE(ABORT, 'an order changes from the state that it is in'); END;
"""

APPEND_ONLY = """
CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END;
"""
DERIVED = (
    "book",
    "sessions",
    "names",
    "positions",
    "lots",
    "closed_lots",
    "receivables",
    "history",
    "orders",
    "order_states",
    "fills",
    "flows",
    "adjustments",
    "switch",
    "reconciliations",
)
NAMES = ("events", "transitions", *DERIVED)


def statements() -> str:
    """The whole schema as one script, to be run inside one transaction."""
    guards = "".join(APPEND_ONLY.format(table=table, verb=verb) for table in NAMES for verb in ("UPDATE", "DELETE"))
    pairs = ", ".join(f"('{before}', '{after}')" for before, after in TRANSITIONS)
    rows = f"INSERT INTO transitions VALUES {pairs};"
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
    return TABLES + rows + guards + marks
