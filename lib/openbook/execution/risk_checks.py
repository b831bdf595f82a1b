"""Every limit of the desk, as a table of values and limits; a breach stops the batch or is flagged.

Each comparison is written so that NaN fails it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from openbook.common.constants import CASH
from openbook.common.errors import LimitError, ParameterError
from openbook.common.settings import Settings
from openbook.common.text import counted
from openbook.execution.kill_switch import ACTIVE, HALTED
from openbook.execution.rounding import Room
from openbook.portfolio.target_weights import PortfolioSettings

CHECK_COLUMNS = ["check", "value", "limit", "ok", "status", "detail"]
# Solvers meet their limits to about 1e-8, and CSV keeps ten digits; 15.01% is still over 15%.
TOLERANCE = 1e-6
NO_SECTOR = "(no sector)"

Breach = Literal["stop", "flag"]
Policy = Literal[
    "max_weight",
    "max_sector_weight",
    "market_cap",
    "turnover",
    "max_trade",
    "max_cost",
    "max_trades",
    "liquidity",
]
Profile = Literal["daily", "initial", "liquidation"]


class TradeLimits(Settings):
    """Limits of one batch of orders."""

    max_turnover: float = Field(ge=0, description="risk-adding notional, as a fraction of the portfolio")
    max_trade: float = Field(ge=0, description="largest risk-adding order, as a fraction of the portfolio")
    max_cost: float = Field(ge=0, description="estimated costs of the batch, as a fraction of the portfolio")
    max_trades: int = Field(ge=0, description="maximum number of orders")


class MarketCapBucket(Settings):
    """One size class: from `at_least` up to the next bucket's; `min` and `max` are fractions of what is invested."""

    at_least: float = Field(ge=0, description="lower bound of the bucket, USD")
    min: float = Field(0.0, ge=0, le=1, description="minimum fraction of invested capital")
    max: float = Field(1.0, ge=0, le=1, description="maximum fraction of invested capital")


class SafetyLimits(Settings):
    """What the desk allows. The four limits of a batch are those of an ordinary day; the first build of a book and its
    liquidation have their own."""

    max_weight: float = Field(0.15, gt=0, le=1, description="maximum weight of one position")
    max_sector_weight: float = Field(
        0.30, gt=0, le=1, description="maximum weight of one sector; names without a sector count as one sector"
    )
    max_turnover: float = Field(0.40, ge=0, description="risk-adding notional, as a fraction of the portfolio")
    max_trade: float = Field(0.10, ge=0, description="largest risk-adding order, as a fraction of the portfolio")
    max_cost: float = Field(0.005, ge=0, description="estimated costs of the batch, as a fraction of the portfolio")
    max_trades: int = Field(50, ge=0, description="maximum number of orders")
    max_volume_pct: float = Field(
        0.05, gt=0, le=1, description="largest order as a fraction of 20-session median dollar volume"
    )
    market_cap_buckets: dict[str, MarketCapBucket] = Field(
        {
            "large": MarketCapBucket(at_least=10e9, min=0.30),
            "mid": MarketCapBucket(at_least=2e9, max=0.25),
            "small": MarketCapBucket(at_least=0, max=0.05),
        },
        description="market-cap buckets, checked where the data has market capitalizations",
    )
    initial: TradeLimits = TradeLimits(max_turnover=1.0, max_trade=0.15, max_cost=0.01, max_trades=100)
    liquidation: TradeLimits = TradeLimits(max_turnover=1.0, max_trade=1.0, max_cost=0.02, max_trades=1000)
    on_breach: dict[Policy, Breach] = Field(
        {"liquidity": "flag", "market_cap": "flag"},
        description="action on a breach, by check; the default is stop",
    )

    @model_validator(mode="after")
    def _buckets_are_feasible(self) -> Self:
        """Some portfolio must satisfy the buckets: min ≤ max in each, and Σ min ≤ 1 ≤ Σ max."""
        buckets = self.market_cap_buckets
        for name, bucket in buckets.items():
            if not (bucket.min <= bucket.max):
                raise LimitError(f"market_cap_buckets: {name} has min {bucket.min:.0%} above max {bucket.max:.0%}")
        least, most = sum(b.min for b in buckets.values()), sum(b.max for b in buckets.values())
        if buckets and not (least <= 1 + TOLERANCE and most >= 1 - TOLERANCE):
            raise LimitError(
                f"market_cap_buckets of {', '.join(buckets)} are infeasible: minima sum to {least:.0%}, "
                f"maxima to {most:.0%}; 100% must lie in between"
            )
        return self

    def of(self, profile: Profile) -> TradeLimits:
        """The limits of a batch under one profile."""
        if profile == "daily":
            return TradeLimits(**{name: getattr(self, name) for name in TradeLimits.model_fields})
        if profile in ("initial", "liquidation"):
            return getattr(self, profile)
        raise ParameterError(f"profile must be daily, initial or liquidation, not {profile!r}")

    def room(self, settings: PortfolioSettings, regime: int, profile: Profile, sectors: pd.Series | None) -> Room:
        """How far rounding to whole shares may go beyond a target: within these limits and those of the portfolio, of
        which turnover and single trades do not limit a first build."""
        batch, daily = self.of(profile), profile == "daily"
        return Room(
            max_weight=min(self.max_weight, cast(float, settings.rule(regime).max_weight)),
            max_sector_weight=min(self.max_sector_weight, settings.max_sector_weight),
            max_turnover=min(batch.max_turnover, settings.max_turnover if daily else batch.max_turnover),
            max_trade=min(batch.max_trade, settings.max_trade if daily else batch.max_trade),
            max_cost=batch.max_cost,
            max_trades=batch.max_trades,
            sectors=sectors,
        )


def restrict(target: pd.Series, held: pd.Series, switch: str, overdrawn: bool = False) -> pd.Series:
    """The allowed targets: everything while the kill switch is ACTIVE, only smaller positions under REDUCE_ONLY or
    while the cash is below zero, and cash alone, as a proposal, when HALTED. Weights by symbol with CASH, which takes
    what is left; sums to 1."""
    if switch == ACTIVE and not overdrawn:
        return target
    names = held.drop(CASH, errors="ignore")
    kept = (
        names * 0
        if switch == HALTED
        else cast(pd.Series, np.minimum(target.reindex(names.index, fill_value=0.0), names))
    )
    return pd.concat([kept[~(kept <= 0)], pd.Series({CASH: 1 - kept.to_numpy().sum()})]).rename(target.name)


def profile_of(positions: pd.Series, switch: str) -> Profile:
    """Which limits apply to a batch: those of a liquidation if the kill switch halted the book, of a first build if
    nothing is held, else those of an ordinary day."""
    if switch == HALTED:
        return "liquidation"
    return "initial" if positions.empty else "daily"


@dataclass(frozen=True)
class SafetyValidator:
    """Checks a target portfolio and a batch of orders. Each check is a row (CHECK_COLUMNS): `ok` is True only for what
    was checked and holds; `status` is pass, flag, stop or "not checked"; `detail` names the offenders."""

    limits: SafetyLimits

    def validate_portfolio(
        self,
        weights: pd.Series,
        sectors: pd.Series | None = None,
        market_cap: pd.Series | None = None,
        *,
        held: pd.Series | None = None,
    ) -> pd.DataFrame:
        """Checks of target weights.

        weights : by symbol, CASH included, sums to 1
        sectors : by symbol; market_cap : by symbol, USD; None where the source has none
        held : drifted weights. A position or sector over its limit that the target does not raise (a name
            that cannot trade) is flagged, not stopped

        Market capitalization buckets are fractions of the invested part; a name whose capitalization is unknown counts
        against every one of them.
        """
        names = weights.drop(CASH, errors="ignore").astype(float)
        before = names * 0 if held is None else held.reindex(names.index).fillna(0.0)
        rows = [
            self._sound(weights),
            self._sum(weights),
            self._long_only(weights),
            self._capped("max_weight", names, self.limits.max_weight, before),
        ]
        if sectors is None:
            rows.append(_unchecked("max_sector_weight", self.limits.max_sector_weight, "no sectors"))
        else:
            limit = self.limits.max_sector_weight
            by_sector = _by_group(names, sectors, NO_SECTOR)
            rows.append(self._capped("max_sector_weight", by_sector, limit, _by_group(before, sectors, NO_SECTOR)))
        return _table(rows + self._market_cap(names, market_cap))

    def validate_trades(
        self,
        trades: pd.DataFrame,
        positions: pd.Series,
        cash: float,
        prices: pd.Series,
        portfolio_value: float,
        *,
        volume: pd.Series | None = None,
        profile: Profile = "daily",
        share_units: int = 1,
    ) -> pd.DataFrame:
        """Checks of a batch of orders (TRADE_COLUMNS).

        positions : shares by symbol before the batch; cash and portfolio_value : USD; prices : by symbol, USD
        volume : 20-session median dollar volume by symbol, or None where the source has none
        share_units : units of a whole share that the book counts; orders are multiples of one

        An order that only reduces a holding counts neither toward max_trade nor toward turnover, and a batch of nothing
        else is flagged rather than stopped by any limit of size: one can always get out.
        """
        held = positions.reindex(trades["symbol"]).fillna(0.0).to_numpy(dtype=float)
        shares = trades["shares"].to_numpy(dtype=float)
        reduces = (np.sign(shares) == -np.sign(held)) & (np.abs(shares) <= np.abs(held))
        return _table(
            [
                _well_formed(trades, share_units),
                _prices(trades, prices),
                _holdings(trades, held),
                _cash_after(trades, cash),
                *self._sizes(trades, reduces, portfolio_value, self.limits.of(profile)),
                self._liquidity(trades, reduces, volume),
            ]
        )

    def require(self, checks: pd.DataFrame) -> None:
        """LimitError (51) if any check has status stop, naming each with its offenders."""
        stops = checks[checks["status"] == "stop"]
        if len(stops):
            raise LimitError("; ".join(f"{row.check}: {row.detail}" for row in stops.itertuples()))

    def _sound(self, weights: pd.Series) -> dict:
        """Every weight is a number, every symbol there once."""
        bad = ~np.isfinite(weights.to_numpy(dtype=float)) | weights.index.duplicated()
        detail = f"not a number or duplicate: {_list(weights.index[bad])}" if bad.any() else ""
        return _row("weights", bad.sum(), 0, not bad.any(), detail)

    def _sum(self, weights: pd.Series) -> dict:
        """Weights and cash together are the whole portfolio."""
        total = weights.to_numpy(dtype=float).sum()
        ok = abs(total - 1) <= TOLERANCE
        return _row("sum", total, 1, ok, "" if ok else f"weights sum to {total:.6g}, not 1")

    def _long_only(self, weights: pd.Series) -> dict:
        """No weight is negative, cash included."""
        values = weights.to_numpy(dtype=float)
        bad = ~(values >= 0)
        detail = f"negative: {_list(weights.index[bad])}" if bad.any() else ""
        return _row("long_only", values.min(initial=0.0), 0, not bad.any(), detail)

    def _capped(self, check: Policy, values: pd.Series, limit: float, before: pd.Series) -> dict:
        """No value above `limit`; a breach that was there `before` and is not raised is only flagged."""
        over = values[~(values <= limit + TOLERANCE)]
        eased = len(over) > 0 and bool((over <= before[over.index] + TOLERANCE).all())
        detail = _offenders(over, limit) + (", already held and not increased" if eased else "")
        return self._breach(check, values.to_numpy().max(initial=0.0), limit, over.empty, detail, eased)

    def _market_cap(self, names: pd.Series, market_cap: pd.Series | None) -> list[dict]:
        """The two sides of each bucket, of the invested part; one row "not checked" without capitalizations."""
        if not self.limits.market_cap_buckets:
            return []
        if market_cap is None:
            return [_unchecked("market_cap", np.nan, "no market capitalization")]
        if names.abs().sum() == 0:
            return [_unchecked("market_cap", np.nan, "nothing invested")]
        share = _by_group(names / names.to_numpy().sum(), self._bucket_of(market_cap), "")
        return [row for bucket in self.limits.market_cap_buckets for row in self._bucket_rows(bucket, share)]

    def _bucket_of(self, market_cap: pd.Series) -> pd.Series:
        """Name of each symbol's bucket: the highest whose `at_least` it reaches; unknown symbols are left out."""
        buckets = sorted(self.limits.market_cap_buckets.items(), key=lambda item: item[1].at_least)
        bucket = pd.Series(pd.NA, index=market_cap.index, dtype="object")
        for name, limits in buckets:
            bucket[(market_cap >= limits.at_least).to_numpy(dtype=bool)] = name
        return bucket.dropna()

    def _bucket_rows(self, name: str, share: pd.Series) -> list[dict]:
        """Minimum and maximum of one bucket; what belongs to no bucket is counted against both."""
        limits, known, unknown = self.limits.market_cap_buckets[name], share.get(name, 0.0), share.get("", 0.0)
        enough, little = known >= limits.min - TOLERANCE, known + unknown <= limits.max + TOLERANCE
        beside = f" ({_pct(unknown)} of unknown size)" if unknown != 0 else ""
        below = "" if enough else f"{name} {_pct(known)} < {_pct(limits.min)}{beside}"
        above = "" if little else f"{name} {_pct(known + unknown)} > {_pct(limits.max)}{beside}"
        return [
            self._breach("market_cap", known, limits.min, enough, below, label=f"market_cap {name} min"),
            self._breach("market_cap", known + unknown, limits.max, little, above, label=f"market_cap {name} max"),
        ]

    def _sizes(self, trades: pd.DataFrame, reduces: np.ndarray, value: float, limits: TradeLimits) -> list[dict]:
        """Turnover, largest order, costs and number of the batch."""
        out = len(trades) > 0 and bool(reduces.all())
        size = _part(trades["notional"].to_numpy(dtype=float), value)
        adds = pd.Series(size[~reduces], index=trades["symbol"][~reduces])
        costs = (trades["commission_est"] + trades["slippage_est"]).to_numpy(dtype=float).sum()
        reduced = f"{size[reduces].sum():.2%} only reduces positions" if reduces.any() else ""
        large = adds[~(adds <= limits.max_trade + TOLERANCE)]
        adding = adds.to_numpy().sum()
        largest, named = adds.to_numpy().max(initial=0.0), _offenders(large, limits.max_trade)
        return [
            self._within("turnover", adding, limits.max_turnover, out, reduced, shown=f"{adding:.2%} adds risk"),
            self._breach("max_trade", largest, limits.max_trade, large.empty, named, out),
            self._within("max_cost", _part(costs, value), limits.max_cost, out, f"{costs:,.2f} USD"),
            self._breach(
                "max_trades", n := len(trades), limits.max_trades, n <= limits.max_trades, counted(n, "order"), out
            ),
        ]

    def _within(self, check: Policy, value: float, limit: float, eased: bool, beside: str, *, shown: str = "") -> dict:
        """A row for one fraction of the portfolio and its limit; its detail is `shown` or the breach, and `beside`."""
        ok = value <= limit + TOLERANCE
        said = shown if ok else f"{_pct(value)} > {_pct(limit)}"
        return self._breach(check, value, limit, ok, "; ".join(filter(None, [said, beside])), eased)

    def _liquidity(self, trades: pd.DataFrame, reduces: np.ndarray, volume: pd.Series | None) -> dict:
        """Every order is a small part of what the name usually trades."""
        limit = self.limits.max_volume_pct
        if volume is None:
            return _unchecked("liquidity", limit, "no volume")
        part = trades.set_index("symbol")["notional"] / volume.reindex(trades["symbol"])
        over = part[~(part <= limit + TOLERANCE)]
        eased = len(trades) > 0 and bool(reduces.all())
        return self._breach(
            "liquidity", part.to_numpy().max(initial=0.0), limit, over.empty, _offenders(over, limit), eased
        )

    def _breach(
        self,
        check: Policy,
        value: float,
        limit: float,
        ok: Any,
        detail: str,
        eased: bool = False,
        *,
        label: str | None = None,
    ) -> dict:
        """A row of a limit that `on_breach` may turn into a flag."""
        flag = eased or self.limits.on_breach.get(check) == "flag"
        return _row(label or check, value, limit, ok, detail, "flag" if flag else "stop")


def _well_formed(trades: pd.DataFrame, share_units: int) -> dict:
    """Whole shares or multiples of the unit, side from their sign, notional = |shares| × price, one order a symbol."""
    shares, notional = trades["shares"].to_numpy(dtype=float), trades["notional"].to_numpy(dtype=float)
    side = np.where(shares > 0, "BUY", "SELL")
    product = np.abs(shares) * trades["price"].to_numpy(dtype=float)
    good = (shares != 0) & (shares == np.rint(shares * share_units) / share_units) & (trades["side"].to_numpy() == side)
    bad = ~(good & (np.abs(notional - product) <= 0.01) & ~trades["symbol"].duplicated().to_numpy())
    detail = f"shares, side and notional are inconsistent: {_list(trades['symbol'][bad])}" if bad.any() else ""
    return _row("orders", bad.sum(), 0, not bad.any(), detail)


def _prices(trades: pd.DataFrame, prices: pd.Series) -> dict:
    """Every order has a price, and it is the price of this session."""
    price = trades["price"].to_numpy(dtype=float)
    known = prices.reindex(trades["symbol"]).to_numpy(dtype=float)
    bad = ~((price > 0) & (price < np.inf) & (np.abs(price - known) <= TOLERANCE * known))
    detail = f"not at the last close: {_list(trades['symbol'][bad])}" if bad.any() else ""
    return _row("prices", bad.sum(), 0, not bad.any(), detail)


def _holdings(trades: pd.DataFrame, held: np.ndarray) -> dict:
    """Nothing is sold that is not held."""
    short = -np.minimum(np.minimum(trades["shares"].to_numpy(dtype=float), 0) + np.maximum(held, 0), 0)
    bad = ~(short <= 0)
    rows = zip(trades["symbol"][bad], -trades["shares"][bad], held[bad], strict=True)
    detail = ", ".join(f"{symbol}: sells {sold:g}, holds {has:g}" for symbol, sold, has in rows)
    return _row("holdings", short.max(initial=0.0), 0, not bad.any(), detail)


def _cash_after(trades: pd.DataFrame, cash: float) -> dict:
    """Cash after all orders and their costs is not below zero, nor further below it, counted in cents as it will be
    booked."""
    signed = np.sign(trades["shares"].to_numpy(dtype=float)) * trades["notional"].to_numpy(dtype=float)
    parts = np.column_stack([signed, trades["commission_est"], trades["slippage_est"]])
    after = (np.rint(cash * 100) - np.rint(parts.astype(float) * 100).sum()) / 100
    least = min(cash, 0.0)
    ok = after >= least
    return _row("cash", after, least, ok, "" if ok else f"{after:,.2f} USD after orders and costs")


def _by_group(values: pd.Series, groups: pd.Series, missing: str) -> pd.Series:
    """Sum of `values` by group; a NaN makes its group NaN; symbols without a group are together under `missing`."""
    keys = groups.reindex(values.index).astype("object").fillna(missing)
    return values.groupby(keys.to_numpy()).agg(lambda part: part.to_numpy().sum())


def _part(usd: Any, value: float) -> Any:
    """USD as a fraction of the portfolio; 0 USD is 0, even if the portfolio is worth nothing."""
    return usd / value if value else np.where(np.asarray(usd) == 0, 0.0, np.nan)


def _row(check: str, value: float, limit: float, ok: Any, detail: str, breach: Breach = "stop") -> dict:
    """One check; anything but a plain True is a breach. Adding 0.0 turns -0.0 into 0.0."""
    status = "pass" if ok else breach
    return dict(zip(CHECK_COLUMNS, [check, float(value) + 0.0, float(limit), bool(ok), status, detail], strict=True))


def _unchecked(check: str, limit: float, why: str) -> dict:
    """A check that the data does not allow: reported, and never counted as passed."""
    return {**_row(check, np.nan, limit, False, f"not checked: {why}"), "status": "not checked"}


def _table(rows: list[dict]) -> pd.DataFrame:
    """The checks in their order."""
    return pd.DataFrame(rows, columns=CHECK_COLUMNS).astype({"check": "str", "status": "str", "detail": "str"})


def _offenders(over: pd.Series, limit: float) -> str:
    """Each offender with its value beside the limit."""
    return ", ".join(f"{name} {_pct(value)} > {_pct(limit)}" for name, value in over.items())


def _list(names: Iterable) -> str:
    return ", ".join(map(str, names))


def _pct(value: float) -> str:
    return f"{100 * value:.4g}%"
