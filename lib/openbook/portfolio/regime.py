"""The market's regime: 0 risk-off, 1 normal, 2 risk-on; from trend and volatility, causal, with its inputs visible."""

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common.constants import NORMAL, RISK_OFF, RISK_ON, SESSIONS_A_YEAR
from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.market.tables import Market


class RegimeSettings(Settings):
    """When the market counts as risk-off or risk-on; windows are in sessions."""

    trend_window: int = Field(200, ge=2, description="window of the moving average, in sessions")
    slope_window: int = Field(20, ge=1, description="window of the moving average's slope, in sessions")
    volatility_window: int = Field(21, ge=2, description="window of realized volatility, in sessions")
    volatility_history: int = Field(756, ge=20, description="window of the volatility percentile, in sessions")
    min_volatility_history: int = Field(
        252, ge=20, description="minimum sessions for the volatility percentile; with fewer the regime is normal"
    )
    high_volatility: float = Field(0.8, gt=0, lt=1, description="percentile above which volatility counts as high")
    confirm: int = Field(3, ge=1, description="consecutive sessions before a new regime takes effect")


def detect_regime(market: Market, settings: RegimeSettings = RegimeSettings()) -> pd.DataFrame:  # noqa: B008 (frozen)
    """Regime of each session with what it was read from; row t uses nothing after the close of t.

    level : index close, or the growth of 1 USD in the equal-weight universe where the source has no index
    trend : level / its trend_window mean − 1
    slope : change of that mean over slope_window sessions, as a fraction
    volatility : realized, a year, of the last volatility_window returns
    volatility_rank : of this session's volatility among the last volatility_history, in (0, 1]
    signal : the regime as read at this session; regime : the last signal that lasted `confirm` sessions in a row

    risk-off: below the mean, and the mean falls or volatility is high; risk-on: above a rising mean with volatility
    not high; otherwise, and until there is enough history, normal.

    Examples
    --------
    >>> ob.detect_regime(market)["regime"].iloc[-1] in (0, 1, 2)
    True
    """
    level = market_level(market)
    mean = level.rolling(settings.trend_window).mean()
    volatility = np.log(level).diff().rolling(settings.volatility_window).std() * SESSIONS_A_YEAR**0.5
    table = pd.DataFrame(
        {
            "level": level,
            "trend": level / mean - 1,
            "slope": mean / mean.shift(settings.slope_window) - 1,
            "volatility": volatility,
            "volatility_rank": _rolling_rank(volatility, settings),
        }
    )
    table["signal"] = _signal(table, settings.high_volatility)
    table["regime"] = _confirmed(table["signal"].to_numpy(), settings.confirm)
    return table


def market_level(market: Market) -> pd.Series:
    """The market as one line, by session: the index if there is one, else 1 USD in the equal-weight universe.

    Raises DataError if the index has no value at or before the first session it is asked for.
    """
    if market.index is not None:
        level = market.index.astype("float64").reindex(market.dates, method="ffill")
        if not (level > 0).all():
            bad = level.index[~(level > 0)][0]
            raise DataError(f"the index has no positive level on {bad:%Y-%m-%d}; supply it, or leave the index out")
        return level.rename("level")
    returns = market.adjusted.pct_change(fill_method=None)
    if market.members is not None:
        returns = returns.where(market.members)
    return (1 + returns.mean(axis=1).fillna(0.0)).cumprod().rename("level")


def _rolling_rank(volatility: pd.Series, settings: RegimeSettings) -> pd.Series:
    """Percentile rank of the last value within its rolling history."""
    history = max(settings.volatility_history, settings.min_volatility_history)
    return volatility.rolling(history, min_periods=settings.min_volatility_history).rank(pct=True)


def _signal(table: pd.DataFrame, high: float) -> np.ndarray:
    """The regime as read on each session alone; a missing input compares as false, hence normal."""
    down, up = table["trend"] < 0, table["trend"] > 0
    known = table["volatility_rank"].notna() & table["slope"].notna()
    off = known & down & ((table["slope"] < 0) | (table["volatility_rank"] >= high))
    on = known & up & (table["slope"] > 0) & (table["volatility_rank"] < high)
    return np.select([off, on], [RISK_OFF, RISK_ON], NORMAL)


def _confirmed(signal: np.ndarray, confirm: int) -> np.ndarray:
    """The last signal seen `confirm` times in a row; normal before the first."""
    start = np.flatnonzero(np.r_[True, signal[1:] != signal[:-1]])
    run = np.arange(len(signal)) - np.repeat(start, np.diff(np.r_[start, len(signal)])) + 1
    last = np.maximum.accumulate(np.where(run >= confirm, np.arange(len(signal)), -1))
    return np.where(last >= 0, signal[last], NORMAL)
