"""openbook: every trading decision is an executed notebook that anyone can open, check and replay."""

from collections.abc import Callable, Mapping


def lazily(package: str, public: Mapping[str, str] | None = None) -> Callable[[str], object]:
    """A `__getattr__` for a package that imports a module of it when it is first named.

    So `import openbook` costs nothing, and `openbook.whatif.panel()` works after it, as it is spelled on the pages.

    public : by name of the package, what it stands for: a module below it, or a name in one, as `module:name`
    """

    def find(name: str) -> object:
        from importlib import import_module

        module, _, inside = (public or {}).get(name, name).partition(":")
        if not name.startswith("_"):
            try:
                found = import_module(f"{package}.{module}")
                return getattr(found, inside) if inside else found
            except ModuleNotFoundError as error:
                if error.name != f"{package}.{module}":
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


PUBLIC = {  # what a notebook imports: `import openbook as ob`
    # prices
    "load_market": "app.research:load_market",
    "Market": "market.tables:Market",
    "Delivery": "market.tables:Delivery",
    "require_session": "market.calendar:require_session",
    "check": "market.checks.session:check_session",
    "detect_regime": "portfolio.regime:detect_regime",
    # what a model sees and learns
    "FEATURES": "signals.features:FEATURES",
    "Feature": "signals.features:Feature",
    "check_feature": "signals.feature_check:check_feature",
    "plain_learner": "signals.plain_learner:plain_learner",
    "compute_features": "signals.features:compute_features",
    "build_dataset": "signals.dataset:build_dataset",
    "WalkForward": "signals.training:WalkForward",
    "define_candidates": "signals.models:define_candidates",
    "train": "signals.training:train_candidates",
    "explain": "signals.explain",
    # portfolios and backtests
    "Costs": "portfolio.costs:Costs",
    "PortfolioSettings": "portfolio.construct:PortfolioSettings",
    "construct_portfolio": "portfolio.construct:construct_portfolio",
    "run_backtest": "app.research:run_backtest",
    "compare": "app.research:compare",
    "load_scores": "app.inputs:scores",
    "grid": "backtest.grid",
    # the champion
    "SelectionWeights": "selection.gates:SelectionWeights",
    "Thresholds": "selection.gates:Thresholds",
    "judge": "selection.combination_metrics:judge",
    "select": "selection.verdict:select_champion",
    # a trading day
    "TradingDay": "app.trading_day:TradingDay",
    "DailyPage": "app.daily_page:DailyPage",
    "Decision": "decision.decide:Decision",
    "decide": "decision.decide:decide",
    "settle": "ledger.book:settle",
    "KillSwitch": "execution.kill_switch:KillSwitch",
    "monitor": "monitoring.monitoring_log:monitoring_log",
    # looking back
    "load_runs": "app.past_decisions:load_runs",
    "load_trades": "app.past_decisions:load_trades",
    "load_positions": "app.past_decisions:load_positions",
    "diff": "app.diff:diff",
    "whatif": "app.whatif",
    # on a page
    "show": "app.show:show",
    "table": "report.elements:table",
    "facts": "report.elements:facts",
    "callout": "report.elements:callout",
    "bar": "report.elements:bar",
    "charts": "report.charts",
    "open_stage": "runs.runs_folder:open_stage",
    "metrics": "metrics",
}
__all__ = [*PUBLIC]
__getattr__ = lazily(__name__, PUBLIC)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted({*globals(), *PUBLIC})
