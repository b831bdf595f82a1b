"""A parallel run beside a sealed day."""

import pandas as pd
import pytest

from openbook.app.weights_beside import beside, read_weights
from openbook.common.errors import DataError, UsageError
from support.trained_desk import openbook


def file_of(tmp_path, text: str):
    file = tmp_path / "ours.csv"
    file.write_text("symbol,weight\n" + text)
    return file


@pytest.fixture
def date(trained) -> str:
    return f"{trained.days[2]:%Y-%m-%d}"


@pytest.fixture
def sealed(trained) -> pd.Series:
    """The target weights of the sealed day."""
    file = trained.page(trained.days[2]) / "portfolio_weights.csv"
    return pd.read_csv(file, dtype={"symbol": "str"}, keep_default_na=False).set_index("symbol")["weight"]


def test_the_same_weights_do_not_differ(trained, date, sealed, tmp_path):
    found = beside(trained.runs, date, file_of(tmp_path, "".join(f"{s},{w}\n" for s, w in sealed.items())))
    assert found.turnover == pytest.approx(0.0, abs=1e-9)
    assert found.lines == [
        f"target weights of {date} beside ours.csv",
        f"turnover between them 0.0%; {len(sealed) - 1} names in both, 0 only here, 0 only there",
    ]


def test_differences_and_turnover_by_hand(trained, date, sealed, tmp_path):
    """Two names of theirs, one of which we hold: everything else of ours is sold."""
    mine = sealed.drop("CASH").index[0]
    found = beside(trained.runs, date, file_of(tmp_path, f"{mine},0.5\nZZZ,0.3\n"))
    table = found.table.set_index("symbol")
    assert table.loc["CASH", "theirs"] == pytest.approx(0.2)
    assert table.loc[mine, "difference"] == pytest.approx(0.5 - sealed[mine])
    assert table.loc["ZZZ", "openbook"] == 0.0
    assert table["difference"].sum() == pytest.approx(0.0, abs=1e-9)
    assert found.turnover == pytest.approx(table["difference"].clip(lower=0).sum())
    assert table["difference"].abs().is_monotonic_decreasing
    assert f"1 names in both, {len(sealed) - 2} only here, 1 only there" in found.sentence


def test_the_command(trained, date, tmp_path):
    answer = openbook("--runs", trained.runs, "diff", date, "--weights", file_of(tmp_path, "NA,1.0\n"))
    assert answer.code == 0
    assert answer.out.splitlines()[1].split() == ["symbol", "openbook", "theirs", "difference"]
    for line in (["diff", date], ["diff", date, date, "--weights", "x.csv"]):
        assert openbook("--runs", trained.runs, *line).code == 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A,20\nB,80\n", "add up to 100, not 1; write fractions"),
        ("A,0.5\nCASH,0.2\n", "add up to 0.7, not 1"),
        ("A,0.5\nA,0.5\n", "A is there twice"),
        ("A,0.5\nB,-0.1\n", r"row 2 \('B', '-0.1'\)"),
        ("A,half\n", r"row 1 \('A', 'half'\)"),
        ("A,nan\n", r"row 1 \('A', 'nan'\)"),
        (",0.5\n", r"row 1 \('', '0.5'\)"),
    ],
)
def test_weights_that_are_none_are_named(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_weights(file_of(tmp_path, text))


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        read_weights(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("name,w\nA,1\n")
    with pytest.raises(DataError, match="columns: symbol, weight"):
        read_weights(tmp_path / "other.csv")


def test_no_names_at_all_is_all_cash(tmp_path):
    assert read_weights(file_of(tmp_path, "")).to_dict() == {"CASH": 1.0}
