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


PUBLIC = {
    "DailyPage": "app.daily_page:DailyPage",
    "TradingDay": "app.trading_day:TradingDay",
    "open_stage": "runs.runs_folder:open_stage",
    "whatif": "app.whatif",
}
__getattr__ = lazily(__name__, PUBLIC)
