"""`openbook data check` as typed: what it prints of a vendor's folder, and its exit codes."""

import numpy as np
import pandas as pd
import pytest

from openbook import cli

DAY = "2023-05-25"


@pytest.fixture
def folder(tmp_path, delivery):
    """A vendor's folder with one parquet file, under our names."""
    (tmp_path / "vendor").mkdir()
    delivery.bars.to_parquet(tmp_path / "vendor" / "prices.parquet")
    return tmp_path / "vendor"


def check(capsys, *arguments) -> tuple[int, str]:
    """Exit code and everything that was printed."""
    code = cli.main(["data", "check", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_usable_folder_ends_with_0(capsys, folder):
    code, said = check(capsys, folder)
    assert code == 0
    assert "prices.parquet: bars" in said
    assert "Rows       2,800" in said
    assert "Sessions   70, 2023-03-22 to 2023-06-30" in said
    assert said.splitlines()[-1].startswith("Usable: 0 findings")


def test_a_folder_that_would_stop_a_run_ends_with_30_and_says_why(capsys, folder, delivery, damage):
    days = delivery.bars["date"][delivery.bars["date"] >= DAY].unique()
    split = damage(damage(delivery, "S07", days, scale=0.25, volume=4e6), "S09", DAY, scale=2.3)
    split.bars.to_parquet(folder / "prices.parquet")
    code, said = check(capsys, folder)
    assert code == 30
    lines = said.splitlines()
    at = lines.index("unadjusted split: 1")
    assert lines[at + 1].strip().startswith("why: an unrecorded split")
    assert lines[at + 2].strip().startswith("fix: record the split in the source's actions")
    assert lines[at + 3].split()[:2] == ["S07", DAY]
    assert "split 4:1" in lines[at + 3]
    assert at < lines.index("spike: 1")  # the worst first
    assert lines[-1] == (
        f"Not usable as it is: a run would stop on 1 sessions, {DAY} (unadjusted split); fix these first."
    )


def test_a_described_source_is_taken_at_its_word(capsys, folder, tmp_path, delivery):
    cents = delivery.bars.rename(columns={"close": "last"})
    cents[["open", "high", "low", "last"]] *= 100
    cents.to_parquet(folder / "prices.parquet")
    described = tmp_path / "source.yaml"
    lines = ["source:", "  provider: files", f"  path: {folder}", "  prices: raw", "  price_unit: cents"]
    described.write_text("\n".join([*lines, "  columns: {close: last}", "  name: in cents"]))
    code, said = check(capsys, "--source", described)
    assert code == 0
    assert "Source     in cents" in said
    described.write_text("\n".join(lines))
    code, said = check(capsys, "--source", described)
    assert code == 30
    assert "no column 'close'" in said
    described.write_text("provider: files\nprices: raw\npath: x\ntypo: 1\n")
    code, said = check(capsys, "--source", described)
    assert code == 78
    assert "typo is not a setting" in said


def test_a_second_source_is_compared(capsys, folder, tmp_path, delivery, damage):
    (tmp_path / "other").mkdir()
    damage(delivery, "S07", DAY, scale=0.9).bars.to_parquet(tmp_path / "other" / "prices.parquet")
    code, said = check(capsys, folder, "--beside", tmp_path / "other")
    assert code == 0
    assert "disagreement: 2 (1 symbols)" in said  # there and back
    described = tmp_path / "other.yaml"
    described.write_text(f"source: {{provider: files, prices: adjusted, path: {tmp_path / 'other'}}}")
    assert check(capsys, folder, "--beside", described)[1] == said


@pytest.mark.parametrize("arguments", [[], ["a", "--source", "b.yaml"], ["--source", "nowhere.yaml"]])
def test_a_line_that_makes_no_sense(capsys, arguments):
    code, said = check(capsys, *arguments)
    assert code == 64
    assert "source" in said


@pytest.mark.parametrize("damaged", [b"", b"PAR1 no", bytes(200)])
def test_d12_a_damaged_file_is_one_line(capsys, folder, damaged):
    (folder / "prices.parquet").write_bytes(damaged)
    code, said = check(capsys, folder)
    assert code == 30
    assert said.startswith("openbook: ")
    assert said.count("\n") == 1
    assert "prices.parquet" in said


UNPRICED = {
    "nothing at all": {},
    "a readme": {"readme.txt": "symbol,date,close\nA,2023-05-25,1\n"},
    "headers only": {"prices.csv": "symbol,date,open,high,low,close,volume\n"},
    "prices all missing": {"prices.csv": "symbol,date,close,volume\nA,2023-05-24,,\nA,2023-05-25,,\n"},
    "prices all zero": {"prices.csv": "symbol,date,close\nA,2023-05-24,0\nA,2023-05-25,0\n"},
    "another name of the close": {"prices.csv": "symbol,date,px_mid\nA,2023-05-24,1\nA,2023-05-25,2\n"},
    "membership only": {"members.csv": "symbol,start,end\nA,2023-05-24,\n"},
    "reports only": {"reports.csv": "symbol,filed,period_end,sales\nA,2023-05-24,2023-03-31,7\n"},
}


@pytest.mark.parametrize("files", UNPRICED.values(), ids=UNPRICED)
def test_where_no_price_was_read_it_ends_with_30_and_names_the_way_out(capsys, tmp_path, files):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    code, said = check(capsys, tmp_path)
    assert code == 30
    last = said.splitlines()[-1]
    assert "price" in last
    assert tmp_path.name in last  # what was looked at
    assert "--source FILE.yaml" in last
    assert "Usable" not in said


def test_a_second_source_that_compares_nothing_is_an_error(capsys, folder, tmp_path, delivery):
    other = tmp_path / "other"
    other.mkdir()
    (other / "prices.csv").write_text("symbol,date,close\n")
    assert check(capsys, folder, "--beside", other)[0] == 30
    delivery.bars.assign(symbol="US_" + delivery.bars["symbol"]).to_csv(other / "prices.csv", index=False)
    code, said = check(capsys, folder, "--beside", other)
    assert code == 30
    assert "shares no symbol with the first source" in said


def test_the_same_folder_is_told_in_the_same_words(capsys, folder, delivery, damage):
    rng = np.random.default_rng(0)
    for symbol in ("S03", "S07", "S11"):
        delivery = damage(delivery, symbol, DAY, scale=float(rng.uniform(3, 9)))
    delivery.bars.sample(frac=1, random_state=1).to_parquet(folder / "prices.parquet")
    assert check(capsys, folder) == check(capsys, folder)


def test_it_writes_nothing(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    check(capsys, folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_market_that_never_closes_is_told_by_its_weekends(capsys, folder):
    """Monday 2023-01-02 to Friday 06-30 are 180 days with 25 weekends and 6 holidays on weekdays: 56 closed days.

    New Year's Day was observed on 01-02; King, Presidents, Good Friday, Memorial Day and Juneteenth follow. Of two
    symbols these are 112 of 360 rows, 31.1%; the 26th week ends before its weekend.
    """
    days = pd.date_range("2023-01-02", "2023-06-30")
    rng = np.random.default_rng(0)
    rows = [
        pd.DataFrame({"symbol": name, "date": days, "close": 50 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))})
        for name in ("BTC", "ETH")
    ]
    pd.concat(rows).to_parquet(folder / "prices.parquet")
    _, said = check(capsys, folder)
    assert "Closed     112 of 360 rows (31.1%) lie on 25 Saturdays, 25 Sundays, 6 holidays: left out" in said
    assert "weekend bars: 2 (2 symbols)" in said
    assert "bars on the weekends of 25 of 26 weeks" in said


def test_bars_dated_a_day_early_are_told_by_that_name(capsys, folder, delivery):
    shifted = delivery.bars.assign(date=delivery.bars["date"] - pd.Timedelta(days=1))
    shifted.to_parquet(folder / "prices.parquet")
    code, said = check(capsys, folder)
    assert code == 30
    assert "are dated one day early" in said
    assert said.splitlines()[-1] == "Not usable: refused; all vendor data would be rejected."
