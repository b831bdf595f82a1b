"""One symbol's daily history from Yahoo, through yfinance, as it was traded.

What Yahoo sends
----------------
Yahoo divides every past price by the splits that followed, and multiplies the volume by them; the column Adj Close is
divided by dividends too (footnotes of its pages of historical data: "Close price adjusted for splits. Adjusted close
price adjusted for splits and dividend and/or capital gain distributions."; multipliers as of the Center for Research
in Security Prices, in its help page SLN2311). There are no prices as traded: yfinance's `auto_adjust=False` leaves
dividends out and splits in (github.com/ranaroussi/yfinance/issues/2611). So a stock that splits tomorrow has another
past tomorrow, at prices that never traded. `as_traded` reverses that.
"""

import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
import yfinance
from curl_cffi import requests
from yfinance.data import YfData
from yfinance.exceptions import YFException, YFPricesMissingError, YFRateLimitError
from yfinance.scrapers.history import PriceHistory

from openbook.market.calendar import NEW_YORK
from openbook.market.sources.rate_limit import Pace, Patience, asked_to_wait
from openbook.market.tables import ACTION_COLUMNS

FAULTS = {
    "unknown": "not known to Yahoo, or delisted",
    "empty": "an answer without bars",
    "garbled": "an answer that cannot be read",
    "silent": "no answer",
    "limited": "too many requests for Yahoo",
    "currency": "not quoted in USD",
}
# What another attempt may mend.
PASSING = {"empty", "garbled", "silent", "limited"}
# Statuses with which Yahoo reports that there is no data: unknown symbol, or no data in the span.
NOTHING = {400, 404, 422}
PROFILES = "https://query2.finance.yahoo.com/v10/finance/quoteSummary/"
FIELDS = {"Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume"}
COLUMNS = (*FIELDS, "Adj Close", "Dividends", "Stock Splits")
# Prices are quoted in 0.0001 USD below a dollar and in cents above (Rule 612 of Regulation NMS). Yahoo sends float32,
# seven digits, whose noise would look like a restatement: six are used, and not more than four decimals.
DECIMALS, DIGITS = 4, 6
# How far a day's return of Adj Close may lie from the one that the dividends explain.
DISAGREEMENT = 1e-3


class Answer(NamedTuple):
    """Daily rows as Yahoo sends them, by date (columns of FIELDS, Adj Close, Dividends, Stock Splits), or a fault.

    fault : a key of FAULTS, or ""; detail : yfinance's message, for finding the cause
    """

    table: pd.DataFrame | None
    fault: str = ""
    detail: str = ""


class PacedSession(requests.Session):
    """The session that yfinance makes all of its requests with, those for cookies too: each one waits its turn.

    status : of the last chart that was asked for, None before
    retry_after : seconds, by the last answer
    """

    def __init__(self, pace: Pace):
        super().__init__(impersonate="chrome")  # as yfinance does; Yahoo refuses other clients
        self.pace, self.status, self.retry_after = pace, None, 0.0

    def request(self, method, url, *args, **kwargs):
        """Requests of yfinance, one after the other."""
        self.pace.wait()
        response = super().request(method, url, *args, **kwargs)
        self.retry_after = asked_to_wait(response.headers.get("Retry-After"))
        if "/finance/chart/" in url:
            self.status = response.status_code
        return response


class _Data(YfData):
    """yfinance's way to cookies and crumbs, without its cache on disk, which unpickles what it finds there."""

    def _set_session(self, session):
        super()._set_session(session)
        self._cookie = self._crumb = None  # a crumb belongs to the cookies of its session

    def _save_cookie_curlCffi(self):
        self._cookie = True  # the session has it; without this, yfinance would ask for one before each chart
        return False

    def _load_cookie_curlCffi(self):
        return False


class Chart:
    """Yahoo's daily charts of US listings, asked for by one session."""

    def __init__(self, session: PacedSession, timeout: float):
        self.session, self._timeout, self._data = session, timeout, _Data(session=session)

    def ask(self, symbol: str, start: date) -> Answer:
        """History from `start` until now. A passing fault is not retried here.

        No `end` is named: yfinance would keep the answer, a broken one too, and give it again to every retry. The
        time zone is given, because yfinance would ask for it, once for each symbol, and keep it on the disk.
        """
        history = PriceHistory(data=self._data, ticker=symbol, tz=NEW_YORK, session=self.session)
        self.session.status = None
        try:
            table = history.history(
                start=f"{start:%Y-%m-%d}",
                interval="1d",
                prepost=False,
                actions=True,
                auto_adjust=False,
                back_adjust=False,
                repair=False,
                keepna=False,
                rounding=False,
                timeout=self._timeout,
            )
            about = history.get_history_metadata()
            currency = about["currency"]
        except YFRateLimitError:
            return Answer(None, "limited")
        except YFPricesMissingError as error:
            return Answer(None, "unknown" if self.session.status in NOTHING else "garbled", f"{error}")
        except OSError as error:
            return Answer(None, "silent", f"{error}")
        except (YFException, ValueError, LookupError, TypeError, AttributeError) as error:
            # what yfinance lets through where the JSON is not a chart
            return Answer(None, "garbled", f"{type(error).__name__}: {error}")
        if currency != "USD":
            return Answer(None, "currency")
        if wrong := _misshapen(table) or _misplaced(about, symbol):
            return Answer(None, "garbled", f"{wrong} from yfinance {yfinance.__version__}")
        table.index = table.index.tz_localize(None).normalize().as_unit("us").rename("date")
        return Answer(table) if table["Close"].notna().any() else Answer(None, "empty")

    def sector(self, symbol: str) -> str:
        """The sector of today by Yahoo's own names, "" if it gives none."""
        profile = {"modules": "assetProfile", "corsDomain": "finance.yahoo.com", "formatted": "false", "symbol": symbol}
        try:
            answer = self._data.get_raw_json(PROFILES + symbol, params=profile, timeout=self._timeout)
            return str(answer["quoteSummary"]["result"][0]["assetProfile"]["sector"])
        except (YFException, OSError, ValueError, LookupError, TypeError):
            return ""


def _misplaced(about: Mapping, symbol: str) -> str:
    """What else an answer is about than the daily bars of `symbol`, by what it says of itself; "" if nothing."""
    name, bars = str(about.get("symbol") or symbol), about.get("dataGranularity") or "1d"
    if name.upper() != symbol.upper():
        return f"bars of {name} instead of {symbol}"
    return "" if bars == "1d" else f"bars of {bars} instead of 1d"


def _misshapen(table: pd.DataFrame) -> str:
    """What keeps a table from being the daily rows that were asked for, in words; "" if nothing does.

    Without Adj Close the prices would be adjusted ones, under the names of the others.
    """
    if table.columns.nlevels > 1:
        return "columns by symbol"
    for name in COLUMNS:
        if list(table.columns).count(name) != 1:
            return f"{'two columns' if name in table.columns else 'no column'} {name}"
        if table[name].dtype.kind not in "if":
            return f"a column {name} without numbers"
    if not isinstance(table.index, pd.DatetimeIndex) or table.index.tz is None:
        return "rows without the exchange's time"
    days = table.index.tz_localize(None).normalize()
    return "" if days.is_unique else f"two rows of {days[days.duplicated()][0]:%Y-%m-%d}"


def open_chart(patience: Patience, pace: Pace) -> Chart:
    """Yahoo, asked at that pace."""
    return Chart(PacedSession(pace), patience.timeout)


def together(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Answers under each other, by symbol and date: columns symbol, date, and those of the answers."""
    if not tables:
        tables = {
            "": pd.DataFrame(columns=list(COLUMNS), index=pd.DatetimeIndex([], name="date").as_unit("us"), dtype=float)
        }
    return pd.concat(tables, names=["symbol"]).reset_index().astype({"symbol": "str"})


def as_traded(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bars and actions as they were on the day: prices, volumes and dividends without later splits.

    rows : of `together`
    A price is multiplied, a volume divided, by all splits with a later date; so is a dividend, which is paid per share
    after the split of its own day. Rows without a close are no bars, but their actions count.
    """
    splits = rows["Stock Splits"].where(rows["Stock Splits"] > 0, 1.0).to_numpy("float64")
    later, begin = np.ones(len(rows)), _begin(rows)
    for i in np.flatnonzero(splits != 1.0):
        later[begin[i] : i] *= splits[i]
    bars = rows[list(FIELDS)].rename(columns=FIELDS).astype("float64")
    volume = (bars.pop("volume") / later).round()
    bars = pd.concat([rows[["symbol", "date"]], believed(bars.mul(later, axis=0))], axis=1).assign(volume=volume)
    paid = _paid(rows) * later
    parts = [
        rows[["date", "symbol"]].assign(kind="dividend", value=paid.round(6))[paid > 0],
        rows[["date", "symbol"]].assign(kind="split", value=splits)[splits != 1.0],
    ]
    actions = pd.concat(parts, ignore_index=True).astype({"kind": "str"})
    return bars[bars["close"].notna()], actions[ACTION_COLUMNS]


def doubtful(rows: pd.DataFrame) -> list[str]:
    """Symbols whose Adj Close does not fall behind the close by exactly the dividends, as Yahoo documents.

    Each day `adj[t] / adj[t-1] = close[t] / (close[t-1] - paid[t])`, to DISAGREEMENT.
    """
    known = rows["Close"].notna().to_numpy()
    close, adjusted = (rows.loc[known, name].to_numpy("float64") for name in ("Close", "Adj Close"))
    # what was paid on a day without a bar counts on the next one
    paid, begin = np.diff(np.cumsum(_paid(rows))[known]), _begin(rows)[known]
    with np.errstate(all="ignore"):  # what is no number does not agree
        reported, explained = adjusted[1:] / adjusted[:-1], close[1:] / (close[:-1] - paid)
        agree = np.abs(reported / explained - 1.0) <= DISAGREEMENT
    odd = ~agree & (begin[1:] == begin[:-1])
    return sorted(rows.loc[known, "symbol"].iloc[1:][odd].unique())


def _begin(rows: pd.DataFrame) -> np.ndarray:
    """Position of the first row of each row's symbol."""
    first = (rows["symbol"] != rows["symbol"].shift()).to_numpy()
    return np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))


def believed(prices: pd.DataFrame) -> pd.DataFrame:
    """Prices to DIGITS significant digits and at most DECIMALS decimals; NaN stays."""
    with np.errstate(divide="ignore"):
        before_point = np.floor(np.log10(prices.abs())) + 1
    scale = 10.0 ** np.minimum(DIGITS - before_point, DECIMALS)
    return (prices * scale).round() / scale


def _paid(rows: pd.DataFrame) -> np.ndarray:
    """USD per share, dividends and the capital gains that funds distribute; shares have no such column."""
    return rows.reindex(columns=["Dividends", "Capital Gains"]).fillna(0.0).sum(axis=1).to_numpy("float64")


@contextmanager
def raised_faults():
    """Inside, yfinance raises its faults instead of logging them and returning an empty table."""
    debug = yfinance.config.debug
    before, debug.hide_exceptions = debug.hide_exceptions, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of pandas, at yfinance, at every symbol
            yield
    finally:
        debug.hide_exceptions = before
