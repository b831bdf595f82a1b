"""Settings blocks for the real histories that are found by OPENBOOK_SHARED_DATA."""


def index_of(folder) -> dict:
    """The S&P 500."""
    return {"path": f"{folder}/indexes/ohlcv.parquet", "symbol": "^GSPC"}


def survivors(folder) -> dict:
    """496 members of today's index, 2010 to 2023."""
    sectors = {"path": f"{folder}/membership/sp500_gics_current.csv", "rename": {"BRK.B": "BRK-B", "BF.B": "BF-B"}}
    return {
        "path": f"{folder}/sp500_2010_2023/ohlcv.parquet",
        "prices": "adjusted",
        "sectors": sectors | {"columns": {"symbol": "Symbol", "sector": "GICS Sector"}},
        "index": index_of(folder),
    }


def all_members(folder) -> dict:
    """Nearly all members of 2013 to 2018, those that vanished too."""
    columns = {"symbol": "ticker", "start": "start_date", "end": "end_date"}
    return {
        "path": f"{folder}/sp500_all_members_2013_2018/ohlcv.parquet",
        "prices": "adjusted",
        "members": {"path": f"{folder}/membership/sp500_intervals.csv", "columns": columns},
        "index": index_of(folder),
        "endings": {"after": 10},
    }


def as_traded(folder) -> dict:
    """The survivors with the prices as they were traded, recovered from adjusted ones, and with dated membership."""
    rename = {"BRK.B": "BRK-B", "BF.B": "BF-B"}
    columns = {"symbol": "ticker", "start": "start_date", "end": "end_date"}
    return survivors(folder) | {
        "prices": "adjusted_with_actions",
        "columns": {"dividend": "dividends", "split": "split_ratio"},
        "members": {"path": f"{folder}/membership/sp500_intervals.csv", "columns": columns, "rename": rename},
    }


def raw_quotes(folder) -> dict:
    """7,072 US symbols as they were quoted each evening of 2015 to 2017, of which the most traded are the universe."""
    home, rename = f"{folder}/us_2015_2017_point_in_time", {"CASH": "CASH.O"}  # CASH is the row of cash
    flows = {"sales": "revenues", "earnings": "net_income", "cash_flow": "cash_flow_op"}
    balances = {"assets": "assets", "book": "equity"}
    reports = {
        "path": f"{home}/reports.parquet",
        "columns": {"period_end": "end_date", "filed": "collected", "focus": "period_focus"},
        "rename": rename,
        "items": flows | balances,
        "to_date": ["cash_flow"],
        "balances": list(balances),
    }
    return {
        "path": f"{home}/ohlcv.parquet",
        "prices": "raw",
        "columns": {"adjusted_close": "adj_close"},
        "adjusted_as": "next_session",
        "rename": rename,
        "fundamentals": reports,
        "liquid": {"top": 1000},
        "endings": {"after": 10},
        "index": index_of(folder),
    }
