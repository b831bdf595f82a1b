"""Secrets: where they come from, who may see them, and how to find or hide one that slipped into a text.

They come from the environment, or from a file of lines NAME=VALUE that only its owner can read, named by
OPENBOOK_SECRETS. Never from parameters, so that no notebook, page or log has a reason to hold one. A secret is known by
its name, or by its place in a URL (scheme://user:password@host).

Only what can be told from other text is looked for: at least SHORTEST characters, in which a letter stands beside a
digit, or a character that no name, date or path has, or LONG characters. Otherwise a password like `data` would stop
every run. Of the URL of a webhook it is the whole, its path if that has a digit, and the keys in it; neither the name
of the host nor a word of the path. What is compressed (parquet, PNG) is searched as it lies on the disk.
"""

import base64
import html
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from openbook.common.errors import UsageError
from openbook.common.files import replace_file, storage

FILE = "OPENBOOK_SECRETS"
OURS = {"OPENBOOK_SMTP_PASSWORD", "OPENBOOK_SLACK", "OPENBOOK_WEBHOOK"}
FOR_NOTEBOOKS = {"PGPASSWORD"}  # libpq reads it wherever a book on a server is opened, and notebooks open it
FOR_SOURCES = "FSSPEC_"  # begins the names of what fsspec opens a source with, see its `config`
SHORTEST, LONG = 8, 20  # characters of a secret
KEY = 12  # characters of a part of a URL
_MIXED = re.compile(r"[^\W\d_]\d|\d[^\W\d_]")
_UNUSUAL = re.compile(r"[^\w\s.:/-]|[^\x00-\x7f]")
_NAMED = re.compile(
    r"(PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|CREDENTIALS?|CONNECTION_STRING|(^|_)KEY|WEBHOOK(_URL)?)$", re.IGNORECASE
)
_IN_URL = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")
_USER_AND_PASSWORD = re.compile(r"://[^/@\s:?#]*:(?!\d*(?:[/?#]|$))[^@\s]+@")  # what may be a port is none
_USER = re.compile(r"(?<![\w+.-])(https?|ftps?)://[^/@\s:?#]+@", re.IGNORECASE)  # for others a user is not a token
_KEYS = {"token", "key", "keyid", "secret", "password", "passwd", "passphrase", "pwd", "pass", "auth", "authorization"}
_KEYS |= {"signature", "sig", "credential", "credentials", "jwt", "bearer", "hmac", "apikey", "sas"}
_HOLDERS = {"headers", "params", "cookies"}
_JOINED = re.compile(
    r"(api|access|secret|auth|app|session|client|license|subscription)-?_?(key|token|secret)|session-?_?id", re.I
)
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_CUT = (0, 2, 3)  # characters of base64 that also depend on the bytes before, by their number modulo 3


def settings() -> dict[str, str]:
    """The environment over the secrets file, by name.

    Raises UsageError (64) for a file that is missing, that others can read, or that is not lines NAME=VALUE; no error
    shows what a line holds.
    """
    file = os.environ.get(FILE)
    return {**(_read(Path(file)) if file else {}), **os.environ}


def for_sources() -> dict[str, str]:
    """What fsspec needs to open a source that asks for a login, by the names of its `config`."""
    return {name: value for name, value in settings().items() if _is_login(name)}


def scrubbed_environment() -> dict[str, str]:
    """The environment without what holds a secret: what a notebook's kernel gets to see."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in FOR_NOTEBOOKS or not (name == FILE or _is_named(name) or _is_login(name) or _IN_URL.search(value))
    }


def unrecognizable() -> list[str]:
    """Names of the secrets that nothing looks for, sorted: they are too short, or like a word or a date."""
    known = settings()
    found = {name for name, value in _values(known) if _is_recognizable(value)}
    paths = {name for name, value in known.items() if os.path.isabs(value) and os.path.exists(value)}
    secret = {name for name, value in known.items() if value and (_is_named(name) or _passwords(value))}
    return sorted(secret - found - paths - {FILE})


def in_url(text: str) -> str:
    """What a URL holds that must not be written, in words; empty if nothing: a password, or a key in its query."""
    if "://" not in text:
        return ""
    if _USER_AND_PASSWORD.search(text):
        return "a password"
    if _USER.search(text):
        return "a user or token"
    for pair in re.split("[?#&;]", text)[1:]:
        name, _, value = pair.partition("=")
        if value and _is_key(unquote_plus(name)):
            return f"the key {unquote_plus(name)!r}"
    return ""


def _is_key(name: str) -> bool:
    """Whether a parameter of a URL is named like a credential: apikey, access_token, X-Amz-Signature, sig."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    return bool(_KEYS & set(words)) or _JOINED.search(name) is not None


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


def _is_login(name: str) -> bool:
    return name.startswith(FOR_SOURCES)


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
    """(name, secret) of everything that may not be written: whole values, and what is secret in a URL."""
    for name, value in known.items():
        for password in _passwords(value):
            yield from ((name, password), (name, unquote(password)))
        if not _is_named(name) or (os.path.isabs(value) and os.path.exists(value)):  # a path to a key is no key
            continue
        yield from ((name, part) for part in (_of_url(value) if "://" in value else _of_text(value)))
    for name in filter(_is_login, known):
        yield from ((name, part) for text in _in_login(known[name]) for part in _of_text(text))


def _in_login(value: str) -> list[str]:
    """What is secret in the options of a file system, as JSON: what is named so, headers, and parameters."""

    def inside(content: object, secret: bool) -> Iterator[str]:
        if isinstance(content, dict):
            for key, item in content.items():
                yield from inside(item, secret or _is_key(key) or key in _HOLDERS)
        elif isinstance(content, list):
            for item in content:
                yield from inside(item, secret)
        elif secret:
            yield str(content)

    try:
        return list(inside(json.loads(value), False))
    except ValueError:  # a single option, known by its name
        return []


def _of_text(text: str) -> Iterator[str]:
    """A value, each of its lines (of a key), and each of its words (Bearer TOKEN), as far as they can be recognized."""
    lines = [line for line in text.splitlines() if "-----" not in line]
    words = [word for line in lines for word in line.split()]
    yield from filter(_is_recognizable, dict.fromkeys([text, *lines, *words]))


def _of_url(text: str) -> Iterator[str]:
    """A URL that is secret, and the parts of it that are so by themselves."""
    address, _, rest = text.partition("://")[2].partition("/")
    path, _, query = rest.partition("?")
    if not rest and "?" not in address:
        return  # a host alone
    yield text
    if not os.path.exists(f"/{path}"):  # else runs may well name it
        yield from ([f"/{path}"] if len(path) >= KEY and re.search(r"\d", path) else [])
        yield from filter(_is_random, path.split("/"))
    pairs = (pair.partition("=") for pair in re.split("[&;]", query))
    yield from (value for name, _, value in pairs if _is_key(unquote_plus(name)) or _is_random(value))


def _passwords(value: str) -> list[str]:
    return [match[1] for match in _IN_URL.finditer(value)]


def _is_random(part: str) -> bool:
    """Whether a part of a URL is more likely a key than a word."""
    return len(part) >= KEY and _MIXED.search(part) is not None


def _is_recognizable(text: str) -> bool:
    if len(text) < SHORTEST:
        return False
    return len(text) >= LONG or bool(_MIXED.search(text) or _UNUSUAL.search(text))


def _forms_by_length(known: Mapping[str, str]) -> list[tuple[bytes, str]]:
    """(bytes to look for, name of the secret), longest first: part of a secret never hides the rest of it."""
    values = ((name, value) for name, value in _values(known) if _is_recognizable(value))
    found = {form: name for name, value in values for form in _forms(value)}
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
