"""Two days side by side, and a day with a parameter changed: what is said and refused, and that nothing changes."""

import json

import numpy as np
import pandas as pd
import pytest

from openbook.app.diff import diff
from openbook.app.pre_trade_recheck import read_written
from openbook.app.whatif import FIGURES, FIXED, answer, latest_day, panel, settings_of, try_it
from openbook.decision.decide import INPUTS
from openbook.runs.runs_folder import read_run
from openbook.selection.champion import CARD, read_champion
from support.trained_desk import Answer, hashes, openbook, succeed

SEVEN = "portfolio.top_n=7"


def day(desk, n: int = 2) -> str:
    return f"{desk.days[n]:%Y-%m-%d}"


def command(desk, *words) -> Answer:
    return openbook("--runs", desk.runs, *words)


def refused(answer: Answer, code: int, *said: str) -> None:
    assert answer.code == code, answer
    assert [words for words in said if words not in answer.err] == [], answer.err
    assert len(answer.err.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def tried(trained, tmp_path_factory):
    """The second page with another portfolio and other limits, kept; and the desk's files before and after."""
    before = hashes(trained.runs)
    out = tmp_path_factory.mktemp("tried")
    found = try_it(trained.runs, day(trained), [SEVEN, "min_trade_size=500", "costs.slippage_bps=50"], out=out)
    return found, before, hashes(trained.runs)


# ---- two days ----


def test_a_diff_of_two_days_on_the_terminal(trained):
    before = hashes(trained.runs)
    said = succeed(command(trained, "diff", day(trained, 1), day(trained))).out
    lines = said.splitlines()
    assert lines[0].startswith(f"{day(trained, 1)} → {day(trained)}")
    assert lines[1].split() == ["symbol", "before", "after", "change", *INPUTS]
    assert any(line.startswith("total moved") for line in lines)
    assert any(line.startswith("Holdings (and rebalance date) moved ") for line in lines)
    assert any(line.startswith("orders: ") for line in lines)
    assert "recomputed target weights" not in said
    assert hashes(trained.runs) == before


def test_a_diff_says_the_change_and_its_parts(trained):
    found = diff(trained.runs, day(trained, 1), day(trained))
    weights = [read_written(trained.page(trained.days[n])).weights for n in (1, 2)]
    whole = weights[1].sub(weights[0], fill_value=0.0)
    effects = found.difference.effects
    np.testing.assert_allclose(effects["total"], whole.reindex(effects.index), atol=1e-9)
    np.testing.assert_allclose(effects[list(INPUTS)].sum(axis=1), effects["total"], atol=1e-12)
    assert (effects[["model", "optimizer", "limits"]] == 0).all(axis=None)


def test_a_diff_the_other_way_round_is_the_same_with_other_signs(trained):
    there = diff(trained.runs, day(trained, 1), day(trained)).difference.effects
    back = diff(trained.runs, day(trained), day(trained, 1)).difference.effects
    pd.testing.assert_frame_equal(there, -back, atol=1e-12)


def test_a_diff_of_a_day_with_itself_is_nothing(trained):
    lines = diff(trained.runs, day(trained), day(trained)).lines
    assert "The target weights did not change." in lines
    assert not [line for line in lines if "→" in line and not line.startswith((day(trained), "orders: "))]


def test_a_diff_names_parameters_that_differ_and_a_day_that_comes_out_otherwise(desk):
    page = desk.page(desk.days[2])
    run = read_run(page)
    run["params"]["limits"]["max_trades"] = 49
    page.joinpath("run.json").chmod(0o644)
    page.joinpath("run.json").write_text(json.dumps(run))
    weights = page / "portfolio_weights.csv"
    weights.chmod(0o644)
    rows = weights.read_text().splitlines()
    parts = rows[1].split(",")
    rows[1] = ",".join([parts[0], f"{float(parts[1]) + 0.01:.6f}", *parts[2:]])
    weights.write_text("\n".join(rows) + "\n")
    lines = diff(desk.runs, day(desk, 1), day(desk)).lines
    assert "limits.max_trades: 50 → 49" in lines
    assert any(
        line.startswith(f"recomputed target weights of {day(desk)} differ from the sealed ones by up to 1.00%")
        for line in lines
    )


@pytest.mark.parametrize("dates", [("2024-01-02", None), (None, "2024-01-02")])
def test_a_diff_needs_two_sealed_days(trained, dates):
    first, second = (date or day(trained) for date in dates)
    refused(command(trained, "diff", first, second), 64, "no sealed daily_run of 2024-01-02 in")
    refused(command(trained, "diff", "yesterday", second), 64, "is not a date")


# ---- one day with other parameters ----


def test_nothing_below_the_runs_folder_changes(tried):
    _, before, after = tried
    assert before == after


def test_the_orders_that_differ(trained, tried):
    found, was = tried[0], read_written(trained.page(trained.days[2])).trades.set_index("symbol")["shares"]
    now = read_written(found.kept).trades.set_index("symbol")["shares"]
    assert found.kept.is_dir()
    assert len(found.orders)
    for row in found.orders.itertuples():
        assert (row.sealed, row.tried) == (was.get(row.symbol, 0), now.get(row.symbol, 0))
        assert row.change == row.tried - row.sealed != 0
        assert row.what == ("added" if row.sealed == 0 else "dropped" if row.tried == 0 else "changed")
    same = set(was.index) & set(now.index) - set(found.orders["symbol"])
    assert all(was[symbol] == now[symbol] for symbol in same)
    assert set(was.index) | set(now.index) == same | set(found.orders["symbol"])


def test_the_figures_are_those_of_the_two_pages(trained, tried):
    found, page = tried[0], trained.page(trained.days[2])
    assert list(found.figures.index) == list(FIGURES)
    for name, folder in (("sealed", page), ("tried", found.kept)):
        written, figures = read_written(folder), found.figures[name]
        assert figures["orders"] == len(written.trades)
        assert figures["traded, USD"] == pytest.approx(written.trades["notional"].sum())
        assert figures["cash"] == pytest.approx(written.weights["CASH"])
        assert figures["names"] == len(written.weights) - 1
        assert figures["largest weight"] == pytest.approx(written.weights.drop("CASH").max())
        assert figures["turnover"] == pytest.approx(written.recorded["turnover"], abs=1e-6)
        costs = written.trades[["commission_est", "slippage_est"]].to_numpy().sum()
        assert figures["cost, USD"] == pytest.approx(costs)
    assert found.figures.loc["cost, USD", "change"] > 0  # ten times the slippage
    assert found.figures["change"].tolist() == (found.figures["tried"] - found.figures["sealed"]).tolist()


def test_volatility_is_that_of_the_names_prices(trained, tried):
    """Equal to √(w'Σw) within what shrinking the covariance does."""
    found, page = tried[0], trained.page(trained.days[2])
    bars = trained.vendor.files.upto(trained.days[2])
    close = bars.bars.pivot_table(index="date", columns="symbol", values="close")
    for action in bars.actions.itertuples():
        close.loc[close.index < action.date, action.symbol] /= action.value
    for name, folder in (("sealed", page), ("tried", found.kept)):
        weights = read_written(folder).weights.drop("CASH")
        returns = close[weights.index].pct_change().tail(120) @ weights
        assert found.figures.loc["annualized volatility", name] == pytest.approx(returns.std() * 252**0.5, rel=0.25)


def test_the_other_page_says_that_it_is_a_what_if_and_carries_the_settings(tried):
    found = tried[0]
    run = read_run(found.kept)
    assert "What-if with portfolio.top_n=7" in run["recorded"]["champion_note"]
    assert "What-if with portfolio.top_n=7" in (found.kept / "report.html").read_text()
    assert run["params"]["min_trade_size"] == 500
    bundle = next(path for path in (found.kept.parents[1] / "production").iterdir() if path.is_dir())
    _, _, card = read_champion(bundle)  # its hash names its folder
    assert (card.portfolio.top_n, card.costs.slippage_bps) == (7, 50)
    assert read_written(found.kept).trades["notional"].min() >= 500 or found.figures.loc["orders", "tried"] == 0


def test_a_what_if_on_the_terminal_and_its_scratch_folder_is_gone(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = hashes(trained.runs)
    kept = f"limits.max_trades={read_run(trained.page(trained.days[2]))['params']['limits']['max_trades']}"
    said = succeed(command(trained, "whatif", day(trained), "--set", kept)).out
    assert "no orders change" in said  # a parameter set to what it was
    assert "page discarded" in said
    assert not list(tmp_path.glob("openbook-*"))
    assert hashes(trained.runs) == before


def test_limits_that_would_have_stopped_the_day_say_so(trained):
    answer = command(trained, "whatif", day(trained), "--set", "limits.max_weight=0.01")
    refused(answer, 51, "max_weight")


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (78, ("top_m: unknown parameter", "portfolio.*"), ("--set", "top_m=3")),
        (78, ("unknown parameter limits.max_wait",), ("--set", "limits.max_wait=3")),
        (78, ("unknown parameter portfolio.topn",), ("--set", "portfolio.topn=3")),
        (78, ("limits.max_trade",), ("--set", "limits.max_trade=a lot")),
        (78, ("portfolio.top_n",), ("--set", "portfolio.top_n=2.5")),
        (78, ("regime.confirm",), ("--set", "regime.confirm=0")),
        (78, ("portfolio.optimizer", "unknown optimizer 'magic'"), ("--set", "portfolio.optimizer=magic")),
        (78, ("portfolio: unknown parameter",), ("--set", "portfolio=3")),
        (78, ("source cannot be changed in a what-if",), ("--set", "source.provider=sample")),
        (78, ("dry_run cannot be changed in a what-if",), ("--set", "dry_run=false")),
        (78, ("write key=value",), ("--set", "min_trade_size")),
    ],
)
def test_what_cannot_be_tried_is_named(trained, code, said, words):
    before = hashes(trained.runs)
    refused(command(trained, "whatif", day(trained), *words), code, *said)
    assert hashes(trained.runs) == before


def test_a_what_if_needs_a_sealed_day_and_a_change(trained):
    refused(command(trained, "whatif", "2024-01-02", "--set", SEVEN), 64, "no sealed daily_run of 2024-01-02 in")
    assert command(trained, "whatif", day(trained)).code == 64
    with pytest.raises(Exception, match="nothing to change: pass --set"):
        try_it(trained.runs, day(trained), [])


def test_the_page_is_never_kept_among_the_runs_or_over_another(trained, tried):
    inside = command(trained, "whatif", day(trained), "--set", SEVEN, "--out", trained.runs / "elsewhere")
    refused(inside, 64, "is inside the runs folder")
    again = command(trained, "whatif", day(trained), "--set", SEVEN, "--out", tried[0].kept.parents[1])
    refused(again, 62, "already has a page")


# ---- in JupyterLab ----


def test_the_panel_offers_the_settings_of_the_last_evening_and_answers(trained, tried, monkeypatch):
    """Nothing runs before the button is pressed; then it shows what `try_it` finds."""
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *elements: shown.append(elements))
    monkeypatch.setenv("OPENBOOK_RUNS", str(trained.runs))
    chosen = json.loads((trained.bundle() / CARD).read_bytes())["portfolio"]
    title, (setting, value, button), meaning, more, _ = unpacked(panel())
    assert day(trained) in title.value
    assert setting.value == "portfolio.top_n"
    assert value.value == str(chosen["top_n"])
    assert meaning.value == "number of names to hold"
    setting.value = "portfolio.optimizer"
    assert value.value == chosen["optimizer"]
    assert "hrp" in meaning.value
    setting.value, value.value = "portfolio.top_n", "7"
    more.value = "min_trade_size=500  costs.slippage_bps=50"
    assert shown == []
    button.click()
    (_, (verdicts, orders, figures)), found = shown, tried[0]
    assert found.verdicts[1] in verdicts.data["text/plain"]
    assert [symbol for symbol in found.orders["symbol"] if symbol not in orders.data["text/plain"]] == []
    assert [text for text in found.formatted.to_numpy().ravel() if text not in figures.data["text/plain"]] == []
    assert not button.disabled


def unpacked(box):
    """The panel's parts; those of its row together."""
    title, row, *rest = box.children
    return title, row.children, *rest


def test_every_setting_on_offer_can_be_set(trained):
    sealed = latest_day(trained.runs)
    offered = settings_of(sealed)
    assert {"portfolio.top_n", "costs.slippage_bps", "limits.max_trade", "min_trade_size"} <= set(offered)
    assert not {key.partition(".")[0] for key in offered} & set(FIXED)
    same = [f"{key}={was}" for key, was in offered.items()]
    found = try_it(trained.runs, day(trained), same)
    assert found.orders.empty


def test_the_panel_says_what_cannot_be_tried(trained, tmp_path):
    (said,) = answer(trained.runs, day(trained), ["portfolio.top_m=7"])
    assert "top_m" in said.data["text/plain"]
    (said,) = answer(trained.runs, day(trained), [])
    assert "nothing to change: pass --set" in said.data["text/plain"]
    assert "no sealed daily_run in" in panel(tmp_path).data["text/plain"]
    assert "2019-01-02" in panel(trained.runs, "2019-01-02").data["text/plain"]
