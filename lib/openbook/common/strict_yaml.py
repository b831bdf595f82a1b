"""YAML that people write, read without surprises, and what pydantic found wrong with it in words."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError

from openbook.common.errors import ParameterError
from openbook.common.files import storage

PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
LARGEST = 100_000  # values, each use of an alias counted
DEEPEST = 100
LONGEST = 4000  # characters of a number


class _StrictLoader(yaml.SafeLoader):
    """YAML without surprises: no tags, no duplicate keys, keys are text, and a date stays the text that was written."""

    yaml_constructors: ClassVar = {  # type: ignore[misc]  # the stubs call it an attribute of instances
        **{tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (f"tag:yaml.org,2002:{name}" for name in PLAIN)},
        None: yaml.SafeLoader.yaml_constructors[None],
    }
    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        odd = [key for key in keys if not isinstance(key, str)]
        if odd:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {odd[0]!r:.80} is not text; write it in quotes", node.start_mark
            )
        twice = [key for key, times in Counter(keys).items() if times > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {min(twice)!r:.80}", node.start_mark)
        return super().construct_mapping(node, deep=deep)

    def construct_checked(self, node):
        """A number or a bool; Python reads no number of thousands of digits, 0x_ is none, and !!bool x is no bool."""
        kind = node.tag.rpartition(":")[2]
        try:
            if len(node.value) > LONGEST:
                raise ValueError("too long")
            return getattr(self, f"construct_yaml_{kind}")(node)
        except (ValueError, LookupError):
            why = f"{node.value!r:.40} is not a valid {kind}"
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark) from None


for _kind in ("bool", "int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _StrictLoader.construct_checked)


def read_yaml(file: Path) -> Any:
    """A YAML file as plain Python values; ParameterError (78) names the place, StorageError (74) the file."""
    with storage(f"read {file}"):
        data = file.read_bytes()
    return parse_yaml(data, str(file))


def parse_yaml(text: str | bytes, where: str) -> Any:
    """A YAML text as plain Python values; ParameterError (78) names the place."""
    try:
        found = yaml.load(text.decode("utf-8-sig") if isinstance(text, bytes) else text, Loader=_StrictLoader)
        _require_small(found)
    except UnicodeDecodeError as error:
        raise ParameterError(f"{where}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except RecursionError:
        raise ParameterError(f"{where}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ParameterError(f"{where}: {' '.join(str(error).split())}") from None
    return found


def _require_small(found: Any) -> None:
    """ValueError for content that is larger than anybody writes: an alias may hold itself, or multiply."""
    for n, depth in enumerate(_depths(found), start=1):
        if n > LARGEST or depth > DEEPEST:
            raise ValueError(f"more than {LARGEST:,} values or {DEEPEST} levels; aliases repeat what they name")


def _depths(found: Any) -> Iterator[int]:
    """How deep each value lies, as `found` is written out in full."""
    waiting = [(found, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield depth
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            waiting.extend((each, depth + 1) for each in inner)


def in_words(error: ValidationError) -> str:
    """Everything that pydantic found wrong, each with its key."""
    return "; ".join(_sentence(fault) for fault in error.errors())


def _sentence(fault: Any) -> str:
    """One pydantic fault in words: which key, what is wrong with it."""
    key = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"unknown parameter {key}"
    return f"{key}: {fault['msg']}"
