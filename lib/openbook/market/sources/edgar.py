"""Reports of US companies to the SEC, as filed: company facts by XBRL, with the date of each filing.

The service, and its rules: www.sec.gov/search-filings/edgar-application-programming-interfaces (company facts) and
www.sec.gov/os/accessing-edgar-data (a declared User-Agent with a contact; at most 10 requests a second in total).
"""

import gzip
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Literal, NamedTuple

import pandas as pd
from pydantic import Field, field_validator

from openbook.common.errors import DataError, DataNotReady, ParameterError
from openbook.common.settings import Settings
from openbook.market import calendar
from openbook.market.fundamentals import known_items
from openbook.market.sources.attempt import Attempt
from openbook.market.sources.edgar_facts import ITEMS, RAW_COLUMNS, empty_facts, parse_facts
from openbook.market.sources.rate_limit import Pace, Patience, asked_to_wait
from openbook.market.sources.reading import SideTable, read_table, shown

USER_AGENT = "OPENBOOK_SEC_USER_AGENT"
TICKERS, FACTS = "/files/company_tickers.json", "/api/xbrl/companyfacts/CIK{:010d}.json"
COMPANIES = "companies at the SEC"  # what an attempt counts
# Refusals that pass: the SEC answers 403 for ten minutes after too many requests.
PASSING = {403, 408, 425, 429, 500, 502, 503, 504}
_CONTACT = re.compile(r"[\x20-\x7e]*[^\s@]+@[^\s@]+\.[^\s@]+[\x20-\x7e]*")


class EdgarTable(Settings):
    """Reports to the SEC beside the bars of another source."""

    provider: Literal["edgar"] = "edgar"
    user_agent: str | None = Field(
        None, exclude=True, description=f"user agent with an e-mail address; default: environment variable {USER_AGENT}"
    )
    ciks: SideTable | None = Field(
        None,
        description="columns symbol, cik; several rows for a company that changed its CIK. Default: the SEC's list",
    )
    items: tuple[str, ...] = Field(tuple(ITEMS), min_length=1, description="names among edgar_facts.ITEMS")
    patience: Patience = Field(Patience(requests_per_second=8.0), exclude=True, description="pace, retries, timeout")
    files_url: str = Field("https://www.sec.gov", exclude=True, description="where the list of tickers is")
    facts_url: str = Field("https://data.sec.gov", exclude=True, description="where the company facts are")

    @field_validator("items")
    @classmethod
    def _known(cls, items):
        unknown = sorted(set(items) - set(ITEMS))
        if unknown:
            raise ValueError(f"unknown item {unknown[0]!r}; choose from {', '.join(ITEMS)}")
        return items


class Filings(NamedTuple):
    """table : RAW_COLUMNS, one row for each number of each filing, as filed; notes : sentences for the pages."""

    table: pd.DataFrame
    notes: tuple[str, ...]


def fetch_filings(
    table: EdgarTable, symbols: list[str], *, pace: Pace | None = None, attempt: Attempt | None = None
) -> Filings:
    """Every filing of these symbols that the SEC has in XBRL (from 2009 on), sorted; symbols without are noted.

    Amendments and restated comparatives are further rows with their own `filed`: nothing replaces anything. Raises
    ParameterError without a user agent, DataNotReady if the SEC keeps refusing or is out of reach.
    """
    office, attempt = _Office(table, pace or Pace(table.patience.requests_per_second)), attempt or Attempt()
    ciks, ambiguous = _ciks(table, office, symbols)
    companies: dict[int, list[str]] = {}
    for symbol, numbers in ciks.items():
        for cik in numbers:
            companies.setdefault(cik, []).append(symbol)  # share classes report together
    parts = []
    for done, (cik, names) in enumerate(companies.items(), start=1):
        parts.append(_facts_of(cik, names, table, office, attempt))
        attempt.step(COMPANIES, done, len(companies))
    raw = pd.concat([empty_facts(), *parts], ignore_index=True) if parts else empty_facts()
    reported = set(raw["symbol"])
    unreported = [symbol for symbol in ciks if symbol not in reported]
    raw = raw.drop_duplicates().sort_values(["filed", *RAW_COLUMNS[:4], "accession", "value"], ignore_index=True)
    return Filings(raw, tuple(_notes(symbols, ciks, ambiguous, unreported)))


def _facts_of(cik: int, names: list[str], table: EdgarTable, office: "_Office", attempt: Attempt) -> pd.DataFrame:
    """RAW_COLUMNS of one company, once for each of its symbols."""
    part = f"{cik} {' '.join(names)}"
    if (kept := attempt.table(COMPANIES, part)) is not None:
        return kept
    facts = office.ask(table.facts_url + FACTS.format(cik))
    if facts is None:
        return empty_facts()
    found = pd.concat([parse_facts(symbol, facts, table.items) for symbol in names], ignore_index=True)
    attempt.keep(COMPANIES, part, found)
    return found


def fetch_reports(
    table: EdgarTable, bars: pd.DataFrame, *, pace: Pace | None = None, attempt: Attempt | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """FUNDAMENTAL_COLUMNS of the symbols of these bars up to the last of them; and notes on them."""
    filed = fetch_filings(table, sorted(bars["symbol"].unique()), pace=pace, attempt=attempt)
    first, last = filed.table["filed"].min(), bars["date"].max()
    # all sessions, not those of the bars: of an update of the last weeks, too, each report counts from its own day
    sessions = calendar.sessions(last if filed.table.empty else min(first, last), last)
    known, odd = known_items(filed.table, sessions)
    count = odd["reason"].value_counts(sort=False)
    return known, (*filed.notes, *(f"{n} figures of the SEC, {reason}." for reason, n in count.items()))


class _Office:
    """Requests to the SEC: our contact, our rate, and its refusals."""

    def __init__(self, table: EdgarTable, pace: Pace):
        self._headers = {"User-Agent": _user_agent(table), "Accept-Encoding": "gzip"}
        self._patience, self._pace = table.patience, pace

    def ask(self, url: str) -> dict | None:
        """The JSON object at `url`, None if there is none (404). Refusals and timeouts are retried."""
        fault, requested = "", 0.0
        for pause in (None, *self._patience.pauses()):
            if pause is not None:
                self._pace.pause(max(pause, requested))
            self._pace.wait()
            try:
                return self._answer(url)
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code not in PASSING:
                    raise DataError(f"{url} answers {error.code} {error.reason}; check the address") from None
                fault, requested = (
                    f"answers {error.code} {error.reason}",
                    asked_to_wait(error.headers.get("Retry-After")),
                )
            except (OSError, EOFError) as error:  # no connection, a broken one, silence, half a gzip
                fault, requested = f"does not answer ({error})", 0.0
            except ValueError:
                fault, requested = "does not answer in JSON", 0.0
        raise DataNotReady(
            f"{url} {fault}, {self._patience.retries + 1} times; try again later. The SEC blocks clients "
            "for ten minutes that send too many requests (fundamentals.patience.requests_per_second) or "
            f"no user agent ({USER_AGENT})"
        )

    def _answer(self, url: str) -> dict:
        request = urllib.request.Request(url, headers=self._headers)
        with urllib.request.urlopen(request, timeout=self._patience.timeout) as response:
            data = response.read()
            if response.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
        answer = json.loads(data)
        if not isinstance(answer, dict):
            raise ValueError("not an object")
        return answer


def _user_agent(table: EdgarTable) -> str:
    """Who asks, as the SEC wants to know it: a name and an e-mail address."""
    contact = (table.user_agent if table.user_agent is not None else os.environ.get(USER_AGENT, "")).strip()
    if not _CONTACT.fullmatch(contact):
        raise ParameterError(
            f"the SEC requires a user agent: set {USER_AGENT} (or fundamentals.user_agent) to your name "
            f"and e-mail address, such as 'Jane Doe jane@example.com'{f', not {contact!r}' if contact else ''}"
        )
    return contact


def _ciks(table: EdgarTable, office: _Office, symbols: list[str]) -> tuple[dict[str, list[int]], list[str]]:
    """The company numbers of each symbol that has any; and the tickers that the SEC's list gives to two companies."""
    if table.ciks is not None:
        known, ambiguous = _from_file(table.ciks), set()
    else:
        known = _from_list(office.ask(table.files_url + TICKERS), table.files_url)
        ambiguous = {ticker for ticker, numbers in known.items() if len(numbers) > 1}
    ticker = {symbol: symbol if table.ciks is not None else symbol.replace(".", "-").upper() for symbol in symbols}
    ciks = {symbol: known[name] for symbol, name in ticker.items() if name in known and name not in ambiguous}
    return ciks, sorted(symbol for symbol, name in ticker.items() if name in ambiguous)


def _from_file(side: SideTable) -> dict[str, list[int]]:
    """Numbers by symbol from a file of ours, in its order."""
    columns = {field: side.columns.get(field, field) for field in ("symbol", "cik")}
    rows = read_table(side.path, columns)
    wrong = rows[~((rows["cik"] > 0) & (rows["cik"] < 1e10) & (rows["cik"] % 1 == 0))]
    if len(wrong):
        row = wrong.iloc[0]
        raise DataError(f"{shown(side.path)}: the cik of {row['symbol']} is {row['cik']}; it is a whole number above 0")
    return _by_name(zip(rows["symbol"].replace(side.rename), rows["cik"].astype("int64").tolist(), strict=True))


def _from_list(answer: dict | None, url: str) -> dict[str, list[int]]:
    """Numbers by ticker from the SEC's list: {"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}, …}."""
    try:
        pairs = sorted({(str(row["ticker"]).upper(), int(row["cik_str"])) for row in (answer or {}).values()})
    except (TypeError, KeyError, ValueError, AttributeError):
        pairs = []
    if not pairs:
        raise DataError(f"{url}{TICKERS} is not a list of tickers; provide the CIKs in a file with fundamentals.ciks")
    return _by_name(pairs)


def _by_name(pairs: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    """All numbers of each name, each once, in the order in which they come."""
    known: dict[str, list[int]] = {}
    for name, cik in dict.fromkeys(pairs):
        known.setdefault(name, []).append(cik)
    return known


def _notes(symbols: list[str], ciks: dict, ambiguous: list[str], unreported: list[str]) -> list[str]:
    """Whose reports are missing, and why."""
    unknown = sorted(set(symbols) - set(ciks) - set(ambiguous))
    missing = {
        "no CIK found": unknown,
        "several CIKs for the ticker (choose with fundamentals.ciks)": ambiguous,
        "no facts are on file": unreported,
    }
    return [
        f"No reports of {len(names)} of {len(symbols)} symbols, as {why}: {', '.join(names[:20])}"
        f"{f' and {len(names) - 20} more' if len(names) > 20 else ''}."
        for why, names in missing.items()
        if names
    ]
