"""From adjusted prices back to what was traded: splits and dividends out of a vendor's adjusted close, raw prices out
of prices that were adjusted for known actions."""

from typing import Literal

import numpy as np
import pandas as pd

from openbook.market.tables import ACTION_COLUMNS, empty_actions

AdjustedAs = Literal["today", "next_session"]
PRICES = ("open", "high", "low", "close")
# New shares per old share in forward splits; a smaller growth is a dividend. Stock dividends below 5:4 are paid as one.
FORWARD = (5 / 4, 4 / 3, 7 / 5, 3 / 2, 5 / 3, 7 / 4, 5 / 2, 7 / 2, *map(float, range(2, 101)))
REVERSE = (2 / 3, 3 / 4, 2 / 5, *(1.0 / n for n in range(2, 1001)))
SPLIT_RATIOS = np.unique(np.array([*REVERSE, *FORWARD]))
SPLIT_PRECISION = 1e-4  # how far the growth may be from its ratio beside the rounding of the two closes


def derive_actions(
    bars: pd.DataFrame,
    *,
    adjusted_as: AdjustedAs,
    tick: float = 0.01,
    kinds: tuple[str, ...] = ("split", "dividend"),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Splits and dividends implied by the adjusted close of raw bars.

    bars : long, columns symbol, date, close (as traded), adjusted_close
    adjusted_as : "today", every close adjusted for all later actions, as most vendors send it: what a share grew by on
        a session is the change of adjusted_close / close. "next_session", each close as it was adjusted at the session
        of the next session: it grew by the last close / the last adjusted close
    tick : USD to which the vendor rounds the adjusted close; a growth within that rounding is ignored
    kinds : ("dividend",) where both closes have the splits in them, so that no growth is one

    A growth at a ratio of `SPLIT_RATIOS` is a split; any other above 1 is a dividend in USD per share, special ones
    and the value of a spin-off too: the vendor's factor is 1 − dividend / last close (CRSP's is the same).

    Returns the actions, ACTION_COLUMNS, and growths below 1 that are no reverse split: symbol, date, growth. They are
    applied nowhere, for a dividend cannot be negative.
    """
    steps = _steps(bars, adjusted_as, tick)
    ratio = _nearest(SPLIT_RATIOS, steps["growth"].to_numpy())
    is_split = np.abs(steps["growth"] / ratio - 1.0) <= steps["noise"] + SPLIT_PRECISION
    is_split &= "split" in kinds
    is_dividend = ~is_split & (steps["growth"] > 1.0)
    dividend = steps["last"] * (1.0 - 1.0 / steps["growth"])
    table = steps.assign(kind=np.where(is_split, "split", "dividend"), value=np.where(is_split, ratio, dividend))
    left = steps.loc[~is_split & ~is_dividend, ["symbol", "date", "growth"]]
    return _as_actions(table[is_split | is_dividend]), left.sort_values(["symbol", "date"], ignore_index=True)


def unadjust(bars: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prices as they were traded, and the actions, from prices adjusted for both and the actions beside them.

    bars : long, columns symbol, date, close, any of open, high, low, volume, and split (new shares per old; 0, 1 or
        missing: none), dividend (USD per share of today; 0 or missing: none) on the session from which they count

    The vendor's rule is undone: the close before a dividend was multiplied by 1 − dividend / close, in shares of today.
    With A the adjusted close, close / A of the session before is close / A of the session + dividend / A before; so it
    is 1 at the last bar plus a sum over what came later. Dividends after the last bar are not known: where the vendor
    adjusted for those too, all raw prices are low by their yield. Volume is taken to be adjusted for splits.

    Returns the bars without split and dividend, sorted by symbol and date, and ACTION_COLUMNS.
    """
    table = bars.sort_values(["symbol", "date"], kind="stable", ignore_index=True)
    split, dividend = (_column(table, name) for name in ("split", "dividend"))
    split[split == 0.0] = 1.0
    close, is_last = table["close"].to_numpy("float64"), _is_last(table["symbol"])
    yield_of_next = np.where(is_last, 0.0, np.append(dividend[1:], 0.0) / close)
    splits_of_next = np.where(is_last, 1.0, np.append(split[1:], 1.0))
    per_adjusted = 1.0 + _sum_of_rest(np.where(np.isfinite(yield_of_next), yield_of_next, 0.0), is_last)
    shares = np.exp(_sum_of_rest(np.log(splits_of_next), is_last))
    raw = {name: table[name] * (per_adjusted * shares) for name in PRICES if name in table}
    if "volume" in table:
        raw["volume"] = table["volume"] / shares
    keys = table[["date", "symbol"]]
    events = [keys.assign(kind="split", value=split)[split != 1.0]]
    events.append(keys.assign(kind="dividend", value=dividend * shares)[dividend != 0.0])
    columns = [name for name in table.columns if name not in ("split", "dividend")]
    return table.assign(**raw)[columns], _as_actions(pd.concat(events))


def unadjust_splits(
    bars: pd.DataFrame, actions: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Prices as they were traded, and the actions, from prices divided by the splits that followed.

    bars : long, columns symbol, date, close, any of open, high, low, volume; and unadjusted_close, the close as traded,
        where the vendor sends it: then every split is in the two closes
    actions : ACTION_COLUMNS or None, dividends in USD per share of today: they are divided by later splits too

    A price is multiplied, a volume divided, by all splits of its symbol with a later date.

    Returns the bars sorted by symbol and date, and ACTION_COLUMNS in shares of the day, splits among them; None where
    nothing is told, and then the bars are as they came.
    """
    table = bars.sort_values(["symbol", "date"], kind="stable", ignore_index=True)
    if "unadjusted_close" in table:
        splits = _splits_between(table)
        actions = splits if actions is None else pd.concat([splits, actions], ignore_index=True)
        scale = (table["unadjusted_close"] / table["close"]).to_numpy("float64")
    elif actions is None:
        return bars, None
    else:
        scale = later_splits(table, actions)
    raw = {name: table[name] * scale for name in PRICES if name in table}
    if "volume" in table:
        raw["volume"] = table["volume"] / scale
    if "unadjusted_close" in table:
        raw["close"] = table.pop("unadjusted_close").astype("float64")
    is_paid = (actions["kind"] == "dividend").to_numpy()
    paid = actions["value"].to_numpy("float64") * np.where(is_paid, later_splits(actions, actions), 1.0)
    return table.assign(**raw), _as_actions(actions.assign(value=paid))


def later_splits(rows: pd.DataFrame, actions: pd.DataFrame) -> np.ndarray:
    """By row (symbol, date), the product of all splits of its symbol with a later date."""
    out = np.ones(len(rows))
    splits = actions[(actions["kind"] == "split") & (actions["value"] > 0)]
    where = rows.groupby("symbol", sort=False, observed=True).indices
    dates = rows["date"].to_numpy("datetime64[us]")
    for symbol, each in splits.groupby("symbol", sort=False):
        at = where.get(symbol, np.zeros(0, dtype=int))
        for day, ratio in zip(each["date"].to_numpy("datetime64[us]"), each["value"], strict=True):
            out[at[dates[at] < day]] *= ratio
    return out


def _splits_between(table: pd.DataFrame) -> pd.DataFrame:
    """Splits that show in closes as traded beside closes divided by the splits that followed, ACTION_COLUMNS."""
    closes = {"close": table["unadjusted_close"], "adjusted_close": table["close"]}
    beside = table[["symbol", "date"]].assign(**closes)
    steps = _steps(beside, "today", 0.01)
    ratio = _nearest(SPLIT_RATIOS, steps["growth"].to_numpy())
    is_ratio = np.abs(steps["growth"] / ratio - 1.0) <= steps["noise"] + SPLIT_PRECISION
    value = np.where(is_ratio, ratio, steps["growth"].round(6))
    return _as_actions(steps.assign(kind="split", value=value))


def _steps(bars: pd.DataFrame, adjusted_as: AdjustedAs, tick: float) -> pd.DataFrame:
    """Rows on which a share grew beside its price: symbol, date, growth, last close, and the noise by rounding."""
    close, adjusted = (bars[name].to_numpy("float64") for name in ("close", "adjusted_close"))
    code = pd.factorize(bars["symbol"])[0]
    row = np.flatnonzero((close > 0) & (adjusted > 0) & np.isfinite(close) & np.isfinite(adjusted))
    row = row[np.lexsort((bars["date"].to_numpy("datetime64[us]")[row], code[row]))]
    last, now = row[:-1], row[1:]
    growth, noise = close[last] / adjusted[last], 0.5 * tick / adjusted[last]
    if adjusted_as == "today":
        growth, noise = growth * (adjusted[now] / close[now]), noise + 0.5 * tick / adjusted[now]
    noise += 4 * np.finfo("float32").eps  # stored prices have the noise of a 32-bit number too
    found = np.flatnonzero((code[last] == code[now]) & (np.abs(growth - 1.0) > noise))
    table = {"growth": growth[found], "last": close[last[found]], "noise": noise[found]}
    return bars.iloc[now[found]][["symbol", "date"]].astype({"symbol": "str"}).assign(**table)


def _nearest(ratios: np.ndarray, growth: np.ndarray) -> np.ndarray:
    """The ratio nearest to each growth, as a share of it; ratios are sorted."""
    above = np.clip(np.searchsorted(ratios, growth), 1, len(ratios) - 1)
    low, high = ratios[above - 1], ratios[above]
    return np.where(growth / low < high / growth, low, high)


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    """Values of a column, 0 where it is missing."""
    return table[name].fillna(0.0).to_numpy("float64").copy() if name in table else np.zeros(len(table))


def _is_last(symbol: pd.Series) -> np.ndarray:
    """Whether each row is the last of its symbol, in a column where equal symbols stand together."""
    code = symbol.cat.codes.to_numpy() if isinstance(symbol.dtype, pd.CategoricalDtype) else pd.factorize(symbol)[0]
    return np.append(code[1:] != code[:-1], True) if len(code) else np.zeros(0, dtype=bool)


def _sum_of_rest(values: np.ndarray, is_last: np.ndarray) -> np.ndarray:
    """Sum of each row and the later ones of its symbol: each symbol by itself, so that no other one's digits enter."""
    if not len(values):
        return values
    group = np.cumsum(is_last[::-1])
    return pd.Series(values[::-1]).groupby(group).cumsum().to_numpy()[::-1]


def _as_actions(table: pd.DataFrame) -> pd.DataFrame:
    """ACTION_COLUMNS by date, symbol and kind."""
    out = table[ACTION_COLUMNS].astype(dict(empty_actions().dtypes))
    return out.sort_values(ACTION_COLUMNS, ignore_index=True)
