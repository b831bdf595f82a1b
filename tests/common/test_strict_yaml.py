"""YAML without surprises: plain values only, and one line that names the place of anything else."""

import pytest

from openbook.common.errors import ParameterError, StorageError
from openbook.common.strict_yaml import parse_yaml, read_yaml


def test_plain_values():
    text = "a: 1\nb: [x, 2022-12-28, 1.5, yes, null]\nc: &same {d: e}\nf: *same\n"
    same = {"d": "e"}
    assert parse_yaml(text, "w") == {"a": 1, "b": ["x", "2022-12-28", 1.5, True, None], "c": same, "f": same}
    assert parse_yaml(b"\xef\xbb\xbfa: 1", "w") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: !!binary aGk=", "could not determine a constructor for the tag 'tag:yaml.org,2002:binary'.*column 4"),
        ("a: !!python/object/apply:os.system [ls]", "python/object/apply"),
        ("a: !!set {x}", "2002:set"),
        ("a: !!timestamp 2022-12-28", "2002:timestamp"),
        ("a: !mine 1", "'!mine'"),
        (f"a: {'9' * 5000}", "is not a valid int.*line 1, column 4"),
        (f"a: 0x{'9' * 5000}", "is not a valid int"),
        ("a: 0x_", "'0x_' is not a valid int"),
        ("a: !!bool x", "'x' is not a valid bool"),
        ("a: !!float ''", "is not a valid float"),
        ("a: 1\na: 2", "duplicate key 'a'"),
        ("NO: 1", "the key False is not text; write it in quotes"),
        ("2022: 1", "the key 2022 is not text"),
        ("{[1]: 2}", "is not text"),
        ("a: &x [*x]", "more than 100,000 values or 100 levels"),
        ("a: &x {b: *x}", "more than 100,000 values or 100 levels"),
        ("a: *nowhere", "undefined alias"),
        ("[" * 5000, "nested too deeply"),
        (b"a: \xff", r"not UTF-8 \(byte 3\)"),
        ("a: \x00", "special characters are not allowed"),
    ],
)
def test_anything_else_is_one_line(text, why):
    with pytest.raises(ParameterError, match=f"^the file: .*{why}") as refused:
        parse_yaml(text, "the file")
    assert len(str(refused.value).splitlines()) == 1


def test_aliases_that_multiply_take_no_memory():
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(ParameterError, match="aliases repeat what they name"):
        parse_yaml("\n".join(lines), "the file")


def test_a_file_that_is_a_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match=f"could not read {tmp_path}: Is a directory"):
        read_yaml(tmp_path)
