"""What openbook uses of yfinance is there: an update that moves any of it fails here by name, and a run in one line."""

import pytest
import yfinance.data
from yfinance.scrapers.history import PriceHistory

from openbook.common.errors import ParameterError
from openbook.market.sources import YahooSource, fetch
from openbook.market.sources.yahoo_client import USED, missing_names, require_client


def test_the_installed_yfinance_has_all_that_openbook_uses():
    assert list(missing_names()) == []


def test_every_use_of_yfinance_is_on_the_list(project_root):
    """Each name that `yahoo_chart` imports or overrides, so that the list cannot fall behind the code."""
    text = (project_root / "lib" / "openbook" / "market" / "sources" / "yahoo_chart.py").read_text()
    listed = {part for name in USED for part in name.replace(":", ".").split(".")}
    imported = [
        name.strip()
        for line in text.splitlines()
        if line.startswith(("from yfinance", "from curl_cffi"))
        for name in line.partition(" import ")[2].split(",")
    ]
    assert set(imported) >= {"YfData", "PriceHistory", "YFRateLimitError"}
    assert set(imported) | {"_set_session", "_save_cookie_curlCffi", "_load_cookie_curlCffi"} <= listed
    passed = text.partition("history.history(")[2].partition(")\n")[0]
    parameters = {line.partition("=")[0].strip() for line in passed.splitlines() if "=" in line}
    assert parameters == set(USED["yfinance.scrapers.history:PriceHistory.history"])


def test_a_method_that_moved_is_named_before_anything_is_asked(monkeypatch):
    monkeypatch.delattr(yfinance.data.YfData, "_load_cookie_curlCffi")
    with pytest.raises(ParameterError, match=r"^yfinance 1\.\S+ with curl_cffi \S+ has no yfinance.data.YfData._load"):
        fetch(YahooSource(symbols=("AAA",)))


def test_a_parameter_that_went_is_named(monkeypatch):
    def history(self, period="1mo", interval="1d", start=None, end=None, timeout=10):
        raise NotImplementedError

    monkeypatch.setattr(PriceHistory, "history", history)
    gone = "yfinance.scrapers.history.PriceHistory.history(prepost)"
    assert gone in list(missing_names())
    with pytest.raises(ParameterError) as told:
        require_client()
    said = str(told.value)
    assert f"has no {gone} and lacks 6 more names; install the versions that openbook knows: pip install" in said
    assert "\n" not in said
