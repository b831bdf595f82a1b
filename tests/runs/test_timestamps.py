"""Stamps of the log's head, made by a real authority on loopback and checked against its certificate."""

import shutil

import pytest

from openbook.common.errors import ParameterError, Undelivered
from openbook.runs import audit_log
from openbook.runs.timestamps import ROOTS, URL, check_stamps, stamp
from support.time_authority import authority

WHEN, FOUND = "2024-06-25 21:10:00 UTC", [("run", "daily_run/2024-06-25", "aa"), ("event", "paper/1", "bb")]


@pytest.fixture
def clock_ltd(tmp_path, monkeypatch):
    with authority(tmp_path / "authority") as listening:
        monkeypatch.setenv(URL, listening.url)
        monkeypatch.setenv(ROOTS, str(listening.roots))
        yield listening


@pytest.fixture
def runs(tmp_path):
    audit_log.record(tmp_path / "runs", FOUND, when=WHEN) if (tmp_path / "runs").mkdir() is None else None
    return tmp_path / "runs"


def test_h08_a_stamp_says_since_when_everything_before_is_unaltered(runs, clock_ltd):
    file = stamp(runs)
    assert file.name == f"2-{audit_log.head(runs)}.tsr"
    problems, (line,) = check_stamps(runs)
    assert not problems
    assert line.startswith(f"unaltered since entry 2 of {WHEN}, stamped by ")
    assert "Clock Ltd" in line
    audit_log.record(runs, [("event", "paper/2", "cc")], when=WHEN)
    assert check_stamps(runs) == ([], [line])  # what came later is not spoken for


def test_h08_the_latest_stamp_is_the_last_of_its_entries_by_number(runs, clock_ltd):
    """As text, 9-… comes after 10-…"""
    audit_log.record(runs, [("event", f"paper/{n}", "cc") for n in range(2, 9)], when=WHEN)
    stamp(runs)
    audit_log.record(runs, [("event", "paper/9", "cc")], when=WHEN)
    stamp(runs)
    problems, known = check_stamps(runs)
    assert not problems
    assert [line.split()[3] for line in known] == ["9", "10"]


def test_a_head_is_stamped_once_and_nothing_without_an_authority_or_a_log(runs, clock_ltd, tmp_path, monkeypatch):
    assert stamp(tmp_path / "nothing") is None
    stamp(runs)
    assert stamp(runs) is None
    assert clock_ltd.asked == 1
    monkeypatch.delenv(URL)
    audit_log.record(runs, [("event", "paper/2", "cc")], when=WHEN)
    assert stamp(runs) is None


def test_h08_a_log_that_was_made_anew_is_found_by_a_stamp(runs, clock_ltd):
    stamp(runs)
    (runs / "audit.jsonl").unlink()
    audit_log.record(runs, FOUND, when="2024-06-26 21:10:00 UTC")
    (problem,), known = check_stamps(runs)
    assert "is of an entry that the log lacks: it was truncated or replaced" in problem
    assert not known


def test_h08_a_stamp_of_somebody_else_or_of_something_else_is_none(runs, clock_ltd, tmp_path, monkeypatch):
    file = stamp(runs)
    with authority(tmp_path / "mallory", "Mallory") as other:
        monkeypatch.setenv(URL, other.url)
        file.unlink()
        file = stamp(runs)
    (problem,), _ = check_stamps(runs)
    assert "is not a stamp by an authority of OPENBOOK_TIMESTAMP_ROOTS" in problem
    monkeypatch.setenv(URL, clock_ltd.url)
    file.unlink()
    good = stamp(runs)
    renamed = good.with_name(f"3-{'ab' * 32}.tsr")
    shutil.copy(good, renamed)
    (problem,), (known,) = check_stamps(runs)
    assert renamed.name in problem
    assert known.startswith("unaltered since entry 2")
    for damage in (b"", b"x", good.read_bytes()[:-1], good.read_bytes()[:200] + b"\0" + good.read_bytes()[201:]):
        renamed.unlink(missing_ok=True)
        good.write_bytes(damage)
        problems, known = check_stamps(runs)
        assert len(problems) == 1
        assert not known


def test_an_authority_that_does_not_answer_leaves_a_message_and_no_file(runs, clock_ltd, monkeypatch):
    clock_ltd.refuses = True
    with pytest.raises(Undelivered, match=r"the log's head was not stamped by 127\.0\.0\.1"):
        stamp(runs)
    monkeypatch.setenv(URL, "http://user:sesame@127.0.0.1:1/")
    with pytest.raises(Undelivered, match=r"127\.0\.0\.1:1") as said:
        stamp(runs)
    assert "sesame" not in str(said.value)
    assert not (runs / "stamps").exists()


def test_without_certificates_stamps_are_named_and_not_believed(runs, clock_ltd, monkeypatch, tmp_path):
    stamp(runs)
    monkeypatch.delenv(ROOTS)
    assert check_stamps(runs)[1] == [f"1 stamps were not checked: set {ROOTS} to the authority's certificate (PEM)"]
    monkeypatch.setenv(ROOTS, str(tmp_path / "none.pem"))
    with pytest.raises(ParameterError, match=ROOTS):
        check_stamps(runs)
