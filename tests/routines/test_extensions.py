"""The guide on extending, followed to the letter: a desk whose features, learner, optimizer and prices are its own."""

import json
import shutil
from dataclasses import replace

import pytest

from support.own_desk import COMPARED, TRAINED, OwnDesk, done, guide_files, make_own_desk
from support.trained_desk import hashes

OWN = "features=[calm_momentum, volume_ratio, momentum_21]"
CANDIDATES = (
    "candidates=[{name: ours, algorithm: ridge, params: {alpha: 0.1}},"
    " {name: tiny, algorithm: lightgbm, n_estimators: 30, early_stopping: null}, {name: both, algorithm: ensemble}]"
)
PAIRS = ("optimizers=[score_weighted]", "n_jobs=2", "shaken=1", "portfolio.top_n=10")
MODEL_FILES = ("arrays.json", "members.json", "model.txt")
AUTOMATIC = "require_manual_approval=false"
pytestmark = pytest.mark.long  # three minutes


def warehouse(desk: OwnDesk) -> str:
    """The desk's own price source as the value of --set."""
    folder = desk.vendor.folder
    places = {"path": str(folder / "prices.parquet"), "actions": str(folder / "actions.parquet")}
    return f"source={json.dumps({'provider': 'warehouse', **places})}"


def daily(desk: OwnDesk, day: int):
    """The page of one of the last sessions, by automatic approval."""
    desk.evening(desk.days[day])
    return desk.run("daily_run", desk.days[day], AUTOMATIC, source=warehouse(desk))


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> OwnDesk:
    """Trained, compared, selected, and two evenings on paper. Copy it, never change it."""
    desk = make_own_desk(tmp_path_factory.mktemp("own") / "desk")
    for name, text in guide_files().items():
        desk.write(name, text)
    source, first = warehouse(desk), desk.days[0]
    done(desk.run("train_candidates", first, *TRAINED, OWN, CANDIDATES, source=source))
    kept = [each for each in COMPARED if not each.startswith(("optimizers", "n_jobs"))]
    done(desk.run("compare", first, *kept, *PAIRS, source=source))
    done(desk.run("select_champion", first))
    done(desk.command("init", "--cash", "100000", now=f"{first:%Y-%m-%d}T21:00Z"))
    done(daily(desk, 1))
    done(daily(desk, 2))
    return desk


@pytest.fixture
def desk(followed, tmp_path) -> OwnDesk:
    """The same desk after somebody edited its features and lost its source."""
    shutil.copytree(followed.folder, tmp_path / "desk")
    copy = replace(followed, folder=tmp_path / "desk")
    copy.write("lib/extensions/our_features.py", guide_files()["lib/extensions/our_features.py"] + "# edited\n")
    (copy.folder / "lib/extensions/our_source.py").unlink()
    return copy


def test_the_card_names_the_files_that_the_champion_needs(followed):
    card = followed.card()
    digests = hashes(followed.folder / "lib" / "extensions")
    assert card["optimizer"] == "score_weighted"
    needed = {"our_features.py", "our_optimizers.py"} | ({"our_learners.py"} if card["model"] != "tiny" else set())
    assert card["extensions"] == {f"lib/extensions/{name}": digests[name] for name in needed}
    page = (followed.runs / "daily_run" / f"{followed.days[2]:%Y-%m-%d}" / "report.html").read_text()
    assert f"lib/extensions/our_features.py (sha256 {digests['our_features.py'][:12]}…)" in page


def test_each_candidate_was_trained_and_compared(followed):
    folder = followed.runs / "train_candidates" / f"{followed.days[0]:%Y-%m-%d}" / "candidates"
    schemas = {path.parent.name: json.loads(path.read_bytes()) for path in folder.glob("*/schema.json")}
    assert {name: sorted(schema["extensions"]) for name, schema in schemas.items()} == {
        "ours": ["lib/extensions/our_features.py", "lib/extensions/our_learners.py"],
        "tiny": ["lib/extensions/our_features.py"],
        "both": ["lib/extensions/our_features.py", "lib/extensions/our_learners.py"],
    }


def test_verify_says_nothing_of_files_that_are_as_they_were(followed):
    assert "daily_run would end with" not in done(followed.command("verify")).stdout


def test_a_day_replays_with_the_files_of_then(desk):
    date = f"{desk.days[2]:%Y-%m-%d}"
    answer = done(desk.command("replay", date))
    assert "2 files (lib/extensions/our_features.py, lib/extensions/our_source.py)" in answer.stdout
    assert f"5 of 5 outputs of {date} are identical, byte for byte" in answer.stdout


def test_verify_finds_an_altered_bundle_and_lets_a_desk_edit_its_files(desk):
    said = done(desk.command("verify")).stdout
    assert "\ndaily_run would end with 40: the champion " in f"\n{said}"
    assert " needs lib/extensions/our_features.py as it was (sha256 " in said
    assert "no problems" in said
    (desk.folder / "lib/extensions/our_learners.py").unlink()
    desk.write("lib/extensions/our_optimizers.py", "1 / 0\n")
    said = done(desk.command("verify")).stdout
    assert "daily_run would end with 78: lib/extensions/our_optimizers.py, line 1: ZeroDivisionError" in said
    (model,) = [path for path in (desk.runs / "production").glob("*/*") if path.name in MODEL_FILES]
    data = bytearray(model.read_bytes())
    data[-2] ^= 1
    model.chmod(0o644)
    model.write_bytes(bytes(data))
    answer = desk.command("verify")
    assert answer.returncode == 90
    assert f"{model.name} was altered" in answer.stdout


def test_a_champion_does_not_trade_with_another_file_than_it_was_tested_with(desk):
    desk.write("lib/extensions/our_source.py", guide_files()["lib/extensions/our_source.py"])
    answer = daily(desk, 3)
    assert answer.returncode == 40
    assert "needs lib/extensions/our_features.py as it was (sha256 " in answer.stderr
    assert answer.stderr.count("\n") == 1
    desk.write("lib/extensions/our_features.py", guide_files()["lib/extensions/our_features.py"])
    done(daily(desk, 3))


def test_a_source_that_is_gone_is_named(desk):
    answer = daily(desk, 3)
    assert answer.returncode == 78
    assert "no provider 'warehouse'; choose from 'sample'" in answer.stderr


def test_orders_approved_before_an_edit_are_void(followed, tmp_path):
    shutil.copytree(followed.folder, tmp_path / "desk")
    desk = replace(followed, folder=tmp_path / "desk")
    desk.evening(desk.days[3])
    done(desk.run("daily_run", desk.days[3], "require_manual_approval=true", source=warehouse(desk)))
    desk.write(
        "lib/extensions/another.py", "OPTIMIZERS = {'flat': lambda expected, covariance, limits: limits.upper}\n"
    )
    date = f"{desk.days[3]:%Y-%m-%d}"
    answer = desk.command("approve", date, "--by", "A", now=f"{date}T21:10Z")
    assert answer.returncode == 55
    assert "lib/extensions/another.py" in answer.stderr


AHEAD = """import numpy as np


def tomorrow(p):
    return np.vstack([p.close[6:], np.full((6, p.close.shape[1]), np.nan)]) / p.close


FEATURES = {"tomorrow": tomorrow}
"""


def test_training_refuses_a_feature_that_looks_ahead(tmp_path):
    desk = make_own_desk(tmp_path / "desk")
    desk.write("lib/extensions/ahead.py", AHEAD)
    one = "candidates=[{name: tiny, algorithm: lightgbm, n_estimators: 30, early_stopping: null}]"
    answer = desk.run("train_candidates", desk.days[0], *TRAINED, "features=[tomorrow, momentum_21]", one)
    assert answer.returncode == 30
    assert "leakage tests failed: rank IC plausible: tiny" in answer.stderr
    assert "look for features with look-ahead" in answer.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("candidates=[{name: a, algorithm: rigde}]", "unknown algorithm 'rigde'; choose from xgboost, random_forest"),
        ('source={"provider": "warehouse"}', "'warehouse' does not take these settings: missing a required argument"),
        ('source={"provider": "warehouse", "path": "x", "b": 1}', "got an unexpected keyword argument 'b'"),
    ],
)
def test_settings_of_own_parts_are_checked_before_anything_runs(followed, change, said):
    answer = followed.command("run", "train_candidates", "--date", f"{followed.days[1]:%Y-%m-%d}", "--set", change)
    assert answer.returncode == 78
    assert said in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_source_that_fails_is_bad_data(followed, tmp_path):
    shutil.copytree(followed.folder, tmp_path / "desk", ignore=shutil.ignore_patterns("runs"))
    desk = replace(followed, folder=tmp_path / "desk")
    answer = desk.run("train_candidates", desk.days[0], source='source={"provider": "warehouse", "path": "no.parquet"}')
    assert answer.returncode == 30
    assert "price source 'warehouse' failed: FileNotFoundError" in answer.stderr
