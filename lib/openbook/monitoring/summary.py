"""A monitoring log in plain words."""

import pandas as pd

from openbook import metrics
from openbook.common.text import counted

FEWEST = 20  # dates of a horizon whose mean rank IC is worth a look
PARTS = {"rest": "residual"}  # of the tracking difference, where a page has another word


def health(log: dict) -> pd.DataFrame:
    """The part of a monitoring log that a portfolio manager reads: measure, value, what it means. Blocks that are None
    have no row.
    """
    rows = [*_skill_rows(log), *_alarm_rows(log["drift"]), *_input_rows(log), *_book_rows(log)]
    return pd.DataFrame(rows, columns=["measure", "value", "meaning"], dtype="str")


def _skill_rows(log: dict) -> list[tuple]:
    """Scores against the returns that followed."""
    ic, drift, scores = log["ic"], log["drift"], log["scores"]
    groups = len(log["quantiles"]["avg_return"])
    usual = say(scores["usual_autocorrelation"], ".2f")
    judged = f"labels matured through {ic['matured_through']}" if ic["n_matured"] else _too_young(log["model"])
    rows = [
        ("signal dates with matured labels", say(ic["n_matured"], "d"), judged),
        (
            "mean rank IC",
            say(ic["mean_rank_ic"], ".3f", ic["error"]),
            "rank correlation of scores with realized returns, ± standard error; 0.02 to 0.05 is good",
        ),
        ("t-value (Newey–West)", say(ic["newey_west_t"], ".1f"), "above 2 is significant at the 5% level"),
        (
            f"rolling mean rank IC, {drift['lookback']} sessions",
            say(drift["avg_ic"], ".3f", ic["rolling"]["error"]),
            str(drift["status"]),
        ),
        (
            f"top-minus-bottom quantile spread ({groups} quantiles)",
            say(log["quantiles"]["top_minus_bottom"], ".2%"),
            "mean forward return of the top quantile minus the bottom one",
        ),
        (
            "score autocorrelation (1 session)",
            say(scores["autocorrelation"], ".2f"),
            (
                f"rank correlation with the previous session's scores; median {usual}; after a sudden drop, "
                "check the input data"
            ),
        ),
    ]
    return rows if log["decay"] is None else [*rows, _decay_row(log["decay"])]


def _decay_row(decay: dict) -> tuple:
    """The rank IC by horizon, once there are two horizons with enough dates."""
    known = {horizon: row for horizon, row in decay.items() if row["rank_ic"] is not None and row["n_dates"] >= FEWEST}
    if len(known) < 2:
        return "IC decay", "not yet known", f"rank IC by label horizon; needs {FEWEST} dates at two horizons"
    shown = ", ".join(f"{row['rank_ic']:.3f}" for row in known.values())
    least = min(row["n_dates"] for row in known.values())
    return "IC decay", shown, f"rank IC at label horizons of {', '.join(known)} sessions; at least {least} dates each"


def _too_young(model: dict) -> str:
    """Why there is no date to judge yet."""
    through, ahead = model["trained_through"], model["horizon"] + 1
    return f"no matured labels yet: trained through {through}, and a label matures after {counted(ahead, 'session')}"


def _alarm_rows(drift: dict) -> list[tuple]:
    """What calls the model into question, and how often it would call a healthy one."""
    rows, alarm, cusum = [], drift["false_alarm"], drift["cusum"]
    if alarm:
        rows.append(
            (
                f"false-alarm rate of the {drift['lookback']}-session drift rule",
                f"{alarm['evening']:.0%} of sessions",
                f"for a healthy model with a rank IC of {alarm['mean_rank_ic']:.3f}; at least one within "
                f"a year: {alarm['year']:.0%}. A reason to review the model, not to halt",
            )
        )
    if cusum:
        state = "alarm: sustained shortfall of the rank IC against its expected value" if cusum["alarm"] else "no alarm"
        rows.append(
            (
                "CUSUM of the rank IC shortfall",
                f"{cusum['statistic']:.1f} of {cusum['threshold']:g}",
                f"{state}; last alarm {cusum['last_alarm'] or 'never'}; expected sessions between "
                f"false alarms: about {say(cusum['healthy_run_length'], ',.0f')}",
            )
        )
    return rows


def _input_rows(log: dict) -> list[tuple]:
    """Whether scores and features are in their usual range."""
    rows, features, odd = [], log["features"], log["out_of_distribution"]
    if log["scores"]["psi"] is not None:
        rows.append(
            (
                "score drift (PSI)",
                f"{log['scores']['psi']:.2f}",
                "population stability index; above 0.1 is a shift, above 0.25 a large one",
            )
        )
    if features:
        named = ", ".join(name for name, row in features["worst"].items() if row["psi"] > features["psi_limit"])
        rows.append(
            ("features with drift (PSI)", f"{features['n_beyond']} of {features['n_features']}", named or "none")
        )
        usual = say(features["usual_domain_auc"], ".2f")
        rows.append(
            (
                "domain-classifier AUC",
                say(features["domain_auc"], ".2f"),
                f"recent features against earlier ones; 0.5 is no shift, 1 full separation; highest so far {usual}",
            )
        )
        rows.append(
            (
                "feature correlation shift",
                say(features["structure_percentile"], ".0%"),
                "percentile among earlier sessions; above 95% is unusual",
            )
        )
    if odd:
        named = ", ".join(odd["names"]) or "none"
        meaning = (
            f"Mahalanobis distance; {odd['expected']:.0%} expected, above {say(odd['usual_high'], '.1%')} is "
            f"unusual; {named}"
        )
        rows.append(("out-of-distribution names", say(odd["share"], ".1%"), meaning))
    return rows


def _book_rows(log: dict) -> list[tuple]:
    """The book against its backtest."""
    rows, book, tracking = [], log["book"], log["tracking"]
    if book:
        long = counted(book["sessions"], "session")
        meaning = f"percentile among bootstrapped backtest paths of {long}; below 5% is unusual"
        rows.append(("book return, percentile of backtest", say(book["percentile"], ".0%"), meaning))
    if tracking:
        parts = ", ".join(f"{PARTS.get(name, name)} {say(tracking[name], '+.2%')}" for name in metrics.TRACKING_PARTS)
        rows.append(
            ("book minus backtest return", say(tracking["difference"], "+.2%"), f"{parts}; sums of daily returns")
        )
    return rows


def say(value, form: str, error=None, unit: str = "") -> str:
    """A number in words, ± its error where there is one, with its unit; None and NaN are shown as such."""
    if value is None or value != value:
        return "not yet known"
    return (format(value, form) if error is None else f"{value:{form}} ± {error:{form}}") + unit
