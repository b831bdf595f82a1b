"""The sections of the daily page: what of a trading day a reader sees, one per cell of the notebook."""

from dataclasses import dataclass

from openbook.app.trading_day import TradingDay
from openbook.common.constants import REGIME_NAMES
from openbook.common.text import long_date
from openbook.decision.order_rationale import chances, order_stories, spoken, switch_sentence
from openbook.execution.cost_analysis import refit_slippage
from openbook.execution.kill_switch import ACTIVE, false_alarm_rates
from openbook.market.calendar import next_session
from openbook.monitoring import monitoring_log
from openbook.monitoring.summary import say
from openbook.portfolio.pypfopt_check import verify_against_pypfopt
from openbook.report import charts
from openbook.report.elements import Element, Section, callout, facts, table
from openbook.signals.explain import top_contributions

YEARS = 756  # sessions of a chart of the regime
WITHOUT = {"none": "the run stops", "previous": "the previous champion is used"}  # of fallback_champion
ORDERS = ["symbol", "side", "shares", "price", "notional", "weight_before", "weight_target"]
ORDER_FORMATS = {"price": ",.2f", "notional": ",.0f", "weight_before": ".1%", "weight_target": ".1%"}
FILLS = {  # columns of `execution_costs` as the page calls them
    **{name: name for name in ("date", "symbol", "side", "shares", "price")},
    "reference": "reference price",
    "predicted_bps": "estimated bps",
    "realised_bps": "realized bps",
    "shortfall": "shortfall, USD",
}
FILL_FORMATS = {
    **dict.fromkeys(("price", "reference price", "shortfall, USD"), ",.2f"),
    **dict.fromkeys(("estimated bps", "realized bps"), ".1f"),
}


@dataclass(frozen=True, eq=False)
class DailyPage:
    """What of a trading day its page shows; each property is a section or an element that displays itself.

    Examples
    --------
    >>> day = ob.TradingDay("2022-12-28", {"provider": "sample"})
    >>> ob.DailyPage(day).session.data["text/plain"].startswith("Close of: Wednesday, 28 December 2022")
    True
    """

    day: TradingDay

    @property
    def verdict(self) -> Element:
        """The result, which stands at the top of page and mail."""
        said = self.day.verdict
        return callout(said.sentence, kind=said.kind, title=f"{long_date(self.day.session)}: {said.verdict}")

    @property
    def session(self) -> Element:
        """Which close, which book, who approves."""
        day = self.day
        return facts(
            {
                "Close of": long_date(day.session),
                "Orders are for": long_date(next_session(day.session)),
                "Book": "paper" if day.dry_run else "live",
                "Approval": "by a person" if day.require_manual_approval else "automatic",
            }
        )

    @property
    def book(self) -> Section:
        """How the book is doing: figures, and a chart beside the market."""
        settlement, returns = self.day.settlement, self.day.history[["daily_return"]]
        growth = (1 + returns).cumprod().rename(columns={"daily_return": "book"})
        figures = {
            "Equity": f"{settlement.equity:,.2f} USD",
            "Last session": say(returns["daily_return"].iloc[-1], "+.2%"),
            "Cash": f"{settlement.cash:,.2f} USD",
            "Names held": f"{len(settlement.positions)}",
            "Receivables": settlement.owed,
        }
        chart = charts.equity(growth.assign(market=self.day.regimes["level"]), "Book and market since inception")
        return Section(facts(figures), chart)

    @property
    def events(self) -> Section:
        """Events in the book since the page before, and why the target weights changed."""
        caption = "Book events since the previous daily run"
        happened = table(self.day.settlement.events, caption=caption, empty="No fills and no corporate actions.")
        why = callout(self.day.change.sentence, title="Attribution of the change in target weights")
        return Section(happened, why)

    @property
    def change(self) -> Element:
        """The attribution of the change by name."""
        moving = self.day.change.moving
        return table(
            moving.head(15),
            caption="Target weights and attribution of their change",
            formats=dict.fromkeys(moving.columns[1:], "+.2%") | {"before": ".2%", "after": ".2%"},
            empty="No target weight changed.",
        )

    @property
    def orders(self) -> Element:
        """The orders."""
        return table(
            self.day.trades[ORDERS], caption="Orders", highlight=["side"], empty="No orders.", formats=ORDER_FORMATS
        )

    @property
    def rationale(self) -> Element:
        """Why each order is there, and which wanted names the book is too small for."""
        day = self.day
        because = top_contributions(day.model, day.features, list(day.trades["symbol"]))
        wanted, missed = day.decision.portfolio, day.orders.unbought.table
        stories = order_stories(day.trades, wanted.story, because, day.settlement.equity, missed)
        return table(stories, caption="Order rationale", highlight=["side"], empty="No orders.")

    @property
    def checks(self) -> Element:
        """Every risk check."""
        return table(spoken(self.day.checks), caption="Checks", highlight=["status"])

    @property
    def kill_switch(self) -> Section:
        """Its state, its rules, and how often each would trip by chance."""
        day = self.day
        state = callout(switch_sentence(day.judged.state, day.why), kind="ok" if day.judged.state == ACTIVE else "warn")
        rates = false_alarm_rates(day.history["daily_return"], day.rules)
        return Section(state, table(spoken(day.judged.checks), caption="Kill switch"), facts(chances(rates)))

    @property
    def portfolio(self) -> Section:
        """Whether it is a rebalance, what was chosen, and the weights before and after."""
        rebalance, decision = self.day.rebalance, self.day.decision
        chosen = tuple(decision.portfolio.chosen["symbol"])
        turnover = f"Turnover {decision.turnover:.1%} before rounding to shares."
        said = turnover if rebalance.is_rebalance else "Holdings stay unchanged."
        return Section(
            callout(f"{rebalance.sentence} {said}", kind="warn" if rebalance.missed else "note"),
            charts.score_distribution(self.day.scores, chosen),
            charts.weights(decision.portfolio.held, decision.target),
        )

    @property
    def optimizer(self) -> Section:
        """Limits that bind, and the optimizers that were tried."""
        wanted = self.day.decision.portfolio
        binding = table(
            wanted.binding,
            caption="Binding limits",
            formats={"value": ".2%", "cap": ".2%"},
            empty="No binding limits.",
        )
        return Section(binding, table(wanted.chain, caption="Optimizers tried, in order"))

    @property
    def proof(self) -> Element:
        """The same problem solved by PyPortfolioOpt."""
        return table(
            verify_against_pypfopt(self.day.decision.portfolio),
            caption="openbook against PyPortfolioOpt",
            formats={"ours": ".6f", "theirs": ".6f", "gap": ".1e"},
        )

    @property
    def regime(self) -> Section:
        """The regime, what it means for the exposure, and its history."""
        day, last = self.day, self.day.regimes.iloc[-1]
        figures = {
            "Regime": REGIME_NAMES[day.regime],
            "Target exposure": f"{day.card.portfolio.rule(day.regime).exposure:.0%}",
            f"Market against its {day.card.regime.trend_window}-session average": f"{last['trend']:+.1%}",
            "Annualized volatility": f"{last['volatility']:.1%}",
        }
        return Section(facts(figures), charts.regime(day.regimes.iloc[-YEARS:]))

    @property
    def health(self) -> Section:
        """Whether the model is still good: figures, and its rank IC through time."""
        day = self.day
        daily = day.watch.calculate_information_coefficient(day.unseen, day.labels[day.card.horizon])
        rolling = day.watch.calculate_rolling_ic(daily, day.card.horizon)
        return Section(table(monitoring_log.health(day.log), caption="Model health"), charts.skill(rolling))

    @property
    def cone(self) -> Element:
        """The book beside resampled paths of the backtest."""
        promised = self.day.promised
        return charts.cone(self.day.history["daily_return"], None if promised is None else promised.series)

    @property
    def scores(self) -> Element:
        """How many names were scored."""
        scores, checked = self.day.scores, self.day.checked
        return facts(
            {
                "Names scored": f"{len(scores)} of {len(checked.tradable)} tradable",
                "Features": f"{len(self.day.card.features)}",
                "Model score": f"{scores.min():+.4f} to {scores.max():+.4f}",
            }
        )

    @property
    def champion(self) -> Section:
        """The model and what it was selected with."""
        day, card = self.day, self.day.card
        fine = card.vetted and not day.champion_note
        said = callout(f"{card.sentence}\n{day.champion_note}".strip(), kind="ok" if fine else "warn")
        missing = {"If the bundle is missing": WITHOUT[day.fallback_champion]}
        return Section(said, facts({**card.summary(day.session), **missing}))

    @property
    def costs(self) -> Section:
        """Realized against estimated costs of the latest fills."""
        executed = self.day.executed
        refit = refit_slippage(executed)
        latest = table(
            executed[[*FILLS]].rename(columns=FILLS).tail(12),
            caption="Latest fills",
            empty="No fills yet.",
            formats=FILL_FORMATS,
        )
        fitted = say(refit["slippage_bps"], ".2f", refit["standard_error_bps"], unit=" bps")
        figures = {
            "Assumed slippage": f"{self.day.card.costs.slippage_bps:g} bps",
            "Estimated for these fills": say(refit["predicted_bps"], ".2f", unit=" bps"),
            "Slippage fitted to these fills": fitted,
            "Fills": f"{refit['n_fills']:.0f}",
            "Days with fills": f"{refit['n_dates']:.0f}",
        }
        return Section(latest, facts(figures))

    @property
    def prices(self) -> Section:
        """The market as known at the close, and what its vendor corrected since the page before."""
        market, later = self.day.market, self.day.restated
        notes = callout(" ".join(market.notes) or "Prices as traded, with splits and dividends.")
        corrected = table(
            later.restated.head(12),
            caption=f"Restated: {len(later.restated)}. {later.sentence}",
            empty=later.sentence,
            formats={"date": "%Y-%m-%d", "before": ",.4g", "after": ",.4g"},
        )
        return Section(facts(market.summary()), notes, corrected)

    @property
    def left_out(self) -> Element:
        """Names that were excluded, each with its reason."""
        checked = self.day.checked
        covered = f"data coverage {checked.coverage:.1%}"
        return table(
            checked.left_out,
            caption=f"Excluded names; {covered}",
            empty=f"No name was excluded: {len(checked.tradable)} names, {covered}.",
        )
