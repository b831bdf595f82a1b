"""The commands as typed: what they print, their exit codes, and that a wrong line leaves nothing behind."""

import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook import cli
from openbook.common.errors import OpenbookError, UsageError
from openbook.ledger.book import read_book
from openbook.market import calendar
from openbook.market.calendar import parse_date
from openbook.market.sources import PROVIDERS
from openbook.runs.runs_folder import check_date
from support.trained_desk import openbook

COMMANDS = (
    *("new", "demo", "doctor", "upgrade"),
    *("run", "backfill", "diff", "whatif", "champion", "rollback", "data"),
    *("init", "approve", "reject", "export", "fills", "reconcile", "rename", "closure", "cash", "views"),
    *("halt", "reset", "key", "sign"),
    *("status", "open", "notify"),
    *("verify", "replay"),
)


@pytest.fixture
def runs(tmp_path):
    """A runs folder that nobody has made yet."""
    return tmp_path / "runs"


def nothing(folder) -> bool:
    """Whether nobody created the folder."""
    return not folder.exists() and not list(folder.parent.iterdir())


def test_help_reads_like_a_table_of_contents():
    answer = openbook("--help")
    assert answer.code == 0
    assert re.findall(r"│ (\w+) ", answer.out)[-len(COMMANDS) :] == list(COMMANDS)
    for title in ("Start here", "Research", "The book", "Look", "Audit"):
        assert title in answer.out


@pytest.mark.parametrize("command", [["run"], ["backfill"], ["open"], ["data", "update"]])
def test_every_command_explains_itself(command):
    answer = openbook(*command, "--help")
    assert answer.code == 0
    assert "YYYY-MM-DD" in answer.out or "Session" in answer.out


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["fly"],
        ["--fly"],
        ["run"],
        ["run", "daily_run"],
        ["run", "daily_run", "--date", "2022-12-28", "--fly"],
        ["run", "weekly_run", "--date", "2022-12-28"],
        ["run", "../daily_run", "--date", "2022-12-28"],
        ["run", "daily_run", "--date", "2022-12-28", "--engine", "dask://localhost:8786"],
        ["run", "select_champion", "--date", "2022-12-28", "--engine", "dask://localhost:8786"],
        ["run", "train_candidates", "--date", "2022-12-28", "--engine", "tcp://localhost:8786"],
        ["run", "compare", "--date", "2022-12-28", "--engine", "two machines"],
        ["run", "train_candidates", "--date", "2022-12-28", "--engine", "dask://user:hunter2@host:8786"],
        ["run", "daily_run", "--date", "2022-12-28", "--memory", "0.1"],
        ["backfill", "daily_run", "--from", "2022-12-28"],
        ["backfill", "daily_run", "--from", "yesterday", "--to", "today"],
        ["init"],
        ["init", "--cash", "much"],
        ["fills"],
        ["fills", "2022-12-28"],
        ["fills", "2022-12-28", "fills.csv", "--reverse", "f1"],
        ["fills", "--reverse", "f1", "--force", "f1"],
        ["fills", "--reverse", "f1", "--who", "Ann", "--reason", "there is no book"],
        ["cash", "deposit", "1e6", "--who", "Ann", "--reason", "x", "--force"],
        ["open", "2022-12-28"],
        ["open", "../2022-12-28"],
        ["rollback"],
        ["rollback", "--who", "Ann"],
        ["rollback", "--who", "Ann", "--reason", "there is nobody to roll back"],
        ["data"],
        ["data", "update", "--through", "2022-13-01"],
    ],
)
def test_a_wrong_line_is_a_usage_error_and_creates_nothing(runs, line):
    answer = openbook("--runs", runs, *line)
    assert answer.code == 64, answer
    assert answer.out + answer.err
    assert "Traceback" not in answer.err
    assert nothing(runs)


def test_status_of_nothing_says_what_to_do(runs):
    answer = openbook("--runs", runs, "status")
    assert answer.code == 64
    assert f"no runs, book or log in {runs}" in answer.err
    assert "start with openbook demo" in answer.err
    assert nothing(runs)


def test_no_champion_yet_is_one_sentence(runs):
    assert openbook("--runs", runs, "init", "--cash", 1000).code == 0
    answer = openbook("--runs", runs, "champion")
    assert answer == (0, "No champion yet: run train_candidates, compare and select_champion.\n", "")


def test_champion_and_rollback_of_a_desk(desk):
    day, sha256 = f"{desk.days[0]:%Y-%m-%d}", desk.bundle().name
    answer = openbook("--runs", desk.runs, "champion")
    assert answer.code == 0
    assert not answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("champion  tiny × ")
    assert lines[1] == f"since     {day}, the session of its selection"
    for said in (
        "why       best score of 2 combinations; none passed every gate",
        "trained   through ",
        f"bundle    {sha256}",
    ):
        assert any(line.startswith(said) for line in lines), said
    for notebook in ("train_candidates", "compare", "select_champion"):
        assert f" {notebook} of {day}" in answer.out
    assert lines[-2:] == ["history, newest first:", f"  {day}  {sha256[:12]}  {lines[0][10:]}"]
    assert max(len(line) for line in lines) <= 110
    back = openbook("--runs", desk.runs, "rollback", "--who", "Ann", "--reason", "it loses")
    assert back.code == 64
    assert "nothing to roll back to: there is no earlier champion; tiny × " in back.err
    assert openbook("--runs", desk.runs, "champion") == answer


def test_status_and_open_of_a_desk(trained):
    status = openbook("--runs", trained.runs, "status")
    assert status.code == 0
    last = f"{trained.days[2]:%Y-%m-%d}"
    assert f"daily_run: 2 sealed, the last of {last}" in status.out
    assert f"{trained.bundle().name[:12]}, not vetted: paper only" in status.out
    assert f"paper: date {last}" in status.out
    latest = openbook("--runs", trained.runs, "open")
    assert latest.out == f"{trained.page(trained.days[2]) / 'report.html'}\n"
    first = openbook("--runs", trained.runs, "open", f"{trained.days[1]:%Y-%m-%d}")
    assert first.out == f"{trained.page(trained.days[1]) / 'report.html'}\n"


def test_the_environment_says_where_the_runs_are(runs, monkeypatch):
    monkeypatch.setenv("OPENBOOK_RUNS", str(runs))
    assert openbook("init", "--cash", "1000").code == 0
    assert (runs / "books" / "paper.db").is_file()
    assert sorted(path.name for path in (runs / "books" / "paper").iterdir()) == [
        "current_positions.csv",
        "performance_history.csv",
        "summary.json",
        "trade_history.csv",
        "views.json",
    ]


def test_a_book_is_opened_once(runs):
    assert "1,000.00 USD" in openbook("--runs", runs, "init", "--cash", "1000").out
    before = (runs / "books" / "paper.db").read_bytes()
    again = openbook("--runs", runs, "init", "--cash", "2000")
    assert again.code == 60
    assert "already exists" in again.err
    assert (runs / "books" / "paper.db").read_bytes() == before


def test_a_paper_book_may_count_parts_of_a_share_and_a_live_one_may_not(runs):
    live = openbook("--runs", runs, "init", "--cash", "1000", "--book", "live", "--parts", "1000")
    assert (live.code, "auctions take no fractional shares" in live.err) == (64, True)
    many = openbook("--runs", runs, "init", "--cash", "1000", "--parts", "1000001")
    assert (many.code, "must be 1 to 1,000,000" in many.err) == (64, True)
    assert openbook("--runs", runs, "init", "--cash", "1000", "--parts", "1000").code == 0
    assert read_book(runs / "books" / "paper.db").share_units == 1000


@pytest.mark.parametrize("cash", ["0", "-5", "nan", "inf", "1e14", "1e300"])
def test_a_book_begins_with_money(runs, cash):
    assert openbook("--runs", runs, "init", f"--cash={cash}").code == 60
    assert not (runs / "books" / "paper.db").exists()


# ---- dates ----


@pytest.mark.parametrize(
    ("date", "why"),
    [
        ("2022-12-25", "Sunday"),
        ("2022-12-26", "Christmas"),
        ("2025-01-09", "unscheduled"),
        ("2024-06-19", "Juneteenth"),
    ],
)
def test_t01_a_day_without_a_session(runs, date, why):
    answer = openbook("--runs", runs, "run", "daily_run", "--date", date)
    assert answer.code == 0
    assert answer.out.startswith(f"no session: {date}")
    assert why in answer.out
    assert nothing(runs)


def test_t01_backfill_over_a_weekend_has_nothing_to_do(runs):
    answer = openbook("--runs", runs, "backfill", "daily_run", "--from", "2022-12-24", "--to", "2022-12-26")
    assert answer == (0, "no sessions from 2022-12-24 to 2022-12-26\n", "")
    assert nothing(runs)


def test_t01_backfill_from_the_later_to_the_earlier_date_is_a_mistake(runs):
    answer = openbook("--runs", runs, "backfill", "daily_run", "--from", "2022-12-20", "--to", "2022-12-10")
    assert answer.code == 64
    assert "--from 2022-12-20 is after --to 2022-12-10" in answer.err
    assert nothing(runs)


@pytest.mark.parametrize("date", ["2099-01-02", "1900-01-02", "9999-12-31", "0001-01-01"])
def test_t05_beyond_the_calendar(runs, date):
    answer = openbook("--runs", runs, "run", "daily_run", "--date", date)
    assert answer.code == 32
    assert "outside the New York Stock Exchange calendar" in answer.err
    assert nothing(runs)


JUNK = [
    "../../x",
    "2022-12-28\x00",
    "\x00",
    "2025-02-30",
    "2022-12-28/../../x",
    "2022-12-28 ",
    "20221228",
    "2022-W52-3",
    "٢٠٢٢-١٢-٢٨",
    "2022-12-28T00:00",
    "",
    "-1",
    "$(touch x)",
    "<script>",
]


@pytest.mark.parametrize("date", JUNK, ids=repr)
def test_x01_what_is_no_date(runs, date, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    answer = openbook("--runs", runs, "run", "daily_run", f"--date={date}")
    assert answer.code == 64, answer
    assert answer.err.count("\n") == 1
    assert "YYYY-MM-DD" in answer.err
    assert nothing(runs)


@settings(max_examples=2000, deadline=None)
@given(st.one_of(st.text(max_size=40), st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.?")))
def test_x01_two_thousand_strings_are_dates_or_usage_errors(text):
    for parse in (parse_date, check_date):
        try:
            parse(text)
        except UsageError:
            continue
        assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text)


# ---- parameters ----


@pytest.mark.parametrize(
    ("given_", "culprit"),
    [
        ("max_modle_age=3", "unknown parameter max_modle_age"),
        ("limits.max_wieght=0.1", "unknown parameter limits.max_wieght"),
        ("max_model_age=soon", "max_model_age"),
        ("dry_run='false'", "dry_run"),
        ("date=2022-12-27", "unknown parameter date"),
        ("stage=/tmp", "unknown parameter stage"),
        ("__import__('os').system('x')=1", "--set"),
        ("source=!!python/object/apply:os.getcwd []", "--set source"),
        ("max_model_age", "write key=value"),
    ],
)
def test_x02_a_parameter_that_is_none(runs, given_, culprit):
    answer = openbook("--runs", runs, "run", "daily_run", "--date", "2022-12-28", "--set", given_)
    assert answer.code == 78, answer
    assert culprit in answer.err
    assert nothing(runs)


def test_x02_a_profile_that_is_none(runs):
    for name in ("prod", "../params/demo", "/etc"):
        answer = openbook("--runs", runs, "run", "daily_run", "--date", "2022-12-28", "--profile", name)
        assert answer.code == 78, answer
        assert nothing(runs)


# ---- what nobody foresaw ----


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(28, "No space left on device", "/data/x"), 74, "/data/x: No space left on device"),
        (PermissionError(13, "Permission denied", "/data/x"), 74, "/data/x: Permission denied"),
        (KeyError("a\nb"), 70, "KeyError"),
        (OpenbookError("told\nin two lines"), 70, "told"),
    ],
)
def test_an_unforeseen_error_is_one_line_and_a_code(runs, monkeypatch, error, code, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("openbook.app.pipeline.init", fail)
    answer = openbook("--runs", runs, "init", "--cash", "1")
    assert answer.code == code
    assert answer.err.startswith("openbook: ")
    assert answer.err.count("\n") == 1
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_v_shows_where_it_happened(runs, monkeypatch):
    def fail(*_, **__):
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr("openbook.app.pipeline.init", fail)
    answer = openbook("-v", "--runs", runs, "init", "--cash", "1")
    assert answer.code == 70
    assert "Traceback" in answer.err
    assert "nobody foresaw this" in answer.err
    assert "Traceback" not in openbook("--runs", runs, "init", "--cash", "1").err


def test_ctrl_c_is_no_traceback(runs, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("openbook.app.pipeline.init", interrupt)
    answer = openbook("--runs", runs, "init", "--cash", "1")
    assert answer.code == 130
    assert "interrupted" in answer.err


def test_s13_a_file_in_the_place_of_the_runs(tmp_path):
    (tmp_path / "runs").write_text("no folder")
    for line in (["init", "--cash", "1"], ["run", "daily_run", "--date", "2022-12-28"]):
        answer = openbook("--runs", tmp_path / "runs", *line)
        assert answer.code == 74, answer
        assert "runs" in answer.err
    assert (tmp_path / "runs").read_text() == "no folder"


# ---- data ----


def test_data_update_is_told_in_numbers_and_then_finds_nothing_new(runs):
    first = openbook("--runs", runs, "data", "update", "--through", "2018-02-27")
    assert first.code == 0, first
    assert re.match(r"[0-9]+ new sessions, 0 late, 0 revised, ", first.out)
    manifest = json.loads(next((runs / "store").glob("*/manifest.json")).read_bytes())
    assert first.out.startswith(f"{len(manifest['sessions'])} new")
    again = openbook("--runs", runs, "data", "update")  # through the last session that is over
    assert again.out.startswith("0 new sessions, 0 late")


def test_each_night_asks_for_the_last_weeks_and_whole_for_everything(runs, monkeypatch):
    asked, fetch = [], PROVIDERS["sample"]

    def recent(source, since=None):
        asked.append(since)
        return fetch(source)

    monkeypatch.setitem(PROVIDERS, "sample", recent)
    for day, more in [("2017-09-14", ()), ("2017-09-15", ()), ("2017-09-15", ("--whole",))]:
        assert openbook("--runs", runs, "data", "update", "--through", day, *more).code == 0
    assert [since is None for since in asked] == [True, False, True]


def test_the_command_is_installed(project_root):
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="openbook")
    assert command.load() is cli.main
    assert os.access(project_root / "notebooks", os.R_OK)


@pytest.mark.parametrize("command", [["run", "daily_run", "--date"], ["data", "update", "--through"]])
def test_t03_a_session_that_is_not_over_is_not_ready(tmp_path, command):
    coming = calendar.next_session(calendar.last_closed())
    answer = openbook("--runs", tmp_path / "runs", *command, f"{coming:%Y-%m-%d}")
    assert answer.code == 31
    assert "is not over" in answer.err
    assert not (tmp_path / "runs").exists()


def test_the_module_run_as_a_script_ends_like_the_command(runs):
    done = subprocess.run(
        [sys.executable, "-m", "openbook.cli", "--runs", str(runs), "run", "weekly_run", "--date", "2022-12-28"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "'weekly_run'" in done.stderr) == (64, True)
    assert "Traceback" not in done.stderr
