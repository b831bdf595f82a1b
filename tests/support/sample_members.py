"""The bundled members of the S&P 500, made again from the shared data that they were taken from:

    OPENBOOK_SHARED_DATA=… PYTHONPATH=tests python -m support.sample_members FOLDER

writes `sp500_2013_2018.parquet` and `sp500_2013_2018_members.csv` into FOLDER. A test compares them with the package.
"""

import os
import sys
from pathlib import Path

import pandas as pd

from openbook.market import calendar

BARS, MEMBERS = "sp500_2013_2018.parquet", "sp500_2013_2018_members.csv"
FIRST, LAST = pd.Timestamp("2013-02-28"), pd.Timestamp("2018-02-27")
STAYED, ENDED = 120, 30  # names; of all members of these years a fifth ended early too
FULL_YEAR = 252  # sessions
LONGEST_GAP = 5  # sessions
NEAR = 31  # days; the source lists its names monthly
# Names with faults that are known: recycled and doubled tickers, gaps of years, opens outside of low to high.
DIRTY = ("LIFE", "WLP", "AMD", "CRC", "AMZN", "ADBE", "ALXN")

# GICS sectors of 2018, before Communication Services, where today's list of the index has no name or another sector.
SECTORS = {
    "Consumer Discretionary": "AN CMCSA CVC DG DIS FOSL FOX GHC HBI HOT KMX LEG LKQ MHK NWL SPLS TIF TRIP UA VIAB",
    "Consumer Staples": "AVP BEAM K KRFT LO MJN WFM",
    "Energy": "COG DNR MUR NE NFX QEP RDC SWN XEC",
    "Financials": "AMG GNW MMC PBCT STI",
    "Health Care": "ABC AET CFN ENDP HOLX MYL",
    "Industrials": "AAL ADT FLR NLSN PLL ROP UTX",
    "Information Technology": "BRCM CA CTXS FISV QRVO RHT SYMC WU",
    "Materials": "PX SIAL",
    "Real Estate": "PCL SLG",
    "Telecommunication Services": "FTR",
    "Utilities": "TE",
}


def chosen_members(shared: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The bars of the names that are bundled; and symbol, start, end (NaT: a member at the end) and sector of each.

    Eligible is a name with one interval of membership, a year of bars without a gap, a first bar where the membership
    begins, and a last one at the end of the data or where the membership ends. Of both kinds, evenly by symbol.
    """
    bars, spells = _bars(shared), _spells(shared)
    names = _lives(bars).join(spells, how="inner")
    since = (names["first"] - names["start"].clip(lower=FIRST)).dt.days.abs()
    whole = (names["bars"] >= FULL_YEAR) & (names["gap"] <= LONGEST_GAP) & (since <= NEAR)
    names = names[whole & ~names.index.isin(DIRTY)]
    stayed = names[(names["last"] == LAST) & ~(names["end"] <= LAST)]
    ended = names[(names["last"] < LAST) & ((names["last"] - names["end"]).dt.days.abs() <= NEAR)]
    taken = sorted([*_evenly(stayed.index, STAYED), *_evenly(ended.index, ENDED)])
    members = spells.loc[taken, ["start", "end"]].rename_axis("symbol").reset_index()
    members["end"] = members["end"].where(members["end"] <= LAST)
    members["sector"] = members["symbol"].map(_sectors(shared))
    return bars[bars["symbol"].isin(taken)].reset_index(drop=True), members


def _bars(shared: Path) -> pd.DataFrame:
    """Bars on sessions from FIRST to LAST, by symbol and date; prices float32, volume float64."""
    bars = pd.read_parquet(shared / "sp500_all_members_2013_2018" / "ohlcv.parquet").astype({"symbol": "str"})
    bars = bars[bars["date"].isin(calendar.sessions(FIRST, LAST))]
    return bars.sort_values(["symbol", "date"], ignore_index=True)


def _spells(shared: Path) -> pd.DataFrame:
    """start and end (NaT: still a member) by symbol, of those that were members in one interval of the span."""
    table = pd.read_csv(shared / "membership" / "sp500_intervals.csv", parse_dates=["start_date", "end_date"])
    table = table.rename(columns={"start_date": "start", "end_date": "end"})
    table = table[(table["start"] <= LAST) & ~(table["end"] <= FIRST)]
    return table[~table["ticker"].duplicated(keep=False)].set_index("ticker")


def _sectors(shared: Path) -> dict[str, str]:
    """Sector by symbol: those of today's list, and SECTORS over them."""
    today = pd.read_csv(shared / "membership" / "sp500_gics_current.csv").set_index("Symbol")["GICS Sector"]
    return {**today, **{symbol: sector for sector, symbols in SECTORS.items() for symbol in symbols.split()}}


def _lives(bars: pd.DataFrame) -> pd.DataFrame:
    """first and last session, number of bars, and the longest gap in sessions, by symbol."""
    row = pd.Series(calendar.sessions(FIRST, LAST).get_indexer(bars["date"]), index=bars.index)
    gap = row.groupby(bars["symbol"]).diff().groupby(bars["symbol"]).max()
    lives = bars.groupby("symbol")["date"].agg(first="min", last="max", bars="count")
    return lives.assign(gap=gap)


def _evenly(symbols: pd.Index, n: int) -> list[str]:
    """`n` of the sorted symbols, at even distances."""
    return [symbols[i * len(symbols) // n] for i in range(n)]


def write(shared: Path, folder: Path) -> None:
    """Both files, as they lie in the package."""
    bars, members = chosen_members(shared)
    bars.to_parquet(
        folder / BARS,
        index=False,
        compression="zstd",
        compression_level=19,
        use_dictionary=["symbol", "date"],
        column_encoding=dict.fromkeys(("open", "high", "low", "close", "volume"), "BYTE_STREAM_SPLIT"),
    )
    members.to_csv(folder / MEMBERS, index=False, date_format="%Y-%m-%d", lineterminator="\n")


if __name__ == "__main__":
    write(Path(os.environ["OPENBOOK_SHARED_DATA"]), Path(sys.argv[1]))
