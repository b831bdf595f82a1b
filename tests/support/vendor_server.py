"""A vendor on this machine: a real HTTP server on the loopback that says what a test tells it to, and remembers.

Nothing here was recorded from a live service. The answers are written by hand in the shape that is documented:
Yahoo's `v8/finance/chart` as yfinance 1.7.0 reads it, and the SEC's company facts as its API page describes them.
"""

import gzip
import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pandas as pd


class Said(NamedTuple):
    """One answer of the server; a dict or list is sent as JSON."""

    body: object = b""
    status: int = 200
    headers: tuple = ()
    delay: float = 0.0
    compressed: bool = False


class Vendor:
    """routes: path → answers; each request takes one, the last one stays. requests: path, headers."""

    def __init__(self, url: str):
        self.url, self.routes, self.requests = url, {}, []

    def says(self, path: str, *answers) -> None:
        """What the next requests for `path` are told."""
        self.routes[path] = [answer if isinstance(answer, Said) else Said(answer) for answer in answers]

    def asked(self, part: str) -> list[str]:
        """The paths asked for that contain `part`."""
        return [path for path, _ in self.requests if part in path]

    def take(self, path: str) -> Said:
        """The answer to one request."""
        answers = self.routes.get(path, [Said(b"", 404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def vendor():
    """A server that runs as long as the block."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            here.requests.append((path, dict(self.headers)))
            said = here.take(path)
            time.sleep(said.delay)
            body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            body = gzip.compress(body) if said.compressed else body
            self.send_response(said.status)
            for name, value in (*said.headers, *([("Content-Encoding", "gzip")] if said.compressed else [])):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

        def handle(self):
            with suppress(OSError):  # whoever asked lost patience, as the test wants
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    here = Vendor(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()


class Hours:
    """A clock that a test owns: sleeping moves it on, and is remembered."""

    def __init__(self):
        self.now, self.slept = 1000.0, []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


# ---- Yahoo ----

YAHOO = "/query2.finance.yahoo.com/v8/finance/chart/"
CRUMB = "/query1.finance.yahoo.com/v1/test/getcrumb"


def routed(here: Vendor):
    """The class of sessions that carries every request of yfinance, whatever its host, to `here`."""
    from openbook.market.sources.yahoo_chart import PacedSession

    class RoutedSession(PacedSession):
        def request(self, method, url, *args, **kwargs):
            return super().request(method, url.replace("https://", f"{here.url}/", 1), *args, **kwargs)

    return RoutedSession


def chart(
    symbol: str, days, close, *, adjusted=None, splits=(), dividends=(), currency="USD", granularity="1d", **fields
) -> dict:
    """An answer of v8/finance/chart for daily bars.

    days : dates; close : Yahoo's, split-adjusted; splits : (day, numerator, denominator); dividends : (day, USD);
    fields : open, high, low, volume, where they are not made from the close
    """
    stamp = {
        str(day)[:10]: int(pd.Timestamp(f"{str(day)[:10]} 09:30", tz="America/New_York").timestamp()) for day in days
    }
    events = {}
    if dividends:
        events["dividends"] = {str(_at(day)): {"amount": usd, "date": _at(day)} for day, usd in dividends}
    if splits:
        events["splits"] = {
            str(_at(day)): {"date": _at(day), "numerator": n, "denominator": d, "splitRatio": f"{n:g}:{d:g}"}
            for day, n, d in splits
        }
    quote = {name: fields.get(name, list(close)) for name in ("open", "high", "low")}
    quote |= {"close": list(close), "volume": fields.get("volume", [1_000_000] * len(close))}
    meta = {
        "currency": currency,
        "symbol": symbol,
        "exchangeName": "NMS",
        "fullExchangeName": "NasdaqGS",
        "instrumentType": "INDEX" if symbol.startswith("^") else "EQUITY",
        "firstTradeDate": 345479400,
        "regularMarketTime": max(stamp.values(), default=0),
        "gmtoffset": -14400,
        "timezone": "EDT",
        "exchangeTimezoneName": "America/New_York",
        "priceHint": 2,
        "dataGranularity": granularity,
        "range": "",
        "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
    }
    indicators = {"quote": [quote], "adjclose": [{"adjclose": list(close if adjusted is None else adjusted)}]}
    result = {"meta": meta, "timestamp": list(stamp.values()), "indicators": indicators}
    return {"chart": {"result": [result | ({"events": events} if events else {})], "error": None}}


def refusal(code: str, description: str) -> dict:
    """What v8/finance/chart says instead of a chart."""
    return {"chart": {"result": None, "error": {"code": code, "description": description}}}


def _at(day) -> int:
    return int(pd.Timestamp(f"{str(day)[:10]} 09:30", tz="America/New_York").timestamp())


def as_yahoo(close, volume, splits: dict, dividends: dict):
    """Closes, volumes, dividends and adjusted closes as Yahoo would show prices that were traded so.

    The slow and obvious way, day by day backwards: splits and dividends by position of their day, as traded. The
    dividend multiplier is 1 - dividend / close of the day before (CRSP).
    """
    n = len(close)
    shown, shares, adjusted, paid = [0.0] * n, [0.0] * n, [0.0] * n, {}
    later, multiplier = 1.0, 1.0
    for t in range(n - 1, -1, -1):
        shown[t], shares[t] = close[t] / later, round(volume[t] * later)
        adjusted[t] = shown[t] * multiplier
        if t in dividends:
            paid[t] = dividends[t] / later
            before = close[t - 1] / (later * splits.get(t, 1.0))
            multiplier *= 1.0 - paid[t] / before
        later *= splits.get(t, 1.0)
    return shown, shares, paid, adjusted


# ---- the SEC ----


def facts(cik: int, **tags) -> dict:
    """Company facts: tag → (unit, entries), or a dict of entries by unit; shares outstanding go into dei."""
    told = {"us-gaap": {}, "dei": {}}
    for tag, said in tags.items():
        units = said if isinstance(said, dict) else {said[0]: said[1]}
        taxonomy = "dei" if tag.startswith("Entity") else "us-gaap"
        told[taxonomy][tag] = {"label": tag, "description": tag, "units": units}
    return {"cik": cik, "entityName": "Example Corp.", "facts": told}


def entry(value, end: str, filed: str, *, start: str | None = None, form="10-Q", accn="0000000001-20-000001") -> dict:
    """One number of one filing."""
    said = {"end": end, "val": value, "accn": accn, "fy": 2020, "fp": "Q1", "form": form, "filed": filed}
    return said | ({"start": start} if start else {})
