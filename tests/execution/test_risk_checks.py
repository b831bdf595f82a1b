"""Limits: each breach names its offender, NaN passes nothing, and one can always get out."""

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from openbook.common.errors import LimitError, ParameterError
from openbook.execution.kill_switch import ACTIVE, HALTED, REDUCE_ONLY
from openbook.execution.orders import TRADE_COLUMNS, TradeGenerator
from openbook.execution.risk_checks import (
    CHECK_COLUMNS,
    MarketCapBucket,
    SafetyLimits,
    SafetyValidator,
    TradeLimits,
    profile_of,
    restrict,
)
from openbook.portfolio.costs import Costs
from openbook.portfolio.target_weights import PortfolioSettings, RegimeAdaptation

FREE = Costs(commission_bps=0, slippage_bps=0)
VALIDATOR = SafetyValidator(SafetyLimits())


def names(n: int) -> list[str]:
    return [f"S{i:02d}" for i in range(n)]


def spread(**special: float) -> pd.Series:
    """The given weights; the rest in equal parts of ten other names, no cash."""
    rest = 1 - sum(special.values())
    return pd.Series({**special, **dict.fromkeys(names(10), rest / 10), "CASH": 0.0})


def row(checks: pd.DataFrame, check: str) -> pd.Series:
    return checks.set_index("check").loc[check]


def batch(shares: dict, price: float = 10.0, cost: float = 0.0) -> pd.DataFrame:
    """A well-formed batch of orders, all at one price."""
    table = pd.DataFrame({"symbol": pd.Series(list(shares), dtype="str"), "shares": list(shares.values())})
    table["side"] = np.where(table["shares"] > 0, "BUY", "SELL")
    notional = table["shares"].abs() * price
    return table.assign(price=price, notional=notional, commission_est=cost, slippage_est=0.0)


def check_batch(trades, *, held=None, cash=100_000.0, value=100_000.0, validator=VALIDATOR, **more) -> pd.DataFrame:
    positions = pd.Series(held or {}, dtype="int64")
    prices = pd.Series(10.0, index=[*positions.index, *trades["symbol"]]).groupby(level=0).first()
    return validator.validate_trades(trades, positions, cash, prices, value, **more)


def test_a_sound_portfolio_passes_every_check_and_shows_values_beside_limits():
    weights = spread(A=0.15)
    sectors = pd.Series({name: f"sector {i // 2}" for i, name in enumerate(weights.index)})
    caps = pd.Series(50e9, index=weights.index)
    checks = VALIDATOR.validate_portfolio(weights, sectors, caps)
    assert list(checks) == CHECK_COLUMNS
    assert checks["ok"].all()
    assert set(checks["status"]) == {"pass"}
    assert row(checks, "max_weight")[["value", "limit"]].tolist() == [0.15, 0.15]
    VALIDATOR.require(checks)


def test_what_the_source_lacks_is_said_and_not_counted_as_passed():
    checks = VALIDATOR.validate_portfolio(spread())
    for check in ("max_sector_weight", "market_cap"):
        assert row(checks, check)["status"] == "not checked"
        assert not row(checks, check)["ok"]
        assert row(checks, check)["detail"].startswith("not checked: no ")
    VALIDATOR.require(checks)


def test_p02_nan_sum_and_negative_weights_stop():
    nan = spread(A=0.1)
    nan["A"] = np.nan
    checks = VALIDATOR.validate_portfolio(nan)
    assert {"weights", "sum", "long_only", "max_weight"} <= set(checks.loc[checks["status"] == "stop", "check"])
    with pytest.raises(LimitError, match="weights: not a number or duplicate: A"):
        VALIDATOR.require(checks)
    with pytest.raises(LimitError, match=r"sum: weights sum to 0\.97, not 1"):
        VALIDATOR.require(VALIDATOR.validate_portfolio(spread() * 0.97))
    with pytest.raises(LimitError, match="long_only: negative: CASH"):
        VALIDATOR.require(VALIDATOR.validate_portfolio(pd.Series({**dict.fromkeys(names(10), 0.101), "CASH": -0.01})))
    twice = pd.concat([spread(A=0.1), pd.Series({"A": 0.0})])
    with pytest.raises(LimitError, match="duplicate: A"):
        VALIDATOR.require(VALIDATOR.validate_portfolio(twice))


def test_p03_a_position_of_15_01_percent_stops_and_is_named():
    with pytest.raises(LimitError, match=r"max_weight: A 15\.01% > 15%"):
        VALIDATOR.require(VALIDATOR.validate_portfolio(spread(A=0.1501, B=0.15)))


def test_p03_a_sector_of_30_01_percent_stops_and_is_named():
    weights = spread(A=0.15, B=0.1501)
    sectors = pd.Series({**{name: name for name in weights.index}, "A": "Energy", "B": "Energy"})
    validator = SafetyValidator(SafetyLimits(max_weight=0.2))
    with pytest.raises(LimitError, match=r"^max_sector_weight: Energy 30\.01% > 30%$"):
        validator.require(validator.validate_portfolio(weights, sectors))


def test_names_without_a_sector_count_as_one():
    checks = VALIDATOR.validate_portfolio(spread(), pd.Series({"S00": "Energy"}))
    assert row(checks, "max_sector_weight")["value"] == pytest.approx(0.9)
    assert "(no sector) 90% > 30%" in row(checks, "max_sector_weight")["detail"]


def test_a_breach_that_cannot_be_traded_away_is_flagged_only_while_not_raised():
    weights = spread(A=0.17)
    held = pd.Series({"A": 0.17})
    assert row(VALIDATOR.validate_portfolio(weights, held=held), "max_weight")["status"] == "flag"
    assert row(VALIDATOR.validate_portfolio(weights, held=held - 0.01), "max_weight")["status"] == "stop"
    sectors = pd.Series("Energy", index=weights.index)
    both = VALIDATOR.validate_portfolio(weights, sectors, held=weights)
    assert row(both, "max_sector_weight")["detail"] == "Energy 100% > 30%, already held and not increased"


def test_all_cash_is_sound():
    caps = pd.Series(dtype=float)
    checks = VALIDATOR.validate_portfolio(pd.Series({"CASH": 1.0}), pd.Series(dtype="str"), caps)
    VALIDATOR.require(checks)
    assert row(checks, "market_cap")["detail"] == "not checked: nothing invested"


STOPPING = SafetyLimits(on_breach={})


@pytest.mark.parametrize(
    ("caps", "message"),
    [
        ({"S00": 1e9}, "market_cap small max: small 10% > 5%"),
        (dict.fromkeys(names(3), 3e9), "market_cap mid max: mid 30% > 25%"),
        (dict.fromkeys(names(8), 3e9), "market_cap large min: large 20% < 30%"),
        ({"S00": np.nan}, "market_cap small max: small 10% > 5% \\(10% of unknown size\\)"),
    ],
)
def test_market_cap_buckets_have_a_minimum_and_a_maximum(caps, message):
    all_caps = pd.Series({**dict.fromkeys(names(10), 1e11), **caps})
    checks = SafetyValidator(STOPPING).validate_portfolio(spread(), None, all_caps)
    with pytest.raises(LimitError, match=message):
        SafetyValidator(STOPPING).require(checks)


def test_market_cap_is_of_the_invested_part_and_flagged_by_default():
    half = spread() / 2
    half["CASH"] = 0.5
    caps = pd.Series({**dict.fromkeys(names(10), 1e11), "S00": 1e9})
    checks = VALIDATOR.validate_portfolio(half, None, caps)
    assert row(checks, "market_cap small max")["value"] == pytest.approx(0.10)
    assert row(checks, "market_cap small max")["status"] == "flag"
    VALIDATOR.require(checks)


def test_both_sides_of_a_bucket_say_where_it_stands():
    caps = pd.Series({**dict.fromkeys(names(2), 10e9), **dict.fromkeys(names(10)[2:4], 2e9), "S04": 1e9, "S05": 1e9})
    checks = VALIDATOR.validate_portfolio(spread(), None, caps)
    found = checks[checks["check"].str.startswith("market_cap")].set_index("check")
    assert found["value"].tolist() == pytest.approx([0.2, 0.6, 0.2, 0.6, 0.2, 0.6])
    assert found["status"].tolist() == ["flag", "pass", "pass", "flag", "pass", "flag"]
    assert found["detail"].tolist() == [
        "large 20% < 30% (40% of unknown size)",
        "",
        "",
        "mid 60% > 25% (40% of unknown size)",
        "",
        "small 60% > 5% (40% of unknown size)",
    ]


def test_buckets_can_be_left_out():
    checks = SafetyValidator(SafetyLimits(market_cap_buckets={})).validate_portfolio(spread(), None, pd.Series())
    assert not checks["check"].str.startswith("market_cap").any()


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ({"large": {"at_least": 1e10, "max": 0.7}, "small": {"at_least": 0, "max": 0.2}}, "maxima to 90%"),
        ({"large": {"at_least": 1e10, "min": 0.7}, "small": {"at_least": 0, "min": 0.4}}, "minima sum to 110%"),
        ({"large": {"at_least": 1e10, "min": 0.7, "max": 0.3}}, "large has min 70% above max 30%"),
    ],
)
def test_infeasible_buckets_are_refused_before_anything_is_checked(buckets, message):
    with pytest.raises(LimitError, match=message):
        SafetyLimits(market_cap_buckets={name: MarketCapBucket(**values) for name, values in buckets.items()})


def test_an_ordinary_batch_passes():
    trades = batch({"A": -300, "B": 500, "C": 1000}, cost=5.0)
    checks = check_batch(trades, held={"A": 1000}, volume=pd.Series(1e6, index=["A", "B", "C"]))
    assert set(checks["status"]) == {"pass"}
    assert row(checks, "turnover")["value"] == pytest.approx(0.15)
    assert row(checks, "turnover")["detail"] == "15.00% adds risk; 3.00% only reduces positions"
    assert row(checks, "max_trade")["value"] == pytest.approx(0.10)
    assert row(checks, "max_cost")["value"] == pytest.approx(0.00015)
    assert row(checks, "cash")["value"] == 87_985


def test_no_orders_pass():
    checks = check_batch(batch({}), volume=pd.Series(dtype=float))
    assert set(checks["status"]) == {"pass"}


def test_p04_nan_turnover_or_cost_stops():
    trades = batch({"A": 100})
    for column, check in (("notional", "turnover"), ("commission_est", "max_cost")):
        checks = check_batch(trades.assign(**{column: np.nan}))
        assert row(checks, check)["status"] == "stop"
    unknown = check_batch(trades, value=np.nan)
    assert row(unknown, "turnover")["status"] == row(unknown, "max_cost")["status"] == "stop"


def test_nan_passes_no_check():
    held = {"A": 100}
    for column in ("shares", "price", "notional", "commission_est", "slippage_est"):
        with pytest.raises(LimitError):
            VALIDATOR.require(check_batch(batch({"A": 50}).assign(**{column: np.nan}), held=held))
    with pytest.raises(LimitError, match="cash"):
        VALIDATOR.require(check_batch(batch({"A": 50}), cash=np.nan))
    assert row(check_batch(batch({"A": 50}), volume=pd.Series({"A": np.nan})), "liquidity")["status"] == "flag"


def test_p05_51_orders_stop_or_are_flagged_as_the_parameters_say():
    trades = batch(dict.fromkeys(names(51), 10))
    with pytest.raises(LimitError, match="max_trades: 51 orders"):
        VALIDATOR.require(check_batch(trades))
    assert row(check_batch(trades[:50]), "max_trades")["status"] == "pass"
    lenient = SafetyValidator(SafetyLimits(on_breach={"max_trades": "flag"}))
    assert row(check_batch(trades, validator=lenient), "max_trades")["status"] == "flag"


def test_p05_an_illiquid_order_is_flagged_or_stops_as_the_parameters_say():
    trades, volume = batch({"A": 100}), pd.Series({"A": 19_000.0})
    flagged = row(check_batch(trades, volume=volume), "liquidity")
    assert flagged["status"] == "flag"
    assert flagged["detail"] == "A 5.263% > 5%"
    stopping = SafetyValidator(SafetyLimits(on_breach={}))
    with pytest.raises(LimitError, match="liquidity: A"):
        stopping.require(check_batch(trades, validator=stopping, volume=volume))
    assert row(check_batch(trades), "liquidity")["detail"] == "not checked: no volume"


def test_p05_one_illiquid_order_that_only_reduces_is_flagged():
    stopping = SafetyValidator(SafetyLimits(on_breach={}))
    checks = check_batch(batch({"A": -100}), held={"A": 100}, validator=stopping, volume=pd.Series({"A": 19_000.0}))
    assert row(checks, "liquidity")["status"] == "flag"


def test_each_offender_is_named():
    assert row(check_batch(batch({"A": 1001, "B": 1100})), "max_trade")["detail"] == "A 10.01% > 10%, B 11% > 10%"


def test_a_price_below_a_dollar_is_a_price():
    trades, prices = batch({"A": 10}, price=0.05), pd.Series({"A": 0.05})
    checks = VALIDATOR.validate_trades(trades, pd.Series(dtype="int64"), 1e5, prices, 1e5)
    assert row(checks, "prices")["status"] == "pass"


def test_p05_an_order_over_a_tenth_of_the_portfolio_stops():
    with pytest.raises(LimitError, match=r"max_trade: A 10\.01% > 10%"):
        VALIDATOR.require(check_batch(batch({"A": 1001})))


def test_turnover_above_the_limit_stops():
    with pytest.raises(LimitError, match=r"turnover: 40\.05% > 40%"):
        VALIDATOR.require(check_batch(batch(dict.fromkeys(names(5), 801))))


def test_costs_above_the_limit_stop():
    with pytest.raises(LimitError, match=r"max_cost: 0\.51% > 0\.5%; 510\.00 USD"):
        VALIDATOR.require(check_batch(batch({"A": 100}, cost=510.0)))


def test_p06_orders_beyond_the_cash_stop():
    with pytest.raises(LimitError, match=r"cash: -10\.01 USD after orders and costs"):
        VALIDATOR.require(check_batch(batch({"A": 100}, cost=10.01), cash=1000.0))


def test_p06_a_cent_beyond_the_cash_stops():
    assert row(check_batch(batch({"A": 100}), cash=1000.0), "cash")["status"] == "pass"
    assert row(check_batch(batch({"A": 100}, cost=0.01), cash=1000.0), "cash")["status"] == "stop"


def test_p06_what_the_generator_makes_passes_the_cash_check():
    weights, prices = pd.Series(0.1, index=names(10)), pd.Series(33.3333, index=names(10))
    generator = TradeGenerator(costs=Costs(commission_bps=10, slippage_bps=10))
    trades = generator.generate_trades(pd.Series(dtype="int64"), 100_000, weights, prices)
    checks = VALIDATOR.validate_trades(trades, pd.Series(dtype="int64"), 100_000, prices, 100_000, profile="initial")
    assert row(checks, "cash")["ok"]
    VALIDATOR.require(checks)


def test_p07_selling_more_than_held_stops():
    with pytest.raises(LimitError, match="holdings: A: sells 11, holds 10, B: sells 1, holds 0"):
        VALIDATOR.require(check_batch(batch({"A": -11, "B": -1}), held={"A": 10}, profile="liquidation"))


def test_a_sale_beyond_the_holding_is_not_reducing():
    checks = check_batch(batch({"A": -3000}), held={"A": 10})
    assert row(checks, "max_trade")["status"] == "stop"


def test_orders_that_do_not_agree_with_themselves_stop():
    good = batch({"A": 10, "B": 10})
    for bad in (
        good.assign(side="SELL"),
        good.assign(shares=[10.5, 10], notional=[105.0, 100.0]),
        good.assign(notional=[100.0, 101.0]),
        good.assign(symbol=["A", "A"]),
    ):
        assert row(check_batch(bad), "orders")["status"] == "stop"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_order_of_no_shares_or_without_a_price_stops_and_one_share_is_enough():
    assert row(check_batch(batch({"A": 1})), "orders")["status"] == "pass"
    assert row(check_batch(batch({"A": 0})), "orders")["status"] == "stop"
    for price in (0.0, -10.0, np.inf, np.nan):
        trades, prices = batch({"A": 1}, price=price), pd.Series({"A": price})
        checks = VALIDATOR.validate_trades(trades, pd.Series(dtype="int64"), 1e5, prices, 1e5)
        assert row(checks, "prices")["status"] == "stop"


def test_what_passes_says_nothing_and_what_is_not_there_is_zero():
    checks = VALIDATOR.validate_portfolio(spread(A=0.15), pd.Series({n: n for n in ["A", *names(10)]}))
    passed = checks[checks["status"] == "pass"].set_index("check")
    assert set(passed["detail"]) == {""}
    assert passed["value"][["weights", "sum", "long_only"]].tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert passed["limit"][["weights", "sum", "long_only"]].tolist() == [0.0, 1.0, 0.0]
    orders = check_batch(batch({}), volume=pd.Series(dtype=float)).set_index("check")
    assert orders["value"].drop("cash").tolist() == [0.0] * 8
    assert orders["value"]["cash"] == 100_000.0
    assert orders["limit"].tolist() == [0, 0, 0, 0, 0.40, 0.10, 0.005, 50, 0.05]
    assert orders["detail"].tolist() == ["", "", "", "", "0.00% adds risk", "", "0.00 USD", "0 orders", ""]


def test_an_order_at_another_price_than_tonights_stops():
    prices = pd.Series({"A": 10.0, "B": 11.0})
    none = pd.Series(dtype="int64")
    checks = VALIDATOR.validate_trades(batch({"A": 1, "B": 1, "C": 1}), none, 1e5, prices, 1e5)
    assert row(checks, "prices")["detail"] == "not at the last close: B, C"
    assert row(checks, "prices")["status"] == "stop"


def test_sells_of_an_ordinary_batch_do_not_count_toward_trade_and_turnover():
    trades = batch({"A": -5000, "B": 500})
    VALIDATOR.require(check_batch(trades, held={"A": 5000}))


def test_a_whole_book_can_be_liquidated_at_once():
    held = dict.fromkeys(names(10), 1000)
    checks = check_batch(batch(dict.fromkeys(held, -1000), cost=100), held=held, profile="liquidation")
    VALIDATOR.require(checks)
    assert set(checks["status"]) == {"pass", "not checked"}


def test_a_batch_that_only_reduces_is_never_stopped_by_its_size():
    held = dict.fromkeys(names(60), 100)
    trades = batch(dict.fromkeys(held, -100), cost=20.0)
    volume = pd.Series(100.0, index=names(60))
    checks = check_batch(trades, held=held, validator=SafetyValidator(STOPPING), volume=volume)
    VALIDATOR.require(checks)
    assert {"max_trades", "max_cost", "liquidity"} <= set(checks.loc[checks["status"] == "flag", "check"])
    mixed = batch({**dict.fromkeys(held, -100), "X": 1}, cost=20.0)
    assert row(check_batch(mixed, held=held), "max_trades")["status"] == "stop"


def test_the_first_build_has_its_own_limits():
    trades = batch(dict.fromkeys(names(8), 1200))
    with pytest.raises(LimitError, match="turnover"):
        VALIDATOR.require(check_batch(trades))
    VALIDATOR.require(check_batch(trades, profile="initial"))
    with pytest.raises(LimitError, match=r"max_trade: A 16% > 15%"):
        VALIDATOR.require(check_batch(batch({"A": 1600}), profile="initial"))


def test_the_limits_that_nobody_sets():
    assert SafetyLimits().model_dump(exclude={"initial", "liquidation", "market_cap_buckets", "on_breach"}) == {
        "max_weight": 0.15,
        "max_sector_weight": 0.30,
        "max_turnover": 0.40,
        "max_trade": 0.10,
        "max_cost": 0.005,
        "max_trades": 50,
        "max_volume_pct": 0.05,
    }
    assert list(SafetyLimits().initial.model_dump().values()) == [1.0, 0.15, 0.01, 100]
    assert list(SafetyLimits().liquidation.model_dump().values()) == [1.0, 1.0, 0.02, 1000]
    buckets = {name: tuple(b.model_dump().values()) for name, b in SafetyLimits().market_cap_buckets.items()}
    assert buckets == {"large": (10e9, 0.30, 1.0), "mid": (2e9, 0.0, 0.25), "small": (0.0, 0.0, 0.05)}
    assert SafetyLimits().on_breach == {"liquidity": "flag", "market_cap": "flag"}


def test_limits_of_a_profile():
    limits = SafetyLimits(max_turnover=0.2)
    assert limits.of("daily") == TradeLimits(max_turnover=0.2, max_trade=0.10, max_cost=0.005, max_trades=50)
    assert limits.of("liquidation").max_trade == 1
    with pytest.raises(ParameterError, match="not 'weekly'"):
        limits.of("weekly")


def test_settings_are_strict():
    for settings, name in ((SafetyLimits(), "max_weight"), (SafetyLimits().initial, "max_trade")):
        with pytest.raises(ValidationError):
            setattr(settings, name, 0.9)
    with pytest.raises(ValidationError):
        SafetyLimits().market_cap_buckets["large"].min = 0.0
    with pytest.raises(FrozenInstanceError):
        VALIDATOR.limits = STOPPING
    for name in ("max_weight", "max_sector_weight", "max_volume_pct"):
        for bad in (0.0, -0.1, 1.01, float("nan")):
            with pytest.raises(ValidationError):
                SafetyLimits(**{name: bad})
    for name in TradeLimits.model_fields:
        with pytest.raises(ValidationError):
            SafetyLimits(**{name: -1})
        with pytest.raises(ValidationError):
            TradeLimits(**{**SafetyLimits().initial.model_dump(), name: -1})
    for bad in ({"at_least": -1}, {"min": -0.1}, {"min": 1.1}, {"max": -0.1}, {"max": 1.1}):
        with pytest.raises(ValidationError):
            MarketCapBucket(**{"at_least": 0, **bad})
    for check in ("max_weight", "max_sector_weight", "turnover", "max_trade", "max_cost", "max_trades"):
        assert SafetyLimits(on_breach={check: "flag"}).on_breach == {check: "flag"}
    assert SafetyLimits(market_cap_buckets={"all": MarketCapBucket(at_least=0, min=1.0, max=1.0)})
    with pytest.raises(ValidationError):
        SafetyLimits(on_breach={"prices": "flag"})
    with pytest.raises(ValidationError):
        SafetyLimits(max_wieght=0.1)
    assert SafetyLimits.model_validate_json(SafetyLimits().model_dump_json(), strict=True) == SafetyLimits()


# --- under the kill switch --------------------------------------------------------------------------------------------

TARGET = pd.Series({"A": 0.30, "B": 0.05, "NEW": 0.40, "CASH": 0.25}, name="target")
HELD = pd.Series({"A": 0.20, "B": 0.10, "GONE": 0.15, "CASH": 0.55})


def test_an_active_switch_leaves_the_target_alone():
    pd.testing.assert_series_equal(restrict(TARGET, HELD, ACTIVE), TARGET)


def test_a_reducing_switch_allows_only_less_of_what_is_held():
    found = restrict(TARGET, HELD, REDUCE_ONLY)
    assert found.to_dict() == pytest.approx({"A": 0.20, "B": 0.05, "CASH": 0.75})
    assert list(found.index) == ["A", "B", "CASH"]
    assert found.name == "target"
    assert restrict(TARGET, HELD.drop("CASH"), REDUCE_ONLY).to_dict() == pytest.approx(found.to_dict())


def test_a_halted_switch_aims_at_cash_alone():
    assert restrict(TARGET, HELD, HALTED).to_dict() == {"CASH": 1.0}
    assert restrict(TARGET, HELD[:0], HALTED).to_dict() == {"CASH": 1.0}


def test_which_limits_a_batch_has():
    held, nothing = pd.Series({"A": 1}), pd.Series(dtype="int64")
    for state in (ACTIVE, REDUCE_ONLY):
        assert (profile_of(held, state), profile_of(nothing, state)) == ("daily", "initial")
    assert profile_of(held, HALTED) == profile_of(nothing, HALTED) == "liquidation"


# ---- what a mutant of safety.py lived through, until these were written: see mutation_survivors.txt ----


def test_what_is_shown_where_nothing_breaches():
    """The least weight below 0 and the largest position are 0 where there is none."""
    whole = pd.Series({"A": 0.1, "B": 0.1, "CASH": 0.8})
    assert row(VALIDATOR.validate_portfolio(whole), "long_only")["value"] == 0
    assert row(VALIDATOR.validate_portfolio(pd.Series({"CASH": 1.0})), "max_weight")["value"] == 0


def test_a_name_that_was_not_held_is_new_whatever_else_was_held():
    checks = VALIDATOR.validate_portfolio(spread(A=0.17), held=pd.Series({"B": 0.2}))
    assert row(checks, "max_weight")["status"] == "stop"
    assert row(checks, "max_weight")["detail"] == "A 17% > 15%"


def test_known_sizes_are_shown_without_a_word_of_unknown_ones():
    caps = pd.Series(1e9, index=names(10))
    checks = VALIDATOR.validate_portfolio(spread(), None, caps)
    assert row(checks, "market_cap small max")["detail"] == "small 100% > 5%"
    checks = VALIDATOR.validate_portfolio(pd.Series({"A": 1.0}), None, pd.Series(dtype=float))
    assert row(checks, "market_cap small max")["detail"] == "small 100% > 5% (100% of unknown size)"


def test_the_volume_of_names_that_are_not_traded_is_of_no_account():
    volume = pd.Series({"A": 1e6, "B": np.nan, "C": 1.0})
    checks = check_batch(batch({"A": 100}), volume=volume)
    assert row(checks, "liquidity")[["value", "ok", "detail"]].tolist() == [0.001, True, ""]


def test_the_only_order_of_a_batch_may_always_get_out():
    none = SafetyValidator(SafetyLimits(max_trades=0, max_cost=0, on_breach={"liquidity": "stop"}))
    checks = check_batch(batch({"A": -100}), held={"A": 100}, validator=none, volume=pd.Series({"A": 1.0}))
    assert {row(checks, check)["status"] for check in ("max_trades", "liquidity")} == {"flag"}
    none.require(checks)


def test_no_orders_at_all_can_be_the_limit():
    limits = TradeLimits(max_turnover=0, max_trade=0, max_cost=0, max_trades=0)
    assert SafetyLimits(max_trades=0, initial=limits).of("initial").max_trades == 0
    validator = SafetyValidator(SafetyLimits(max_trades=0))
    with pytest.raises(LimitError, match=r"^max_trades: 1 order$"):
        validator.require(check_batch(batch({"A": 1}), validator=validator))


def test_a_notional_may_be_a_cent_beside_its_product_and_no_more():
    """Of one share at a cent: 0.02 - 0.01 is 0.01, to the bit."""
    near = batch({"A": 1}, price=0.01).assign(notional=0.02)
    far = near.assign(notional=0.03)
    prices = pd.Series({"A": 0.01})
    for trades, ok in ((near, True), (far, False)):
        checks = VALIDATOR.validate_trades(trades, pd.Series(dtype="int64"), 1e5, prices, 1e5)
        assert row(checks, "orders")["ok"] == ok


def test_every_stop_is_in_the_message_and_nothing_else():
    with pytest.raises(LimitError, match=r"^max_trade: A 20% > 10%; max_cost: 1% > 0\.5%; 1,000\.00 USD$"):
        VALIDATOR.require(check_batch(batch({"A": 2000}, cost=1000.0)))
    with pytest.raises(LimitError, match=r"^orders: shares, side and notional are inconsistent: A$"):
        VALIDATOR.require(check_batch(batch({"A": 1}).assign(side="SELL")))
    with pytest.raises(ParameterError, match=r"^profile must be daily, initial or liquidation, not 'x'$"):
        SafetyLimits().of("x")
    with pytest.raises(LimitError, match=r"^market_cap_buckets: a has min 60% above max 50%$"):
        SafetyLimits(market_cap_buckets={"a": MarketCapBucket(at_least=0, min=0.6, max=0.5)})


def test_each_breach_may_be_said_to_stop_or_to_flag():
    said = {"max_weight": "stop", "turnover": "flag", "liquidity": "stop"}
    assert SafetyLimits(on_breach=said).on_breach == said


@pytest.mark.parametrize("model", [TradeLimits, MarketCapBucket])
def test_every_limit_says_what_it_limits(model):
    """Each description is that of the model's own docs; the four of a batch are described alike wherever they stand."""
    told = {name: field.description for name, field in model.model_fields.items()}
    assert all(told.values())
    assert all(text[0].islower() for text in told.values())
    theirs = {name: field.description for name, field in SafetyLimits.model_fields.items()}
    assert {name: theirs[name] for name in told if name in theirs} == {n: d for n, d in told.items() if n in theirs}
    assert all(theirs[name] for name in theirs if name not in ("initial", "liquidation"))
    assert all(text[0].islower() for text in theirs.values() if text)


def test_costs_are_commission_and_slippage_together():
    trades = batch({"A": 100}, cost=300.0).assign(slippage_est=700.0)
    found = row(check_batch(trades), "max_cost")
    assert found["value"] == pytest.approx(0.01)
    assert found["detail"] == "1% > 0.5%; 1,000.00 USD"


def test_what_is_exactly_at_its_limit_passes():
    """Half of the money in four orders, at a cost of half a percent, each a sixteenth of what its name trades."""
    limits = SafetyLimits(max_turnover=0.5, max_trade=0.125, max_volume_pct=0.0625)
    trades = batch(dict.fromkeys("ABCD", 1250), cost=125.0)
    volume = pd.Series(200_000.0, index=list("ABCD"))
    checks = check_batch(trades, validator=SafetyValidator(limits), volume=volume)
    for check, value in (("turnover", 0.5), ("max_trade", 0.125), ("max_cost", 0.005), ("liquidity", 0.0625)):
        assert row(checks, check)["value"] == value
        assert row(checks, check)["status"] == "pass"


# ---- room for rounding ----


def test_rounding_has_the_room_of_the_desk_and_of_the_portfolio_whichever_is_less():
    """An ordinary evening: max_trade 10% of the desk, 5% of the portfolio. A first build: 15% of the desk alone."""
    regimes = {0: RegimeAdaptation(max_weight=0.08)}
    caps = {"max_weight": 0.12, "max_sector_weight": 0.5, "max_turnover": 0.6, "max_trade": 0.05}
    settings = PortfolioSettings(**caps, regimes=regimes)
    sectors = pd.Series({"A": "Tech"})
    daily = SafetyLimits().room(settings, 1, "daily", sectors)
    assert (daily.max_weight, daily.max_sector_weight) == (0.12, 0.30)
    assert (daily.max_turnover, daily.max_trade, daily.max_cost, daily.max_trades) == (0.40, 0.05, 0.005, 50)
    assert daily.sectors is sectors
    assert SafetyLimits().room(settings, 0, "daily", None).max_weight == 0.08
    first = SafetyLimits().room(settings, 1, "initial", sectors)
    assert (first.max_turnover, first.max_trade, first.max_cost, first.max_trades) == (1.0, 0.15, 0.01, 100)


@pytest.mark.parametrize("cash", [0.0, 0.01])
def test_no_orders_of_a_book_worth_nothing_break_no_limit(cash):
    nothing, prices = pd.Series(dtype="int64"), pd.Series({"A": 1.0})
    none = TradeGenerator().generate_trades(nothing, cash, pd.Series({"A": 1.0}), prices)
    assert list(none) == TRADE_COLUMNS
    checks = VALIDATOR.validate_trades(none, nothing, cash, prices, cash)
    assert checks["status"].isin(["pass", "not checked"]).all()


def test_an_order_of_a_book_worth_nothing_breaks_every_limit():
    checks = check_batch(batch({"A": 1}), cash=0.0, value=0.0)
    assert {"turnover", "max_trade"} <= set(checks.loc[checks["status"] == "stop", "check"])
