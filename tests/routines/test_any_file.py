"""A stranger's first hour: a file of daily prices, one check that writes a profile, the month, the evening, a page."""

import pandas as pd
import pytest

from openbook.common.strict_yaml import read_yaml
from support.trained_desk import clock, openbook, succeed
from support.vendor_shapes import SHAPES, VendorMarket, make_market

QUICK = "yfinance"


def upto(market: VendorMarket, day: pd.Timestamp) -> VendorMarket:
    """What the vendor had on the evening of a day."""
    return VendorMarket(*(table[table["date"] <= day].reset_index(drop=True) for table in market))


def said(desk, *arguments) -> str:
    """What a command of the desk prints; it must succeed."""
    answer = openbook("--desk", desk, *arguments)
    succeed(answer)
    return answer.out


@pytest.mark.parametrize(
    "shape", [QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in SHAPES if name != QUICK)]
)
def test_a_file_of_any_shape_becomes_a_page_without_an_edit(tmp_path, shape):
    market, desk, data = make_market(12, last="2019-05-31"), tmp_path / "desk", tmp_path / "data"
    days = pd.DatetimeIndex(market.bars["date"].unique()).sort_values()
    first, second = days[-2], days[-1]
    data.mkdir()
    SHAPES[shape].write(data, upto(market, first))
    succeed(openbook("new", desk))
    with clock(f"{first:%Y-%m-%d}T21:00Z"):
        lines = said(desk, "data", "check", data, "--write", "params/mine").splitlines()
        commands = [line.split()[1:] for line in lines[lines.index("params/mine is written; next:") + 1 :]]
        assert commands[-1] == ["open"]
        for command in commands[:-1]:
            said(desk, *command)
    for file in sorted(data.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    SHAPES[shape].write(data, market)
    with clock(f"{second:%Y-%m-%d}T21:00Z"):
        said(desk, "run", "daily_run", "--date", f"{second:%Y-%m-%d}", "--profile", "mine")
        said(desk, "verify")
    page = (desk / "runs" / "daily_run" / f"{second:%Y-%m-%d}" / "report.html").read_text()
    assert ("adjusted by the vendor" in page) == (SHAPES[shape].prices == "adjusted")
    assert (desk / "runs" / "daily_run" / f"{first:%Y-%m-%d}" / "trades.csv").stat().st_size > 200


def test_what_was_written_is_what_was_checked(tmp_path):
    """The profile says the source in words that a person may edit, and a second one of that name is refused."""
    desk, data = tmp_path / "desk", tmp_path / "desk" / "data"
    succeed(openbook("new", desk))
    data.mkdir()
    SHAPES["european"].write(data, make_market(12))
    said(desk, "data", "check", data, "--write", "params/mine")
    source = read_yaml(desk / "params" / "mine" / "train_candidates.yaml")["source"]
    assert source["path"] == "data/Kurse.csv"  # from the desk on, so that both may move together
    assert (source["prices"], source["decimal"], source["date_format"]) == ("raw", "comma", "%d.%m.%Y")
    assert read_yaml(desk / "params" / "mine" / "daily_run.yaml")["source"] == source
    again = openbook("--desk", desk, "data", "check", data, "--write", "params/mine")
    assert (again.code, "params/mine is there already; choose another name" in again.err) == (64, True)
    for odd in ("../mine", "/tmp/mine", "params", "params/a/b"):
        assert openbook("--desk", desk, "data", "check", data, "--write", odd).code == 64


def test_a_history_too_short_to_judge_a_model_on_is_refused(tmp_path):
    desk, data = tmp_path / "desk", tmp_path / "data"
    succeed(openbook("new", desk))
    data.mkdir()
    SHAPES["long"].write(data, make_market(12, last="2018-12-31"))
    answer = openbook("--desk", desk, "data", "check", data, "--write", "params/mine")
    assert answer.code == 30
    assert "has 251 sessions; a model is trained and judged on at least 300: get a longer history" in answer.err
    assert not (desk / "params" / "mine").exists()


def test_a_name_in_a_vendors_file_cannot_write_a_parameter(tmp_path):
    """A column called after a line of YAML stays a comment; nothing of it reaches the terminal raw."""
    desk, data = tmp_path / "desk", tmp_path / "data"
    succeed(openbook("new", desk))
    data.mkdir()
    market = make_market(12)
    hostile = "x\ncandidates: []\n\x1b[2J\u202e"
    split = market.actions.loc[market.actions["kind"] == "split", "symbol"]
    bars = market.bars[~market.bars["symbol"].isin(split)]
    bars.assign(**{hostile: 1}).to_csv(data / "prices.csv", index=False)
    assert "\x1b" not in said(desk, "data", "check", data, "--write", "params/mine")
    text = (desk / "params" / "mine" / "train_candidates.yaml").read_text()
    assert "\x1b" not in text
    assert len(read_yaml(desk / "params" / "mine" / "train_candidates.yaml")["candidates"]) == 5
