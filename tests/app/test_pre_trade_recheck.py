"""The committer believes no notebook: what is on the disk is checked again, against prices of its own."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.app import pre_trade_recheck
from openbook.app.service import store_of
from openbook.app.settings import check_params
from openbook.common.errors import BookError, LimitError
from openbook.ledger.book import read_book
from openbook.runs.runs_folder import read_run


@pytest.fixture(scope="module")
def written(trained):
    """What the second page of the trained desk wrote."""
    return pre_trade_recheck.read_written(trained.page(trained.days[2]))


@pytest.fixture(scope="module")
def look(trained):
    """`require_safe` on something written, with all else as it was that evening."""
    session = trained.days[2]
    settings = check_params("daily_run", read_run(trained.page(session))["params"])
    state, store = read_book(trained.book, before=session), store_of(trained.runs, settings.source)
    return lambda found, **changes: pre_trade_recheck.require_safe(
        found, changes.get("state", state), settings, store=store, session=session
    )


def test_what_was_sealed_is_safe(written, look):
    assert len(written.trades)
    look(written)


def edited(written, column: str, value) -> pre_trade_recheck.Written:
    trades = written.trades.copy()
    trades[column] = trades[column].astype("float64")
    trades.loc[0, column] = value
    return replace(written, trades=trades)


@pytest.mark.parametrize(
    ("column", "value"),
    [("notional", np.nan), ("shares", np.nan), ("shares", -1e6), ("price", 1e-3), ("price", np.nan), ("notional", 1.0),
     ("commission_est", np.nan), ("slippage_est", np.inf)],
)  # fmt: skip
def test_p04_p07_a_row_that_was_edited_never_passes(written, look, column, value):
    with pytest.raises(LimitError):
        look(edited(written, column, value))


@pytest.mark.parametrize("value", [np.nan, 0.1501, -0.01, np.inf])
def test_p02_p03_a_weight_that_was_edited_never_passes(written, look, value):
    weights = written.weights.copy()
    weights.iloc[0] = value
    weights["CASH"] += written.weights.iloc[0] - (value if np.isfinite(value) else 0)
    with pytest.raises(LimitError):
        look(replace(written, weights=weights))


def test_p02_weights_that_sum_to_97_percent(written, look):
    with pytest.raises(LimitError, match=r"weights sum to 0\.97"):
        look(replace(written, weights=written.weights * 0.97))


def test_an_order_twice_never_passes(written, look):
    with pytest.raises(LimitError, match="are inconsistent"):
        look(replace(written, trades=pd.concat([written.trades, written.trades.iloc[:1]], ignore_index=True)))


def test_a_page_that_says_another_state_of_the_switch_is_refused(written, look, trained):
    with pytest.raises(BookError, match="HALTED on the page, ACTIVE in the book"):
        look(replace(written, recorded={**written.recorded, "switch": "HALTED"}))
    halted = replace(read_book(trained.book, before=trained.days[2]), switch="HALTED")
    with pytest.raises(BookError, match="ACTIVE on the page, HALTED in the book"):
        look(written, state=halted)


def test_a_settlement_that_is_none(written, trained, tmp_path):
    for name in ("trades.csv", "portfolio_weights.csv"):
        (tmp_path / name).write_bytes((trained.page(trained.days[2]) / name).read_bytes())
    (tmp_path / "settlement.json").write_text("{}")
    with pytest.raises(BookError, match=r"settlement\.json cannot be read: session: Field required"):
        pre_trade_recheck.read_written(tmp_path)
