"""The folder that one run writes into, in formats that give the same bytes for the same content.

Nothing on a stage is accepted before `finish()` has written run.json, which lists every file with its sha256.
"""

import hashlib
import io
import json
import math
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from openbook.common import extensions
from openbook.common.errors import IncompleteRun, StorageError, UsageError
from openbook.common.files import storage, write_file
from openbook.common.strict_json import parse_json
from openbook.runs.preload import lean_imports

RUN = "run.json"
ABOUT = "inputs.json"  # from the runner, before the notebook starts; becomes part of run.json
REPORT = "report.html"
SCHEMA_VERSION = 2  # 1 named a few packages and a commit, 2 the whole environment and the sources
FLOAT = ".12g"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a text that begins so is a formula to a spreadsheet
_QUOTED = re.compile(r'[",\r\n]')
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}", re.ASCII)


class Stage:
    """Where a notebook writes. The folder exists already: a kernel that outlives its runner cannot bring it back."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).absolute()
        self._recorded: dict = {}
        self._finished = False
        if not self.folder.is_dir():
            raise StorageError(f"no stage at {folder}; openbook run creates one, or leave the parameter at None")

    def write(self, name: str, content: bytes | str) -> None:
        """One file; text as UTF-8. `name` may have folders: candidates/ridge/model.json."""
        self._require_open()
        file = check_name(name)
        if file.name in (RUN, ABOUT):
            raise UsageError(f"{file.name} is written by finish(); choose another name")
        self._put(file, content.encode() if isinstance(content, str) else content)

    def table(self, name: str, table, formats: Mapping[str, str] | None = None) -> None:
        """A DataFrame as CSV, rows as given; a named index is written first. See `csv_bytes`."""
        self.write(name, csv_bytes(table, formats))

    def json(self, name: str, content) -> None:
        """Plain content as JSON, cleaned by `clean`."""
        self.write(name, json_bytes(content))

    def parquet(self, name: str, table) -> None:
        """A DataFrame as parquet, with checksums of its pages."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(table), buffer, compression="zstd", write_page_checksum=True)
        self.write(name, buffer.getvalue())

    def record(self, **values) -> None:
        """Facts of this run by name, for run.json and for scrapbook; a later value replaces an earlier one."""
        self._require_open()
        self._recorded |= {name: clean(value) for name, value in values.items()}

    def finish(self) -> None:
        """The last cell: glue what was recorded, then write run.json. Without it, nothing here is accepted."""
        self._require_open()
        extensions.require_unchanged()
        _glue(self._recorded)
        content = {
            "schema_version": SCHEMA_VERSION,
            **self.about(),
            "recorded": self._recorded,
            "outputs": self._hashes(),
            "complete": True,
        }
        self._put(PurePosixPath(RUN), json_bytes(content))
        self._finished = True

    def about(self) -> dict:
        """What the runner recorded about this run: notebook, date, profile, params…; empty if there is no runner."""
        file = self.folder / ABOUT
        return json.loads(file.read_bytes()) if file.exists() else {}

    def require_finished(self) -> dict:
        """run.json, once every output was compared with its sha256 in it.

        Raises IncompleteRun (73) if the last cell did not run or a file is missing, altered or not listed.
        """
        run = self._read_run()
        found = self._hashes()
        odd = sorted({name for name, _ in found.items() ^ run["outputs"].items()})
        if odd or run.get("complete") is not True:
            raise IncompleteRun(
                f"files differ from those that finish() recorded: {', '.join(odd) or RUN}; run it again"
            )
        return run

    def _read_run(self) -> dict:
        file = self.folder / RUN
        if not file.is_file():
            raise IncompleteRun("the notebook ended before its last cell, finish(); its output is discarded")
        try:
            return parse_json(file.read_bytes(), {"notebook?": str, "date?": str, "outputs": {str: str}})
        except ValueError as error:
            raise IncompleteRun(f"{RUN} is incomplete: {error}; the notebook's output is discarded") from None

    def _hashes(self) -> dict[str, str]:
        """sha256 by name of every file, but the runner's own: the executed notebook is saved while it runs."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {path.relative_to(self.folder).as_posix(): path for path in files}
        skip = {RUN, ABOUT, REPORT, *(path.name for path in self.folder.glob("*.ipynb"))}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in names.items() if name not in skip}

    def _put(self, name: PurePosixPath, data: bytes) -> None:
        with storage(f"write {name}"):
            for folder in list(name.parents)[-2::-1]:
                (self.folder / folder).mkdir(exist_ok=True)
            write_file(self.folder / name, data)

    def _require_open(self) -> None:
        if self._finished:
            raise UsageError("this run is finished; write files before finish(), or open a new stage")


def open_stage(folder: str | Path | None) -> Stage:
    """The stage of `folder`; without one a temporary folder, and a line that says so.

    Examples
    --------
    >>> run = ob.open_stage(None)
    No stage was given: this run writes to the temporary folder ...
    >>> run.write("note.txt", "hello")
    >>> (run.folder / "note.txt").read_text()
    'hello'
    """
    if folder is not None:
        return Stage(folder)
    stage = Stage(tempfile.mkdtemp(prefix="openbook-"))
    print(f"No stage was given: this run writes to the temporary folder {stage.folder}.")
    return stage


def check_name(name: str) -> PurePosixPath:
    """A relative name of plain characters, or UsageError (64)."""
    parts = name.split("/")
    if not all(_PART.fullmatch(part) for part in parts):
        raise UsageError(
            f"{name!r} is not a valid file name: use letters, digits, '_', '-', '.', and '/' between folders"
        )
    return PurePosixPath(*parts)


def clean(value):
    """`value` as plain JSON: NaN, infinity, NaT and NA are null, dates are text, NumPy becomes Python.

    Raises TypeError for anything else; a table goes to a file of its own.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(key): clean(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(clean(item) for item in value)
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return _clean_foreign(value)


def _clean_foreign(value):
    """Dates, and what NumPy and pandas make, known by what they can do: neither is imported here."""
    name = type(value).__name__
    if name in ("NaTType", "NAType"):
        return None
    if name == "datetime64":
        return None if str(value) == "NaT" else str(value).removesuffix("T00:00:00.000000000")
    if hasattr(value, "isoformat"):
        return value.isoformat().removesuffix("T00:00:00")
    if name == "Series":
        return clean(value.to_dict())
    if hasattr(value, "columns") or not hasattr(value, "tolist"):
        raise TypeError(f"cannot write a {name} as JSON; use table(), or record its numbers")
    return clean(value.tolist())


def _key(key) -> str:
    key = clean(key)
    return key if isinstance(key, str) else json.dumps(key)


def json_bytes(content) -> bytes:
    """Sorted keys, one space of indent, UTF-8, a newline at the end; half of a character is written as \\udXXX."""
    text = json.dumps(clean(content), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def csv_bytes(table, formats: Mapping[str, str] | None = None) -> bytes:
    """A DataFrame as UTF-8 CSV with \\n line ends, the same bytes for the same numbers.

    formats : format specification by column, such as ".6f"; other floats have 12 significant digits. Integers stay
        integers, dates are YYYY-MM-DD, a missing value is empty. A text that a spreadsheet would run as a formula gets
        a leading ' ; a number never does.
    """
    if any(name is not None for name in table.index.names):
        table = table.reset_index()
    unknown = sorted(set(formats or {}) - {str(name) for name in table.columns})
    if unknown:
        raise UsageError(f"formats for columns that are not in the table: {', '.join(unknown)}")
    specs = [(formats or {}).get(str(name), FLOAT) for name in table.columns]
    columns = [[_cell(value, spec) for value in table.iloc[:, i].tolist()] for i, spec in enumerate(specs)]
    head = [_neutral(str(name)) for name in table.columns]
    return "".join(_line(cells) for cells in (head, *zip(*columns, strict=True))).encode()


def _cell(value, spec: str) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else format(value + 0.0, spec)  # + 0.0: there is no -0
    value = clean(value)
    if value is None:
        return ""
    return _neutral(value) if isinstance(value, str) else str(value)


def _line(cells) -> str:
    """One line of CSV; Python's own writer leaves a carriage return unquoted if lines end with \n."""
    quoted = ['"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell for cell in cells]
    return (",".join(quoted) or '""') + "\n"


def _neutral(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def plain_text(cell: str) -> str:
    """A text of one of our CSV files, without the escape of the writer."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def _glue(recorded: Mapping) -> None:
    """Leave each value in the notebook as a scrap, where there is a notebook. scrapbook has no null."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None or not recorded:
        return
    with lean_imports():
        import scrapbook
    for name, value in sorted(recorded.items()):
        if value is not None:
            scrapbook.glue(name, value)
