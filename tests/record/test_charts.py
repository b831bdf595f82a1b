"""The figures: small, described, and drawn from what is hard to draw too."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from openbook.record import charts

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


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_small_crisp_and_described(name):
    made = FIGURES[name]()
    picture = Image.open(io.BytesIO(made.png))
    assert picture.width <= 1152
    assert len(made.png) < 60_000
    assert len(made.data["text/plain"]) > 10


def test_the_same_figure_has_the_same_bytes():
    table = regime_table(300)
    assert charts.regime(table).png == charts.regime(table).png


def test_many_weights_say_how_many_are_not_shown():
    made = charts.weights(weights(80), weights(80))
    assert made.metadata["image/png"]["height"] < 700
