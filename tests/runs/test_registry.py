"""The champion's pointer: what a rollback does and never does, and what a terminal shows of it.

That a kill at any moment leaves the old pointer or the new one is in test_crashes.
"""

import json
from pathlib import Path

import pytest

from openbook.app.status import status_lines
from openbook.common.errors import ModelError, UsageError
from openbook.runs import registry
from openbook.runs.lineage import NOBODY, champion_lines
from openbook.runs.runs_folder import RunsFolder
from support.state_changes import bundle
from support.state_changes import promoted as history

POINTER = "production/champion.json"
WHEN = "2024-06-10 20:46:00 UTC"


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def back(folder: Path, reason: str = "it loses", who: str = "Ann", verify=Path.stat) -> dict:
    """A rollback."""
    return registry.rollback(folder, who=who, reason=reason, when=WHEN, verify=verify)


def model(folder: Path) -> str:
    """Who the champion is."""
    return registry.champion(folder)[1]["model"]


# ---- rollback ----


def test_a_rollback_points_to_the_champion_before_and_says_who_and_why(tmp_path):
    runs = history(tmp_path, "a", "b")
    entry = back(runs, " it loses ")
    assert model(runs) == "a"
    assert entry["rollback"] == {
        "who": "Ann",
        "reason": "it loses",
        "when": WHEN,
        "from": bundle("b")[2],
    }
    assert [one["metadata"]["model"] for one in registry.history(runs)] == ["a", "b", "a"]
    pointer = json.loads((runs / POINTER).read_bytes())
    assert {**pointer["history"][-1], "schema_version": 1, "history": pointer["history"]} == pointer


def test_the_same_rollback_again_changes_nothing_and_a_second_step_needs_a_reason_of_its_own(tmp_path):
    runs = history(tmp_path, "a", "b", "c")
    first = back(runs)
    before = content(runs)
    assert back(runs) == first
    assert content(runs) == before
    assert model(runs) == "b"
    back(runs, "the one before loses too")
    assert model(runs) == "a"
    with pytest.raises(UsageError, match="nothing to roll back to: there is no earlier champion"):
        back(runs, "all of them do")
    assert model(runs) == "a"


def test_what_was_rolled_back_never_comes_back_but_a_new_selection_does(tmp_path):
    runs = history(tmp_path, "a", "b")
    back(runs)
    before = content(runs)
    history(runs, "b")
    assert content(runs) == before
    history(runs, "c")
    assert model(runs) == "c"
    back(runs)
    assert model(runs) == "a"  # and not b, though b was champion after a


def test_the_champion_before_is_the_one_before_and_not_the_one_that_was_left(tmp_path):
    runs = history(tmp_path, "a", "b", "a")
    back(runs)
    assert model(runs) == "b"
    with pytest.raises(UsageError, match="nothing to roll back to"):
        back(runs, "another reason")  # a was rolled back itself


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"]])
def test_nothing_to_roll_back_to(tmp_path, names):
    runs = history(tmp_path, *names)
    before = content(runs)
    with pytest.raises(UsageError, match="nothing to roll back to"):
        back(runs)
    assert content(runs) == before


def test_a_bundle_that_is_not_whole_keeps_the_pointer_where_it_is(tmp_path):
    """And the one before that is not taken in its place without a word."""
    runs = history(tmp_path, "a", "b", "c")
    before = content(runs)

    def refuse(folder):
        assert folder.name == bundle("b")[2]
        raise ModelError("altered")

    with pytest.raises(ModelError, match="altered"):
        back(runs, verify=refuse)
    assert content(runs) == before


def test_a_rollback_is_the_way_out_when_the_champions_own_bundle_is_missing(tmp_path):
    runs = history(tmp_path, "a", "b")
    registry.champion(runs)[0].rename(tmp_path / "elsewhere")
    back(runs)
    assert model(runs) == "a"


@pytest.mark.parametrize("text", ["", "  ", "\n", "two\nlines", "bell \x07", "x" * 201])
@pytest.mark.parametrize("part", ["who", "reason"])
def test_who_and_why_must_be_said_in_one_line(tmp_path, part, text):
    runs = history(tmp_path, "a", "b")
    before = content(runs)
    with pytest.raises(UsageError, match=f"{part} must be one line"):
        back(runs, **{part: text})
    assert content(runs) == before


@pytest.mark.parametrize("change", [{"history": []}, {"history": [7]}, {"history": [{}]}, {"sha256": "0" * 64}])
def test_a_pointer_that_contradicts_its_history_is_an_error(tmp_path, change):
    runs = history(tmp_path, "a", "b")
    pointer = json.loads((runs / POINTER).read_bytes())
    (runs / POINTER).write_text(json.dumps({**pointer, **change}))
    for question in (registry.champion, registry.history, registry.before, champion_lines):
        with pytest.raises(ModelError, match=r"champion\.json cannot be read"):
            question(runs)


# ---- what a terminal shows ----


def test_nobody_is_said_in_one_sentence_and_nothing_is_made(tmp_path):
    assert champion_lines(tmp_path / "runs") == [NOBODY]
    assert not (tmp_path / "runs").exists()


def test_the_champion_and_its_history_in_lines(tmp_path):
    runs = RunsFolder(tmp_path / "runs")
    stage = runs.stage("train_candidates", "2024-06-10", profile="demo", params={}, inputs_hash="ab" * 32)
    stage.finish()
    runs.seal(stage)
    files, metadata, sha256 = bundle("old")
    head = "no promotion: none of 2 combinations passed every gate"
    stopped = f"old × hrp failed {'sharpe 0.100 (at least 1), ' * 5}turnover 0.9"
    told = {
        **metadata,
        "vetted": False,
        "reason": f"{head}; other × hrp failed calmar 0.100 (at least 0.5); {stopped}",
        "trained_through": "2024-06-03",
        "runs": {"train_candidates": "ab" * 32, "compare": "cd" * 32},
    }
    runs.promote(files, told, sha256)
    history(runs.folder, "new")
    back(runs.folder)
    assert (
        "\n".join(champion_lines(runs.folder))
        == f"""\
champion  old × hrp, not vetted: paper only
since     2024-06-10, the session of its selection
restored  2024-06-10 20:46:00 UTC, by a rollback by Ann: it loses
why       best score of 2 combinations; none passed every gate, so it may run the paper book only; failed:
          sharpe 0.100 (at least 1), sharpe 0.100 (at least 1), sharpe 0.100 (at least 1), sharpe 0.100 (at
          least 1), sharpe 0.100 (at least 1), turnover 0.9
trained   through 2024-06-03
bundle    {sha256}
lineage   train_candidates of 2024-06-10, inputs abababababab
          compare (no longer in this folder), inputs cdcdcdcdcdcd

history, newest first:
  2024-06-10  {sha256[:12]}  old × hrp restored by a rollback by Ann: it loses
  2024-06-10  {bundle("new")[2][:12]}  new × hrp, passed every gate, rolled back
  2024-06-10  {sha256[:12]}  old × hrp, not vetted: paper only"""
    )
    champion = next(line for line in status_lines(runs.folder) if line.startswith("champion"))
    assert "; restored 2024-06-10 20:46:00 UTC by a rollback by Ann: it loses" in champion


def test_a_missing_bundle_is_said_beside_the_history(tmp_path):
    runs = history(tmp_path, "a")
    registry.champion(runs)[0].rename(tmp_path / "elsewhere")
    assert f"bundle    {bundle('a')[2]}, MISSING" in champion_lines(runs)
