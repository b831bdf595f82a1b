"""Stages, sealing, the lock, production; no kernel here."""

import csv
import datetime
import io
import json
import os
import platform
import random
import string
import subprocess
import sys
from hashlib import sha256
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.app.status import status_lines
from openbook.common.errors import ConflictError, IncompleteRun, LockError, ModelError, StorageError, UsageError
from openbook.ledger.book import open_book
from openbook.runs.runs_folder import RunsFolder, Stage, check_date, open_stage, page_of, read_run
from openbook.runs.stage import clean, csv_bytes, json_bytes
from openbook.runs.summaries import read_rows
from support.small_runs import DATE, new_stage


def snapshot(folder) -> dict:
    """Every file below a folder and its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_csv(data: bytes) -> list[list[str]]:
    """A CSV as any reader sees it."""
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


# ---- what is written ----


def test_csv_by_hand():
    table = pd.DataFrame(
        {
            "symbol": ["NA", "BRK.B", None],
            "shares": [10, -3, 0],
            "price": [193.79, np.nan, 1e-7],
            "weight": [0.1, -0.0, 1 / 3],
            "day": pd.to_datetime(["2022-12-28", None, "2022-12-29"]),
            "warn": [True, False, True],
        }
    )
    expected = (
        b"symbol,shares,price,weight,day,warn\n"
        b"NA,10,193.79,0.1000,2022-12-28,True\n"
        b"BRK.B,-3,,0.0000,,False\n"
        b",0,1e-07,0.3333,2022-12-29,True\n"
    )
    assert csv_bytes(table, {"weight": ".4f"}) == expected


def test_csv_texts_come_back_whatever_they_hold():
    texts = ['a "quoted", b', "two\nlines", "a\rb", "", "NA", "TRUE", "1E5", "é"]
    for table in (pd.DataFrame({"text": texts}), pd.DataFrame({"text": texts, "n": range(len(texts))})):
        assert [row[0] for row in read_csv(csv_bytes(table))[1:]] == texts
        back = pd.read_csv(io.BytesIO(csv_bytes(table)), dtype={"text": "str"}, keep_default_na=False)
        assert back["text"].tolist() == texts


def test_csv_keeps_a_named_index_and_drops_the_counter():
    weights = pd.DataFrame({"weight": [0.5, 0.5]}, index=pd.Index(["AAPL", "CASH"], name="symbol"))
    assert csv_bytes(weights) == b"symbol,weight\nAAPL,0.5\nCASH,0.5\n"
    assert csv_bytes(weights.reset_index().iloc[::-1]) == b"symbol,weight\nCASH,0.5\nAAPL,0.5\n"


def test_csv_refuses_a_format_for_no_column():
    with pytest.raises(UsageError, match="wieght"):
        csv_bytes(pd.DataFrame({"weight": [1.0]}), {"wieght": ".2f"})


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\tx", "\rx"])
def test_x04_a_formula_in_a_text_field_is_neutralized(text):
    rows = read_csv(csv_bytes(pd.DataFrame({"reason": [text], "shares": [-3], "change": [-0.5]})))
    assert rows[1] == ["'" + text, "-3", "-0.5"]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9), min_size=1))
@settings(max_examples=50, deadline=None)
def test_floats_come_back_from_csv(values):
    rows = read_csv(csv_bytes(pd.DataFrame({"x": values})))[1:]
    assert [float(row[0]) for row in rows] == pytest.approx(values, rel=1e-11)


def test_json_is_clean_and_sorted():
    content = {
        "z": np.float32(0.5),
        "nan": float("nan"),
        "inf": np.inf,
        "n": np.int64(3),
        "yes": np.bool_(True),
        "day": pd.Timestamp("2022-12-28"),
        "moment": datetime.datetime(2022, 12, 28, 21, 0),
        "nat": pd.NaT,
        "na": pd.NA,
        "np_day": np.datetime64("2022-12-28"),
        "np_ns": np.datetime64("2022-12-28", "ns"),
        "list": np.array([1.5, np.nan]),
        "series": pd.Series({"AAPL": 1, "MSFT": 2}),
        "days": pd.DatetimeIndex(["2022-12-28"]),
        "tuple": ({"b", "a"}, None),
        3: "key",
    }
    assert json.loads(json_bytes(content)) == {
        "3": "key",
        "day": "2022-12-28",
        "days": ["2022-12-28"],
        "inf": None,
        "list": [1.5, None],
        "moment": "2022-12-28T21:00:00",
        "n": 3,
        "na": None,
        "nan": None,
        "nat": None,
        "np_day": "2022-12-28",
        "np_ns": "2022-12-28",
        "series": {"AAPL": 1, "MSFT": 2},
        "tuple": [["a", "b"], None],
        "yes": True,
        "z": 0.5,
    }
    assert json_bytes({"b": 1, "a": "é"}) == '{\n "a": "é",\n "b": 1\n}\n'.encode()


@pytest.mark.parametrize("thing", [pd.DataFrame({"a": [1]}), object(), b"bytes"])
def test_what_is_not_plain_is_refused(thing):
    with pytest.raises(TypeError, match="cannot write"):
        clean(thing)


def test_parquet_round_trip_with_checksums_and_the_same_bytes(stage):
    table = pd.DataFrame({"symbol": pd.Series(["NA", "TRUE"], dtype="str"), "score": [0.5, np.nan]})
    stage.parquet("scores.parquet", table)
    first = (stage.folder / "scores.parquet").read_bytes()
    stage.parquet("scores.parquet", table)
    assert (stage.folder / "scores.parquet").read_bytes() == first
    import pyarrow.parquet as pq

    pd.testing.assert_frame_equal(pq.read_table(io.BytesIO(first), page_checksum_verification=True).to_pandas(), table)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a//b", "", ".hidden", "a/../b", "a\0b", "run.json", "x/run.json", "inputs.json", "a b"]
)
def test_a_name_outside_the_stage_is_refused(stage, name):
    before = snapshot(stage.folder.parent)
    with pytest.raises(UsageError):
        stage.write(name, b"x")
    assert snapshot(stage.folder.parent) == before


# ---- a run ----


def test_run_json_says_what_made_it_and_nothing_of_when_and_where(stage):
    stage.write("candidates/ridge/model.json", "{}")
    stage.record(n_trades=np.int64(7), turnover=float("nan"))
    stage.finish()
    run = read_run(stage.folder)
    assert run["recorded"] == {"n_trades": 7, "turnover": None}
    assert run["outputs"] == {"candidates/ridge/model.json": sha256(b"{}").hexdigest()}
    assert (run["notebook"], run["date"], run["profile"], run["params"]) == ("daily_run", DATE, "demo", {"top_n": 3})
    assert run["inputs_hash"] == "ab" * 32
    assert run["complete"] is True
    installed = run["environment"]
    assert installed["python"] == platform.python_version()
    assert installed["distributions"]["pandas"] == version("pandas")
    assert set(run["code"]) == {"sha256", "sources", "cells", "commit", "modified"}
    assert str(stage.folder.parent) not in (stage.folder / "run.json").read_text()


def test_two_runs_give_the_same_bytes(tmp_path):
    made = []
    for name in ("a", "b"):
        stage = new_stage(RunsFolder(tmp_path / name))
        stage.table("t.csv", pd.DataFrame({"x": [1 / 3]}))
        stage.record(b=1, a=2)
        stage.finish()
        made.append(snapshot(stage.folder))
    assert made[0] == made[1]


def test_nothing_is_written_after_finish(stage):
    stage.finish()
    for write in (lambda: stage.write("x", b""), lambda: stage.record(a=1), stage.finish):
        with pytest.raises(UsageError, match="finished"):
            write()


def test_sealed_once_and_for_good(runs, stage):
    stage.write("trades.csv", b"symbol\n")
    stage.finish()
    Stage(stage.folder).write("report.html", "<p>page</p>")  # as the runner does, with a stage object of its own
    (stage.folder / "daily_run.ipynb").write_text("{}")
    sealed = runs.seal(stage)
    assert sealed == runs.folder / "daily_run" / DATE == runs.sealed("daily_run", DATE)
    assert set(snapshot(sealed)) == {"daily_run.ipynb", "report.html", "run.json", "trades.csv"}
    before = snapshot(runs.folder / "daily_run")
    again = new_stage(runs)
    again.finish()
    with pytest.raises(ConflictError, match="already sealed"):
        runs.seal(again)
    assert snapshot(runs.folder / "daily_run") == before
    assert page_of(runs.folder).read_text() == "<p>page</p>"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "run.json").unlink(),
        lambda folder: (folder / "run.json").write_text('{"compl'),
        lambda folder: (folder / "trades.csv").write_text("symbol\nAAPL\n"),
        lambda folder: (folder / "trades.csv").unlink(),
        lambda folder: (folder / "late.csv").write_text("x"),
    ],
    ids=["no sentinel", "half a sentinel", "altered", "missing", "unlisted"],
)
def test_s10_a_stage_that_is_not_what_finish_listed_is_not_sealed(runs, stage, spoil):
    stage.write("trades.csv", b"symbol\n")
    stage.finish()
    spoil(stage.folder)
    with pytest.raises(IncompleteRun):
        runs.seal(stage)
    assert runs.list() == []


def test_failed_attempts_are_kept_and_counted(runs):
    first = runs.fail(new_stage(runs))
    second = runs.fail(new_stage(runs))
    assert [path.name for path in (first, second)] == [f"{DATE}-1", f"{DATE}-2"]
    assert runs.sealed("daily_run", DATE) is None


@pytest.mark.parametrize("name", [f"{DATE}-1.bak", f"{DATE}-", f"{DATE}-x", f"{DATE}-²", f"{DATE}-{'9' * 200}", "copy",
                                  "2022-99-99-1", "0001-01-01-1", f"{DATE} -1"])  # fmt: skip
def test_what_people_leave_beside_failed_attempts_counts_for_nothing(runs, name):
    runs.fail(new_stage(runs))
    left = runs.folder / "failed" / "daily_run" / name
    left.mkdir()
    (left / "failure.json").write_text('{"exit_code": 31, "why": "x", "until": "2022-12-29 12:30 UTC"}')
    assert runs.fail(new_stage(runs)).name == f"{DATE}-2"
    assert runs.waits("daily_run") is None
    assert len(read_rows(runs.folder)) == 2


def test_s12_what_a_crashed_runner_left_is_failed_and_its_stage_never_used_again(runs):
    dead = new_stage(runs)
    dead.write("half.csv", b"x")
    fresh = new_stage(runs)
    assert fresh.folder != dead.folder
    assert (runs.folder / "failed" / "daily_run" / f"{DATE}-1" / "half.csv").exists()
    with pytest.raises(StorageError, match="could not write"):
        dead.write("late.csv", b"from a kernel that outlived its runner")
    assert sorted(path.name for path in fresh.folder.iterdir()) == ["inputs.json"]


def test_a_stage_that_is_not_there_is_an_error_and_none_is_a_temporary_one(tmp_path, capsys):
    with pytest.raises(StorageError, match="no stage"):
        open_stage(tmp_path / "gone")
    stage = open_stage(None)
    assert str(stage.folder) in capsys.readouterr().out
    stage.finish()
    assert read_run(stage.folder)["complete"]


def test_latest_looks_no_further_than_asked(runs):
    for date in ("2022-12-27", "2022-12-28", "2022-12-30"):
        stage = new_stage(runs, date)
        stage.finish()
        runs.seal(stage)
    assert runs.latest("daily_run").name == "2022-12-30"
    assert runs.latest("daily_run", upto="2022-12-29").name == "2022-12-28"
    assert runs.latest("daily_run", upto=pd.Timestamp("2022-12-26")) is None
    assert runs.latest("compare") is None
    assert [run.date for run in runs.list()] == ["2022-12-27", "2022-12-28", "2022-12-30"]


def test_a_question_creates_nothing(runs):
    assert runs.list() == []
    assert runs.sealed("daily_run", DATE) is None
    assert runs.champion() is None
    assert "no runs yet" in status_lines(runs.folder)[-1]
    with pytest.raises(UsageError, match="no page"):
        page_of(runs.folder)
    assert not runs.folder.exists()


# ---- X01 ----


@pytest.mark.parametrize(
    "date", ["../../x", "2025-02-30", "2025-01-01\0", "2025-1-1", "٢٠٢٥-01-01", "", "2025-01-01/..", None, 20250101]
)
def test_x01_a_date_that_is_none_is_refused(runs, date):
    for call in (runs.sealed, lambda notebook, date: new_stage(runs, date)):
        with pytest.raises(UsageError, match="not a date"):
            call("daily_run", date)
    assert not runs.folder.exists()


def test_x01_ten_thousand_strings_create_nothing(runs):
    rng = random.Random(1)
    letters = "0123456789-" * 6 + string.printable + "\0é–"
    for _ in range(10_000):
        text = "".join(rng.choices(letters, k=rng.randint(0, 14)))
        try:
            datetime.datetime.strptime(text, "%Y-%m-%d")
        except ValueError:
            with pytest.raises(UsageError):
                check_date(text)
    assert not runs.folder.exists()


@pytest.mark.parametrize("name", ["../x", "Daily", "failed", "production", ".stage", "a/b", "", "books"])
def test_x01_a_notebook_name_that_is_none_is_refused(runs, name):
    with pytest.raises(UsageError, match="is not a valid notebook name"):
        runs.sealed(name, DATE)
    with pytest.raises(UsageError, match="is not a valid notebook name"):
        runs.stage(name, DATE, profile="demo", params={}, inputs_hash="")
    assert not runs.folder.exists()


# ---- the lock ----


HOLD = """
import sys, time
from openbook.runs.runs_folder import RunsFolder
with RunsFolder(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_s03_the_second_of_two_runs_is_told_who_holds_the_lock(runs):
    first = subprocess.Popen([sys.executable, "-c", HOLD, runs.folder], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(LockError, match=f"locked by process {first.pid};"), runs.lock():
            pass
        first.kill()  # a dead process holds nothing
        first.wait()
        with runs.lock():
            assert (runs.folder / ".lock").read_text() == f"{os.getpid()}\n"
    finally:
        first.kill()
        first.communicate()


def test_the_lock_is_free_after_an_error(runs):
    with pytest.raises(ZeroDivisionError), runs.lock():
        raise ZeroDivisionError
    with runs.lock():
        pass


# ---- production ----


def bundle(text: str) -> tuple[dict, str]:
    """A bundle and the hash that names it."""
    return {"model.txt": b"trees", "card.json": text.encode()}, sha256(text.encode()).hexdigest()


def test_promote_points_to_a_complete_bundle_and_keeps_the_history(runs):
    for text in ("one", "two", "two"):
        files, name = bundle(text)
        runs.promote(files, {"model": text}, name)
    folder, metadata = runs.champion()
    assert folder.name == bundle("two")[1]
    assert snapshot(folder) == bundle("two")[0]
    assert metadata == {"model": "two"}
    pointer = json.loads((runs.folder / "production" / "champion.json").read_text())
    assert [entry["metadata"]["model"] for entry in pointer["history"]] == ["one", "two"]


def _with_metadata(text: str):
    files, name = bundle(text)
    return files, {"model": text}, name


def test_promote_refuses_a_hash_that_pins_nothing_and_an_altered_bundle(runs):
    files, name = bundle("one")
    for wrong in ("0" * 64, "../../x", name.upper()):
        with pytest.raises(ModelError, match="does not match any file of the bundle"):
            runs.promote(files, {}, wrong)
    assert not runs.folder.exists()
    folder = runs.promote(files, {}, name)
    (folder / "model.txt").write_bytes(b"other trees")
    with pytest.raises(ModelError, match="altered"):
        runs.promote(files, {}, name)


def test_m06_a_pointer_to_a_missing_bundle_is_an_error(runs):
    files, name = bundle("one")
    folder = runs.promote(files, {}, name)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(ModelError, match="missing"):
        runs.champion()
    assert "missing" in next(line for line in status_lines(runs.folder) if line.startswith("champion"))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": "../../x", "metadata": {}, "history": [1]}'])
def test_a_pointer_that_cannot_be_read_is_an_error_and_never_nobody(runs, text):
    runs.promote(*_with_metadata("one"))
    (runs.folder / "production" / "champion.json").write_text(text)
    with pytest.raises(ModelError, match=r"champion\.json cannot be read"):
        runs.champion()


# ---- status ----


def test_status_in_a_few_lines(runs):
    stage = new_stage(runs)
    stage.finish()
    runs.seal(stage)
    runs.fail(new_stage(runs, "2022-12-29"))
    runs.promote({"card.json": b"one"}, {"model": "ridge", "optimizer": "hrp"}, sha256(b"one").hexdigest())
    open_book(runs.folder / "books" / "paper.db", cash=101_234.5)
    said = "\n".join(status_lines(runs.folder))
    assert "ridge × hrp" in said
    assert "paper book: kill switch not tripped (ACTIVE), cash 101,234.50 USD" in said
    assert f"daily_run: 1 sealed, the last of {DATE}" in said
    assert "failed: 1" in said


def test_publish_replaces_in_one_step(runs):
    file = runs.publish("books/paper/current_positions.csv", b"a")
    assert runs.publish("books/paper/current_positions.csv", b"b") == file
    assert snapshot(file.parent) == {"current_positions.csv": b"b"}
    with pytest.raises(UsageError):
        runs.publish("../x", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_s13_what_the_disk_refuses_is_a_storage_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="could not"):
        RunsFolder(tmp_path / "runs").publish("x", b"")


def test_a_folder_in_the_way_is_a_storage_error(runs, stage):
    (stage.folder / "trades.csv").mkdir()
    with pytest.raises(StorageError, match=r"could not write trades\.csv"):
        Stage(stage.folder).write("trades.csv", b"")
