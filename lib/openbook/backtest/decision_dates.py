"""The sessions of a backtest: what was known on each, cut from tables that are made once for all optimizers."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from openbook.backtest.simulate import PriceArrays, read_prices
from openbook.common.errors import DataError
from openbook.market.tables import Market, sectors_on
from openbook.portfolio.construct import sector_codes
from openbook.portfolio.regime import NORMAL
from openbook.portfolio.target_weights import PortfolioSettings, WeightInputs, rank_rows


@dataclass(frozen=True, eq=False)
class DecisionDates:
    """The decision dates of one model's scores, k of them; everything here is independent of how weights are chosen.

    rows : sessions of the dates on the tape, increasing; places : their rows of `ranks`
    ranks : (score dates, n) within-date ranks of the scores, NaN where none
    close : (sessions, n) adjusted, NaN where no bar; regimes : by date
    symbols : (n,) objects; sectors : (k, n) codes into sector_names; sector_caps False if the source has no sectors
    """

    tape: PriceArrays
    rows: list[int]
    places: np.ndarray
    ranks: np.ndarray
    close: np.ndarray
    regimes: list[int]
    symbols: np.ndarray
    sectors: np.ndarray
    sector_names: tuple[str, ...]
    sector_caps: bool

    @property
    def dates(self) -> pd.DatetimeIndex:
        """The decision dates."""
        return self.tape.dates[self.rows]

    def on(self, k: int, held: np.ndarray, settings: PortfolioSettings) -> WeightInputs:
        """What is known on the k-th of them, without a later row. held : (n,) weights at that close"""
        row, place = self.rows[k], self.places[k]
        return WeightInputs(
            ranks=self.ranks[max(place + 1 - settings.score_window, 0) : place + 1],
            close=self.close[max(row - settings.lookback, 0) : row + 1],
            held=held,
            locked=(held > 0) & (self.tape.age[row] != 0),
            sectors=self.sectors[k],
            sector_names=self.sector_names,
            sector_caps=self.sector_caps,
            symbols=self.symbols,
            regime=self.regimes[k],
        )

    def with_older_scores(self) -> "DecisionDates":
        """The same sessions with the scores of one session before; nothing else that is known gets older."""
        return replace(self, ranks=np.vstack([np.full((1, self.ranks.shape[1]), np.nan), self.ranks[:-1]]))


def gather_decision_dates(
    scores: pd.DataFrame, market: Market, regimes: pd.Series | None, dates, tape: PriceArrays | None = None
) -> DecisionDates:
    """The sessions of `dates`, increasing sessions of the market that have scores and a regime; DataError names others.

    scores : dates × symbols, out of sample; regimes : by date, or None: always normal
    tape : of this market if it is there already
    """
    rows = decision_rows(market.dates, dates)
    scores = scores.reindex(columns=market.symbols)
    places = scores.index.get_indexer(market.dates[rows])
    if (places < 0).any():
        raise DataError(f"no scores for {market.dates[rows][places < 0][0]:%Y-%m-%d}")
    sectors, names = _sectors_on(market, market.dates[rows])
    return DecisionDates(
        tape=read_prices(market) if tape is None else tape,
        rows=rows,
        places=places,
        ranks=rank_rows(scores.to_numpy(dtype=float)),
        close=market.adjusted.to_numpy(dtype=float),
        regimes=[NORMAL] * len(rows) if regimes is None else _regimes_on(regimes, market.dates[rows]),
        symbols=market.symbols.to_numpy(dtype=object),
        sectors=sectors,
        sector_names=names,
        sector_caps=market.sectors is not None,
    )


def decision_rows(sessions: pd.DatetimeIndex, dates) -> list[int]:
    """Positions of increasing dates among the sessions; DataError names one that is not a session."""
    dates = pd.DatetimeIndex(dates)
    rows = sessions.get_indexer(dates)
    if len(dates) == 0:
        raise DataError("a backtest needs at least one decision date")
    if (rows < 0).any():
        raise DataError(f"{dates[rows < 0][0]:%Y-%m-%d} is not a session of this market")
    if not (np.diff(rows) > 0).all():
        raise DataError("decision dates must be increasing")
    return [int(row) for row in rows]


def _sectors_on(market: Market, dates: pd.DatetimeIndex) -> tuple[np.ndarray, tuple[str, ...]]:
    """Each symbol's sector on each date as a code into the sorted names, (n_dates, n_symbols)."""
    spells = market.sector_spells
    if spells is None:
        codes, names = sector_codes(market.sectors, market.symbols)
        return np.broadcast_to(codes, (len(dates), len(codes))), names
    changes = np.sort(spells["start"].dropna().unique())
    _, first, era = np.unique(changes.searchsorted(dates, side="right"), return_index=True, return_inverse=True)
    known = pd.concat([sectors_on(spells, date).reindex(market.symbols) for date in dates[first]], ignore_index=True)
    codes, names = sector_codes(known, known.index)
    return codes.reshape(len(first), len(market.symbols))[era], names


def _regimes_on(regimes: pd.Series, dates: pd.DatetimeIndex) -> list[int]:
    """The regime of each date; DataError names a date without one."""
    found = regimes.reindex(dates)
    if found.isna().any():
        raise DataError(f"no regime for {found.index[found.isna()][0]:%Y-%m-%d}")
    return [int(code) for code in found]
