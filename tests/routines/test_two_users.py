"""A desk of two users: shared where its folder is set up for their group, else the first one's, and never half of both.

Set up for a group: the folder belongs to it and hands that on (chmod g+s), and the umask lets it write (002).
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from openbook.notify import outbox
from openbook.notify.message import compose_alarm
from openbook.runs import audit_log, provenance, verification
from openbook.runs.runs_folder import RunsFolder
from support import state_changes as changes
from support.mail_servers import free_port, mail_to, no_channels
from support.small_runs import new_stage
from support.users import ANN, BOB, DESK, PRIVATE, SHARED, USUAL, as_user, folder_of, modes

NOW = datetime(2025, 3, 4, 22, tzinfo=UTC)


def evening(folder: Path, when: str) -> None:
    """What a daily run does, its stage included."""
    if RunsFolder(folder).sealed("daily_run", changes.DECIDED) is None:
        changes.staged(folder)
    changes.evening_command(folder, when)


def mail(folder: Path, when: str) -> None:
    """A message that waits, tried once more by whoever comes next."""
    (folder / "outbox").mkdir(parents=True, exist_ok=True)
    outbox.enqueue(folder, compose_alarm("HALTED", "2025-03-04"), NOW)
    tries = [state["tries"] for entry in outbox.entries(folder) for state in entry["channels"].values()]
    outbox.deliver(folder, NOW + timedelta(hours=sum(tries)))
    outbox.beat(folder, "notify", exit_code=0, date=None, now=NOW)


def failed(folder: Path, when: str) -> None:
    """What the other's crash left is kept as failed; one more attempt crashes."""
    with RunsFolder(folder).lock():
        new_stage(RunsFolder(folder)).write("trades.csv", "x")


TOGETHER = {
    "an evening": (changes.noted(changes.one_session), evening),
    "the command init": (Path.mkdir, changes.init_command),
    "approving": (changes.proposed, changes.approve),
    "recording fills": (changes.approved, changes.record_fills),
    "the command halt": (changes.noted(changes.approved), changes.halt_command),
    "the command reset": (changes.noted(changes.halted), changes.reset_command),
    "a promotion": (lambda folder: changes.promoted(folder, "old"), changes.promote_alone),
    "mail": (Path.mkdir, mail),
    "a crash": (Path.mkdir, failed),
}


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """Everything that users need is imported once: the Python of root may be closed to them."""
    with pytest.MonkeyPatch.context() as patch:
        no_channels(patch)
        mail_to(patch, free_port())
        for begin, act in TOGETHER.values():
            folder = tmp_path_factory.mktemp("imported") / "runs"
            begin(folder)
            act(folder, changes.WHEN)


@pytest.fixture(autouse=True)
def waiting_mail(monkeypatch):
    """A mail server that is down."""
    no_channels(monkeypatch)
    mail_to(monkeypatch, free_port())


@pytest.mark.parametrize("name", TOGETHER)
def test_a_folder_of_a_group_is_used_by_all_of_it(name):
    begin, act = TOGETHER[name]
    with folder_of(ANN, DESK, 0o2770) as desk:
        runs = desk / "runs"
        assert as_user(ANN, SHARED, lambda: begin(runs)) == (0, "")
        for user in (BOB, ANN, BOB):
            assert as_user(user, SHARED, lambda: act(runs, changes.WHEN)) == (0, "")
        found = modes(desk)
        assert {group for _, group in found.values()} == {DESK}
        sealed = {name for name in found if name.startswith(("runs/daily_run/", "runs/failed/"))}
        files = {name for name in found if (desk / name).is_file()}
        assert [name for name in set(found) - (sealed & files) if found[name][0][4:6] != "rw"] == []
        assert [name for name in sealed & files if found[name][0][4] != "r"] == []


@pytest.mark.parametrize(("mode", "umask"), [(0o2770, USUAL), (0o700, PRIVATE)])
@pytest.mark.parametrize("name", TOGETHER)
def test_another_folder_stays_the_first_ones_and_says_so(name, mode, umask):
    """Also a folder of a group whose first user does not let it write."""
    begin, act = TOGETHER[name]
    with folder_of(ANN, DESK if mode == 0o2770 else ANN, mode) as desk:
        runs = desk / "runs"
        assert as_user(ANN, umask, lambda: (begin(runs), act(runs, changes.WHEN))) == (0, "")
        before = modes(desk), {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}
        code, said = as_user(BOB, umask, lambda: act(runs, changes.WHEN))
        assert code == 74, said
        assert "ermission denied" in said
        assert str(desk) in said
        assert (modes(desk), {path: path.read_bytes() for path in desk.rglob("*") if path.is_file()}) == before
        writable = [name for name, (text, _) in modes(desk).items() if "w" in text[4:]]
        assert writable == []
        if umask == PRIVATE:
            assert [name for name, (text, _) in modes(desk).items() if text[4:] != "------"] == []


def test_the_code_is_the_same_for_a_user_whom_git_does_not_trust():
    """git answers nobody but the owner of a repository; the identity of the code is made of files."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    ours, told = provenance.code("daily_run"), []

    def act() -> None:
        theirs = provenance.code("daily_run")
        told.append(theirs)
        assert {name: theirs[name] for name in ("sha256", "sources", "cells")} == {
            name: ours[name] for name in ("sha256", "sources", "cells")
        }
        assert (theirs["commit"], theirs["modified"]) == (None, None)

    assert ours["commit"] is not None
    assert as_user(BOB, SHARED, act) == (0, "")


def test_verify_says_that_git_does_not_answer_and_finds_nothing_altered(project_root, tmp_path):
    with folder_of(ANN, DESK, 0o2775) as desk:
        runs = desk / "runs"
        TOGETHER["an evening"][0](runs)
        evening(runs, changes.WHEN)

        def act() -> None:
            altered, unchecked = verification.check_cells(runs, project_root)
            assert altered == []
            assert verification.check_runs(runs) == []
            assert audit_log.check(runs) == []
            assert [line for line in unchecked if "no executed notebook" in line or "git cannot read" in line]

        assert as_user(BOB, SHARED, act) == (0, "")
