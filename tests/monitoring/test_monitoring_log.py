"""What the monitor says of a good, a bad and an unknown model, and what the log holds."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook import metrics
from openbook.common.errors import DataError
from openbook.monitoring.monitoring_log import BLOCKS, Evidence, OpsMonitor, SessionFacts, health, monitoring_log

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


def test_rolling_ic_ends_with_the_last_matured_date(tables):
    ic = MONITOR.calculate_information_coefficient(*tables)
    table = MONITOR.calculate_rolling_ic(ic, HORIZON)
    assert table.index.equals(DATES[: -HORIZON - 1])
    assert table["mean"].iloc[-1] == pytest.approx(ic["rank_ic"].dropna().iloc[-20:].mean())


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
    assert log["schema_version"] == 2
    assert log["session"] == f"{DATES[-1]:%Y-%m-%d}"
    assert log["data"] == {"coverage": 0.98, "n_left_out": 3}
    assert log["model"]["age_days"] == 85
    assert log["ic"]["matured_through"] == f"{DATES[-HORIZON - 2]:%Y-%m-%d}"
    assert (log["ic"]["n_matured"], log["ic"]["n_not_matured"]) == (54, 6)
    assert log["ic"]["mean_rank_ic"] == pytest.approx(rank_ic.mean())
    assert log["ic"]["error"] == pytest.approx(metrics.newey_west_error(rank_ic, HORIZON))
    assert log["ic"]["rolling"]["mean"] == pytest.approx(rank_ic.iloc[-20:].mean())
    assert log["ic"]["rolling"]["error"] == pytest.approx(metrics.newey_west_error(rank_ic.iloc[-20:], HORIZON))
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


# --- what more the night may know -------------------------------------------------------------------------------------


def features_of(sessions: int, number: int = 4) -> pd.DataFrame:
    """Features of the sessions that end with the last of DATES, ranked within their date."""
    rng = np.random.default_rng(3)
    raw = rng.standard_normal((40, number)) + rng.standard_normal((sessions, 40, number))
    index = pd.MultiIndex.from_product([pd.bdate_range(end=DATES[-1], periods=sessions), SYMBOLS])
    values = (raw.argsort(axis=1).argsort(axis=1) / 39 - 0.5).reshape(-1, number)
    return pd.DataFrame(values, index=index.set_names(["date", "symbol"]), columns=list("abcd")[:number])


@pytest.fixture
def evidence(tables) -> Evidence:
    """Everything that a night may know."""
    rng = np.random.default_rng(4)
    _, labels = tables
    tracking = pd.DataFrame(rng.normal(0, 1e-3, (60, 5)), index=DATES, columns=["difference", *metrics.TRACKING_PARTS])
    return Evidence(
        expected_ic=(0.27, 0.15),
        labels_by_horizon={1: labels, HORIZON: labels * 0.5},
        features=features_of(90),
        book_returns=pd.Series(rng.normal(5e-4, 0.01, 60), index=DATES),
        regimes=pd.Series(rng.integers(0, 3, 60), index=DATES),
        backtest_returns=pd.Series(rng.normal(5e-4, 0.01, 500), index=pd.bdate_range(end=DATES[0], periods=500)),
        tracking=tracking,
    )


def test_the_schema_of_the_log(tables, facts, evidence):
    """A reader of the logs relies on these names; a change of them is a new schema_version."""
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, evidence=evidence)
    assert list(log) == list(BLOCKS)
    assert {name: list(block) for name, block in log.items() if isinstance(block, dict)} == {
        "data": ["coverage", "n_left_out"],
        "model": ["name", "trained_through", "age_days", "horizon"],
        "scores": [
            "n_scored",
            "n_distinct",
            "mean",
            "std",
            "autocorrelation",
            "usual_autocorrelation",
            "psi",
            "ks",
        ],
        "ic": [
            "matured_through",
            "n_matured",
            "n_not_matured",
            "mean_rank_ic",
            "error",
            "std_rank_ic",
            "mean_ic",
            "icir",
            "newey_west_t",
            "rolling",
            "recent_rank_ic",
        ],
        "quantiles": ["avg_return", "cumulative", "top_minus_bottom", "n_dates"],
        "decay": ["1", "5"],
        "drift": [
            "lookback",
            "threshold",
            "n_matured",
            "avg_ic",
            "days_below_threshold",
            "degraded",
            "action",
            "status",
            "false_alarm",
            "cusum",
        ],
        "features": [
            "n_features",
            "n_beyond",
            "psi_limit",
            "worst",
            "missing_rise",
            "domain_auc",
            "usual_domain_auc",
            "structure_percentile",
        ],
        "out_of_distribution": ["share", "expected", "usual_high", "n_names", "names"],
        "regime": ["regime", "name"],
        "regimes": ["0", "1", "2"],
        "book": ["sessions", "total_return", "percentile", "cone"],
        "tracking": ["sessions", "difference", "costs", "timing", "rounding", "rest"],
        "portfolio": ["portfolio_value", "cash_weight", "n_positions", "n_trades", "turnover", "cost"],
        "checks": ["all_ok", "n_checks", "rows"],
    }
    assert list(log["drift"]["false_alarm"]) == ["mean_rank_ic", "std_rank_ic", "evening", "year"]
    assert list(log["drift"]["cusum"]) == [
        "target",
        "deviation",
        "allowance",
        "threshold",
        "statistic",
        "alarm",
        "last_alarm",
        "healthy_run_length",
    ]
    assert json.loads(json.dumps(log, allow_nan=False)) == log


def test_what_was_not_given_is_none(tables, facts):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS)
    absent = {"decay", "features", "out_of_distribution", "regimes", "book", "tracking"}
    assert {name for name, block in log.items() if block is None} == absent
    assert log["drift"]["cusum"] is None
    assert list(log) == list(BLOCKS)


def test_the_log_says_what_the_evidence_says(tables, facts, evidence):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, evidence=evidence)
    assert log["decay"]["1"]["n_dates"] == 54
    assert log["decay"]["1"]["rank_ic"] == pytest.approx(log["ic"]["mean_rank_ic"])
    rank_ic = metrics.information_coefficient(scores, labels)["rank_ic"].dropna()
    table = metrics.cusum(rank_ic, 0.27, 0.15, horizon=HORIZON)
    assert log["drift"]["cusum"]["statistic"] == pytest.approx(table["statistic"].iloc[-1])
    assert log["drift"]["cusum"]["healthy_run_length"] == pytest.approx(1306, rel=0.15)
    alarm = metrics.drift_false_alarm(0.27, 0.15, horizon=HORIZON)
    assert log["drift"]["false_alarm"]["evening"] == alarm.session
    auc = metrics.domain_history(evidence.features, 20)
    assert log["features"]["domain_auc"] == auc.iloc[-1]
    assert log["features"]["usual_domain_auc"] == auc.iloc[:-1].max()
    assert log["features"]["n_beyond"] == 0
    returns, regimes = evidence.book_returns, evidence.regimes
    earned = MONITOR.check_regime_performance(returns, regimes)
    assert log["regimes"]["2"]["avg_return"] == pytest.approx(earned.loc[2, "avg_return"])
    place = metrics.standing(returns, evidence.backtest_returns, seed=0)
    assert log["book"]["percentile"] == place.percentile
    assert log["book"]["cone"]["0.05"] < log["book"]["cone"]["0.5"] < log["book"]["cone"]["0.95"]
    assert log["tracking"]["costs"] == pytest.approx(evidence.tracking["costs"].sum())


def test_the_false_alarm_rate_is_that_of_the_observed_model_unless_another_was_promised(tables, facts):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS)
    assert log["drift"]["false_alarm"]["mean_rank_ic"] == log["ic"]["mean_rank_ic"]
    assert log["drift"]["false_alarm"]["std_rank_ic"] == log["ic"]["std_rank_ic"]
    few = monitoring_log(facts, scores=scores.iloc[-25:], labels=labels.iloc[-25:], checks=CHECKS)
    assert few["ic"]["n_matured"] == 19
    assert few["drift"]["false_alarm"] is None


def test_what_comes_after_the_session_changes_nothing(tables, facts, evidence):
    scores, labels = tables
    facts = facts.model_copy(update={"session": DATES[-8].date()})
    scores, labels = scores.iloc[:-7], labels.iloc[:-7].copy()
    labels.iloc[-HORIZON - 1 :] = np.nan
    days = evidence.features.index.get_level_values("date")
    known = Evidence(
        expected_ic=evidence.expected_ic,
        labels_by_horizon={1: labels},
        features=evidence.features[days <= DATES[-8]],
        book_returns=evidence.book_returns.iloc[:-7],
        regimes=evidence.regimes.iloc[:-7],
        backtest_returns=evidence.backtest_returns,
        tracking=evidence.tracking.iloc[:-7],
    )
    more = replace(evidence, labels_by_horizon={1: labels})
    logs = [monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, evidence=e) for e in (known, more)]
    assert json.dumps(logs[0]) == json.dumps(logs[1])


def test_features_of_another_evening_are_refused(tables, facts, evidence):
    scores, labels = tables
    stale = evidence.features.drop(index=DATES[-1], level="date")
    with pytest.raises(DataError, match="no features of"):
        monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, evidence=replace(evidence, features=stale))


@pytest.mark.parametrize(("sessions", "number"), [(59, 4), (60, 1)])
def test_too_few_features_say_nothing(tables, facts, sessions, number):
    scores, labels = tables
    evidence = Evidence(features=features_of(sessions, number))
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, evidence=evidence)
    if number == 1:
        assert log["features"]["structure_percentile"] is None
        assert log["features"]["usual_domain_auc"] is None
    else:
        assert (log["features"], log["out_of_distribution"]) == (None, None)
    assert health(log)["value"].str.len().gt(0).all()


def test_a_book_of_its_first_session_stands_nowhere_yet(tables, facts, evidence):
    scores, labels = tables
    young = replace(evidence, book_returns=evidence.book_returns.iloc[:0])
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, evidence=young)
    assert log["book"] == {"sessions": 0, "total_return": None, "percentile": None, "cone": None}


# --- for the page -----------------------------------------------------------------------------------------------------


def test_health_repeats_the_log_in_words(tables, facts):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS)
    table = health(log).set_index("measure")
    assert table.loc["signal dates with matured labels", "value"] == str(60 - HORIZON - 1)
    assert (
        table.loc["signal dates with matured labels", "meaning"]
        == f"labels matured through {DATES[-HORIZON - 2]:%Y-%m-%d}"
    )
    assert table.loc["mean rank IC", "value"] == f"{log['ic']['mean_rank_ic']:.3f} ± {log['ic']['error']:.3f}"
    assert table.loc["rolling mean rank IC, 20 sessions", "meaning"] == "within the threshold"
    assert (
        table.loc["top-minus-bottom quantile spread (5 quantiles)", "value"]
        == f"{log['quantiles']['top_minus_bottom']:.2%}"
    )
    assert (table.dtypes == "str").all()


def test_health_of_the_first_night_says_not_yet_known(tables, facts):
    scores, _ = tables
    table = health(monitoring_log(facts, scores=scores.iloc[-1:], labels=None, checks=CHECKS)).set_index("measure")
    said = f"no matured labels yet: trained through 2023-12-29, and a label matures after {HORIZON + 1} sessions"
    assert table.loc["signal dates with matured labels"].tolist() == ["0", said]
    assert table["value"].iloc[1:].eq("not yet known").all()
    assert "insufficient history: 0 of 20" in table.loc["rolling mean rank IC, 20 sessions", "meaning"]


def test_health_explains_all_that_the_night_knows(tables, facts, evidence):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, evidence=evidence)
    table = health(log).set_index("measure")
    assert table.index.tolist() == [
        "signal dates with matured labels",
        "mean rank IC",
        "t-value (Newey–West)",
        "rolling mean rank IC, 20 sessions",
        "top-minus-bottom quantile spread (5 quantiles)",
        "score autocorrelation (1 session)",
        "IC decay",
        "false-alarm rate of the 20-session drift rule",
        "CUSUM of the rank IC shortfall",
        "score drift (PSI)",
        "features with drift (PSI)",
        "domain-classifier AUC",
        "feature correlation shift",
        "out-of-distribution names",
        "book return, percentile of backtest",
        "book minus backtest return",
    ]
    assert table.loc["features with drift (PSI)"].tolist() == ["0 of 4", "none"]
    assert table.loc["CUSUM of the rank IC shortfall", "meaning"].startswith("no alarm; last alarm never")
    assert "costs " in table.loc["book minus backtest return", "meaning"]
    assert not table.isin(["not yet known", "nan", "None"]).any(axis=None)


def test_health_names_features_that_drifted_and_a_cusum_that_alarms(tables, facts, evidence):
    scores, labels = tables
    days = evidence.features.index.get_level_values("date")
    frozen = evidence.features.assign(b=evidence.features["b"].where(days < DATES[-20], 0.0))
    changed = replace(evidence, features=frozen, expected_ic=(0.9, 0.1))
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, evidence=changed)
    table = health(log).set_index("measure")
    assert table.loc["features with drift (PSI)"].tolist() == ["1 of 4", "b"]
    assert log["drift"]["cusum"]["last_alarm"] is not None
    assert log["drift"]["cusum"]["last_alarm"] in table.loc["CUSUM of the rank IC shortfall", "meaning"]


def test_health_names_as_many_groups_as_the_monitor_has(tables, facts):
    scores, labels = tables
    log = monitoring_log(facts, scores=scores, labels=labels, checks=CHECKS, monitor=OpsMonitor(n_quantiles=10))
    assert "top-minus-bottom quantile spread (10 quantiles)" in set(health(log)["measure"])
