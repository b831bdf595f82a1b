"""Hostile inputs made from valid ones: what people, editors, vendors, disks and forgers do to a file or a word.

Every function takes a valid sample and a seeded `random.Random`, and returns one hostile version of it.
"""

import copy
import io
import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import yaml

from openbook.common.errors import OpenbookError
from openbook.common.text import printable

DIGITS = "9" * 5000
TEXTS = (
    *("", " ", "x", "NaN", "nan", "inf", "-inf", "Infinity", "-0", "0", "-1", "1e308", "1e999", "1e-320"),
    *("True", "null"),
    *("2022-12-28", "2022-13-45", "9999-99-99", "0000-00-00", "9999-12-31", "2022-12-28T21:00Z", "12:30", "24:61"),
    *("\x00", "\x1b[31m", "a\nb", "a\r\nb", "\u202e", "\u2028", "\ufeff", "\ud800", "\udcff", "é", "中", "\U0001f600"),
    *("../../etc/passwd", "/dev/null", "a/b", ".", "..", "~", "$HOME", "%s", "{0}", "=1+1", "'=x", "=?utf-8?q?x?="),
    *("١٢", "1_000", "0x10", "1,5", "1.5.5", "+5", "--", "-", "CASH", DIGITS, "x" * 100_000, "[" * 3000, "ab" * 32),
    *("smtp://", "smtp://[", "http://[::1", "https://x:99999999/", "postgresql://", "s3://bucket/x.csv", "file:///", "://"),
)  # fmt: skip
PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -(10**18), 0.5, -0.0, 1e308, -1e308, 5e-324),
    *(
        math.nan,
        math.inf,
        -math.inf,
        [],
        {},
        [[]],
        [None],
        [1, "a"],
        {"a": 1},
        {"": {}},
        {"a": {"b": [1, {"c": None}]}},
    ),
    *TEXTS,
)
YAML_VALUES = (
    *("!!binary aGk=", "!!python/object/apply:os.system [ls]", "!!python/name:os.system", "!!set {a, b}"),
    "!!omap [a: 1]",
    *("2022-12-28", "2022-12-28T10:00:00Z", "12:30:45", "yes", "on", "~", ".nan", ".inf", "-.inf", "0x_", "1e3", "0o7"),
    *("&a [*a]", "&a {b: *a}", "*nowhere", "{<<: {a: 1}}", "{1: 2}", "{[1]: 2}", "{? {a: 1} : 2}", "!x y", "!!str 5"),
    *("!!int x", "!!float ''", "!!bool x", "!!null x", "!!timestamp x", "!!timestamp 2022-99-99", "{a: 1, a: 2}"),
    "|\n  x",
    *(DIGITS, f"0x{DIGITS}", f"1.{DIGITS}", f"1e{DIGITS}", '"\\ud800"', '"\\x00"', "[" * 500, "'", '"'),
    *(":", "- x", "? x", "@x", "`x`", "%x", "#", "---", "...", "\t", "=", "<<"),
)  # fmt: skip
RAW = (
    *(b"", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\r\n", b"\n", b" ", b"\xff", b"\xc3\x28"),
    b"\xed\xa0\x80",
    *(b'"', b"'", b",", b";", b"\t", b"{", b"}", b"[", b"]", b"[" * 200_000, b'{"a":' * 100_000, b"NaN", b"9" * 5000),
    *(b"1e999", b"\\ud800", b"\x1b]0;x\x07", b"-----BEGIN PRIVATE KEY-----", b"PK\x03\x04", b"PAR1"),
    b"SQLite format 3\0",
)  # fmt: skip


def verdict(enter: Callable[[Any], Any], given: Any) -> str:
    """Empty if a door let something pass or refused it by name; else what it did, in words."""
    try:
        enter(given)
    except OpenbookError as error:
        said = printable(" ".join(str(error).split()))
        if error.exit_code == OpenbookError.exit_code or not said.strip():
            return f"exit code {error.exit_code}: {said[:200]}"
    except OSError as error:  # the command line says 74 and names the file
        return "" if error.filename else f"{error!r:.300} at {_place(error)}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.300} at {_place(error)}"
    return ""


def _place(error: Exception) -> str:
    """The last line of the library that an error came through."""
    found, frame = "?", error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        found = f"{name.rpartition('/openbook/')[2]}:{frame.tb_lineno}" if "/openbook/" in name else found
        frame = frame.tb_next
    return found


def require_finite(found: Any) -> None:
    """An AssertionError where plain content, taken in as settings, holds NaN or infinity."""
    if isinstance(found, dict):
        for part in found.values():
            require_finite(part)
    elif isinstance(found, list | tuple):
        for part in found:
            require_finite(part)
    elif isinstance(found, float):
        assert math.isfinite(found), found


# ---- plain content ----


def plain(sample: Any, chance: random.Random) -> Any:
    """The sample with one to three of its parts replaced, removed, repeated, wrapped or renamed."""
    changed = copy.deepcopy(sample)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        changed = _changed(changed, chance)
    return changed


def _changed(content: Any, chance: random.Random) -> Any:
    places = list(_places(content))
    if not places or chance.random() < 0.02:
        return copy.deepcopy(chance.choice(PLAIN))
    holder, key = chance.choice(places)
    value, how = holder[key], chance.randrange(9)
    if how == 0:
        del holder[key]
    elif how == 1:
        holder[key] = [value]
    elif how == 2:
        holder[key] = {str(key): value}
    elif how == 3 and isinstance(holder, dict):
        holder[f"{key}{chance.choice(('x', ' ', chr(0)))}"] = holder.pop(key)
    elif how == 4 and isinstance(holder, dict):
        holder[chance.choice(TEXTS)] = copy.deepcopy(value)
    elif how == 5 and isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    elif how == 6:
        holder[key] = str(value) if not isinstance(value, str) else chance.choice((None, 7, 0.5, True, [value]))
    else:
        holder[key] = copy.deepcopy(chance.choice(PLAIN))
    return content


def _places(content: Any):
    """Every part of some content, as its holder and its key there."""
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for key in keys:
        yield content, key
        yield from _places(content[key])


# ---- files ----


def raw(data: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, removed, or with something foreign in their middle."""
    how, at = chance.randrange(8), chance.randrange(len(data) + 1)
    to = min(len(data), at + chance.choice((1, 2, 10, 1000)))
    if how == 0:
        return data[:at]
    if how == 1:
        return data[:at] + data[to:]
    if how == 2:
        return data[:to] + data[at:]
    if how == 3:
        return chance.choice(RAW) + data
    if how == 4:
        return data.replace(b"\n", chance.choice((b"\r\n", b"\r", b"", b"\n\n")))
    if how == 5:
        return chance.choice(RAW)
    if how == 6 and data:
        flipped = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        return bytes(flipped)
    return data[:at] + chance.choice(RAW) + data[to:]


def json_file(sample: Any, chance: random.Random) -> bytes:
    """A JSON file whose content or whose bytes are hostile."""
    changed = sample if chance.random() < 0.2 else plain(sample, chance)
    try:
        text = json.dumps(changed, indent=chance.choice((None, 1)))
    except ValueError:  # a number that Python does not spell out
        text = json.dumps(sample).replace(":", f": {DIGITS}, {json.dumps('y')}:", 1)
    if chance.random() < 0.05:
        text = text.replace('": ', f'": {chance.choice(("NaN", "Infinity", "1e999", DIGITS, "[" * 3000))}, "z": ', 1)
    if chance.random() < 0.05:
        text = text.replace("{", f"{{{text[1:60]!s}", 1)
    data = text.encode()
    return raw(data, chance) if changed is sample or chance.random() < 0.15 else data


def yaml_file(sample: Any, chance: random.Random) -> bytes:
    """A YAML file whose content, syntax or bytes are hostile."""
    how = chance.random()
    if how < 0.45:
        return yaml.dump(plain(sample, chance), allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")
    data = yaml.dump(sample, sort_keys=False).encode()
    if how < 0.85:
        lines = data.decode().splitlines()
        at = chance.randrange(len(lines))
        head, colon, _ = lines[at].partition(": ")
        value = chance.choice(YAML_VALUES)
        lines[at] = f"{head}: {value}" if colon else f"{lines[at]} {value}"
        if chance.random() < 0.1:
            lines.insert(at, lines[at])
        return "\n".join(lines).encode()
    return raw(data, chance)


def csv_file(header: Sequence[str], rows: Sequence[Sequence[str]], chance: random.Random) -> bytes:
    """A CSV file with hostile cells, columns or bytes."""
    head, body = list(header), [list(row) for row in rows]
    for _ in range(chance.choice((1, 1, 2))):
        how, row, column = chance.randrange(9), chance.randrange(len(body)), chance.randrange(len(head))
        if how == 0:
            head[column] = head[chance.randrange(len(head))]
        elif how == 1:
            head[column] = chance.choice(TEXTS)
        elif how == 2:
            head.append(chance.choice((head[0], "more")))
            body = [[*cells, "1"] for cells in body]
        elif how == 3:
            body[row] = body[row][:-1] if chance.random() < 0.5 else [*body[row], "x"]
        elif how == 4:
            body.append(list(body[row]))
        elif how == 5:
            body = [[cells[column] if i == column else "" for i in range(len(cells))] for cells in body]
        elif column < len(body[row]):
            body[row][column] = chance.choice(TEXTS)
    lines = [",".join(_cell(cell, chance) for cell in cells) for cells in (head, *body)]
    data = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    return raw(data, chance) if chance.random() < 0.25 else data


def _cell(text: str, chance: random.Random) -> str:
    quoted = any(mark in text for mark in ',"\r\n') and chance.random() < 0.8
    return '"' + text.replace('"', '""') + '"' if quoted else text


def parquet_file(table: pd.DataFrame, chance: random.Random) -> bytes:
    """A parquet file with columns of other types, missing, renamed or doubled, hostile cells, or hostile bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, how = chance.choice(list(table.columns)), chance.randrange(9)
    columns: dict[str, Any] = {each: pa.array(table[each], from_pandas=True) for each in table.columns}
    if how == 0:
        del columns[name]
    elif how == 1:
        columns[f"{name}x"] = columns.pop(name)
    elif how < 7:
        columns[name] = _column(len(table), columns[name], chance)
    names, arrays = list(columns), list(columns.values())
    if how == 7:
        names[names.index(name)] = chance.choice(names)
    out = io.BytesIO()
    pq.write_table(pa.table(arrays, names=names), out)
    return raw(out.getvalue(), chance) if how == 8 or chance.random() < 0.1 else out.getvalue()


def _column(n: int, was: Any, chance: random.Random) -> Any:
    """A column of another type, or with one hostile cell."""
    import pyarrow as pa

    day = np.datetime64("2022-12-28")
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: pa.array([chance.choice((math.nan, math.inf, -1.0, 0.0, 1e308, 5e-324)) for _ in range(n)]),
        lambda: pa.array([chance.choice(TEXTS[:40]).encode("utf-8", "replace").decode() for _ in range(n)]),
        lambda: pa.array([chance.randbytes(4) for _ in range(n)]),
        lambda: pa.array([True] * n),
        lambda: pa.nulls(n),
        lambda: pa.nulls(n, pa.float64()),
        lambda: pa.array([[1]] * n),
        lambda: pa.array([{"a": 1}] * n),
        lambda: pa.array([2**62] * n),
        lambda: pa.array(np.array([day] * n)),
        lambda: pa.array(np.array(["1600-01-01"] * n, dtype="datetime64[s]")),
        lambda: pa.array([2**62] * n).cast(pa.timestamp("us")),
        lambda: pa.array([12345] * n, pa.time64("us")),
        lambda: pa.array([12345] * n, pa.duration("us")),
        lambda: pa.array(["A"] * n).dictionary_encode(),
        lambda: pa.array([0] * n, pa.timestamp("ns", tz="Asia/Tokyo")),
        lambda: pa.array([1] * n).cast(pa.decimal128(38, 10)),
    )
    made = chance.choice(kinds)()
    if chance.random() < 0.5 or made.type != was.type:
        return made
    at = chance.randrange(n)
    return pa.concat_arrays([was[:at], made[at : at + 1], was[at + 1 :]])


def word(sample: str, chance: random.Random) -> str:
    """One word of a command line or of the environment."""
    how = chance.randrange(5)
    if how == 0:
        return chance.choice(TEXTS)
    at = chance.randrange(len(sample) + 1)
    if how == 1:
        return sample[:at]
    if how == 2:
        return sample[:at] + chance.choice(TEXTS) + sample[at:]
    if how == 3:
        return sample[:at] + chance.choice("0123456789.,:;/-+eE _'\"\\\t\n\x00\ud800é@?=&%#") + sample[at + 1 :]
    return sample * chance.choice((2, 50))
