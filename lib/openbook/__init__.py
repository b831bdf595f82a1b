"""openbook: every trading decision is an executed notebook that anyone can open, check and replay."""

from collections.abc import Callable, Mapping


def lazily(package: str, public: Mapping[str, str] | None = None) -> Callable[[str], object]:
    """A `__getattr__` for a package that imports a module of it when it is first named.

    So `import openbook` costs nothing, and `openbook.whatif.panel()` works after it, as it is spelled on the pages.

    public : names of the package that stand for modules below it
    """

    def find(name: str) -> object:
        from importlib import import_module

        if not name.startswith("_"):
            module = f"{package}.{(public or {}).get(name, name)}"
            try:
                return import_module(module)
            except ModuleNotFoundError as error:
                if error.name != module:
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


__getattr__ = lazily(__name__, {"whatif": "app.whatif"})
