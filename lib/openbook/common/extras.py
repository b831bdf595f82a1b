"""Packages that a nightly run does not need: the extras of openbook, and the line that says how to get one."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from openbook.common.errors import ParameterError

# Modules of each extra that a user can ask for, as pyproject.toml lists their packages.
EXTRAS = {
    "dask": ("distributed",),
    "docs": ("furo", "myst_nb", "numpydoc", "sphinx"),
    "lab": ("ipywidgets", "jupyterlab"),
    "postgres": ("psycopg", "sqlalchemy"),
    "remote": ("adlfs", "aiohttp", "gcsfs", "s3fs"),
    "yahoo": ("curl_cffi", "yfinance"),
}


def lacking(extra: str) -> list[str]:
    """Modules of an extra that are not installed; found without importing any."""
    return [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]


def lacks(extra: str, what: str) -> ParameterError:
    """The error (78) for what asked for an extra that is not installed."""
    return ParameterError(f"{what} needs openbook[{extra}]: pip install 'openbook[{extra}]'")


@contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """Turns an import that fails inside the block into the error of `lacks`."""
    try:
        yield
    except ImportError as error:
        raise lacks(extra, what) from error
