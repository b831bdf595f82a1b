"""Is a feature right, and does it know only the past? Tried on a random market, before anything is trained on it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import pandas as pd

from openbook.common import extensions
from openbook.market.tables import Market, adjust
from openbook.signals.features import FEATURES, Feature, own_feature
from openbook.signals.lab_market import REPORT_ITEMS, lab_market
from openbook.signals.panel import Panel, prepare

TABLES = ("open", "high", "low", "close", "adjusted", "volume", "market_cap")
CUTS = (253, 500, 760)  # sessions after which nothing is known any more, of 800
CLOSE_ENOUGH = 1e-9  # relative difference from the slow reference

Slow = Callable[[Market], pd.DataFrame]


@dataclass(frozen=True, eq=False)
class FeatureCheck:
    """What a feature did on a random market. table : check, ok, found (empty where it is ok)"""

    name: str
    table: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return bool(self.table["ok"].all())

    @property
    def sentence(self) -> str:
        """The result in one line."""
        failed = self.table.loc[~self.table["ok"], "check"]
        return f"{self.name}: {'all checks hold' if failed.empty else 'FAILED: ' + '; '.join(failed)}"

    def __repr__(self) -> str:
        return f"{self.sentence}\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<p><b>{self.sentence}</b></p>{self.table.to_html(index=False)}"


def check_feature(mine: Feature | Callable | str, slow: Slow | None = None) -> FeatureCheck:
    """Try a feature on 800 sessions of nine random stocks with gaps, splits, dividends, a listing and a delisting.

    mine : a function of a panel, a Feature, or the name of one
    slow : the same in pandas, Market -> sessions × symbols, where every step is plain to see; None: not compared

    Raises nothing for a wrong feature: whatever goes wrong is a row of the table.

        check_feature(lambda p: change(p.close, 126), slow=lambda market: market.adjusted.pct_change(126))

    Examples
    --------
    >>> from openbook.signals.operators import change
    >>> ob.check_feature(lambda p: change(p.close, 5)).ok
    True
    """
    name = mine if isinstance(mine, str) else getattr(mine, "name", getattr(mine, "__name__", "feature"))
    checks: dict[str, Callable] = {
        "one number per session and symbol": _shape,
        "the same when computed again": _again,
        **({"the same as the slow reference": partial(_like_slow, slow=slow)} if slow is not None else {}),
        "unchanged when later sessions vanish": _cut,
        "unchanged when later sessions change": _changed,
        "the same for any order of the symbols": _shuffled,
        "each symbol from its own history": _alone,
        "reads only the fields that it needs": _bare,
        "unchanged by the unit of a split": _split,
    }
    try:
        extensions.load()
        feature = FEATURES[mine] if isinstance(mine, str) else own_feature(name, mine)
        market = lab_market(fundamentals=True)
        values = _raw(feature, market)
    except Exception as error:
        return FeatureCheck(name, pd.DataFrame([("computes", False, _said(error))], columns=["check", "ok", "found"]))
    rows = [(check, *_tried(test, feature, market, values)) for check, test in checks.items()]
    return FeatureCheck(name, pd.DataFrame(rows, columns=["check", "ok", "found"]))


def _tried(test: Callable, feature: Feature, market: Market, values: np.ndarray) -> tuple[bool, str]:
    """Whether a check holds, and what was found if it does not; an error is a finding."""
    try:
        found = test(feature, market, values)
    except Exception as error:
        found = _said(error)
    return not found, found


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _raw(feature: Feature, market: Market, columns: slice | None = None) -> np.ndarray:
    """A feature before it is ranked, (n_dates, n_columns); infinite counts as missing, as in `compute_features`."""
    items = tuple(sorted(set(feature.needs) & set(REPORT_ITEMS)))
    with np.errstate(all="ignore"):
        found = feature.line(Panel(prepare(market, items), columns or slice(0, len(market.symbols))))
    return np.where(np.isfinite(found), found, np.nan)


def _difference(was: np.ndarray, now: np.ndarray, market: Market) -> str:
    """The first place where two arrays are not the same as float32; nothing if there is none."""
    was, now = was.astype(np.float32), now.astype(np.float32)
    other = np.argwhere(~((was == now) | (np.isnan(was) & np.isnan(now))))
    if not len(other):
        return ""
    row, column = other[0]
    where = f"{market.symbols[column]} on {market.dates[row]:%Y-%m-%d}"
    return f"{len(other)} values differ, first {where}: {was[row, column]:.6g}, then {now[row, column]:.6g}"


def _shape(feature: Feature, market: Market, values: np.ndarray) -> str:
    known = np.isfinite(values)
    if not known.any():
        return "no finite value in 800 sessions"
    return "" if np.nanstd(values) > 0 else "the same value for every symbol on every session"


def _again(feature: Feature, market: Market, values: np.ndarray) -> str:
    return _difference(values, _raw(feature, market), market)


def _like_slow(feature: Feature, market: Market, values: np.ndarray, slow: Slow) -> str:
    theirs = slow(market).reindex(index=market.dates, columns=market.symbols).to_numpy(dtype=np.float64)
    theirs = np.where(np.isfinite(theirs), theirs, np.nan)
    scale = np.nanmax(np.abs(theirs)) if np.isfinite(theirs).any() else 1.0
    near = np.isclose(values, theirs, rtol=CLOSE_ENOUGH, atol=1e-11 * scale, equal_nan=True)
    if near.all():
        return ""
    row, column = np.argwhere(~near)[0]
    where = f"{market.symbols[column]} on {market.dates[row]:%Y-%m-%d}"
    return f"{(~near).sum()} values differ, first {where}: {values[row, column]:.8g}, slow {theirs[row, column]:.8g}"


def _cut(feature: Feature, market: Market, values: np.ndarray) -> str:
    for row in CUTS:
        if found := _difference(values[: row + 1], _raw(feature, market.upto(market.dates[row])), market):
            return f"known through {market.dates[row]:%Y-%m-%d}: {found}"
    return ""


def _changed(feature: Feature, market: Market, values: np.ndarray) -> str:
    rng, later = np.random.default_rng(8), np.arange(len(market.dates)) > CUTS[1]
    tables = {
        name: getattr(market, name) * np.where(later[:, None], rng.lognormal(0, 1, market.close.shape), 1.0)
        for name in TABLES
    }
    now = _raw(feature, replace(market, **tables))
    return _difference(values[: CUTS[1] + 1], now[: CUTS[1] + 1], market)


def _shuffled(feature: Feature, market: Market, values: np.ndarray) -> str:
    order = np.random.default_rng(1).permutation(len(market.symbols))
    tables = {name: getattr(market, name).iloc[:, order] for name in TABLES}
    return _difference(values[:, order], _raw(feature, replace(market, **tables)), market)


def _alone(feature: Feature, market: Market, values: np.ndarray) -> str:
    parts = [_raw(feature, market, slice(i, i + 1)) for i in range(len(market.symbols))]
    found = _difference(values, np.hstack(parts), market)
    return f"{found}; leave comparisons across symbols to the ranking within the date" if found else ""


def _bare(feature: Feature, market: Market, values: np.ndarray) -> str:
    missing = {"open", "high", "low", "volume", "market_cap"} - set(feature.needs)
    nothing: dict[str, Any] = dict.fromkeys(missing)
    bare = replace(market, **nothing, execution="next_close")
    return _difference(values, _raw(feature, bare), market)


def _split(feature: Feature, market: Market, values: np.ndarray) -> str:
    """A 4:1 split of a symbol quarters its raw prices and quadruples its volume."""
    factor = np.ones(market.close.shape)
    factor[300:, 1] = 4.0
    split = pd.DataFrame({"date": market.dates[[300]], "symbol": market.symbols[[1]], "kind": "split", "value": 4.0})
    actions = pd.concat([market.actions, split], ignore_index=True).sort_values(["date", "symbol"], ignore_index=True)
    prices = {name: getattr(market, name) / factor for name in ("open", "high", "low", "close")}
    dividends = (actions["kind"] == "dividend") & (actions["symbol"] == market.symbols[1])
    actions.loc[dividends & (actions["date"] >= market.dates[300]), "value"] /= 4.0
    volume = cast(pd.DataFrame, market.volume) * factor
    now = replace(market, **prices, volume=volume, actions=actions, adjusted=adjust(prices["close"], actions))
    return _difference(values, _raw(feature, now), market)
