"""openbook: every trading decision is an executed notebook that anyone can open, check and replay."""

from collections.abc import Callable


def lazily(package: str) -> Callable[[str], object]:
    """A `__getattr__` for a package that imports a module of it when it is first named.

    So `import openbook` costs nothing, and `openbook.whatif.panel()` works after it, as it is spelled on the pages.
    """

    def find(name: str) -> object:
        from importlib import import_module

        if not name.startswith("_"):
            try:
                return import_module(f"{package}.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"{package}.{name}":
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


__getattr__ = lazily(__name__)
