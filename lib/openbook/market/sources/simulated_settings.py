"""Settings of a simulated market."""

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from openbook.common.settings import Settings

GICS_SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)
DEFAULT_START = date(2013, 1, 2)
DEFAULT_SESSIONS = 756


class SimulatedSource(Settings):
    """A simulated market. `start` and `end`: all sessions between; else `n_sessions` from `start` or up to `end`."""

    provider: Literal["simulated"] = "simulated"
    n_symbols: int = Field(100, ge=2, le=9999)
    n_sessions: int | None = Field(None, ge=2, description=f"default: from the dates, otherwise {DEFAULT_SESSIONS}")
    start: date | None = Field(None, description=f"first session; default: from `end`, otherwise {DEFAULT_START}")
    end: date | None = Field(None, description="last session; default: from n_sessions")
    seed: int = Field(0, ge=0)
    ic: float = Field(
        0.05, ge=0, le=0.5, description="mean rank IC of the simulated signal with the label; 0: no signal"
    )
    horizon: int = Field(20, ge=1, le=252, description="label horizon of `ic`, in sessions")
    half_life: float = Field(40.0, ge=1, description="half-life of the signal, in sessions")
    sectors: tuple[str, ...] = Field(GICS_SECTORS, min_length=1)
    splits_per_year: float = Field(0.05, ge=0, le=2, description="per stock")
    payers: float = Field(0.6, ge=0, le=1, description="fraction of stocks with quarterly dividends")
    delistings_per_year: float = Field(0.01, ge=0, le=1, description="per stock")
    late_listings: float = Field(
        0.05, ge=0, le=1, description="fraction of stocks listed during the first 120 sessions"
    )
    missing_bars: float = Field(0.0005, ge=0, le=0.5, description="fraction of missing bars")
    reports: bool = Field(True, description="quarterly fundamentals with filing dates")

    @model_validator(mode="after")
    def _not_overdetermined(self):
        if None not in (self.start, self.end, self.n_sessions):
            raise ValueError("give two of start, end, n_sessions, not all three")
        return self
