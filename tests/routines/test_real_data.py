"""Real histories through the files provider, by settings alone: a tournament and sixty evenings on each."""

import json

import pytest

from openbook.cli import main
from openbook.market import calendar
from openbook.runs.runs_folder import RunsFolder, read_run
from support.real_histories import all_members, raw_quotes, survivors

pytestmark = pytest.mark.long

CANDIDATES = [
    {"name": "lightgbm", "algorithm": "lightgbm", "n_estimators": 100, "early_stopping": None},
    {"name": "xgboost", "algorithm": "xgboost", "n_estimators": 100, "early_stopping": None},
    {"name": "both", "algorithm": "ensemble", "members": ["lightgbm", "xgboost"]},
]
EVENINGS = 60


# The settings, the month's last session on which a champion is selected, and the first session to learn from.
SETS = {
    "survivors": (survivors, "2023-09-29", "2019-01-02"),
    "all_members": (all_members, "2017-03-31", "2014-06-30"),
    "raw_quotes": (raw_quotes, "2016-12-13", "2015-09-01"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_tournament_and_sixty_evenings(shared_data, tmp_path, name):
    settings, selected, first = SETS[name]
    source = "source=" + json.dumps({"provider": "files", **settings(shared_data)})

    def command(*words: str) -> int:
        return main(["--runs", str(tmp_path), *words])

    learn = ["--set", f"candidates={json.dumps(CANDIDATES)}", "--set", "walk_forward={n_folds: 2, holdout: 60}"]
    monthly = ["--date", selected, "--set", source, "--set", f"first={first!r}"]
    assert command("run", "train_candidates", *monthly, *learn) == 0
    rooms = ["--set", "portfolio.top_n=50", "--set", "optimizers=[hrp, equal_weight]"]
    assert command("run", "compare", *monthly, *rooms) == 0
    assert command("run", "select_champion", "--date", selected) == 0
    assert command("init", "--cash", "1000000") == 0
    days = calendar.sessions(selected, "2024-01-01")[1 : EVENINGS + 1]
    desk = ["--set", source, "--set", "require_manual_approval=false", "--set", "limits.max_trades=100"]
    span = ["--from", f"{days[0]:%Y-%m-%d}", "--to", f"{days[-1]:%Y-%m-%d}"]
    assert command("backfill", "daily_run", *span, *desk) in (0, 20, 21)
    folder = RunsFolder(tmp_path)
    sealed = [folder.sealed("daily_run", f"{day:%Y-%m-%d}") for day in days]
    assert len({read_run(run)["inputs_hash"] for run in sealed}) == EVENINGS
    assert command("verify") == 0
