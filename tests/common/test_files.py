"""A file is replaced whole, by any number of processes at once, never through a link, and with the mode that it had."""

import os
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from openbook.common.errors import BookError, StorageError
from openbook.common.files import claim_folder, draft_folder, hand_out, replace_file, write_file
from openbook.ledger.book import open_book
from openbook.notify import outbox
from openbook.runs import audit_log, registry, summaries, views
from openbook.runs.runs_folder import RunsFolder
from support import environment
from support.small_runs import new_stage
from support.state_changes import bundle

TOKEN = "0" * 12


def at_once(n: int, act) -> Counter:
    """How each of `n` processes ended that did `act(number)` at the same moment: 0, or 1 after a known error."""
    ready, go = os.pipe()
    children = []
    for number in range(n):
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.close(go)
                os.read(ready, 1)  # until the parent closes the other end
                act(number)
                code = 0
            except BookError:
                code = 1
            finally:
                os._exit(code)
        children.append(child)
    os.close(ready)
    os.close(go)
    return Counter(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


MANY = [pytest.param(40), pytest.param(320, marks=pytest.mark.long)]


@pytest.mark.parametrize("n", MANY)
def test_any_number_of_processes_replace_one_file(tmp_path, n):
    def act(number):
        for _ in range(3):
            replace_file(tmp_path / "view.csv", b"%03d" % number * 5000)

    assert at_once(n, act) == {0: n}
    data = (tmp_path / "view.csv").read_bytes()
    assert data == data[:3] * 5000
    assert os.listdir(tmp_path) == ["view.csv"]


@pytest.mark.parametrize("n", MANY)
def test_any_number_of_processes_put_one_bundle(tmp_path, n):
    files, _, name = bundle("new")
    assert at_once(n, lambda _: registry._put(tmp_path / name, files)) == {0: n}
    assert os.listdir(tmp_path) == [name]
    assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == files


def test_of_many_processes_that_begin_a_book_one_does(tmp_path):
    assert at_once(12, lambda _: open_book(tmp_path / "paper.db", cash=1000.0)) == {0: 1, 1: 11}
    assert os.listdir(tmp_path) == ["paper.db"]


# ---- what the dead leave ----

HALF = """
import os, sys, time
from pathlib import Path
from openbook.common import files
place = Path(sys.argv[1])
if sys.argv[2] == "file":
    new, handle = files._claim(place, files._make_file)
else:
    new, handle = files.claim_folder(place)
    (new / "part").write_bytes(b"half")
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path, kind):
    place = tmp_path / "view.csv"
    line = [sys.executable, "-c", HALF, str(place), kind]
    writers = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment()) for _ in range(2)]
    try:
        assert [writer.stdout.readline() for writer in writers] == ["written\n"] * 2
        assert len(os.listdir(tmp_path)) == 2
        writers[0].kill()
        writers[0].wait()
        replace_file(place, b"new")
        assert len(os.listdir(tmp_path)) == 2  # the file, and the draft of the one that lives
        writers[1].kill()
        writers[1].wait()
        replace_file(place, b"newer")
        assert os.listdir(tmp_path) == ["view.csv"]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def test_only_our_own_leftovers_are_removed(tmp_path):
    others = {".a.csv.new~", ".a.csv.backup.new", f".b.csv.{TOKEN}.new", f"a.csv.{TOKEN}.new", ".a.csv"}
    for name in others | {".a.csv.new", f".a.csv.{TOKEN}.new"}:
        (tmp_path / name).write_bytes(b"x")
    replace_file(tmp_path / "a.csv", b"a")
    assert set(os.listdir(tmp_path)) == others | {"a.csv"}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is of Linux")
def test_where_nothing_can_be_made_a_writer_ends():
    """/proc answers "no such file" to every new name, although the folder is there."""
    for write in (claim_folder, lambda place: replace_file(place, b"")):
        with pytest.raises(OSError, match=r"No such file or directory|Permission denied"):
            write(Path("/proc/anything"))


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "folder", b"x")
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "none" / "a", b"x")
    with draft_folder(tmp_path / "bundle") as draft:
        (draft / "part").write_bytes(b"x")
    assert os.listdir(tmp_path) == ["folder"]


# ---- links ----


def publish_view(runs: Path, name: str) -> None:
    views.publish(runs / "books" / "paper", {name: b"symbol\n"}, rebuild=True)


def beat(runs: Path, _) -> None:
    outbox.beat(runs, "run", exit_code=0, date=None, now=outbox.datetime(2022, 12, 28, tzinfo=outbox.UTC))


def index_rows(runs: Path, _) -> None:
    stage = new_stage(RunsFolder(runs))
    RunsFolder(runs).fail(stage)
    summaries.read_rows(runs, keep=True)


REPLACED = {  # each is replaced where it lies
    "index.html": lambda runs, name: RunsFolder(runs).publish(name, b"page"),
    ".index.json": index_rows,
    "heartbeat.json": beat,
    "books/paper/positions.csv": lambda runs, name: publish_view(runs, "positions.csv"),
    "books/paper/views.json": lambda runs, name: publish_view(runs, "positions.csv"),
    "production/champion.json": lambda runs, name: registry.promote(runs, *bundle("new")),
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_link_in_the_place_of_a_file_is_replaced_and_its_victim_stays(tmp_path, name):
    runs, victim = tmp_path / "runs", tmp_path / "victim"
    (runs / name).parent.mkdir(parents=True)
    victim.write_bytes(b"{}")
    victim.chmod(0o600)
    (runs / name).symlink_to(victim)
    (runs / name).with_name(f".{(runs / name).name}.new").symlink_to(victim)
    if name == "production/champion.json":
        victim.unlink()  # a pointer must be sound; here its link leads to where there is nothing yet
    REPLACED[name](runs, name)
    assert not (runs / name).is_symlink()
    assert stat.S_IMODE((runs / name).stat().st_mode) == 0o666 & ~umask()  # the mode of a victim is not taken over
    assert not os.path.lexists(victim) if name == "production/champion.json" else victim.read_bytes() == b"{}"


def append(runs: Path) -> None:
    audit_log.record(runs, [("run", "a", "b")], when="2022-12-28 22:00:00 UTC")


REFUSED = {  # each is opened where it lies, to be locked or continued
    ".lock": lambda runs: RunsFolder(runs).lock().__enter__(),
    "audit.jsonl": append,
    "outbox/.lock": lambda runs: outbox.deliver(runs, outbox.datetime(2022, 12, 28, tzinfo=outbox.UTC)),
    ".stage/daily_run/2022-12-28-1.lock": lambda runs: (
        RunsFolder(runs).running(new_stage(RunsFolder(runs))).__enter__()
    ),
}


@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_link_in_the_place_of_a_lock_or_a_log_is_refused_by_name(tmp_path, name, there):
    runs, victim = tmp_path / "runs", tmp_path / "victim"
    (runs / name).parent.mkdir(parents=True)
    if there:
        victim.write_bytes(b"precious\n")
    (runs / name).symlink_to(victim)
    with pytest.raises(StorageError, match=f"{Path(name).name} is a symbolic link, which is never followed; remove it"):
        REFUSED[name](runs)
    assert victim.read_bytes() == b"precious\n" if there else not victim.exists()


def test_a_link_in_a_stage_is_neither_written_through_nor_sealed(tmp_path):
    runs, victim = RunsFolder(tmp_path / "runs"), tmp_path / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o600)
    stage = new_stage(runs)
    (stage.folder / "trades.csv").symlink_to(victim)
    with pytest.raises(StorageError, match=r"trades\.csv is a symbolic link"):
        stage.write("trades.csv", "x")
    stage.finish()
    with pytest.raises(StorageError, match="sealed with files only"):
        runs.seal(stage)
    assert (victim.read_bytes(), stat.S_IMODE(victim.stat().st_mode)) == (b"precious", 0o600)


def test_what_is_handed_out_replaces_a_link(tmp_path):
    victim, file = tmp_path / "victim", tmp_path / "orders.csv"
    victim.write_bytes(b"precious")
    file.symlink_to(victim)
    hand_out(file, b"orders", runs=tmp_path / "runs")
    assert (file.is_symlink(), file.read_bytes(), victim.read_bytes()) == (False, b"orders", b"precious")


# ---- modes ----


def umask() -> int:
    """The one of this process, which can only be read by setting it."""
    found = os.umask(0o022)
    os.umask(found)
    return found


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o664])
def test_a_file_keeps_its_mode(tmp_path, mode):
    file = tmp_path / "view.csv"
    file.write_bytes(b"old")
    file.chmod(mode)
    replace_file(file, b"new")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", mode)


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_a_new_file_has_the_mode_that_the_umask_allows(tmp_path, mask):
    before = os.umask(mask)
    try:
        replace_file(tmp_path / "a", b"a")
        write_file(tmp_path / "b", b"b")
        open_book(tmp_path / "paper.db", cash=1000.0)
        folder, handle = claim_folder(tmp_path / "kernel", 0o700)
    finally:
        os.umask(before)
    found = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "b", "paper.db")}
    assert found == dict.fromkeys(found, 0o666 & ~mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    os.close(handle)
