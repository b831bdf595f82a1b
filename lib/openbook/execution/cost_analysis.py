"""Predicted and realized trading costs."""

import numpy as np
import pandas as pd

from openbook.market.tables import Market
from openbook.portfolio.costs import BPS, Costs

EXECUTION_COLUMNS = [
    "date",
    "fill_id",
    "symbol",
    "side",
    "shares",
    "price",
    "reference",
    "notional",
    "predicted_bps",
    "realised_bps",
    "commission",
    "shortfall",
]


def execution_costs(fills: pd.DataFrame, market: Market, costs: Costs) -> pd.DataFrame:
    """One row per fill, EXECUTION_COLUMNS, as ordered; shares signed, prices and money in USD, the rest basis points.

    fills : columns date, fill_id, symbol, shares (signed), price, commission, slippage (what a paper book charged
        beside the price, 0 for a real fill), decided_price (close when it was decided, the session before)

    reference : `market.execution_price` of that session, NaN without a bar
    predicted_bps : slippage by `costs`, of the notional
    realised_bps : sign · (price / reference − 1), and the slippage charged beside the price, of the notional; above
        zero is a loss, for a buy and for a sale; NaN without a reference
    shortfall : what the fill cost against a trade at decided_price without costs, a split or dividend of the session
        taken out: Perold, "The implementation shortfall", 1988, for the part that was executed; USD
    """
    fills = fills.astype({"shares": "int64", **dict.fromkeys(("price", "commission", "slippage"), "float64")})
    shares, price = fills["shares"], fills["price"]
    notional = shares.abs() * price
    reference = _references(fills, market)
    moved = np.sign(shares) * (price / reference - 1)
    paid = fills["commission"] + fills["slippage"]
    table = fills.assign(
        side=pd.Series(np.where(shares > 0, "BUY", "SELL"), index=fills.index, dtype="str"),
        reference=reference,
        notional=notional,
        predicted_bps=costs.slippage(notional) / notional / BPS,
        realised_bps=(moved + fills["slippage"] / notional) / BPS,
        shortfall=shares * (price - _decided(fills, market)) + paid,
    )
    return table[EXECUTION_COLUMNS].reset_index(drop=True)


def refit_slippage(table: pd.DataFrame) -> dict[str, float]:
    """Realized slippage: what `Costs.slippage_bps` should have been for these fills.

    table : of `execution_costs`; fills without a reference are left out

    slippage_bps : mean of realised_bps, weighted by notional; NaN below 2 dates
    standard_error_bps : of that mean, with the fills of one date taken as one draw; NaN below 2 dates
    predicted_bps : mean of predicted_bps, weighted by notional; NaN without fills
    n_fills, n_dates : how many there are
    """
    known = table[table["realised_bps"].notna()]
    weight, n_dates = known["notional"] / known["notional"].sum(), known["date"].nunique()
    mean = (weight * known["realised_bps"]).sum(min_count=1)
    by_date = (weight * (known["realised_bps"] - mean)).groupby(known["date"]).sum()
    enough = n_dates >= 2
    return {
        "slippage_bps": float(mean) if enough else np.nan,
        "standard_error_bps": float(np.sqrt(n_dates / (n_dates - 1) * (by_date**2).sum())) if enough else np.nan,
        "predicted_bps": float((weight * known["predicted_bps"]).sum(min_count=1)),
        "n_fills": float(len(known)),
        "n_dates": float(n_dates),
    }


def _references(fills: pd.DataFrame, market: Market) -> np.ndarray:
    """(n_fills,) execution price of each fill's session and symbol, USD; NaN where there is none."""
    dates, symbols = pd.DatetimeIndex(pd.to_datetime(fills["date"])), pd.Index(fills["symbol"])
    wanted = market.execution_price.reindex(index=dates.unique(), columns=symbols.unique())
    rows, columns = wanted.index.get_indexer(dates), wanted.columns.get_indexer(symbols)
    return wanted.to_numpy(dtype=float)[rows, columns]


def _decided(fills: pd.DataFrame, market: Market) -> np.ndarray:
    """(n_fills,) decided_price as it would be after the splits and dividends of the fill's session, USD."""
    keys = pd.MultiIndex.from_arrays([pd.to_datetime(fills["date"]), fills["symbol"]])
    actions = market.actions.set_index(["date", "symbol"])
    values = {kind: actions.loc[actions["kind"] == kind, "value"] for kind in ("split", "dividend")}
    ratio = values["split"].groupby(level=[0, 1]).prod().reindex(keys, fill_value=1.0)
    dividend = values["dividend"].groupby(level=[0, 1]).sum().reindex(keys, fill_value=0.0)
    return fills["decided_price"].to_numpy(dtype=float) / ratio.to_numpy() - dividend.to_numpy()
