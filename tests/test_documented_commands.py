"""Every command that the pages and the guides show is given, as it stands there, on a desk on which it makes sense."""

import pytest

from support.desk_moments import Moments
from support.documented_commands import is_a_name, shown

SHOWN = shown()

# When each is given; the rest on the evening of a paper book whose orders wait.
WHEN = {
    "openbook run train_candidates --date D": "selected",
    "openbook run compare --date D": "selected",
    "openbook run select_champion --date D": "selected",
    "openbook init --cash 100000": "selected",
    "openbook init --cash 100000 --parts 1000": "selected",
    "openbook backfill daily_run --from D --to D": "next evening",
    "openbook run daily_run --date D": "next evening",
    "openbook run daily_run --date last --profile mine": "next evening",
    "openbook new desk; cd desk; openbook data check ../prices --write params/mine": "outside",
    "openbook closure D --who NAME --reason WHY": "next evening",
    "openbook data update": "next evening",
    "openbook rollback --who NAME --reason WHY": "promoted",
    'openbook rollback --who Ann --reason "…"': "promoted",
    "openbook reset --who NAME --reason WHY": "halted",
    "openbook reset --restored --who NAME --reason WHY": "restored",
    "openbook verify --restored": "restored",
    "openbook sign HASH --date D --by NAME --key FILE --out TOKEN": "listed",
    "openbook approve D --token TOKEN": "signed",
    "openbook approve D --token token.json": "signed",
    "openbook export D --format generic --out FILE": "live, approved",
    "openbook export D --format ibkr --out FILE": "live, approved",
    "openbook export D --format alpaca --out FILE": "live, approved",
    "openbook fills D fills.csv": "executed",
    "openbook fills D fills.csv --who NAME --reason WHY": "executed unapproved",
    "openbook fills --reverse FILL_ID --who NAME --reason WHY": "filled",
    "openbook reconcile statement.csv": "filled",
}
# What ends with another code than 0, and why that is right.
CODES = {
    "openbook verify --restored": (90, "the parts of the backup do not belong together, and it says so"),
}
# What is not given here, and why.
ELSEWHERE = {
    "pip install uv && uv run openbook demo": "installs packages; tests/routines/test_installed.py runs the demo",
    "pip install uv && uv run --extra test pytest": "these tests",
    "openbook demo": "takes minutes; tests/app/test_pipeline.py runs it",
    "openbook run daily_run": "named without its date",
    "openbook fills": "named without its file",
    "openbook data check": "named without a folder",
    "openbook --runs FOLDER …": "stands for any command",
    "openbook -v …": "stands for any command",
    "openbook verify --head …": "stands for the two that are given, with HASH and with FILE",
    "openbook run train_candidates … --engine dask://host:8786": "needs a cluster; tests/app/test_pipeline.py has one",
    "openbook run train_candidates --date D --engine dask://host:8786": "needs a cluster, likewise",
    "openbook data update --profile live": "needs Yahoo Finance",
    "uv run --extra docs openbook open docs": "builds the site, which takes minutes; tests/test_docs.py builds it",
    "openbook --install-completion": "changes the start-up file of the user's shell",
    "papermill notebooks/daily_run.ipynb out.ipynb -f params/demo/daily_run.yaml -p date D": (
        "a command of papermill; tests/app/test_pipeline.py runs it"
    ),
}


GIVEN = sorted(SHOWN.keys() - ELSEWHERE.keys())


@pytest.fixture(scope="module")
def moments(tmp_path_factory) -> Moments:
    return Moments(tmp_path_factory.mktemp("moments"))


def test_the_tables_name_commands_of_pages_only():
    assert [command for command in (*WHEN, *CODES) if command not in GIVEN] == []
    assert [command for command in ELSEWHERE if command not in SHOWN] == []
    assert is_a_name("openbook halt")
    assert not is_a_name("openbook status")
    assert len(GIVEN) > 40


@pytest.mark.parametrize("command", GIVEN)
def test_a_command_of_a_page_does_what_it_is_shown_for(command, moments, tmp_path):
    moment = moments.copied(WHEN.get(command, "waiting"), tmp_path / "desk")
    answer = moment.give(command)
    code, _ = CODES.get(command, (0, ""))
    assert answer.code == code, f"{command} in {SHOWN[command]}: {answer.out}{answer.err}"
