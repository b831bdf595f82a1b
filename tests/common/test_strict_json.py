"""JSON is UTF-8 with finite numbers and the expected shape, or one line says what is wrong."""

import pytest

from openbook.common.strict_json import mismatch, parse_json

SHAPE = {"name": str, "n": int, "x?": float, "texts": [str], "by_name?": {str: [int]}, "either?": (str, type(None))}


def test_what_has_the_shape_is_returned():
    text = b'{"name": "A", "n": 1, "x": 2, "texts": ["a"], "by_name": {"b": [1]}, "either": null, "more": [1.5]}'
    assert parse_json(text, SHAPE) == {
        "name": "A", "n": 1, "x": 2, "texts": ["a"], "by_name": {"b": [1]}, "either": None, "more": [1.5],
    }  # fmt: skip
    assert parse_json('"\\ud800"') == "\ud800"  # printed as nothing, but kept as it was


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "Expecting value"),
        (b"\xff", "not UTF-8 .byte 0."),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"[" * 200_000, "nested too deeply"),
        (b"NaN", "NaN is not a number"),
        (b"[-Infinity]", "-Infinity is not a number"),
        (b"1e999", "1e999 is not a number"),
        (b"9" * 5000, "99999999999999999999… is not a number"),
        (b"[9223372036854775808]", "9223372036854775808… is not a number"),
        (b"[]", "the content is not an object"),
        (b"{}", "name is missing"),
        (b'{"name": 1}', "name is not text"),
        (b'{"name": "A", "n": true}', "n is not a whole number"),
        (b'{"name": "A", "n": 1.0}', "n is not a whole number"),
        (b'{"name": "A", "n": 1, "texts": "a"}', "texts is not a list"),
        (b'{"name": "A", "n": 1, "texts": ["a", null]}', r"texts\[1\] is not text"),
        (b'{"name": "A", "n": 1, "texts": [], "x": "1"}', "x is not a number"),
        (b'{"name": "A", "n": 1, "texts": [], "by_name": {"b": [1, "2"]}}', r"by_name.b\[1\] is not a whole number"),
        (b'{"name": "A", "n": 1, "texts": [], "either": 0}', "either is not text"),
    ],
)
def test_what_has_not_is_one_line(data, why):
    with pytest.raises(ValueError, match=why) as refused:
        parse_json(data, SHAPE)
    assert len(str(refused.value).splitlines()) == 1


def test_a_whole_number_is_a_number_and_anything_is_an_object():
    assert mismatch(1, float) == mismatch({"a": [1]}, object) == ""
    assert mismatch(True, float) == "the content is not a number"
