"""approvers.yaml: who may sign, up to how much, and that only the desk can write it."""

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.common import desk_folder
from openbook.common.errors import ApprovalError, ParameterError
from openbook.runs.approvers import (
    FILE,
    Approvers,
    approvers_file,
    lines_for_list,
    parse_approvers,
    read_approvers,
    require_approvers,
)
from openbook.runs.key_files import create_key

KEYS = [base64.b64encode(bytes([n]) * 32).decode() for n in range(2, 6)]
ANN, BOB = ({"name": name, "key": key, "may": ["approve"]} for name, key in zip(("Ann", "Bob"), KEYS, strict=False))


def listed(*people: dict, **more) -> Approvers:
    return Approvers.model_validate_json(Approvers(approvers=people, **more).model_dump_json(), strict=True)


def parse(text: str) -> Approvers:
    return parse_approvers(text.encode(), "the list")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A desk with a list of one approver; the runs folder lies in it."""
    (tmp_path / desk_folder.FILE).write_text("format: 1\n")
    (tmp_path / "runs").mkdir()
    (tmp_path / FILE).write_text("\n".join(lines_for_list(KEYS[:1])).replace("NAME", "Ann"))
    (tmp_path / FILE).chmod(0o644)
    return tmp_path


# ---- the file ----


def test_the_list_of_the_desk_in_which_the_runs_lie(desk, monkeypatch):
    found = read_approvers(desk / "runs")
    assert [(person.name, person.key, person.may) for person in found.approvers] == [("Ann", KEYS[0], ("approve",))]
    assert found.two_above is found.approvers[0].approve_up_to is None
    monkeypatch.chdir(desk)
    assert read_approvers(Path("runs")) == found


def test_runs_elsewhere_go_by_the_desk_of_the_current_folder(desk, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(desk)
    assert approvers_file(elsewhere) == desk / FILE
    monkeypatch.chdir(elsewhere)
    assert approvers_file(elsewhere) is None
    assert read_approvers(elsewhere) is None
    with pytest.raises(ApprovalError, match=r"approvers\.yaml, which does not exist"):
        require_approvers(elsewhere)


def test_a_desk_without_a_list(desk):
    (desk / FILE).unlink()
    assert read_approvers(desk / "runs") is None
    with pytest.raises(
        ApprovalError, match=f"{desk / FILE}, which does not exist; write it as printed by openbook key"
    ):
        require_approvers(desk / "runs")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o620, 0o602, 0o666, 0o777])
def test_x06_a_list_that_others_can_write_counts_for_nothing(desk, mode):
    (desk / FILE).chmod(mode)
    with pytest.raises(ApprovalError, match=r"can be written by others.*chmod go-w"):
        read_approvers(desk / "runs")


@pytest.mark.parametrize("target", ["other.yaml", "nowhere"])
def test_x06_a_list_that_is_a_link_counts_for_nothing(desk, target):
    """Also one that leads nowhere: it must not read as a desk without a list."""
    (desk / FILE).rename(desk / "other.yaml")
    (desk / FILE).symlink_to(desk / target)
    with pytest.raises(ApprovalError, match="not a regular file"):
        read_approvers(desk / "runs")


def test_x06_a_folder_or_a_pipe_is_no_list(desk):
    (desk / FILE).unlink()
    (desk / FILE).mkdir()
    with pytest.raises(ApprovalError, match="not a regular file"):
        read_approvers(desk / "runs")
    (desk / FILE).rmdir()
    os.mkfifo(desk / FILE, 0o600)
    with pytest.raises(ApprovalError, match="not a regular file"):
        read_approvers(desk / "runs")


def test_x06_a_list_among_the_runs_counts_for_nothing(tmp_path, monkeypatch):
    """Nobody keeps a desk there but whoever wants another list."""
    inner = tmp_path / "runs" / "desk"
    inner.mkdir(parents=True)
    (inner / desk_folder.FILE).write_text("format: 1\n")
    (inner / FILE).write_text("\n".join(lines_for_list(KEYS[:1])))
    monkeypatch.setenv(desk_folder.DESK, str(inner))
    with pytest.raises(ApprovalError, match="inside the runs folder"):
        read_approvers(tmp_path / "runs")


def test_what_openbook_key_prints_is_a_list(tmp_path):
    public = create_key(tmp_path / "key", tmp_path / "runs")
    found = parse("\n".join(lines_for_list([public])))
    assert found.approvers[0].key == public


# ---- what it says ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the list: "),
        ("approvers: []", "approvers: "),
        ("approvers: [Ann]", "approvers.0"),
        ("two_above: 5", "approvers: Field required"),
        ("approvers: [{name: Ann, may: []}]", "approvers.0.key: Field required"),
        ("approvers: [{name: Ann, key: K0}]", "approvers.0.may: Field required"),
        ("approvers: [{name: Ann, key: K0, may: [sign]}]", "approvers.0.may.0"),
        ("approvers: [{name: Ann, key: K0, may: approve}]", "approvers.0.may"),
        ("approvers: [{name: Ann, key: K0, may: [], limit: 5}]", "unknown parameter approvers.0.limit"),
        ("approvers: [{name: Ann, key: K0, may: []}]\nthree_above: 5", "unknown parameter three_above"),
        ("approvers: [{name: Ann, key: aaaa, may: []}]", "approvers.0.key: Value error, not a public key"),
        (f"approvers: [{{name: Ann, key: {'A' * 43}=, may: []}}]", "approvers.0.key: Value error, not a public key"),
        ("approvers: [{name: 5, key: K0, may: []}]", "approvers.0.name"),
        ("approvers: [{name: '', key: K0, may: []}]", "approvers.0.name"),
        ("approvers: [{name: ' Ann', key: K0, may: []}]", "approvers.0.name: Value error, a name must not begin"),
        ("approvers: [{name: \"Ann\\u200B\", key: K0, may: []}]", "approvers.0.name"),
        ("approvers: [{name: \"Ann\\u3164\", key: K0, may: []}]", "invisible character, U+3164"),
        ("approvers: [{name: \"A\\nB\", key: K0, may: []}]", "approvers.0.name"),
        (f"approvers: [{{name: {'A' * 91}, key: K0, may: []}}]", "approvers.0.name"),
        ("approvers: [{name: Ann, key: K0, may: []}, {name: Ann, key: K1, may: []}]", "the name or the key of Ann"),
        ("approvers: [{name: Ann, key: K0, may: []}, {name: ANN, key: K1, may: []}]", "the name or the key of ANN"),
        ("approvers: [{name: Ann, key: K0, may: []}, {name: \uff21nn, key: K1, may: []}]", "the name or the key of"),
        ("approvers: [{name: Ann, key: K0, may: []}, {name: Bob, key: K0, may: []}]", "the name or the key of Bob"),
        ("approvers: [{name: Ann, key: K0, may: [], approve_up_to: 1.7e+308}]", "less than or equal to 1000000000000"),
        ("approvers: [{name: Ann, name: Bob, key: K0, may: []}]", "duplicate key 'name'"),
        ("approvers: !!python/object:os.system {}", "the list: "),
        ("approvers: !!binary aaaa", "the list: "),
        ("a: b: c", "the list: "),
    ],
)  # fmt: skip
def test_a_wrong_list_names_the_file_and_the_key(text, said):
    with pytest.raises(ParameterError) as error:
        parse(text.replace("K0", KEYS[0]).replace("K1", KEYS[1]))
    assert said in str(error.value)
    assert str(error.value).startswith("the list: ")


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "-1", "-0.01", "1e999", "'5'", "true", "[5]"])
@pytest.mark.parametrize("where", ["two_above", "approve_up_to"])
def test_a_limit_is_a_number_of_usd(number, where):
    above = f"two_above: {number}\n" if where == "two_above" else ""
    limit = f"approve_up_to: {number}, " if where == "approve_up_to" else ""
    with pytest.raises(ParameterError, match=where):
        parse(f"{above}approvers: [{{name: Ann, key: {KEYS[0]}, {limit}may: []}}]")


def test_bytes_that_are_no_text_are_no_list():
    with pytest.raises(ParameterError, match="the list: not UTF-8"):
        parse_approvers(b"\xff\xfe", "the list")


# ---- what it allows ----


def test_who_signs_is_listed_with_that_key_and_may_do_it():
    people = listed(ANN, BOB | {"may": ["reset"]}, {"name": "Cy", "key": KEYS[2], "may": []})
    assert people.require_may("Ann", KEYS[0], "approve").name == "Ann"
    for who, key, act, why in (
        ("Eve", KEYS[0], "approve", "Eve is not listed in approvers.yaml"),
        ("ann", KEYS[0], "approve", "ann is not listed"),
        ("Ann", KEYS[1], "approve", "the key that signed as Ann is not the one listed for Ann"),
        ("Ann", KEYS[0], "reset", "Ann may not reset: approvers.yaml allows approve"),
        ("Bob", KEYS[1], "approve", "Bob may not approve: approvers.yaml allows reset"),
        ("Cy", KEYS[2], "approve", "Cy may not approve: approvers.yaml allows nothing"),
    ):
        with pytest.raises(ApprovalError, match=why):
            people.require_may(who, key, act)
    assert people.require_listed("Cy", KEYS[2]).may == ()  # a retired key is still known


@given(st.integers(0, 10**12))
def test_a_limit_holds_to_the_cent(cents):
    one = listed(ANN | {"approve_up_to": cents / 100})
    one.require_enough([("Ann", KEYS[0])], cents)
    with pytest.raises(ApprovalError, match="Ann may approve up to"):
        one.require_enough([("Ann", KEYS[0])], cents + 1)


@given(st.integers(0, 10**12))
def test_above_a_limit_two_different_people_sign(cents):
    two = listed(ANN, BOB, two_above=cents / 100)
    two.require_enough([("Ann", KEYS[0])], cents)
    two.require_enough([("Ann", KEYS[0]), ("Bob", KEYS[1])], cents + 1)
    for signers in ([("Ann", KEYS[0])], [("Ann", KEYS[0])] * 2):
        with pytest.raises(ApprovalError, match="two different people sign"):
            two.require_enough(signers, cents + 1)


def test_nobody_is_not_enough():
    with pytest.raises(ApprovalError, match="nobody signed"):
        listed(ANN).require_enough([], 0)


def test_a_second_signature_does_not_lift_the_limit_of_the_first():
    people = listed(ANN | {"approve_up_to": 100}, BOB)
    with pytest.raises(ApprovalError, match=r"the batch trades 100\.01 USD, and Ann may approve up to 100\.00 USD"):
        people.require_enough([("Ann", KEYS[0]), ("Bob", KEYS[1])], 10_001)
