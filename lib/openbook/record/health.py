"""A monitoring log in plain words."""

import pandas as pd

from openbook import metrics


def health(log: dict) -> pd.DataFrame:
    """The part of a monitoring log that a portfolio manager reads: measure, value, what it means. Blocks that are None
    have no row.
    """
    rows = [*_skill_rows(log), *_alarm_rows(log["drift"]), *_input_rows(log), *_book_rows(log)]
    return pd.DataFrame(rows, columns=["measure", "value", "meaning"], dtype="str")


def _skill_rows(log: dict) -> list[tuple]:
    """Scores against what came of them."""
    ic, drift, scores = log["ic"], log["drift"], log["scores"]
    groups = len(log["quantiles"]["avg_return"])
    usual = say(scores["usual_autocorrelation"], ".2f")
    judged = f"matured through {ic['matured_through']}" if ic["n_matured"] else _too_young(log["model"])
    rows = [
        ("signal dates judged", say(ic["n_matured"], "d"), judged),
        (
            "mean rank IC",
            say(ic["mean_rank_ic"], ".3f", ic["error"]),
            "scores against what came of them, ± its standard error; 0.02 to 0.05 is good",
        ),
        ("t-value (Newey–West)", say(ic["newey_west_t"], ".1f"), "beyond 2 is unlikely to be luck"),
        (
            f"mean rank IC, last {drift['lookback']}",
            say(drift["avg_ic"], ".3f", ic["rolling"]["error"]),
            str(drift["status"]),
        ),
        (
            f"best of {groups} groups less worst",
            say(log["quantiles"]["top_minus_bottom"], ".2%"),
            "mean return of a label",
        ),
        (
            "score autocorrelation",
            say(scores["autocorrelation"], ".2f"),
            f"tonight's ranks against the evening before; usual is {usual}; a sudden drop: look upstream",
        ),
    ]
    decay = {horizon: row for horizon, row in (log["decay"] or {}).items() if row["rank_ic"] is not None}
    if decay:
        first, last = next(iter(decay)), next(reversed(decay))
        shown = f"{decay[first]['rank_ic']:.3f} → {decay[last]['rank_ic']:.3f}"
        rows.append(("rank IC as scores age", shown, f"against the return of {first} and of {last} sessions"))
    return rows


def _too_young(model: dict) -> str:
    """Why there is no date to judge yet."""
    through, ahead = model["trained_through"], model["horizon"] + 1
    return f"nothing to judge yet: trained through {through}, and a score is judged after {ahead} sessions"


def _alarm_rows(drift: dict) -> list[tuple]:
    """What calls the model into question, and how often it would call a healthy one."""
    rows, alarm, cusum = [], drift["false_alarm"], drift["cusum"]
    if alarm:
        rows.append(
            (
                f"false alarms of the rule on the last {drift['lookback']}",
                f"{alarm['evening']:.0%} of evenings",
                f"for a model that keeps a rank IC of {alarm['mean_rank_ic']:.3f}; at least one within a year: "
                f"{alarm['year']:.0%}. It asks for a look, not for a halt",
            )
        )
    if cusum:
        said = "alarm: the rank IC fell short of the promise for too long" if cusum["alarm"] else "no alarm"
        rows.append(
            (
                "shortfall added up (CUSUM)",
                f"{cusum['statistic']:.1f} of {cusum['threshold']:g}",
                f"{said}; last alarm {cusum['last_alarm'] or 'never'}; a healthy model has one in about "
                f"{say(cusum['healthy_run_length'], ',.0f')} sessions",
            )
        )
    return rows


def _input_rows(log: dict) -> list[tuple]:
    """Whether scores and features look as usual."""
    rows, features, odd = [], log["features"], log["out_of_distribution"]
    if log["scores"]["psi"] is not None:
        rows.append(("drift of scores (PSI)", f"{log['scores']['psi']:.2f}", "0.1 is a change, 0.25 a large one"))
    if features:
        named = ", ".join(name for name, row in features["worst"].items() if row["psi"] > features["psi_limit"])
        rows.append(("features that drifted", f"{features['n_beyond']} of {features['n_features']}", named or "none"))
        usual = say(features["usual_domain_auc"], ".2f")
        rows.append(
            (
                "recent features told from earlier",
                say(features["domain_auc"], ".2f"),
                f"0.5 is not at all, 1 always; the highest before was {usual}",
            )
        )
        rows.append(
            (
                "relations between features",
                say(features["structure_percentile"], ".0%"),
                "share of earlier evenings that were less unlike their past; above 95% is unusual",
            )
        )
    if odd:
        named = ", ".join(odd["names"]) or "none"
        meaning = f"{odd['expected']:.0%} by construction, above {say(odd['usual_high'], '.1%')} is unusual; {named}"
        rows.append(("names unlike those learned from", say(odd["share"], ".1%"), meaning))
    return rows


def _book_rows(log: dict) -> list[tuple]:
    """The book against its backtest."""
    rows, book, tracking = [], log["book"], log["tracking"]
    if book:
        meaning = f"better than this share of resampled backtests of {book['sessions']} sessions; below 5% is unusual"
        rows.append(("book against its backtest", say(book["percentile"], ".0%"), meaning))
    if tracking:
        parts = ", ".join(f"{name} {say(tracking[name], '+.2%')}" for name in metrics.TRACKING_PARTS)
        rows.append(("book less backtest", say(tracking["difference"], "+.2%"), f"{parts}; sums of daily returns"))
    return rows


def say(value, form: str, error=None, unit: str = "") -> str:
    """A number in words, ± its error where there is one, with its unit; what is None or NaN says so."""
    if value is None or value != value:
        return "not yet known"
    return (format(value, form) if error is None else f"{value:{form}} ± {error:{form}}") + unit
