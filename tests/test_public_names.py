"""`import openbook as ob`: light, complete, and every example in a docstring says what is true."""

import doctest
import inspect
import subprocess
import sys

import pandas as pd
import pytest

import openbook as ob
from openbook.common.errors import UsageError

CALLED = [name for name in ob.__all__ if inspect.isfunction(getattr(ob, name)) or inspect.isclass(getattr(ob, name))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def market():
    return ob.load_market()


def test_every_public_name_is_there_and_no_other_module_hides_it():
    """Imported in any order: a room of the same name would take its place."""
    line = "import openbook as ob, pkgutil, importlib, types\n"
    line += "[importlib.import_module(m.name) for m in pkgutil.iter_modules(ob.__path__, 'openbook.')]\n"
    line += "kinds = {n: isinstance(getattr(ob, n), types.ModuleType) for n in ob.__all__}\n"
    line += "print(sorted(n for n, is_module in kinds.items() if is_module))"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['charts', 'explain', 'grid', 'metrics', 'whatif']"
    assert set(ob.__all__) <= set(dir(ob))


def test_the_import_alone_loads_nothing():
    line = "import sys, openbook; print([n for n in sys.modules if n.startswith('openbook.') or n == 'pandas'])"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ob.nothing  # noqa: B018


@pytest.mark.parametrize("name", CALLED)
def test_the_example_in_its_docstring_is_true(name, market, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestParser().get_doctest(
        inspect.getdoc(getattr(ob, name)), {"ob": ob, "market": market, "pd": pd}, name, None, 0
    )
    assert found.examples, f"ob.{name} has no example"
    result = doctest.DocTestRunner(optionflags=FLAGS).run(found, out=sys.stderr.write)
    assert result.failed == 0, capsys.readouterr().err


def test_a_research_question_takes_ten_lines(tmp_path):
    """Does six-month momentum with HRP beat equal weight on my prices?"""
    closes = ob.load_market().close.iloc[-1500:]
    closes.rename_axis("date").to_csv(tmp_path / "closes.csv")
    question = f"""
import openbook as ob
market = ob.load_market({str(tmp_path / "closes.csv")!r})
momentum = ob.compute_features(market, ["momentum_126"])["momentum_126"]
mine = ob.run_backtest(momentum, market, optimizer="hrp", top_n=10, first="2018-01-02")
equal = ob.run_backtest(None, market, first="2018-01-02")
answer = ob.compare({{"six-month momentum × HRP": mine, "equal weight": equal}})
"""
    assert len(question.split("\n")) - 2 <= 10
    there = {}
    exec(question, there)
    table = there["answer"].table
    assert table.index.tolist() == ["six-month momentum × HRP", "equal weight"]
    low, mean, high = table.loc["six-month momentum × HRP", ["active_low", "active_return", "active_high"]]
    assert low < mean < high
    assert there["mine"].turnover.sum() > there["equal"].turnover.sum()
    assert "closes.csv: bars, one column a symbol" in there["market"].notes  # how it was read is said


def test_what_is_compared_has_a_benchmark_and_common_sessions(market):
    early = ob.run_backtest(None, market, first="2015-01-02")
    late = ob.run_backtest(None, market, first="2020-01-02")
    both = ob.compare({"early": early, "late": late}, benchmark="early")
    assert both.returns.index[0] == late.returns.index[0]
    assert both.table.loc["early", "active_return"] == 0
    with pytest.raises(UsageError, match="no backtest is called 'x'; there are early"):
        ob.compare({"early": early}, benchmark="x")
