"""Tonight's optimizer beside PyPortfolioOpt's."""

import numpy as np
import pandas as pd
import pytest

from openbook.portfolio.construct import PortfolioSettings, RegimeAdaptation, construct_portfolio
from openbook.portfolio.optimizers import OPTIMIZERS
from openbook.portfolio.pypfopt_check import COMPARED, VERIFY_COLUMNS, verify_against_pypfopt
from support import portfolios as lab


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("regime", [0, 1])
def test_tonights_portfolio_agrees_with_pyportfolioopt(market, optimizer, regime):
    rules = PortfolioSettings(
        optimizer=optimizer, top_n=15, lookback=120, max_sector_weight=0.25, regimes={0: RegimeAdaptation(exposure=0.6)}
    )
    scores = lab.random_score_table(market, 11)
    found = construct_portfolio(scores, market.adjusted, sectors=market.sectors, regime=regime, settings=rules)
    checked = verify_against_pypfopt(found)
    assert list(checked.columns) == VERIFY_COLUMNS
    row = checked.iloc[0]
    assert row["optimizer"] == optimizer
    if optimizer not in COMPARED:
        assert "no PyPortfolioOpt equivalent" in row["note"]
        assert np.isnan(row["gap"])
    else:
        assert row["gap"] <= 1e-6
        assert row["ours"] == pytest.approx(row["theirs"], rel=1e-6)


def test_a_worse_target_is_seen(market):
    """The check is not blind: another optimizer's target under this one's name shows a gap."""
    scores = lab.random_score_table(market, 11)
    rules = PortfolioSettings(optimizer="min_volatility", top_n=15, lookback=120)
    found = construct_portfolio(scores, market.adjusted, sectors=market.sectors, settings=rules)
    other = pd.Series(1 / 15, found.expected.index)
    shown = verify_against_pypfopt(type(found)(**{**vars(found), "target": other}))
    assert shown["gap"].iloc[0] > 1e-3


def test_a_single_name_under_hrp(market):
    one = market.symbols[[3]]
    rules = PortfolioSettings(optimizer="hrp", max_weight=1.0, lookback=120)
    found = construct_portfolio(lab.random_score_table(market, 1)[one], market.adjusted[one], settings=rules)
    assert verify_against_pypfopt(found)["gap"].iloc[0] == 0
