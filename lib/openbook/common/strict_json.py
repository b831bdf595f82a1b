"""JSON files, read without surprises: UTF-8, finite numbers, and the shape that the reader relies on.

A shape is a type; a list of one shape; a dict of shapes by name, whose names that end with ? may be left out;
{str: shape} for any names; or a tuple of shapes of which one must fit. `object` is anything, and further names are
allowed.
"""

import json
import math
from typing import Any

NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}
BEYOND, LONGEST = 2**63, 20  # whole numbers have 64 bits: as a value, and in characters


def parse_json(data: bytes | str, shape: Any = object) -> Any:
    """The content of a JSON text; ValueError says in one line what is wrong with it."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        found = json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    if wrong := mismatch(found, shape):
        raise ValueError(wrong)
    return found


def mismatch(value: Any, shape: Any, place: str = "") -> str:
    """The first part of some plain content that does not have its shape, in words; empty if all of it has."""
    if isinstance(shape, tuple):
        wrong = [mismatch(value, one, place) for one in shape]
        return "" if "" in wrong else wrong[0]
    if isinstance(shape, list):
        parts = enumerate(value) if isinstance(value, list) else ()
        wrong = [mismatch(part, shape[0], f"{place}[{i}]") for i, part in parts]
        return _first(wrong) if isinstance(value, list) else _not(place, list)
    if isinstance(shape, dict):
        return _of_names(value, shape, place) if isinstance(value, dict) else _not(place, dict)
    fits = shape is object or type(value) is shape or (shape is float and type(value) is int)
    return "" if fits else _not(place, shape)


def _of_names(value: dict, shape: dict, place: str) -> str:
    dot = f"{place}." if place else ""
    if str in shape:
        return _first([mismatch(part, shape[str], f"{dot}{name}") for name, part in value.items()])
    wrong = []
    for name, one in shape.items():
        key = name.removesuffix("?")
        if key in value:
            wrong.append(mismatch(value[key], one, f"{dot}{key}"))
        elif key == name:
            wrong.append(f"{dot}{key} is missing")
    return _first(wrong)


def _first(wrong: list[str]) -> str:
    return next(filter(None, wrong), "")


def _not(place: str, kind: type) -> str:
    return f"{place or 'the content'} is not {NAMES[kind]}"


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _whole(text: str) -> int:
    number = int(text) if len(text) <= LONGEST else BEYOND
    return number if abs(number) < BEYOND else int(_no_number(f"{text[:20]}…"))


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text[:40])
