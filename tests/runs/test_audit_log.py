"""The log: what is in it stays in it, and whoever alters a byte is found out."""

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.common.errors import AuditError, StorageError
from openbook.runs import audit_log
from openbook.runs.witness import KeptHead, check_heads

WHEN = "2022-12-28 22:00:00 UTC"
FOUND = [("run", "daily_run/2022-12-28", "aa"), ("event", "paper/1", "bb"), ("promotion", "champion/1", "cc")]
FOUND += [("event", "paper/2", "dd")]


@pytest.fixture
def log(tmp_path) -> Path:
    """The log of four entries, written in two goes."""
    assert audit_log.record(tmp_path, FOUND[:2], when=WHEN) == 2
    assert audit_log.record(tmp_path, FOUND, when="2022-12-29 22:00:00 UTC") == 2
    return tmp_path / "audit.jsonl"


def lines(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines(keepends=True)


def rewrite(log: Path, *kept: bytes) -> list[str]:
    """What check says, without a head, once the log consists of these lines."""
    log.write_bytes(b"".join(kept))
    return audit_log.check(log.parent)


# ---- what is written ----


def test_without_a_log_there_is_nothing(tmp_path):
    assert audit_log.entries(tmp_path) == []
    assert audit_log.head(tmp_path) == "0" * 64
    assert audit_log.last_when(tmp_path) is None
    assert audit_log.check(tmp_path) == []
    assert audit_log.record(tmp_path, [], when=WHEN) == 0
    assert not (tmp_path / "audit.jsonl").exists()


def test_an_entry_is_what_was_told_and_pins_the_one_before(log):
    found = audit_log.entries(log.parent)
    assert [(one["kind"], one["subject"], one["digest"]) for one in found] == FOUND
    assert [one["n"] for one in found] == [1, 2, 3, 4]
    assert [one["previous"] for one in found] == ["0" * 64, *(one["hash"] for one in found[:-1])]
    for one in found:
        body = {name: value for name, value in one.items() if name != "hash"}
        assert one["hash"] == sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    assert audit_log.head(log.parent) == found[-1]["hash"]
    assert audit_log.last_when(log.parent) == "2022-12-29 22:00:00 UTC"
    assert audit_log.check(log.parent) == []
    kept = [KeptHead(found[n]["hash"]) for n in (0, -1)]
    assert [len(lines) for lines in check_heads(log.parent, kept)] == [0, 2]


def test_what_was_read_before_is_not_taken_for_other_bytes_of_the_same_length_and_time(log):
    before, times = audit_log.entries(log.parent), log.stat()
    with open(log, "r+b") as opened:  # the same file, as long as it was
        opened.write(log.read_bytes().replace(b"paper/2", b"paper/3"))
    os.utime(log, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [one["subject"] for one in audit_log.entries(log.parent)] == [*(one[1] for one in FOUND[:3]), "paper/3"]
    assert audit_log.check(log.parent) == ["line 4 of audit.jsonl was altered"]
    before[0]["digest"] = "of the caller alone"
    log.write_bytes(log.read_bytes().replace(b"paper/3", b"paper/2"))
    audit_log.entries(log.parent)[0]["digest"] = "of the caller alone"
    assert audit_log.entries(log.parent)[0]["digest"] == "aa"


def test_the_same_again_appends_nothing(log):
    before = log.read_bytes()
    assert audit_log.record(log.parent, [*FOUND, *FOUND], when="later") == 0
    assert log.read_bytes() == before


def test_the_same_subject_twice_in_one_go_is_one_entry(tmp_path):
    assert audit_log.record(tmp_path, [FOUND[0], FOUND[0]], when=WHEN) == 1


def test_x09_another_digest_is_refused_and_nothing_appended(log):
    before = log.read_bytes()
    with pytest.raises(AuditError, match="event paper/1 was altered") as caught:
        audit_log.record(log.parent, [("event", "paper/3", "ee"), ("event", "paper/1", "zz")], when=WHEN)
    assert caught.value.exit_code == 90
    assert log.read_bytes() == before


@pytest.mark.parametrize("torn", [b"{", b'{"n": 5, "when": "20'])
def test_a_torn_last_line_is_no_entry_and_the_next_record_heals_it(log, torn):
    whole = log.read_bytes()
    log.write_bytes(whole + torn)
    assert audit_log.check(log.parent) == []
    assert audit_log.entries(log.parent)[-1]["n"] == 4
    assert audit_log.record(log.parent, [("event", "paper/3", "ee")], when=WHEN) == 1
    assert log.read_bytes().startswith(whole)
    assert audit_log.check(log.parent) == []
    assert audit_log.entries(log.parent)[-1]["n"] == 5


def test_a_first_line_that_was_torn_is_written_again(tmp_path):
    (tmp_path / "audit.jsonl").write_bytes(b'{"n": 1')
    assert audit_log.record(tmp_path, FOUND, when=WHEN) == 4
    assert audit_log.check(tmp_path) == []


def test_a_log_that_cannot_be_read_is_a_storage_error(tmp_path):
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(StorageError, match="could not read"):
        audit_log.entries(tmp_path)


# ---- what is found ----


def test_x09_an_edited_line(log):
    first, second, *rest = lines(log)
    assert rewrite(log, first, second.replace(b'"bb"', b'"bc"'), *rest) == ["line 2 of audit.jsonl was altered"]


def test_x09_an_edited_line_with_its_hash_mended_is_found_by_the_next(log):
    first, second, *rest = lines(log)
    body = {name: value for name, value in json.loads(second).items() if name != "hash"} | {"digest": "bc"}
    mended = {**body, "hash": sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}
    problems = rewrite(log, first, json.dumps(mended, sort_keys=True).encode() + b"\n", *rest)
    assert problems == ["line 3 of audit.jsonl breaks the hash chain: lines are missing or reordered"]


def test_x09_lines_that_changed_places(log):
    first, second, third, last = lines(log)
    problems = rewrite(log, first, third, second, last)
    assert [problem[:6] for problem in problems] == ["line 2", "line 3", "line 4"]
    assert all("missing or reordered" in problem for problem in problems)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_x09_a_line_that_is_missing(log, gone):
    kept = lines(log)
    del kept[gone]
    problems = rewrite(log, *kept)
    assert problems == [f"line {gone + 1} of audit.jsonl breaks the hash chain: lines are missing or reordered"]


def test_x09_a_line_that_was_inserted(log):
    first, *rest = lines(log)
    assert [problem[:6] for problem in rewrite(log, first, first, *rest)] == ["line 2"]


def test_x09_a_second_digest_for_the_same_subject_is_found_even_if_the_chain_holds(log):
    body = {"n": 5, "when": WHEN, "kind": "run", "subject": FOUND[0][1], "digest": "zz"}
    body["previous"] = audit_log.head(log.parent)
    entry = {**body, "hash": sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}
    problems = rewrite(log, *lines(log), json.dumps(entry, sort_keys=True).encode() + b"\n")
    assert problems == ["line 5 of audit.jsonl records run daily_run/2022-12-28 a second time"]


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_x09_a_tail_that_was_cut_is_found_by_the_head_alone(log, cut):
    head = audit_log.head(log.parent)
    assert rewrite(log, *lines(log)[:-cut]) == []
    assert audit_log.check(log.parent) == []
    ((problem,), _) = check_heads(log.parent, [KeptHead(head)])
    assert problem.startswith(f"no entry of audit.jsonl has the hash {head}")


def test_x09_a_log_that_was_replaced_is_found_by_the_head_alone(log):
    head = audit_log.head(log.parent)
    log.unlink()
    audit_log.record(log.parent, FOUND, when="2030-01-01 00:00:00 UTC")
    assert audit_log.check(log.parent) == []
    assert len(check_heads(log.parent, [KeptHead(head)])[0]) == 1


NO_ENTRIES = [b"", b"x", b"[1]", b"{}", b"\xff", b"[" * 100_000, b'{"n": 1}']


@pytest.mark.parametrize("bad", NO_ENTRIES, ids=lambda line: repr(line[:8]))
def test_x09_a_line_that_is_no_entry_ends_every_use_of_the_log(log, bad):
    first, *rest = lines(log)
    assert rewrite(log, first, bad + b"\n", *rest) == ["line 2 of audit.jsonl is not a valid entry"]
    for use in (audit_log.entries, audit_log.head, audit_log.last_when):
        with pytest.raises(AuditError, match=r"line 2 of .* is not a valid entry"):
            use(log.parent)
    with pytest.raises(AuditError, match="line 2"):
        audit_log.record(log.parent, [("event", "paper/9", "ff")], when=WHEN)


@pytest.mark.parametrize(("name", "value"), [("n", True), ("n", 1.0), ("when", None), ("hash", 5)])
def test_x09_an_entry_of_other_types_is_none(log, name, value):
    first = json.loads(lines(log)[0]) | {name: value}
    assert rewrite(log, json.dumps(first).encode() + b"\n") == ["line 1 of audit.jsonl is not a valid entry"]


@given(data=st.data())
def test_x09_any_byte_that_changes_is_found(data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    audit_log.record(runs, FOUND[:3], when=WHEN)
    log, head = runs / "audit.jsonl", audit_log.head(runs)
    content = bytearray(log.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    log.write_bytes(content)
    assert audit_log.check(runs) or check_heads(runs, [KeptHead(head)])[0]
