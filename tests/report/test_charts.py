"""The figures: small, described, and drawn from what is hard to draw too."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from openbook.report import charts

RNG = np.random.default_rng(0)


def sessions(n: int) -> pd.DatetimeIndex:
    return pd.bdate_range("2020-01-02", periods=n)


def regime_table(n: int) -> pd.DataFrame:
    level = 1000 * np.exp(np.cumsum(0.01 * RNG.standard_normal(n)))
    return pd.DataFrame({"level": level, "volatility": 0.2, "regime": np.arange(n) // 40 % 3}, index=sessions(n))


def weights(n: int) -> pd.Series:
    names = [f"S{i:03d}" for i in range(n)]
    cash = pd.Series({"CASH": 1 - 0.9 * bool(n)})
    return pd.concat([pd.Series(0.9 / max(n, 1), index=names, dtype=float), cash])


FIGURES = {
    "scores": lambda: charts.score_distribution(pd.Series(RNG.standard_normal(500), index=range(500)), (1, 2, 3)),
    "few scores": lambda: charts.score_distribution(pd.Series([0.1, np.nan], index=["A", "B"]), ("A",)),
    "regime": lambda: charts.regime(regime_table(756)),
    "weights of 3": lambda: charts.weights(weights(3), weights(2)),
    "weights of 80": lambda: charts.weights(weights(80), weights(60)),
    "cash only": lambda: charts.weights(weights(0), weights(0)),
    "equity": lambda: charts.equity(
        pd.DataFrame({"book": np.linspace(1, 2, 60), "index": 1.0}, index=sessions(60)), "Growth"
    ),
    "one session": lambda: charts.equity(pd.DataFrame({"book": [100.0]}, index=sessions(1)), "First evening"),
    "lines": lambda: charts.lines(pd.DataFrame({"ic": [np.nan, 0.1, 0.2]}, index=sessions(3)), "IC"),
    "bars": lambda: charts.bars(pd.Series({"a": 0.5, "b": 0.25}), "Share"),
    "heatmap": lambda: charts.heatmap(pd.DataFrame([[1.0, np.nan]], index=["m"], columns=["x", "y"]), "Sharpe"),
}


def noise(n: int, names: int, level: float = 1.0) -> pd.DataFrame:
    """Random walks from `level`, always the same ones: the size of a picture must not depend on which tests ran."""
    steps = np.random.default_rng(0).standard_normal((n, names))
    table = pd.DataFrame(level + 0.01 * np.cumsum(steps, axis=0), index=sessions(n))
    table.columns = [f"candidate_{i} × min_volatility" for i in range(names)]
    return table


def holes(table: pd.DataFrame) -> pd.DataFrame:
    """The same with a first, a middle and a last value missing, and one column altogether."""
    table = table.copy()
    table.iloc[[0, len(table) // 2, -1], 0] = np.nan
    table.iloc[:, -1] = np.nan
    return table


def months(years: int) -> pd.DataFrame:
    """Returns by year and month, and of the year."""
    returns = 0.05 * np.random.default_rng(0).standard_normal((years, 13))
    return pd.DataFrame(returns, range(2023 - years, 2023), [*"JFMAMJJASOND", "EOY"])


MANY = pd.Series(RNG.standard_normal(500), index=[f"S{i:03d}" for i in range(500)])
HARD = {
    "no score": lambda: charts.score_distribution(MANY * np.nan),
    "one score": lambda: charts.score_distribution(MANY.iloc[:1]),
    "the same score": lambda: charts.score_distribution(MANY * 0, tuple(MANY.index[:50])),
    "scores with holes": lambda: charts.score_distribution(MANY.where(MANY > 0), tuple(MANY.index[:50])),
    "regime of one session": lambda: charts.regime(regime_table(1).assign(volatility=np.nan)),
    "regime of 30 years": lambda: charts.regime(regime_table(7500)),
    "regime with holes": lambda: charts.regime(regime_table(50).assign(volatility=np.nan)),
    "regime of a universe near 1": lambda: charts.regime(regime_table(300).assign(level=noise(300, 1).to_numpy())),
    "weights of 500": lambda: charts.weights(weights(500), weights(500)),
    "first build": lambda: charts.weights(weights(0), weights(50)),
    "liquidation": lambda: charts.weights(weights(50), weights(0)),
    "weight not known": lambda: charts.weights(weights(3) * np.nan, weights(3)),
    "6 curves of 10 years": lambda: charts.equity(noise(2500, 6, 5.0), "Growth of 1 USD"),
    "12 curves of a quarter": lambda: charts.equity(noise(63, 12, 5.0), "Growth of 1 USD"),
    "curves with holes": lambda: charts.equity(holes(noise(60, 3)), "Growth"),
    "one session of three": lambda: charts.equity(noise(1, 3), "Growth"),
    "nothing to draw": lambda: charts.equity(noise(60, 2) * np.nan, "Growth"),
    "9 lines": lambda: charts.lines(noise(1000, 9, 0.0), "Rank IC"),
    "a line too short for its mean": lambda: charts.lines(noise(50, 2).rolling(126, min_periods=60).mean(), "Rank IC"),
    "lines with holes": lambda: charts.lines(holes(noise(60, 3)), "Rank IC"),
    "lines of one session": lambda: charts.lines(noise(1, 3), "Rank IC"),
    "500 bars": lambda: charts.bars(MANY, "Share of the gain"),
    "bars with holes": lambda: charts.bars(MANY.where(MANY > 0).iloc[:10], "Share of the gain"),
    "one bar": lambda: charts.bars(MANY.iloc[:1], "Share of the gain"),
    "months of 33 years": lambda: charts.heatmap(months(33), "stand_in × hrp: return of each month and year", "{:.1%}"),
    "heatmap of zeros": lambda: charts.heatmap(months(2) * 0, "Sharpe"),
    "heatmap of nothing": lambda: charts.heatmap(months(2) * np.nan, "Sharpe"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", HARD)
def test_a_figure_of_what_is_hard_to_draw_is_small_and_described(name):
    made = HARD[name]()
    about = made.metadata["image/png"]
    assert len(made.png) <= 60_000
    assert about["width"] <= 768
    assert about["height"] <= 800
    assert 10 < len(about["alt"]) < 300
    assert "nan" not in about["alt"]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_small_crisp_and_described(name):
    made = FIGURES[name]()
    picture = Image.open(io.BytesIO(made.png))
    assert picture.width <= 1024
    assert len(made.png) < 60_000
    assert len(made.data["text/plain"]) > 10


def test_the_same_figure_has_the_same_bytes():
    table = regime_table(300)
    assert charts.regime(table).png == charts.regime(table).png


def test_many_weights_say_how_many_are_not_shown():
    made = charts.weights(weights(80), weights(80))
    assert made.metadata["image/png"]["height"] <= 800


def test_the_alt_text_says_what_the_figure_shows():
    curves = pd.DataFrame({"book": [100.0, 80.0, 110.0], "market": [5.0, 5.0, np.nan]}, index=sessions(3))
    alt = charts.equity(curves, "Growth").metadata["image/png"]["alt"]
    assert alt == "Growth; maximum drawdown -20.0%: book +10.0%, market +0.0%"
    alt = charts.weights(weights(0), weights(2)).metadata["image/png"]["alt"]
    assert alt == "Target weights: S000 45.0%, S001 45.0%, CASH 10.0%"
    scores = pd.Series([1.0, 2.0, np.nan], index=list("ABC"))
    alt = charts.score_distribution(scores, ("B", "C")).metadata["image/png"]["alt"]
    assert alt == "Histogram of 2 scores, 1 of them selected"


def test_a_long_list_says_how_many_more_there_are():
    alt = charts.weights(weights(500), weights(500)).metadata["image/png"]["alt"]
    said = alt.count("%")
    assert alt.endswith(f", and {501 - said} more")
    assert charts.bars(MANY, "Gain").metadata["image/png"]["alt"].startswith("Gain (the first 30 of 500): S000")
    assert "(the last 12 of 33)" in charts.heatmap(months(33), "Months").metadata["image/png"]["alt"]


def test_names_without_a_weight_are_not_counted_as_not_shown():
    """Those of the last evening that are neither held nor wanted tonight are no smaller weights."""
    some = weights(20)
    zeros = pd.Series(0.0, index=[f"Z{i:03d}" for i in range(40)])
    assert charts.weights(pd.concat([zeros, some]), some).png == charts.weights(some, some).png


# ---- the tournament's figures ----


def alt(element) -> str:
    return element.metadata["image/png"]["alt"]


def test_an_interval_says_where_it_reaches():
    table = pd.DataFrame({"low": [-0.02, 0.01], "value": [0.01, 0.03], "high": [0.04, 0.05]}, index=["one", "two"])
    assert "one -2.0% to +4.0%, two +1.0% to +5.0%" in alt(charts.intervals(table, "Active return"))


def test_a_histogram_says_how_much_lies_below_the_mark():
    assert "4 values, 75% of them at or below 0" in alt(charts.histogram([-1.0, -2.0, 0.0, 3.0, np.nan], "Logits"))
    assert "0 values" in alt(charts.histogram([], "Logits"))


def test_a_curve_names_its_best_point():
    table = pd.DataFrame({"rank_ic": [0.01, 0.03, 0.02]}, index=pd.Index([10, 20, 30], name="trees"))
    assert "rank_ic best at 20" in alt(charts.curve(table, "Learning"))


def test_a_title_beside_long_names_is_not_cut_off():
    """Ink of a title that goes on beyond the picture would reach its last columns."""
    table = pd.DataFrame(
        {"low": -0.1, "value": 0.0, "high": 0.1}, index=[f"random_forest × {n:024d}" for n in range(9)]
    )
    drawn = charts.intervals(table, "Annualized active return over equal weight, 95% interval")
    title = np.asarray(Image.open(io.BytesIO(drawn.png)).convert("L"))[:40]
    assert title.min() < 100
    assert title[:, -4:].min() > 200
