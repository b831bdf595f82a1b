"""How results look in a notebook and on a page: one function per kind of result."""

from functools import singledispatch
from typing import Any

from openbook.app.research import SideBySide
from openbook.backtest.engine import BacktestResult
from openbook.common.errors import UsageError
from openbook.decision.decide import Decision
from openbook.market.tables import Market
from openbook.report import charts
from openbook.report.elements import Section, callout, facts, table
from openbook.selection import FIGURE_NAMES, Selection
from openbook.selection.champion import ChampionCard

FRACTIONS = ("cagr", "volatility", "max_drawdown", "turnover", "active_return", "active_low", "active_high")
SHARES = dict.fromkeys(FRACTIONS, ".1%") | {"sharpe": ".2f"}
RANKED = ["model", "optimizer", "score", "sharpe", "max_drawdown", "turnover", "passed"]


def show(*results: Any) -> None:
    """Display results in a notebook, one below the other: a market, a backtest, a comparison, a decision, a selection.

    Raises UsageError for what has no form of its own.

    Examples
    --------
    >>> ob.show(market)  # doctest: +ELLIPSIS
    <...Element object at ...>
    <...Element object at ...>
    """
    for result in results:
        look(result)._ipython_display_()


@singledispatch
def look(result: Any) -> Section:
    """What a notebook shows of a result."""
    raise UsageError(f"no way to show a {type(result).__name__}")


@look.register
def _(market: Market) -> Section:
    return Section(facts(market.summary()), callout(" ".join(market.notes) or "Prices as traded."))


@look.register
def _(result: BacktestResult) -> Section:
    figures = {
        "CAGR": f"{result.cagr:.1%}",
        "Volatility": f"{result.volatility:.1%}",
        "Sharpe ratio": f"{result.sharpe:.2f}",
        "Maximum drawdown": f"{result.max_drawdown:.1%}",
        "Turnover per rebalance": f"{result.mean_turnover:.1%}",
        "Costs": f"{result.total_costs:,.0f} USD",
    }
    growth = (1 + result.returns).cumprod().rename("backtest").to_frame()
    warned = [callout(result.warning, "warn")] if result.warning else []
    return Section(facts(figures), *warned, charts.equity(growth, "Growth of 1 USD"))


@look.register
def _(both: SideBySide) -> Section:
    named = both.table.rename(columns=FIGURE_NAMES)
    formats = {FIGURE_NAMES.get(name, name): form for name, form in SHARES.items()}
    sessions = f"{len(both.returns):,} sessions, {both.returns.index[0]:%Y-%m-%d} to {both.returns.index[-1]:%Y-%m-%d}"
    shown = table(named, formats, caption=f"{sessions}; active return above {both.benchmark}, 95% interval")
    return Section(shown, charts.equity((1 + both.returns).cumprod(), "Growth of 1 USD"))


@look.register
def _(decision: Decision) -> Section:
    said = f"Target of {decision.inputs.data.session:%Y-%m-%d}. Turnover {decision.turnover:.1%}."
    return Section(callout(said), charts.weights(decision.held, decision.target))


@look.register
def _(selection: Selection) -> Section:
    verdict = callout(selection.sentence, kind="warn" if selection.promoted is None else "ok")
    ranking = selection.ranking[RANKED].rename(columns=FIGURE_NAMES)
    formats = {"score": ".3f", FIGURE_NAMES["max_drawdown"]: ".1%", FIGURE_NAMES["turnover"]: ".1%"}
    return Section(verdict, table(ranking, formats, caption="Ranking", highlight=["passed"]))


@look.register
def _(card: ChampionCard) -> Section:
    return Section(callout(card.sentence, kind="ok" if card.vetted else "warn"), facts(card.summary(card.selected)))
