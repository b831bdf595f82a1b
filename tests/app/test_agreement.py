"""The log and what it names: parts put back from a backup, deleted, planted; what a crash left; going on by name."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from openbook.app.agreement import compare, require_agreement
from openbook.common.errors import AuditError
from openbook.ledger import book_commands
from openbook.runs import audit_log
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.verification import run_digest
from support.trained_desk import clock, copied, hashes, openbook, succeed

PARTS = {"log": "audit.jsonl", "store": "store", "pages": "daily_run", "books": "books"}
SETS = [parts for n in (1, 2, 3) for parts in itertools.combinations(PARTS, n)]


@pytest.fixture
def today(trained, tmp_path):
    """The desk on the evening of its second page; nothing of it was seen on this machine."""
    return copied(trained, tmp_path)


@pytest.fixture
def yesterday(desk_after_one_page):
    return desk_after_one_page


def give(desk, *words: str):
    with clock(f"{desk.days[2]:%Y-%m-%d}T21:30Z"):
        return openbook("--runs", desk.runs, *words)


def deposit(desk):
    return give(desk, "cash", "deposit", "100", "--who", "Ann", "--reason", "more")


def put_back(desk, yesterday, *parts: str) -> None:
    """Replace parts of a desk by what they were yesterday."""
    for part in parts:
        name = PARTS.get(part, part)
        target = desk.runs / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        source = yesterday.runs / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)


def everything(desk) -> dict[str, str]:
    """What a refused command must leave as it is: all but the calendar and what locks leave."""
    return {name: sha for name, sha in hashes(desk.runs).items() if name not in ("index.html", ".index.json", ".lock")}


def test_nothing_disagrees_on_a_desk_in_order(today):
    require_agreement(today.runs)
    answer = give(today, "verify")
    assert (answer.code, "no problems" in answer.out) == (0, True), answer.out
    assert "the log and everything beside it agree" in succeed(give(today, "verify", "--restored")).out


@pytest.mark.parametrize("parts", SETS, ids="+".join)
def test_h07_yesterdays_parts_are_noticed_before_anything_is_written(today, yesterday, parts):
    put_back(today, yesterday, *parts)
    before = everything(today)
    answer = deposit(today)
    assert (answer.code, "Nothing was changed" in answer.err) == (90, True), answer
    assert everything(today) == before
    assert give(today, "verify").code == 90
    assert give(today, "verify", "--restored").code == 90
    assert "ALTERED" in give(today, "status").out


def test_h07_a_whole_backup_is_noticed_where_the_log_was_seen_to_go_on(today, yesterday):
    succeed(deposit(today))  # seen on this machine
    put_back(today, yesterday, *PARTS)
    answer = deposit(today)
    assert (answer.code, "which was seen on this machine" in answer.err) == (90, True), answer
    said = give(today, "verify", "--restored")
    assert (said.code, "this machine: has seen entry" in said.out) == (90, True), said.out


@pytest.mark.parametrize("parts", SETS, ids="+".join)
def test_h07_a_halt_logs_nothing_that_was_put_back_as_good(today, yesterday, parts):
    put_back(today, yesterday, *parts)
    log = (today.runs / "audit.jsonl").read_bytes()
    halted = succeed(give(today, "halt", "--who", "Ann", "--reason", "a restore"))
    assert "not logged yet, because" in halted.out
    assert (today.runs / "audit.jsonl").read_bytes() == log
    assert give(today, "verify").code == 90
    assert deposit(today).code == 90
    succeed(give(today, "reset", "--restored", "--who", "Ann", "--reason", "the disk died"))
    require_agreement(today.runs)


@pytest.mark.parametrize("name", ["audit.jsonl", "books/paper.db", "production/champion.json", "store", "daily_run"])
def test_h07_what_is_deleted_is_noticed(today, name):
    target = today.runs / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    before = everything(today)
    answer = deposit(today)
    assert (answer.code, everything(today) == before) in ((90, True), (64, True)), answer  # 64: there is no book left
    answer = give(today, "verify")
    assert answer.code == 90, answer.out


def test_h07_without_a_log_beside_sealed_runs_nothing_is_logged_anew(today):
    (today.runs / "audit.jsonl").unlink()
    answer = today.daily(date=today.days[2])
    assert (answer.code, "audit.jsonl is missing, though there are" in answer.err) == (90, True), answer
    assert not (today.runs / "audit.jsonl").exists()


def test_h07_a_forged_page_is_not_logged_as_what_was_made(today, yesterday):
    """The log is cut to yesterday, and the page of today is another: "already done" does not make it good."""
    put_back(today, yesterday, "log")
    (today.page(today.days[2]) / "report.html").chmod(0o644)
    (today.page(today.days[2]) / "report.html").write_text("buy everything")
    answer = today.daily(date=today.days[2])
    assert (answer.code, "is sealed, but not in the log, which never announced it" in answer.err) == (90, True), answer
    assert f"daily_run/{today.days[2]:%Y-%m-%d}" not in audit_log.logged(today.runs, "run")


def test_what_a_crash_left_is_not_logged_yet_and_no_disagreement(today):
    """Killed between the seal and the log: the announcement is there, the entry is not."""
    log = today.runs / "audit.jsonl"
    kept = log.read_bytes().splitlines(keepends=True)
    date = f"daily_run/{today.days[2]:%Y-%m-%d}"
    at = next(n for n, line in enumerate(kept) if json.loads(line)["subject"].startswith(f"{date} "))
    log.write_bytes(b"".join(kept[: at + 1]))
    answer = give(today, "verify")
    assert (answer.code, "not logged yet, since a command was ended:" in answer.out) == (0, True), answer.out
    assert date in compare(today.runs).waiting
    with clock(f"{today.days[2]:%Y-%m-%d}T21:00Z"):
        succeed(today.daily(date=today.days[2]))
    assert audit_log.logged(today.runs, "run")[date] == run_digest(today.page(today.days[2]))
    assert not compare(today.runs).waiting


def test_a_person_goes_on_after_a_restore_and_no_order_comes_back(by_hand_tonight, tmp_path):
    """The backup has orders that were approved; they were halted since. Accepting it halts again."""
    desk = copied(by_hand_tonight, tmp_path / "desk")
    backup = replace(desk, runs=tmp_path / "backup")
    date = f"{desk.tonight:%Y-%m-%d}"

    def tonight(*words: str):
        with clock(f"{date}T21:30Z"):
            return openbook("--runs", desk.runs, *words)

    batch = book_commands.read_batch(desk.book, date)
    assert set(batch.orders["status"]) == {"PENDING"}
    shutil.copytree(desk.runs, backup.runs)
    succeed(tonight("halt", "--who", "Bob", "--reason", "smoke"))
    put_back(desk, backup, *PARTS)
    assert tonight("cash", "deposit", "1", "--who", "Ann", "--reason", "x").code == 90
    assert tonight("export", date).code == 90
    assert tonight("reset", "--restored", "--who", " ", "--reason", "x").code == 64
    answer = succeed(tonight("reset", "--restored", "--who", "Ann", "--reason", "disk died"))
    assert "accepted by Ann: the log lacks entry" in answer.out
    assert "HALTED: paper, every open order is void" in answer.out
    assert set(book_commands.read_batch(desk.book, date).orders["status"]) == {"VOID"}
    assert desk.state().switch == "HALTED"
    answer = tonight("verify")
    assert answer.code == 0, answer.out
    assert tonight("reset", "--restored", "--who", "Ann", "--reason", "again").code == 64


@pytest.mark.parametrize("parts", SETS, ids="+".join)
def test_after_it_was_accepted_everything_agrees_and_the_desk_goes_on(today, yesterday, parts):
    put_back(today, yesterday, *parts)
    succeed(give(today, "reset", "--restored", "--who", "Ann", "--reason", "disk died"))
    require_agreement(today.runs)
    succeed(deposit(today))
    assert audit_log.check(today.runs) == []


def test_x09_what_verify_covers_it_finds_and_what_it_does_not_cover_it_names(today):
    runs, page = today.runs, today.page(today.days[2])
    (runs / "notes").mkdir()
    (runs / "notes" / "a.txt").write_text("mine")
    (runs / "left.csv").write_text("mine")
    answer = give(today, "verify")
    assert answer.code == 0, answer.out
    (line,) = [line for line in answer.out.splitlines() if line.startswith("not covered: ")]
    assert "left.csv" in line
    assert "notes/ (1 file)" in line
    named = {name.partition(" (")[0] for name in line.removeprefix("not covered: ").split(", ")}
    assert not named & {"books/", "store/", "production/", "daily_run/", "code/", "audit.jsonl", "index.html"}
    forgeries = {
        "index.html": lambda: (runs / "index.html").write_text("<p>approve everything</p>"),
        "summary.json": lambda: (runs / "books/paper/summary.json").write_text('["paper book: cash 9,999,999.00 USD"]'),
        "performance_history.csv": lambda: _forge_view(runs / "books/paper", "performance_history.csv"),
        "symbolic link": lambda: _link(page),
        "is damaged: its sha256 differs": lambda: _flip(next(runs.glob("store/*/bars-*.parquet"))),
    }
    for word, forge in forgeries.items():
        kept = hashes(runs)
        before = {name: (runs / name).read_bytes() for name in kept}
        forge()
        answer = give(today, "verify")
        assert (answer.code, word in answer.out) == (90, True), (word, answer.out)
        _restore(runs, page, before)
    assert give(today, "verify").code == 0


def _forge_view(folder: Path, name: str) -> None:
    """Another content, and a note that calls it ours."""
    (folder / name).write_text("date,equity,cash,invested\n2024-06-26,9999999.00,9999999.00,0.00\n")
    note = json.loads((folder / "views.json").read_bytes())
    note[name] = [hashes(folder)[name]]
    (folder / "views.json").write_text(json.dumps(note))


def _link(page: Path) -> None:
    moved = page.with_name(f"moved-{page.name}")
    page.rename(moved)
    page.symlink_to(moved)


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _restore(runs: Path, page: Path, before: dict[str, bytes]) -> None:
    if page.is_symlink():
        moved = page.resolve()
        page.unlink()
        moved.rename(page)
    for name, data in before.items():
        if (runs / name).read_bytes() != data:
            (runs / name).write_bytes(data)


def test_status_shows_the_books_and_not_what_lies_beside_them(today):
    _forge_view(today.runs / "books/paper", "performance_history.csv")
    (today.runs / "books/paper/summary.json").write_text('["paper book: kill switch ACTIVE, cash 9,999,999.00 USD"]')
    answer = give(today, "status")
    assert "9,999,999" not in answer.out
    assert "edited by hand or out of date: performance_history.csv, summary.json" in answer.out
    assert give(today, "notify").code == 90
    succeed(deposit(today))
    assert "9,999,999" not in (today.runs / "index.html").read_text()
    assert give(today, "verify").code == 0


def test_h07_a_pointer_whose_top_is_another_champion_than_its_last_entry_is_refused(today):
    pointer = today.runs / "production/champion.json"
    said = json.loads(pointer.read_bytes())
    said["metadata"]["vetted"] = not said["metadata"]["vetted"]
    pointer.write_text(json.dumps(said))
    assert today.daily(today.evening()).code == 40
    answer = give(today, "verify")
    assert (answer.code, "champion.json cannot be read: it is not the last entry" in answer.out) == (90, True)


def test_h07_prices_that_were_rewritten_with_their_hashes_are_found_by_what_the_runs_recorded(today):
    """A store that is made anew from other prices, its log entry remade as well."""
    (store,) = (today.runs / "store").glob("*")
    manifest = json.loads((store / "manifest.json").read_bytes())
    day = f"{today.days[2]:%Y-%m-%d}"
    manifest["sessions"][day] = "ab" * 32
    del manifest["seal"]
    from openbook.market.store.manifest import seal_of

    (store / "manifest.json").write_text(json.dumps(manifest | {"seal": seal_of(manifest)}, sort_keys=True, indent=1))
    assert "is not as it was at" in deposit(today).err
    entries = audit_log.entries(today.runs)
    (today.runs / "audit.jsonl").unlink()
    from openbook.runs import store_states

    last = max(n for n, entry in enumerate(entries) if entry["kind"] == "store")
    entries[last]["digest"] = store_states.current(today.runs)[store.name]
    for entry in entries:
        audit_log.record(today.runs, [(entry["kind"], entry["subject"], entry["digest"])], when=entry["when"])
    assert not compare(today.runs).broken
    answer = give(today, "verify")
    assert (answer.code, "the data of" in answer.out) == (90, True), answer.out


def test_a_run_that_is_gone_one_that_is_planted_and_one_without_its_run_json(today):
    page, date = today.page(today.days[2]), f"{today.days[2]:%Y-%m-%d}"
    shutil.copytree(page, page.with_name("2024-06-28"))
    (page / "run.json").unlink()
    said = [each.said for each in compare(today.runs).broken]
    assert said == [
        f"daily_run/{date} is sealed according to the log, but its run.json is missing",
        "daily_run/2024-06-28 is sealed, but not in the log, which never announced it",
    ]
    shutil.rmtree(page)
    assert f"daily_run/{date} is sealed according to the log, but it is missing" in compare(today.runs).broken[0].said


def test_an_empty_folder_begins_a_log(tmp_path):
    runs = RunsFolder(tmp_path / "runs")
    require_agreement(runs.folder)
    succeed(openbook("--runs", runs.folder, "init", "--cash", "1000"))
    assert [entry["kind"] for entry in audit_log.entries(runs.folder)] == ["event"]
    (runs.folder / "audit.jsonl").unlink()  # killed between the book and the log
    require_agreement(runs.folder)
    said = {"who": "Ann", "reason": "x", "when": "2024-06-25 21:00:00 UTC"}
    book_commands.record_cash(runs.folder / "books/paper.db", flow="deposit", cents=100, **said)
    with pytest.raises(AuditError, match="is missing"):
        require_agreement(runs.folder)
