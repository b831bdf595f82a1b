"""What the monitor says of a good, a bad and an unknown model, and what the log holds."""

import json

import numpy as np
import pandas as pd
import pytest

from openbook import metrics
from openbook.errors import DataError
from openbook.record.monitoring import OpsMonitor, SessionFacts, health, monitoring_log

MONITOR = OpsMonitor()
DATES = pd.bdate_range("2024-01-01", periods=60)
SYMBOLS = [f"S{i:02d}" for i in range(40)]
HORIZON = 5
CHECKS = pd.DataFrame(
    {
        "check": ["position", "turnover"],
        "value": [0.12, np.nan],
        "limit": [0.15, 0.4],
        "ok": [True, False],
        "status": ["ok", "failed"],
        "detail": ["S01", None],
    }
)


def ic_table(values, not_matured: int = 0) -> pd.DataFrame:
    """Rank ICs by signal date, the last few without labels yet."""
    values = [*values, *[np.nan] * not_matured]
    n = [40] * (len(values) - not_matured) + [0] * not_matured
    return pd.DataFrame({"rank_ic": values, "n": n}, index=pd.bdate_range("2024-01-01", periods=len(values)))


@pytest.fixture
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of 60 sessions with some skill, and labels that the last horizon+1 sessions do not have yet."""
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.standard_normal((60, 40)), index=DATES, columns=SYMBOLS)
    labels = 0.02 * (0.3 * scores + rng.standard_normal((60, 40)))
    labels.iloc[-HORIZON - 1 :] = np.nan
    return scores, labels


@pytest.fixture
def facts() -> SessionFacts:
    return SessionFacts(
        session=DATES[-1],
        coverage=0.98,
        n_left_out=3,
        model="xgboost-a",
        trained_through="2023-12-29",
        model_age=85,
        horizon=HORIZON,
        regime=1,
        regime_name="normal",
        portfolio_value=100_000.0,
        cash_weight=0.05,
        n_positions=20,
        n_trades=7,
        turnover=0.11,
        cost=12.5,
    )


# --- drift ------------------------------------------------------------------------------------------------------------


def test_a_healthy_model_continues():
    found = MONITOR.detect_model_drift(ic_table([0.05] * 30))
    assert found["degraded"] is False
    assert found["action"] == "continue"
    assert found["avg_ic"] == pytest.approx(0.05)
    assert found["days_below_threshold"] == 0
    assert (found["lookback"], found["threshold"]) == (20, 0.02)


def test_a_degraded_model_is_to_be_reviewed():
    found = MONITOR.detect_model_drift(ic_table([0.10] * 30 + [0.01] * 20))
    assert found["degraded"] is True
    assert found["action"] == "review_model"
    assert found["days_below_threshold"] == 20
    assert found["avg_ic"] == pytest.approx(0.01)


def test_both_halves_of_the_rule_are_needed():
    few_but_deep = ic_table([0.03] * 11 + [-0.2] * 9)
    many_but_shallow = ic_table([0.10] * 9 + [0.01] * 11)
    assert MONITOR.detect_model_drift(few_but_deep)["degraded"] is False
    assert MONITOR.detect_model_drift(many_but_shallow)["degraded"] is False
    assert MONITOR.detect_model_drift(ic_table([0.03] * 10 + [-0.2] * 10))["degraded"] is True


@pytest.mark.parametrize("n", [0, 1, 19])
def test_insufficient_history_is_never_healthy(n):
    found = MONITOR.detect_model_drift(ic_table([0.5] * n, not_matured=10))
    assert found["degraded"] is None
    assert found["action"] is None
    assert found["status"] == f"insufficient history: {n} of 20 sessions have matured"


def test_labels_that_have_not_matured_do_not_count():
    values = [0.05] * 25
    assert MONITOR.detect_model_drift(ic_table(values, 2)) == MONITOR.detect_model_drift(ic_table(values))


def test_an_undefined_ic_counts_as_below_and_never_as_healthy():
    found = MONITOR.detect_model_drift(ic_table([0.01] * 9 + [np.nan] * 10 + [0.01]))
    assert found["degraded"] is True
    assert found["days_below_threshold"] == 20


def test_m05_constant_scores_for_a_month_are_drift_not_missing_history():
    found = MONITOR.detect_model_drift(ic_table([0.08] * 30 + [np.nan] * 20, not_matured=6))
    assert found["n_matured"] == 50
    assert found["degraded"] is True
    assert found["avg_ic"] is None


def test_settings_are_frozen_and_checked():
    with pytest.raises(ValueError, match="frozen"):
        MONITOR.ic_lookback = 5
    with pytest.raises(ValueError, match="ic_lookback"):
        OpsMonitor(ic_lookback=0)


# --- scores against what followed -------------------------------------------------------------------------------------


def test_information_coefficient_is_keyed_by_signal_date(tables):
    scores, labels = tables
    table = MONITOR.calculate_information_coefficient(scores, labels)
    assert table.index.equals(DATES)
    assert table["n"].iloc[-HORIZON - 1 :].eq(0).all()
    assert table["rank_ic"].iloc[-HORIZON - 1 :].isna().all()
    assert table["rank_ic"].iloc[: -HORIZON - 1].notna().all()


def test_top_quantile_performance(tables):
    scores, labels = tables
    table = MONITOR.calculate_top_quantile_performance(scores, labels)
    assert table.index.tolist() == [1, 2, 3, 4, 5]
    assert table["n_dates"].eq(60 - HORIZON - 1).all()
    assert table.loc[5, "avg_return"] > table.loc[1, "avg_return"]
    by_hand = [labels.loc[day, scores.loc[day].nlargest(8).index].mean() for day in DATES[: -HORIZON - 1]]
    assert table.loc[5, "avg_return"] == pytest.approx(np.mean(by_hand))
    assert table.loc[5, "std_return"] == pytest.approx(np.std(by_hand, ddof=1))


# --- regimes ----------------------------------------------------------------------------------------------------------


def test_a_return_belongs_to_the_regime_at_its_start():
    dates = DATES[:5]
    regimes = pd.Series([0, 2, 0, 2, 0], index=dates)
    returns = pd.Series([9.9, -0.01, 0.02, -0.03, 0.04], index=dates)
    table = MONITOR.check_regime_performance(returns, regimes)
    assert table.loc[0, "n_sessions"] == 2
    assert table.loc[0, "avg_return"] == pytest.approx(-0.02)
    assert table.loc[2, "avg_return"] == pytest.approx(0.03)
    assert table.loc[0, "win_rate"] == 0.0
    assert table.loc[2, "win_rate"] == 1.0
    assert table.loc[2, "sharpe"] == pytest.approx(metrics.sharpe([0.02, 0.04]))
    assert table.loc[1, "n_sessions"] == 0
    assert table.loc[1, ["avg_return", "sharpe", "win_rate"]].isna().all()


def test_the_last_regime_earns_nothing_yet():
    regimes = pd.Series([1, 1, 0], index=DATES[:3])
    returns = pd.Series([0.01, 0.02], index=DATES[1:3])
    table = MONITOR.check_regime_performance(returns, regimes)
    assert table["n_sessions"].tolist() == [0, 2, 0]


def test_regimes_not_yet_known_are_left_out():
    regimes = pd.Series([np.nan, np.nan, 2.0, 2.0], index=DATES[:4])
    returns = pd.Series([0.01, 0.02, 0.03, 0.04], index=DATES[:4])
    assert MONITOR.check_regime_performance(returns, regimes)["n_sessions"].tolist() == [0, 0, 1]


# --- the log ----------------------------------------------------------------------------------------------------------


def test_monitoring_log_says_what_the_metrics_say(tables, facts):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS)
    rank_ic = metrics.information_coefficient(scores, labels)["rank_ic"].dropna()
    assert log["schema_version"] == 1
    assert log["session"] == f"{DATES[-1]:%Y-%m-%d}"
    assert log["data"] == {"coverage": 0.98, "n_left_out": 3}
    assert log["model"]["age_days"] == 85
    assert log["ic"]["matured_through"] == f"{DATES[-HORIZON - 2]:%Y-%m-%d}"
    assert (log["ic"]["n_matured"], log["ic"]["n_not_matured"]) == (54, 6)
    assert log["ic"]["mean_rank_ic"] == pytest.approx(rank_ic.mean())
    assert log["ic"]["newey_west_t"] == pytest.approx(metrics.newey_west_t(rank_ic, HORIZON))
    assert list(log["ic"]["recent_rank_ic"].values()) == pytest.approx(rank_ic.iloc[-20:].tolist())
    assert log["drift"]["action"] == "continue"
    assert log["scores"]["n_scored"] == 40
    assert log["scores"]["autocorrelation"] == pytest.approx(metrics.score_autocorrelation(scores).iloc[-1])
    assert log["quantiles"]["top_minus_bottom"] > 0
    assert log["regime"] == {"regime": 1, "name": "normal"}
    assert log["portfolio"]["n_positions"] == 20


def test_monitoring_log_is_plain_json_and_the_same_each_time(tables, facts):
    scores, labels = tables
    first, again = (monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS) for _ in range(2))
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False)


def test_p04_a_check_that_is_not_plainly_true_has_failed(tables, facts):
    scores, labels = tables
    block = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS)["checks"]
    assert block["all_ok"] is False
    assert block["rows"][1]["value"] is None
    assert block["rows"][1]["detail"] is None
    unknown = CHECKS.assign(ok=[True, np.nan])
    assert monitoring_log(facts, scores=scores, labels=labels, checks=unknown)["checks"]["all_ok"] is False
    fine = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS.iloc[:1])["checks"]
    assert fine["all_ok"] is True


def test_first_night_without_history(tables, facts):
    scores, _ = tables
    log = monitoring_log(facts, scores=scores.iloc[-1:], labels=None, checks=CHECKS)
    assert log["ic"]["matured_through"] is None
    assert log["ic"]["mean_rank_ic"] is None
    assert log["drift"]["degraded"] is None
    assert log["scores"]["autocorrelation"] is None
    assert log["quantiles"]["top_minus_bottom"] is None


def test_scores_of_another_session_are_refused(tables, facts):
    scores, labels = tables
    with pytest.raises(DataError, match="score the session first"):
        monitoring_log(facts, scores=scores.iloc[:-1], labels=labels, checks=CHECKS)
    with pytest.raises(DataError, match="of none"):
        monitoring_log(facts, scores=scores.iloc[:0], labels=labels, checks=CHECKS)


def test_nan_facts_become_none(tables, facts):
    scores, labels = tables
    log = monitoring_log(facts.model_copy(update={"turnover": np.nan}), scores=scores, labels=labels, checks=CHECKS)
    assert log["portfolio"]["turnover"] is None


def test_facts_accept_numpy_numbers(facts):
    values = facts.model_dump() | {"n_trades": np.int64(3), "regime": np.int8(2), "cost": np.float32(1.5)}
    assert SessionFacts(**values).n_trades == 3


def test_later_labels_change_only_what_has_matured_since(tables, facts):
    scores, labels = tables
    earlier = MONITOR.calculate_information_coefficient(scores.iloc[:40], labels.iloc[:40])
    pd.testing.assert_frame_equal(earlier, MONITOR.calculate_information_coefficient(scores, labels).iloc[:40])


# --- for the page -----------------------------------------------------------------------------------------------------


def test_health_repeats_the_log_in_words(tables, facts):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS)
    table = health(log).set_index("measure")
    assert table.loc["signal dates judged", "value"] == str(60 - HORIZON - 1)
    assert table.loc["signal dates judged", "meaning"] == f"matured through {DATES[-HORIZON - 2]:%Y-%m-%d}"
    assert table.loc["mean rank IC", "value"] == f"{log['ic']['mean_rank_ic']:.3f}"
    assert table.loc["mean rank IC, last 20", "meaning"] == "within the threshold"
    assert table.loc["best of 5 groups less worst", "value"] == f"{log['quantiles']['top_minus_bottom']:.2%}"
    assert (table.dtypes == "str").all()


def test_health_of_the_first_night_says_not_yet_known(tables, facts):
    scores, _ = tables
    table = health(monitoring_log(facts, scores=scores.iloc[-1:], labels=None, checks=CHECKS)).set_index("measure")
    assert table.loc["signal dates judged"].tolist() == ["0", "matured through none yet"]
    assert table["value"].iloc[1:].eq("not yet known").all()
    assert "insufficient history: 0 of 20" in table.loc["mean rank IC, last 20", "meaning"]


def test_health_names_as_many_groups_as_the_monitor_has(tables, facts):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, monitor=OpsMonitor(n_quantiles=10))
    assert "best of 10 groups less worst" in set(health(log)["measure"])
