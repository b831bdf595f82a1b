"""The features: what a model sees of each symbol on each date, ranked within the date.

To add one, add its row to `FEATURES`: a name, the fields it needs, one line over the words of `operators` on a
`Panel`, and a sentence for the report. Which features a market has follows from the fields it has. A desk adds its own
in a file of lib/extensions, see `own_feature`.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import pandas as pd

from openbook.common import extensions
from openbook.common.errors import DataError, ParameterError, SchemaError
from openbook.market.tables import Market
from openbook.signals.operators import (
    change,
    correlation,
    ema,
    highest,
    lag,
    lowest,
    mean,
    seasonal,
    skew,
    std,
)
from openbook.signals.panel import MARKET_FIELDS, Panel, Universe, prepare
from openbook.signals.ranking import rank_pages

STRIP = 32  # symbols computed together: wide enough for vector instructions, small enough to stay in the cache


@dataclass(frozen=True)
class Feature:
    """One number per date and symbol.

    needs : fields without which it does not exist: bar fields, market_cap, or reported items
    line : Panel → (n_dates, n_symbols); only its order within a date matters
    meaning : a sentence for a reader of the report

    Examples
    --------
    >>> ob.FEATURES["momentum_126"].needs
    ('close',)
    """

    name: str
    family: str
    needs: tuple[str, ...]
    line: Callable[[Panel], np.ndarray]
    meaning: str


def _table(**families: tuple) -> dict[str, Feature]:
    """Features by name, in the order written."""
    rows = [(family, *row) for family, rows in families.items() for row in rows]
    return {name: Feature(name, family, tuple(needs.split()), line, text) for family, name, needs, line, text in rows}


# fmt: off
FEATURES: dict[str, Feature] = _table(
    momentum=(
        ("momentum_21", "close", lambda p: change(p.close, 21),
         "Return over the past month (21 sessions)."),
        ("momentum_63", "close", lambda p: change(p.close, 63),
         "Return over the past quarter."),
        ("momentum_126", "close", lambda p: change(p.close, 126),
         "Return over the past half year."),
        ("momentum_252", "close", lambda p: change(p.close, 252),
         "Return over the past year."),
        ("momentum_12_1", "close", lambda p: lag(change(p.close, 231), 21),
         "Return over the past year without its last month."),
        ("momentum_12_7", "close", lambda p: lag(change(p.close, 126), 126),
         "Return over the first half of the past year."),
        ("up_days_63", "close", lambda p: mean(np.sign(p.returns), 63),
         "Up sessions minus down sessions over the past quarter."),
        ("residual_momentum_252", "close",
         lambda p: (mean(p.returns, 252) - p.market_fit(252).slope * mean(p.market, 252)) / p.market_fit(252).residual,
         "Residual momentum of the past year, per unit of residual volatility."),
    ),
    reversal=(
        ("reversal_1", "close", lambda p: -p.returns,
         "Short-term reversal (return of the last session, sign flipped)."),
        ("reversal_5", "close", lambda p: -change(p.close, 5),
         "Short-term reversal (return of the past week, sign flipped)."),
        ("reversal_5_scaled", "close", lambda p: -change(p.close, 5) / p.volatility(63),
         "Short-term reversal (return of the past week over the stock's volatility, sign flipped)."),
        ("reversal_36_12", "close", lambda p: -lag(change(p.close, 504), 252),
         "Long-term reversal (return from 36 to 12 months ago, sign flipped)."),
    ),
    volatility=(
        ("volatility_21", "close", lambda p: p.volatility(21),
         "Standard deviation of daily returns over the past month."),
        ("volatility_63", "close", lambda p: p.volatility(63),
         "Standard deviation of daily returns over the past quarter."),
        ("volatility_252", "close", lambda p: p.volatility(252),
         "Standard deviation of daily returns over the past year."),
        ("volatility_change", "close", lambda p: p.volatility(21) / p.volatility(252),
         "Volatility of the past month against that of the past year."),
        ("downside_volatility_63", "close", lambda p: np.sqrt(mean(np.minimum(p.returns, 0.0) ** 2, 63)),
         "Downside deviation over the past quarter."),
        ("jumpiness_63", "close", lambda p: std(np.abs(p.returns), 63) / mean(np.abs(p.returns), 63),
         "Coefficient of variation of absolute daily returns over the past quarter."),
        ("parkinson_21", "high low", lambda p: np.sqrt(mean(np.log(p.high / p.low) ** 2, 21)),
         "Volatility of the past month from each session's high and low."),
        ("true_range_14", "high low close", lambda p: mean(p.true_range, 14) / p.close,
         "Average true range of the past 14 sessions as a fraction of the price."),
    ),
    beta=(
        ("beta_63", "close", lambda p: p.market_fit(63).slope,
         "Market beta over the past quarter."),
        ("beta_252", "close", lambda p: p.market_fit(252).slope,
         "Market beta over the past year."),
        ("idiosyncratic_volatility_63", "close", lambda p: p.market_fit(63).residual,
         "Idiosyncratic volatility over the past quarter."),
        ("market_correlation_252", "close", lambda p: p.market_fit(252).correlation,
         "Correlation with the market over the past year."),
    ),
    skewness=(
        ("skewness_252", "close", lambda p: skew(p.returns, 252),
         "Skewness of the past year's daily returns: lottery-like stocks score high."),
        ("max_return_21", "close", lambda p: highest(p.returns, 21),
         "Best session of the past month."),
    ),
    trend=(
        ("average_distance_20", "close", lambda p: p.close / mean(p.close, 20) - 1.0,
         "Distance of the price from its 20-session average."),
        ("average_distance_50", "close", lambda p: p.close / mean(p.close, 50) - 1.0,
         "Distance of the price from its 50-session average."),
        ("average_distance_200", "close", lambda p: p.close / mean(p.close, 200) - 1.0,
         "Distance of the price from its 200-session average."),
        ("average_cross_50_200", "close", lambda p: mean(p.close, 50) / mean(p.close, 200) - 1.0,
         "The 50-session average against the 200-session average."),
    ),
    oscillator=(
        ("rsi_14", "close", lambda p: ema(np.maximum(p.steps, 0.0), 27) / ema(np.abs(p.steps), 27),
         "Relative strength index: the share of rises in the recent moves (Wilder's smoothing of 14 is a span of 27)."),
        ("macd_12_26", "close", lambda p: (ema(p.close, 12) - ema(p.close, 26)) / p.close,
         "MACD: fast minus slow average, as a fraction of the price."),
        ("macd_histogram", "close",
         lambda p: (ema(p.close, 12) - ema(p.close, 26) - ema(ema(p.close, 12) - ema(p.close, 26), 9)) / p.close,
         "MACD minus its own average of nine sessions: whether the trend gains speed."),
        ("bollinger_20", "close", lambda p: (p.close - mean(p.close, 20)) / std(p.close, 20),
         "Place of the price between its Bollinger bands of 20 sessions."),
        ("money_flow_14", "high low close volume",
         lambda p: mean(np.maximum(p.money_flow, 0.0), 14) / mean(np.abs(p.money_flow), 14),
         "Money flow index: share of the past 14 sessions' turnover that came with rising prices."),
        ("chaikin_21", "high low close volume", lambda p: mean(p.close_location * p.volume, 21) / mean(p.volume, 21),
         "Chaikin money flow: whether volume came on closes near the high or near the low."),
    ),
    range=(
        ("high_proximity_252", "close", lambda p: p.close / highest(p.close, 252) - 1.0,
         "Distance below the highest close of the past year."),
        ("low_distance_252", "close", lambda p: p.close / lowest(p.close, 252) - 1.0,
         "Distance above the lowest close of the past year."),
        ("range_position_63", "close",
         lambda p: (p.close - lowest(p.close, 63)) / (highest(p.close, 63) - lowest(p.close, 63)),
         "Place of the price between the lowest and the highest close of the past quarter."),
        ("williams_r_14", "high low close",
         lambda p: (p.close - highest(p.high, 14)) / (highest(p.high, 14) - lowest(p.low, 14)),
         "Williams %R: place of the close in the range of the past 14 sessions."),
        ("close_location_21", "high low close", lambda p: mean(p.close_location, 21),
         "Whether the past month's closes were near the session highs or lows."),
    ),
    gap=(
        ("gap_1", "open close", lambda p: p.overnight,
         "Return from the last close to this session's open."),
        ("overnight_21", "open close", lambda p: mean(p.overnight, 21),
         "Average overnight return of the past month."),
        ("intraday_21", "open close", lambda p: mean(p.intraday, 21),
         "Average return between open and close of the past month."),
        ("overnight_share_63", "open close", lambda p: std(p.overnight, 63) / std(p.intraday, 63),
         "Overnight volatility relative to intraday volatility, past quarter."),
    ),
    volume=(
        ("volume_surge_5_63", "volume", lambda p: mean(p.volume, 5) / mean(p.volume, 63) - 1.0,
         "Shares traded in the past week against the past quarter."),
        ("volume_trend_21_252", "volume", lambda p: mean(p.volume, 21) / mean(p.volume, 252) - 1.0,
         "Shares traded in the past month against the past year."),
        ("volume_surprise_63", "volume",
         lambda p: (p.log_volume - mean(p.log_volume, 63)) / std(p.log_volume, 63),
         "This session's volume against its distribution over the past quarter."),
        ("volume_variability_63", "volume", lambda p: std(p.volume, 63) / mean(p.volume, 63),
         "Variability of volume over the past quarter."),
        ("signed_volume_21", "close volume", lambda p: mean(np.sign(p.returns) * p.volume, 21) / mean(p.volume, 21),
         "Volume of rising minus falling sessions in the past month, as a share of all."),
        ("vwap_distance_21", "close volume",
         lambda p: p.close * mean(p.volume, 21) / mean(p.close * p.volume, 21) - 1.0,
         "Distance of the price from the volume-weighted average of the past month."),
        ("turnover_21", "close volume market_cap", lambda p: mean(p.dollars, 21) / p.market_cap,
         "Share turnover: average daily fraction of shares outstanding traded, past month."),
    ),
    liquidity=(
        ("dollar_volume_63", "close volume", lambda p: mean(p.dollars, 63),
         "Average dollars traded per session in the past quarter."),
        ("amihud_21", "close volume", lambda p: mean(p.impact, 21),
         "Amihud illiquidity of the past month: price move per dollar traded."),
        ("amihud_252", "close volume", lambda p: mean(p.impact, 252),
         "Amihud illiquidity of the past year."),
        ("market_cap", "market_cap", lambda p: p.market_cap,
         "Size of the company."),
    ),
    price_volume=(
        ("return_volume_correlation_63", "close volume", lambda p: correlation(p.returns, p.log_volume, 63),
         "Whether volume was higher on up or on down sessions, past quarter."),
        ("price_volume_correlation_21", "close volume", lambda p: correlation(p.close, p.volume, 21),
         "Correlation of price and volume over the past month."),
        ("move_volume_correlation_63", "close volume", lambda p: correlation(np.abs(p.returns), p.log_volume, 63),
         "Whether volume was high on sessions with large moves, past quarter."),
    ),
    seasonality=(
        ("same_month_last_year", "close", lambda p: seasonal(change(p.close, 21), 1, 21),
         "Return of the month that followed this date a year ago."),
        ("same_month_5_years", "close", lambda p: seasonal(change(p.close, 21), 5, 21),
         "Average return of the month that followed this date in the past five years."),
        ("turn_of_month_252", "close", lambda p: mean(p.turn_of_month, 252, 36) - mean(p.returns, 252),
         "Extra return around the turn of the month over the past year."),
    ),
    value=(
        ("earnings_yield", "earnings market_cap", lambda p: p.latest("earnings") / p.market_cap,
         "Last reported earnings per dollar of market value."),
        ("book_to_market", "book market_cap", lambda p: p.latest("book") / p.market_cap,
         "Book equity per dollar of market value."),
        ("sales_yield", "sales market_cap", lambda p: p.latest("sales") / p.market_cap,
         "Last reported sales per dollar of market value."),
        ("cash_flow_yield", "cash_flow market_cap", lambda p: p.latest("cash_flow") / p.market_cap,
         "Operating cash flow per dollar of market value."),
        ("earnings_yield_12m", "earnings_ttm market_cap", lambda p: p.latest("earnings_ttm") / p.market_cap,
         "Earnings of the last twelve months per dollar of market value."),
        ("sales_yield_12m", "sales_ttm market_cap", lambda p: p.latest("sales_ttm") / p.market_cap,
         "Sales of the last twelve months per dollar of market value."),
        ("cash_flow_yield_12m", "cash_flow_ttm market_cap", lambda p: p.latest("cash_flow_ttm") / p.market_cap,
         "Operating cash flow of the last twelve months per dollar of market value."),
    ),
    quality=(
        ("return_on_assets", "earnings assets", lambda p: p.latest("earnings") / p.latest("assets"),
         "Earnings per dollar of assets."),
        ("gross_profitability", "gross_profit assets", lambda p: p.latest("gross_profit") / p.latest("assets"),
         "Gross profit per dollar of assets."),
        ("net_margin", "earnings sales", lambda p: p.latest("earnings") / p.latest("sales"),
         "Earnings per dollar of sales."),
        ("accruals", "earnings cash_flow assets",
         lambda p: (p.latest("earnings") - p.latest("cash_flow")) / p.latest("assets"),
         "Accruals: earnings minus cash flow, per dollar of assets."),
        ("equity_ratio", "book assets", lambda p: p.latest("book") / p.latest("assets"),
         "Equity ratio: book equity over assets."),
        ("return_on_equity_12m", "earnings_ttm book",
         lambda p: p.latest("earnings_ttm") / np.where(p.latest("book") > 0, p.latest("book"), np.nan),
         "Earnings of the last twelve months per dollar of book equity, where there is equity."),
        ("gross_profitability_12m", "gross_profit_ttm assets",
         lambda p: p.latest("gross_profit_ttm") / p.latest("assets"),
         "Gross profit of the last twelve months per dollar of assets (Novy-Marx 2013)."),
        ("accruals_12m", "earnings_ttm cash_flow_ttm assets",
         lambda p: (p.latest("earnings_ttm") - p.latest("cash_flow_ttm")) / p.latest("assets"),
         "Trailing twelve-month accruals per dollar of assets (Sloan 1996)."),
        ("net_margin_12m", "earnings_ttm sales_ttm", lambda p: p.latest("earnings_ttm") / p.latest("sales_ttm"),
         "Earnings per dollar of sales over the last twelve months."),
    ),
    growth=(
        ("sales_growth", "sales", lambda p: p.latest("sales") / p.year_ago("sales") - 1.0,
         "Sales against the same period a year before."),
        ("earnings_growth", "earnings assets",
         lambda p: (p.latest("earnings") - p.year_ago("earnings")) / p.latest("assets"),
         "Change of earnings over a year, per dollar of assets."),
        ("asset_growth", "assets", lambda p: p.latest("assets") / p.year_ago("assets") - 1.0,
         "Growth of the balance sheet over a year (Cooper, Gulen and Schill 2008)."),
        ("sales_growth_12m", "sales_ttm", lambda p: p.latest("sales_ttm") / p.year_ago("sales_ttm") - 1.0,
         "Sales of the last twelve months against those of the twelve before."),
        ("earnings_growth_12m", "earnings_ttm assets",
         lambda p: (p.latest("earnings_ttm") - p.year_ago("earnings_ttm")) / p.latest("assets"),
         "Change of a year's earnings over a year, per dollar of assets."),
    ),
)
# fmt: on


@dataclass(frozen=True, eq=False)
class Features:
    """Features ranked within their date, to [-0.5, 0.5]; NaN where a symbol has no bar, is no member, or lacks history.

    values : (n_dates, n_symbols, n_features) float32, read-only
    """

    values: np.ndarray
    dates: pd.DatetimeIndex
    symbols: pd.Index
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> pd.DataFrame:
        """One feature, dates × symbols. Raises KeyError naming those that are there."""
        if name not in self.names:
            raise KeyError(f"{name!r}; there are {', '.join(self.names)}")
        return pd.DataFrame(self.values[:, :, self.names.index(name)], index=self.dates, columns=self.symbols)

    def frame(self) -> pd.DataFrame:
        """(date, symbol) × feature, float32; shares the memory of `values`."""
        index = pd.MultiIndex.from_product([self.dates, self.symbols], names=["date", "symbol"])
        return pd.DataFrame(self.values.reshape(-1, len(self.names)), index=index, columns=list(self.names), copy=False)


def available_features(market: Market) -> list[str]:
    """Names of the features for which this market has the fields, in the order of `FEATURES`."""
    extensions.load()
    fields = market_fields(market)
    return [feature.name for feature in FEATURES.values() if fields.issuperset(feature.needs)]


def market_fields(market: Market) -> set[str]:
    """What a feature may ask of this market: its bar fields, market_cap and reported items."""
    items = () if market.fundamentals is None else market.fundamentals["item"].unique()
    return {*market.bar_fields, *items} | ({"market_cap"} if market.market_cap is not None else set())


def compute_features(market: Market, names=None, *, dates=None) -> Features:
    """Features of a market, ranked within each date among the members that have a bar on it.

    names : which, in this order; all that are available if None
    dates : which sessions to return; all if None. The history used is the same, so are the numbers

    Raises SchemaError for a feature that is unknown or lacks its fields, DataError for a date that is not a session.

    Examples
    --------
    >>> momentum = ob.compute_features(market, ["momentum_126"])["momentum_126"]
    >>> momentum.shape == market.close.shape, float(momentum.max().max())
    (True, 0.5)
    """
    chosen = _choose(market, available_features(market) if names is None else names)
    rows = _rows(market, dates)
    needed = {field for feature in chosen for field in feature.needs}
    universe = prepare(market, tuple(sorted(needed.difference(MARKET_FIELDS))))
    memory = np.empty(len(rows) * len(market.symbols) * len(chosen), dtype=np.float32)
    raw = memory.reshape(len(rows), len(chosen), len(market.symbols))
    _compute(universe, chosen, _as_slice(rows), raw)
    _rank(raw, _ranked_names(market)[rows])
    values = memory.reshape(len(rows), len(market.symbols), len(chosen))
    values.flags.writeable = False
    return Features(values, market.dates[rows], market.symbols, tuple(feature.name for feature in chosen))


def _choose(market: Market, names) -> list[Feature]:
    extensions.load()
    fields = market_fields(market)
    if not len(names):
        raise SchemaError("no features requested; omit names for all that the market supports")
    for name in names:
        if name not in FEATURES:
            raise SchemaError(
                f"unknown feature {name!r}; see openbook.signals.features.FEATURES, or define it in lib/extensions"
            )
        if missing := sorted(set(FEATURES[name].needs) - fields):
            raise SchemaError(f"feature {name} needs {', '.join(missing)}, which {market.name} does not have")
    return [FEATURES[name] for name in names]


def _rows(market: Market, dates) -> np.ndarray:
    """Row numbers of the wanted sessions, oldest first."""
    if dates is None:
        return np.arange(len(market.dates))
    dates = pd.DatetimeIndex(dates).unique().sort_values()
    rows = market.dates.get_indexer(dates)
    if (rows < 0).any():
        raise DataError(f"{market.name} has no session {dates[rows < 0][0].date()}; features need bars for it")
    return rows


def _as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """The same rows as a slice where they follow each other: that copies nothing."""
    return slice(rows[0], rows[-1] + 1) if len(rows) and rows[-1] - rows[0] == len(rows) - 1 else rows


def _ranked_names(market: Market) -> np.ndarray:
    """Which symbols compete on which date: those with a bar that day, members if the market has members."""
    bar = market.close.notna().to_numpy()
    return bar if market.members is None else bar & market.members.to_numpy(dtype=bool)


def _compute(universe: Universe, chosen: list[Feature], rows: slice | np.ndarray, raw: np.ndarray):
    """Fill raw (n_dates, n_features, n_symbols) with the unranked features, strip by strip."""

    def fill(columns: slice) -> None:
        panel = Panel(universe, columns)
        with np.errstate(all="ignore"):  # 0/0 and log 0 are missing values here, and only finite ones are ranked
            for i, feature in enumerate(chosen):
                raw[:, i, columns] = feature.line(panel)[rows]

    symbols = universe.shape[1]
    width = ceil(symbols / max(_threads(), ceil(symbols / STRIP))) if symbols else 1
    _spread(fill, [slice(start, min(start + width, symbols)) for start in range(0, symbols, width)])


def _rank(raw: np.ndarray, keep: np.ndarray) -> None:
    """Rank in place; on return the memory of `raw` is ordered date, symbol, feature."""

    def rank(part: slice) -> None:
        rank_pages(raw[part].view(np.uint32), keep[part])

    size = ceil(len(raw) / (4 * _threads())) or 1
    _spread(rank, [slice(start, start + size) for start in range(0, len(raw), size)])


def _spread(work: Callable[[slice], None], parts: list[slice]) -> None:
    """Do the parts in threads; the kernels release the interpreter lock."""
    with ThreadPoolExecutor(_threads()) as pool:
        list(pool.map(work, parts))


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_feature(name: str, given) -> Feature:
    """A feature from what an extension says: a `Feature`, or a function of a `Panel` that needs closes only.

    The function returns (n_dates, n_columns) for the columns of its panel, each from that column alone; the first line
    of its docstring is the meaning. Its errors become SchemaError, as does another shape.
    """
    if isinstance(given, Feature) and given.name != name:
        raise ParameterError(f"feature {name!r} is called {given.name!r} in its Feature; give both the same name")
    if not (isinstance(given, Feature) or callable(given)):
        raise ParameterError(f"feature {name!r} must be a function of a panel, or a Feature")
    if not isinstance(given, Feature):
        said = (given.__doc__ or f"{name}.").strip().splitlines()[0]
        given = Feature(name, "own", ("close",), given, said)
    return replace(given, line=_checked_line(given))


def _checked_line(feature: Feature) -> Callable[[Panel], np.ndarray]:
    """The line of an own feature, whose result is what the others return."""

    def line(panel: Panel) -> np.ndarray:
        try:
            values = np.asarray(feature.line(panel), dtype=np.float64)
        except KeyError as error:
            way_out = 'declare it: Feature(name, family, ("close", …), function, meaning)'
            raise SchemaError(f"feature {feature.name} reads {error}, which the market lacks; {way_out}") from None
        except Exception as error:
            raise SchemaError(f"feature {feature.name} failed: {type(error).__name__}: {error}") from error
        if values.shape != panel.close.shape:
            raise SchemaError(f"feature {feature.name} returned {values.shape}, not {panel.close.shape}, as its panel")
        return values

    return line


extensions.register("FEATURES", FEATURES, own_feature)
