"""Solves the session's optimization again with PyPortfolioOpt, on the same inputs; the page shows both numbers."""

import numpy as np
import pandas as pd

from openbook.portfolio.constraints import Limits
from openbook.portfolio.construct import Portfolio
from openbook.portfolio.optimizers import hrp_raw

VERIFY_COLUMNS = ["optimizer", "measure", "ours", "theirs", "gap", "note"]
COMPARED = ("max_sharpe", "min_volatility", "hrp")  # what PyPortfolioOpt solves, too


def verify_against_pypfopt(portfolio: Portfolio) -> pd.DataFrame:
    """One row: the objective of the target (before no-trade band and turnover cap), ours and PyPortfolioOpt's.

    max_sharpe : expected return over volatility; min_volatility : volatility; gap = |ours / theirs − 1|
    hrp : volatility of the weights before they are moved into the limits, which PyPortfolioOpt's HRP does not know;
        gap = the largest difference of a weight
    anything else, and cash : not problems of PyPortfolioOpt; nothing to compare, as the note states
    """
    name = portfolio.optimizer
    if name not in COMPARED:
        row = [name, "none", np.nan, np.nan, np.nan, f"no PyPortfolioOpt equivalent of {name}"]
    elif name == "hrp":
        row = _compare_hrp(portfolio)
    else:
        row = _compare_objective(portfolio)
    return pd.DataFrame([row], columns=VERIFY_COLUMNS)


def pypfopt_weights(optimizer: str, expected: np.ndarray, covariance: np.ndarray, limits: Limits) -> np.ndarray:
    """PyPortfolioOpt's weights for max_sharpe or min_volatility under the same limits and exposure, (n,)."""
    from pypfopt import EfficientFrontier

    names, scale = [f"n{i}" for i in range(len(expected))], limits.exposure
    frontier = EfficientFrontier(
        pd.Series(expected, names),
        pd.DataFrame(covariance, names, names),
        weight_bounds=[(0.0, min(u / scale, 1.0)) for u in limits.upper],
        solver="CLARABEL",
    )
    caps = {str(group): cap / scale for group, cap in enumerate(limits.caps) if (limits.groups == group).any()}
    frontier.add_sector_constraints({n: str(g) for n, g in zip(names, limits.groups, strict=True)}, {}, caps)
    if optimizer == "max_sharpe":
        frontier.max_sharpe(risk_free_rate=0.0)
    else:
        frontier.min_volatility()
    return scale * np.asarray(frontier.weights)


def _compare_objective(portfolio: Portfolio) -> list:
    """Row for max_sharpe and min_volatility."""
    expected, covariance = portfolio.expected.to_numpy(), portfolio.covariance.to_numpy()
    ours = portfolio.target.reindex(portfolio.expected.index).fillna(0.0).to_numpy()
    theirs = pypfopt_weights(portfolio.optimizer, expected, covariance, portfolio.limits)
    values = []
    for weights in (ours, theirs):
        volatility = float(np.sqrt(weights @ covariance @ weights))
        values.append(float(expected @ weights) / volatility if portfolio.optimizer == "max_sharpe" else volatility)
    measure = "expected return / volatility" if portfolio.optimizer == "max_sharpe" else "volatility"
    return [portfolio.optimizer, measure, *values, abs(values[0] / values[1] - 1), "PyPortfolioOpt EfficientFrontier"]


def _compare_hrp(portfolio: Portfolio) -> list:
    """Row for hrp."""
    from pypfopt import HRPOpt

    covariance = portfolio.covariance.to_numpy()
    names = [f"n{i:05d}" for i in range(len(covariance))]
    found = HRPOpt(cov_matrix=pd.DataFrame(covariance, names, names)).optimize() if len(names) > 1 else {names[0]: 1.0}
    theirs = np.array([found[name] for name in names])
    ours = hrp_raw(covariance)
    values = [float(np.sqrt(w @ covariance @ w)) for w in (ours, theirs)]
    gap = float(np.abs(ours - theirs).max())
    return [
        "hrp",
        "volatility before limits",
        *values,
        gap,
        "PyPortfolioOpt HRPOpt; gap is the largest weight difference",
    ]
