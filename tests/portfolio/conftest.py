"""Fixtures of the portfolio room."""

import portfolio_lab as lab
import pytest

from openbook.market.tables import Market


@pytest.fixture(scope="session")
def market() -> Market:
    """40 names in 5 sectors, 420 sessions of opens and closes, every bar there."""
    return lab.random_market(40, 420, seed=7)


@pytest.fixture(scope="session")
def gappy() -> Market:
    """20 names, 420 sessions, one bar in twenty missing."""
    return lab.random_market(20, 420, seed=8, gaps=0.05)
