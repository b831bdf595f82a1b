"""The independent check of a daily run's outputs before the commit: it reads the files and does not trust the notebook.

Even if a notebook is wrong or edited, nothing reaches the book that breaks a limit, or that adds exposure
while the kill switch forbids it.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from openbook.app.service import read_trades
from openbook.common.constants import CASH
from openbook.common.errors import BookError
from openbook.common.files import storage
from openbook.decision.sealed_inputs import read_settlement
from openbook.execution.orders import current_weights
from openbook.execution.risk_checks import SafetyValidator, profile_of
from openbook.ledger.book import judge
from openbook.ledger.records import BookState, Settlement
from openbook.market.dollar_volume import median_dollar_volume
from openbook.market.store import load_market
from openbook.runs.past_runs import WEIGHTS
from openbook.runs.runs_folder import read_run


@dataclass(frozen=True, eq=False)
class Written:
    """Outputs of a daily run: trades as TRADE_COLUMNS, weights by symbol with CASH, settlement, recorded values."""

    trades: pd.DataFrame
    weights: pd.Series
    settlement: Settlement
    recorded: dict


def read_written(folder: Path) -> Written:
    """The files of a stage or of a sealed run; BookError (60) names one that is malformed."""
    return Written(
        trades=read_trades(folder / "trades.csv"),
        weights=_read_weights(folder / WEIGHTS),
        settlement=read_settlement(folder),
        recorded=read_run(folder)["recorded"],
    )


def _read_weights(file: Path) -> pd.Series:
    """Weights by symbol with CASH; NaN for what is no number, which no limit lets pass."""
    with storage(f"read {file}"):
        data = file.read_bytes()
    try:
        table = pd.read_csv(io.BytesIO(data), dtype={"symbol": "str"}, keep_default_na=False)
        weights = table.set_index("symbol")["weight"]
        if not (weights.index.is_unique and CASH in weights.index):
            raise ValueError(f"a symbol is there twice, or {CASH} is missing")
    except KeyError as error:
        raise BookError(f"{file} has no column {error}; see openbook verify") from None
    except (ValueError, OverflowError) as error:
        raise BookError(f"{file} cannot be read: {error}; see openbook verify") from None
    return pd.to_numeric(weights, errors="coerce").astype("float64")


def require_safe(written: Written, state: BookState, settings, *, store, session: pd.Timestamp) -> None:
    """LimitError (51) naming every check that stops, BookError (60) if the page and the book disagree on the switch.

    state : the book before this session; settings : of the daily run; prices come from the store again
    """
    settled = written.settlement
    verdict = judge(state, settled, settings.kill_switch)
    if written.recorded.get("switch") != verdict.state:
        raise BookError(
            f"kill switch state differs: {written.recorded.get('switch')} on the page, {verdict.state} in the "
            "book; run it again"
        )
    market = load_market(settings.source, store=store, through=session)[0].upto(session)
    prices, positions = settled.priced(cast(pd.Series, market.close.loc[session])), settled.positions
    validator, volume = SafetyValidator(settings.limits), median_dollar_volume(market)
    market_cap = None if market.market_cap is None else cast(pd.Series, market.market_cap.loc[session])
    held = current_weights(positions, settled.cash, prices)
    profile = profile_of(positions, verdict.state)
    checks = [
        validator.validate_portfolio(written.weights, market.sectors, market_cap, held=held),
        validator.validate_trades(
            written.trades,
            positions,
            settled.cash,
            prices,
            settled.equity,
            volume=volume,
            profile=profile,
            share_units=state.share_units,
        ),
    ]
    validator.require(pd.concat(checks, ignore_index=True))
