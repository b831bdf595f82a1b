"""What openbook uses of yfinance: names and parameters, some of them private, that an update of yfinance may move."""

import inspect
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pkgutil import resolve_name

from openbook.common.errors import ParameterError
from openbook.common.extras import lacking, lacks

# Each name, as module:name, with the parameters that it is called with.
USED: dict[str, tuple[str, ...]] = {
    "curl_cffi.requests:Session": (),
    "curl_cffi.requests:Session.request": ("method", "url"),
    "yfinance:config.debug.hide_exceptions": (),
    "yfinance.data:YfData.__init__": ("session",),
    "yfinance.data:YfData._set_session": ("session",),
    "yfinance.data:YfData._save_cookie_curlCffi": (),
    "yfinance.data:YfData._load_cookie_curlCffi": (),
    "yfinance.data:YfData.get_raw_json": ("url", "params", "timeout"),
    "yfinance.exceptions:YFException": (),
    "yfinance.exceptions:YFPricesMissingError": (),
    "yfinance.exceptions:YFRateLimitError": (),
    "yfinance.scrapers.history:PriceHistory.__init__": ("data", "ticker", "tz", "session"),
    "yfinance.scrapers.history:PriceHistory.get_history_metadata": (),
    "yfinance.scrapers.history:PriceHistory.history": (
        *("start", "interval", "prepost", "actions", "auto_adjust", "back_adjust", "repair", "keepna", "rounding"),
        "timeout",
    ),
}


def require_client() -> None:
    """ParameterError (78) if yfinance is not installed, or lacks a name or a parameter that openbook uses."""
    if lacking("yahoo"):
        raise lacks("yahoo", "provider: yahoo")
    gone = list(missing_names())
    if gone:
        raise ParameterError(
            f"yfinance {_version('yfinance')} with curl_cffi {_version('curl_cffi')} has no {gone[0]}"
            f"{f' and lacks {len(gone) - 1} more names' if gone[1:] else ''}; install the versions that openbook "
            "knows: pip install --upgrade 'openbook[yahoo]'"
        )


def missing_names() -> Iterator[str]:
    """Each name of USED that is not there, or that lacks a parameter: module.name or module.name(parameter)."""
    for name, parameters in USED.items():
        try:
            found = resolve_name(name)
        except (ImportError, AttributeError):
            found = None
        if found is None:
            yield name.replace(":", ".")
        else:
            yield from (f"{name.replace(':', '.')}({one})" for one in parameters if not _takes(found, one))


def _takes(function, parameter: str) -> bool:
    """Whether a function has a parameter of that name, or takes any."""
    there = inspect.signature(inspect.unwrap(function)).parameters
    return parameter in there or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in there.values())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(unknown)"
