"""Secrets: where they come from, who may see them, and how to find or hide one that slipped into a text.

They come from the environment, or from a file of lines NAME=VALUE that only its owner can read, named by
OPENBOOK_SECRETS. Never from parameters, so that no notebook, page or log has a reason to hold one. A secret is known by
its name, or by its place in a URL (scheme://user:password@host); one of fewer than SHORTEST characters cannot be told
from other text.
What is compressed (parquet, PNG) is searched as it lies on the disk.
"""

import base64
import html
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit

from openbook.common.errors import UsageError
from openbook.common.files import replace_file, storage

FILE = "OPENBOOK_SECRETS"
OURS = {"OPENBOOK_SMTP_PASSWORD", "OPENBOOK_SLACK", "OPENBOOK_WEBHOOK"}
FOR_NOTEBOOKS = {"PGPASSWORD"}  # libpq reads it wherever a book on a server is opened, and notebooks open it
SHORTEST = 6
_NAMED = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|CREDENTIALS?|(^|_)KEY|WEBHOOK(_URL)?)$", re.IGNORECASE)
_IN_URL = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_CUT = (0, 2, 3)  # characters of base64 that also depend on the bytes before, by their number modulo 3


def settings() -> dict[str, str]:
    """The environment over the secrets file, by name.

    Raises UsageError (64) for a file that is missing, that others can read, or that is not lines NAME=VALUE; no error
    shows what a line holds.
    """
    file = os.environ.get(FILE)
    return {**(_read(Path(file)) if file else {}), **os.environ}


def scrubbed_environment() -> dict[str, str]:
    """The environment without what holds a secret: what a notebook's kernel gets to see."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in FOR_NOTEBOOKS or not (name == FILE or _is_named(name) or _IN_URL.search(value))
    }


def find(folder: Path) -> list[str]:
    """Every file below a folder that holds a secret, as `file: NAME`, sorted; never the secret itself.

    Looks for the value as it is, and quoted for URLs, HTML, JSON and Python, in base64 and in hex.
    """
    forms = _forms_by_length(settings())
    found = set()
    for path in _files(folder):
        data = _bytes(path)
        name = path.relative_to(folder).as_posix()
        found |= {f"{name}: {secret}" for form, secret in forms if form in data}
    return sorted(found)


def redact(text: str) -> str:
    """The text with [NAME] in the place of every secret. It never fails, because error reports use it."""
    return _redacted(text.encode("utf-8", "surrogatepass"), _forms_by_length(_readable())).decode(
        "utf-8", "surrogatepass"
    )


def redact_folder(folder: Path) -> list[str]:
    """Rewrite every file below a folder that holds a secret; returns their names.

    Only for files that are no longer trusted, such as a failed attempt: their hashes change.
    """
    forms, changed = _forms_by_length(_readable()), []
    for path in _files(folder):
        data = _bytes(path)
        hidden = _redacted(data, forms)
        if hidden != data:
            with storage(f"hide a secret in {path}"):
                replace_file(path, hidden)
            changed.append(path.relative_to(folder).as_posix())
    return changed


def _is_named(name: str) -> bool:
    return name in OURS or _NAMED.search(name) is not None


def _readable() -> Mapping[str, str]:
    """`settings`, or the environment alone while the file cannot be read; whoever needs a value gets the error."""
    try:
        return settings()
    except UsageError:
        return dict(os.environ)


def _read(file: Path) -> dict[str, str]:
    """NAME=VALUE lines of a private file; # starts a comment line, and one pair of quotes around a value is dropped."""
    try:
        with open(file, encoding="utf-8") as opened:
            mode, lines = os.fstat(opened.fileno()).st_mode, opened.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}, set in {FILE}: {getattr(error, 'strerror', 'no text')}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"{file} contains secrets and is readable by others; run chmod 600 {file}")
    found = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UsageError(f"line {number} of {file} is not NAME=VALUE")
        found[match[1]] = re.sub(r"""^(["'])(.*)\1$""", r"\2", match[2])
    return found


def _values(known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(name, secret) of everything that may not be written: whole values, passwords in URLs, the path of a webhook."""
    for name, value in known.items():
        for match in _IN_URL.finditer(value):
            yield from ((name, match[1]), (name, unquote(match[1])))
        if not _is_named(name) or (os.path.isabs(value) and os.path.exists(value)):  # a path to a key is no key
            continue
        yield name, value
        yield from ((name, line) for line in value.splitlines() if "-----" not in line)
        if "://" in value:
            yield name, _path(value)


def _path(url: str) -> str:
    """The path of a URL, or what stands in its place where it is none: nothing may keep an error from being shown."""
    try:
        return urlsplit(url).path
    except ValueError:
        return "/" + url.partition("://")[2].partition("/")[2]


def _forms_by_length(known: Mapping[str, str]) -> list[tuple[bytes, str]]:
    """(bytes to look for, name of the secret), longest first: part of a secret never hides the rest of it."""
    found = {form: name for name, value in _values(known) if len(value) >= SHORTEST for form in _forms(value)}
    return sorted(found.items(), key=lambda pair: (-len(pair[0]), pair))


def _forms(value: str) -> set[bytes]:
    """A secret as it may be written."""
    raw = value.encode("utf-8", "surrogateescape")
    quoted = {quote(raw, safe=""), quote_plus(raw), quote(raw)}
    texts = {value, html.escape(value), repr(value)[1:-1], *quoted}
    texts |= {re.sub("%..", lambda found: found[0].lower(), text) for text in quoted}
    texts |= {json.dumps(text, ensure_ascii=plain)[1:-1] for text in texts for plain in (True, False)}
    coded = {_base64_inside(raw, before) for before in range(3)}
    coded |= {text.replace(b"+", b"-").replace(b"/", b"_") for text in coded}
    either = ("surrogateescape", "surrogatepass")  # as the environment has it, and as `redact` sees it
    return {text.encode("utf-8", how) for text in texts for how in either} | coded | {raw.hex().encode()}


def _base64_inside(raw: bytes, before: int) -> bytes:
    """Base64 of these bytes after `before` (modulo 3) other bytes, as in user:password."""
    coded = base64.b64encode(b"\0" * before + raw)
    return coded[_CUT[before] : (before + len(raw)) * 8 // 6]


def _redacted(data: bytes, forms: list[tuple[bytes, str]]) -> bytes:
    for form, name in forms:
        if form in data:
            data = data.replace(form, f"[{name}]".encode())
    return data


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _bytes(path: Path) -> bytes:
    with storage(f"read {path}"):
        return path.read_bytes()
