"""A desk with scores of its own: from the file to selection, to evenings on paper, to replay without the file."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from openbook.runs.runs_folder import read_run
from support.own_desk import COMPARED, TRAINED, OwnDesk, done, make_own_desk

OURS = "candidates=[{name: ours, algorithm: scores, path: scores/ours.csv}]"
LEFT_OUT = "BRK.B"
AUTOMATIC = "require_manual_approval=false"


def send_scores(desk: OwnDesk, date: pd.Timestamp, *, factor: float = 1.0, known: str = "T17:30:00Z") -> None:
    """The desk's own process writes its scores through a date: the return of a month, for all names but one."""
    bars = desk.vendor.files.upto(date).bars.sort_values(["symbol", "date"])
    bars = bars.assign(score=factor * bars.groupby("symbol")["close"].pct_change(21)).dropna(subset="score")
    day = bars["date"].dt.strftime("%Y-%m-%d")
    rows = bars.assign(date=day, known_at=day + known)[bars["symbol"] != LEFT_OUT]
    (desk.folder / "scores").mkdir(exist_ok=True)
    rows[["date", "symbol", "score", "known_at"]].to_csv(desk.folder / "scores" / "ours.csv", index=False)


def daily(desk: OwnDesk, day: int, *sets: str):
    """The page of one of the last sessions; the vendor has delivered."""
    desk.evening(desk.days[day])
    return desk.run("daily_run", desk.days[day], AUTOMATIC, *sets)


def page(desk: OwnDesk, day: int):
    return desk.runs / "daily_run" / f"{desk.days[day]:%Y-%m-%d}"


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> OwnDesk:
    """Selected on own scores, and two evenings. Copy it, never change it."""
    desk = make_own_desk(tmp_path_factory.mktemp("scores") / "desk")
    first = desk.days[0]
    send_scores(desk, first)
    done(desk.run("train_candidates", first, *TRAINED, OURS, "features=[momentum_21]"))
    done(desk.run("compare", first, *COMPARED, "shaken=0", "portfolio.top_n=10"))
    done(desk.run("select_champion", first))
    done(desk.command("init", "--cash", "100000", now=f"{first:%Y-%m-%d}T21:00Z"))
    for day in (1, 2):
        send_scores(desk, desk.days[day])
        done(daily(desk, day))
    return desk


@pytest.fixture
def desk(followed, tmp_path) -> OwnDesk:
    shutil.copytree(followed.folder, tmp_path / "desk")
    return replace(followed, folder=tmp_path / "desk")


def test_the_page_has_the_scores_of_the_file(followed):
    signals = pd.read_json(page(followed, 2) / "signals.json", typ="series")["scores"]
    sent = pd.read_csv(followed.folder / "scores" / "ours.csv", dtype={"symbol": "str"}, keep_default_na=False)
    tonight = sent[sent["date"] == f"{followed.days[2]:%Y-%m-%d}"].set_index("symbol")["score"]
    assert signals == pytest.approx(tonight.to_dict(), rel=1e-12)
    assert LEFT_OUT not in signals
    weights = pd.read_csv(page(followed, 2) / "portfolio_weights.csv", keep_default_na=False)
    held = weights[weights["symbol"] != "CASH"]["symbol"]
    assert set(held) <= set(tonight.nlargest(20).index)  # top_n 10, and twice that for names that are held


def test_a_day_replays_without_the_file(desk):
    shutil.rmtree(desk.folder / "scores")
    for day in (1, 2):
        answer = done(desk.command("replay", f"{desk.days[day]:%Y-%m-%d}"))
        assert "5 of 5 outputs" in answer.stdout
    done(desk.command("verify"))
    done(desk.command("diff", *(f"{desk.days[day]:%Y-%m-%d}" for day in (1, 2))))
    done(desk.command("whatif", f"{desk.days[2]:%Y-%m-%d}", "--set", "portfolio.top_n=5"))


@pytest.mark.long
def test_an_evening_waits_for_its_scores(desk):
    answer = daily(desk, 3)
    assert answer.returncode == 31
    was, now = (f"{desk.days[day]:%Y-%m-%d}" for day in (2, 3))
    assert f"ours.csv has no score for {now} known by its close, the latest are of {was}" in answer.stderr
    send_scores(desk, desk.days[3], known="T23:30:00Z")
    assert daily(desk, 3).returncode in (30, 31)  # none was known by any close
    (desk.folder / "scores" / "ours.csv").unlink()
    answer = daily(desk, 3)
    assert answer.returncode == 31
    assert "the scores scores/ours.csv are not there yet" in answer.stderr
    send_scores(desk, desk.days[3])
    done(daily(desk, 3))


def test_a_session_without_a_row_is_refused_and_one_whose_rows_came_late_is_said(desk):
    """The scores of the evening before last are smoothed into tonight's; a session before the smoothing is not."""
    gap, known = f"{desk.days[1]:%Y-%m-%d}", f"{desk.days[2]:%Y-%m-%d}T13:00:00Z"
    send_scores(desk, desk.days[3])
    file = desk.folder / "scores" / "ours.csv"
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    old = sorted(rows["date"].unique())[-40]
    rows[~rows["date"].isin([gap, old])].to_csv(file, index=False)
    answer = daily(desk, 3)
    assert answer.returncode == 31
    assert f"ours.csv has no row for {gap}, and tonight's scores are smoothed over 30 sessions" in answer.stderr
    assert not page(desk, 3).exists()
    rows.loc[rows["date"] == gap, "known_at"] = known
    rows[rows["date"] != old].to_csv(file, index=False)
    done(daily(desk, 3))
    said = f"No own score was known by the close of {gap}: the smoothed scores lack it."
    assert said in (page(desk, 3) / "report.html").read_text()
    assert said not in (page(desk, 2) / "report.html").read_text()


@pytest.mark.long
def test_other_scores_are_other_inputs(desk):
    """The same date again is done; with another file it is refused, and superseding it keeps both."""
    assert "already done" in done(daily(desk, 2)).stdout
    send_scores(desk, desk.days[2], factor=-1.0)
    answer = daily(desk, 2)
    assert answer.returncode == 62
    assert "different scores" in answer.stderr
    date = f"{desk.days[2]:%Y-%m-%d}"
    kept = read_run(page(desk, 2))["inputs"]["scores"]
    assert (desk.runs / "scores" / f"{kept}.parquet").is_file()
    options = [word for text in (AUTOMATIC, desk.vendor.source) for word in ("--set", text)]
    line = ["run", "daily_run", "--date", date, "--supersede", *options]
    done(desk.command(*line, now=f"{date}T21:20Z"))
    other = read_run(desk.runs / "daily_run" / f"{date}.2")["inputs"]["scores"]
    assert other != kept
    done(desk.command("replay", f"{date}.1"))
    done(desk.command("replay", f"{date}.2"))


def test_altered_scores_are_found(desk):
    kept = read_run(page(desk, 2))["inputs"]["scores"]
    file = desk.runs / "scores" / f"{kept}.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(bytes(data))
    answer = desk.command("verify")
    assert answer.returncode == 90
    assert f"scores/{kept}.parquet was altered" in answer.stdout


def test_training_names_what_is_wrong_with_the_file(desk):
    text = (desk.folder / "scores" / "ours.csv").read_text().splitlines()
    (desk.folder / "scores" / "ours.csv").write_text("\n".join([*text, text[-1]]) + "\n")
    answer = desk.run("train_candidates", desk.days[3], *TRAINED, OURS)
    assert answer.returncode == 30
    assert "is there twice with one known_at" in answer.stderr
    assert answer.stderr.count("\n") == 1
