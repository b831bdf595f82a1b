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


def raw_quotes(folder) -> dict:
    """7,072 US symbols as they were quoted each evening of 2015 to 2017, of which the most traded are the universe."""
    reports = {"path": f"{folder}/us_2015_2017_point_in_time/reports.parquet"}
    items = {"sales": "revenues", "net_income": "net_income", "assets": "assets", "equity": "equity"}
    return {
        "path": f"{folder}/us_2015_2017_point_in_time/ohlcv.parquet",
        "prices": "raw",
        "columns": {"adjusted_close": "adj_close"},
        "adjusted_as": "next_session",
        "fundamentals": reports | {"columns": {"filed": "collected", "period_end": "end_date"}, "items": items},
        "liquid": {"top": 1000},
        "endings": {"after": 10},
        "index": index_of(folder),
    }
