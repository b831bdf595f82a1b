"""Tables from a folder, a file or a URL: parquet or CSV, only the columns asked for, types checked.

Text stays text: the tickers NA, TRUE and 1E5 are not missing, not a bool, and not a number.
"""

import csv
import re
import zlib
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common import secrets
from openbook.common.desk_folder import inside
from openbook.common.errors import DataError, OpenbookError, UsageError
from openbook.common.extras import lacks
from openbook.common.settings import Settings
from openbook.market.sources.text_dates import parse_dates
from openbook.market.sources.text_numbers import MISSING_NUMBERS, SHOWS, Decimal, read_numbers

TEXT_FIELDS = {"symbol", "kind", "item", "sector", "id", "ticker", "focus", "accession", "currency", "period", "ratio"}
DATE_FIELDS = {"date", "start", "end", "available", "filed", "period_start", "period_end"}
MAY_BE_MISSING = {"start", "end", "period_start"}
REMOTE = {"http", "https", "s3", "s3a", "gs", "gcs", "abfs", "az"}  # by the extra of that name
PARQUET = (".parquet", ".pq")
TEXT = (".txt", ".txt.gz")
SUFFIXES = (*PARQUET, ".csv", ".csv.gz", ".tsv", ".tsv.gz", *TEXT)
_NO_DATA = re.compile(r"(?i)(readme|licen[sc]e|copying|notice|changelog|\.)")
HEAD = 1 << 18  # bytes in which the shape of a file shows
DELIMITERS = (b",", b";", b"\t", b"|")
# What a download is instead of a table: how it begins, and the way out.
NO_TABLES = {
    b"PK": "an Excel workbook or a zip archive; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
    b"%PDF": "a PDF; get the table as CSV",
    b"\xff\xfe": "written in UTF-16; save it as UTF-8",
    b"\xfe\xff": "written in UTF-16; save it as UTF-8",
}


class SideTable(Settings):
    """A table beside the bars."""

    path: str = Field(min_length=1, description="file, folder or URL; parquet or CSV")
    columns: dict[str, str] = Field({}, description="our name → theirs, where they differ")
    rename: dict[str, str] = Field({}, description="their symbol → the bars' symbol, for example BRK.B → BRK-B")
    date_format: str | None = Field(None, description="strftime format of text dates; nothing: ISO 8601")


class Notation(NamedTuple):
    """How the files of a source write dates and numbers.

    date_format : a strftime format or a key of `text_dates.EPOCHS`; None: ISO 8601
    decimal : the decimal mark; None: found in each file
    """

    date_format: str | None = None
    decimal: Decimal | None = None


ISO_DATES = Notation()


def list_files(path: str) -> list[str]:
    """The parquet and CSV files at `path`, sorted by name.

    A folder is searched below its first level if no table lies there. Plain text (.txt) counts where no parquet or CSV
    file lies beside it; a readme never does.
    """
    fs, root = _file_system(path)
    try:
        with _reached(path):
            if fs.isfile(root):
                return [path]
            there = [str(name) for name in fs.ls(root, detail=False)]
            names = _tables(there) or _tables([str(name) for name in fs.find(root)])
    except FileNotFoundError:
        raise DataError(f"no file or folder at {shown(path)}; check the path of the source") from None
    except (OSError, ValueError) as error:  # a name that the system cannot spell is a ValueError
        raise DataError(f"cannot look into {shown(path)}: {error}") from None
    if not names:
        ends, packed = (
            ", ".join(SUFFIXES),
            [name for name in there if name.lower().endswith((".zip", ".7z", ".tar.gz"))],
        )
        way_out = f"; unpack {packed[0].rsplit('/', 1)[-1]}" if packed else ""
        raise DataError(f"nothing to read in {shown(path)}: none of its {len(there)} entries ends with {ends}{way_out}")
    return [fs.unstrip_protocol(name) for name in names]


def all_files(path: str) -> list[str]:
    """Every file at or below a folder, whatever it is; nothing for a file."""
    fs, root = _file_system(path)
    with _reached(path):
        return [] if fs.isfile(root) else [fs.unstrip_protocol(str(name)) for name in fs.find(root)]


def _tables(names: list[str]) -> list[str]:
    """The files among these that may hold a table, sorted."""
    named = [name for name in names if name.lower().endswith(SUFFIXES) and not _NO_DATA.match(name.rsplit("/", 1)[-1])]
    sure = [name for name in named if not name.lower().endswith(TEXT)]
    return sorted(sure or named)


def column_names(file: str) -> list[str]:
    """The columns of one parquet or CSV file, without reading its rows."""
    return _schema(file).names


def number_columns(file: str) -> list[str]:
    """The columns of one file that hold numbers; in a CSV file, those whose first rows do."""
    import pyarrow

    numeric = (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_decimal)
    return [field.name for field in _schema(file) if any(is_kind(field.type) for is_kind in numeric)]


def file_bytes(file: str) -> int:
    """The size of one file."""
    fs, name = _file_system(file)
    with _reached(file):
        return int(fs.size(name) or 0)


def _schema(file: str):
    """Names and types of the columns of one file."""
    import pyarrow.csv
    import pyarrow.parquet

    with _opened(file) as stream:
        if _is_parquet(file):
            schema = pyarrow.parquet.read_schema(stream)
        else:
            parse = pyarrow.csv.ParseOptions(delimiter=_delimiter(stream))
            schema = pyarrow.csv.open_csv(stream, parse_options=parse).schema
        _ = schema.names  # decoded here
    return schema


def read_table(path: str, columns: dict[str, str], *, notation: Notation = ISO_DATES) -> pd.DataFrame:
    """The named columns of every file at `path`, under our names.

    columns : our field → the column's name in the files
    notation : how dates and numbers are written
    Text fields are str, dates are datetime64 at midnight (zone dropped), anything else float64.
    Raises DataError naming the file and the column that is missing, or the first value that is no date or no number.
    """
    return read_files(list_files(path), columns, notation, shown(path))


def read_files(files: list[str], columns: dict[str, str], notation: Notation, where: str) -> pd.DataFrame:
    """The named columns of these files below each other, as `read_table` gives them; where: for a message."""
    parts = [read_file(file, columns, notation.decimal) for file in files]
    return typed(pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0], columns, where, notation)


def typed(table: pd.DataFrame, columns: dict[str, str], where: str, notation: Notation) -> pd.DataFrame:
    """The table of `read_file` with dates as dates and text as text."""
    for field in columns:
        if field in DATE_FIELDS:
            table[field] = _dates(table[field], f"column {columns[field]!r} of {where}", notation.date_format, field)
        elif field in TEXT_FIELDS:
            table[field] = _text(table[field], f"column {columns[field]!r} of {where}")
    return table


def read_keys(file: str, columns: dict[str, str]) -> tuple[pd.DataFrame, int]:
    """Symbol and date of each row of one file, and how many rows were left out because they name no symbol."""
    table = read_file(file, columns, None)
    named = table["symbol"].notna() & (table["symbol"].astype("str").str.strip() != "")
    table = table[named].reset_index(drop=True)
    table["symbol"] = _text(table["symbol"], f"column {columns['symbol']!r} of {shown(file)}")
    table["date"] = _dates(table["date"], f"column {columns['date']!r} of {shown(file)}", None, "date")
    return table, int((~named).sum())


def read_side(table: SideTable, fields: tuple[str, ...]) -> pd.DataFrame:
    """The fields of a side table under our names, symbols as the bars write them."""
    unknown = sorted(set(table.columns) - set(fields))
    if unknown:
        raise DataError(
            f"{shown(table.path)}: unknown fields in `columns`: {', '.join(unknown)}; choose from {', '.join(fields)}"
        )
    columns = {field: table.columns.get(field, field) for field in fields}
    out = read_table(table.path, columns, notation=Notation(table.date_format))
    if "symbol" in out and table.rename:
        out["symbol"] = out["symbol"].replace(table.rename).astype("str")
    return out


def shown(path: str) -> str:
    """The path for a message: no user, password or token of a URL."""
    return local_path(re.sub(r"//[^/@]*@", "//", path.split("?")[0]))


def local_path(file: str) -> str:
    """A file of this machine as a plain path, not as file://; any other URL as it is."""
    return file.removeprefix("file://")


def file_name(path: str) -> str:
    """Folder and file name only, for a page that travels."""
    return "/".join(PurePosixPath(shown(path)).parts[-2:])


def read_file(file: str, columns: dict[str, str], decimal: Decimal | None) -> pd.DataFrame:
    """One file, columns renamed to ours, numbers float64, text and dates as they are."""
    present = column_names(file)
    for field, name in columns.items():
        if name not in present:
            wanted = f"column {name!r}" if name == field else f"column {name!r} (for {field})"
            raise DataError(f"{shown(file)} has no {wanted}; it has {', '.join(map(repr, present))}")
        if present.count(name) > 1:
            raise DataError(f"{shown(file)} has the column {name!r} {present.count(name)} times; keep one of them")
    table = _read_parquet(file, columns) if _is_parquet(file) else _read_csv(file, columns, decimal)
    for field, name in columns.items():
        if field not in TEXT_FIELDS | DATE_FIELDS:
            table[name] = _numbers(table[name], f"column {name!r} of {shown(file)}")
    return pd.DataFrame({field: table[name] for field, name in columns.items()})


def _read_parquet(file: str, columns: dict[str, str]) -> pd.DataFrame:
    """Parquet through pyarrow, page checksums verified where the file has them."""
    import pyarrow.parquet

    with _opened(file) as stream:
        reader = pyarrow.parquet.ParquetFile(stream, page_checksum_verification=True)
        table = reader.read(columns=list(dict.fromkeys(columns.values())))
        table.validate(full=True)  # parquet may hold text that is none
        return table.cast(_plain_schema(table.schema, file)).to_pandas(ignore_metadata=True)


def _plain_schema(schema, file: str):
    """The types of a parquet file, bytes as text; DataError for a column of lists or of structures."""
    import pyarrow

    fields = []
    for field in schema:
        if pyarrow.types.is_nested(field.type):
            raise DataError(f"{shown(file)}: column {field.name!r} holds {field.type}, not single values")
        kinds = (pyarrow.types.is_binary, pyarrow.types.is_large_binary, pyarrow.types.is_fixed_size_binary)
        fields.append(field.with_type(pyarrow.string()) if any(is_kind(field.type) for is_kind in kinds) else field)
    return pyarrow.schema(fields)


def read_body(file: str, names: list[str], columns: dict[str, str], n_header: int, decimal: Decimal | None):
    """The columns of a CSV file whose header has several rows, under our names: as `read_file`, with names given.

    names : of all columns, in their order; n_header : rows to skip
    """
    table = _read_csv(file, columns, decimal, {"skip_rows": n_header, "column_names": names})
    return pd.DataFrame({field: table[name] for field, name in columns.items()})


def _read_csv(file: str, columns: dict[str, str], decimal: Decimal | None, header: dict | None = None) -> pd.DataFrame:
    """CSV through pyarrow: text and dates are read as text in any case, numbers too where they are not plain.

    header : pyarrow's ReadOptions, where the file's first row is not its header
    """
    import pyarrow
    import pyarrow.csv

    is_text = {name: field in TEXT_FIELDS | DATE_FIELDS for field, name in columns.items()}
    convert = pyarrow.csv.ConvertOptions(
        include_columns=list(is_text),
        column_types={name: pyarrow.string() if text else pyarrow.float64() for name, text in is_text.items()},
        null_values=MISSING_NUMBERS,
        strings_can_be_null=False,
    )
    with _opened(file) as stream:
        options = {
            "parse_options": pyarrow.csv.ParseOptions(delimiter=_delimiter(stream)),
            "read_options": pyarrow.csv.ReadOptions(**(header or {})),
            "convert_options": convert,
        }
        try:
            if decimal is None:
                return pyarrow.csv.read_csv(stream, **options).to_pandas()
        except pyarrow.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
        stream.seek(0)
        convert.column_types = dict.fromkeys(is_text, pyarrow.string())
        table = pyarrow.csv.read_csv(stream, **options).to_pandas()
    numbers = {field: name for field, name in columns.items() if not is_text[name]}
    where = {field: f"column {name!r} of {shown(file)}" for field, name in numbers.items()}
    read = read_numbers({field: table[name] for field, name in numbers.items()}, where, decimal)
    return table.assign(**{numbers[field]: values for field, values in read.items()})


def first_rows(file: str, n: int = 200) -> list[list[str]]:
    """The first rows of a CSV file as text, the header among them; DataError where the file is no table of text."""
    with _opened(file) as stream:
        head = stream.read(HEAD)
        whole = len(head) < HEAD
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for mark, what in NO_TABLES.items():
        if head.startswith(mark):
            raise DataError(f"{shown(file)} is {what}")
    if start[:1] == b"<" and re.match(rb"(?i)<(!doctype|html|head|body|\?xml|script|!--)", start):
        raise DataError(f"{shown(file)} is a web page, not a table; download it again (a login or a limit answered)")
    if start[:1] == b"{":
        raise DataError(f"{shown(file)} is JSON, not a table; get it as CSV")
    if not start:
        raise DataError(f"{shown(file)} is empty; download it again, or remove it")
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    lines = lines if whole else lines[:-1]
    try:
        rows = list(csv.reader(lines[: n + 3], delimiter=_delimiter_in(head)))
    except csv.Error as error:
        raise DataError(f"{shown(file)} is no table of text: {error}") from None
    if not rows or not rows[0]:
        raise DataError(f"{shown(file)} does not begin with a row of column names; remove what is above it")
    return rows


def header_key(file: str) -> tuple:
    """What two files with the same columns share: the names of parquet, the first line of text."""
    if _is_parquet(file):
        return ("parquet", *column_names(file))
    with _opened(file) as stream:
        line = stream.readline().removeprefix(b"\xef\xbb\xbf").strip()
    return ("text", *sorted(line.split(_delimiter_in(line).encode())))


def read_texts(file: str, name: str | None, n_header: int = 1) -> pd.Series | None:
    """The distinct texts of one column, in the order of the file; None for a column of real dates.

    name : of the column; where the header has several rows, the first one is read
    """
    import pyarrow
    import pyarrow.csv

    if _is_parquet(file):
        name = name if name in column_names(file) else column_names(file)[0]
        values = _read_parquet(file, {"name": name})[name]
        is_date = pd.api.types.is_datetime64_any_dtype(values) or str(values.dtype).startswith("date")
        return None if is_date or not len(values) or hasattr(values.iloc[0], "year") else _distinct(values)
    options = {"skip_rows": n_header, "autogenerate_column_names": True} if n_header > 1 else {}
    chosen = "f0" if n_header > 1 or name is None else name
    with _opened(file) as stream:
        table = pyarrow.csv.read_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(**options),
            parse_options=pyarrow.csv.ParseOptions(delimiter=_delimiter(stream)),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=[chosen], column_types={chosen: pyarrow.string()}, strings_can_be_null=False
            ),
        )
    return _distinct(table.to_pandas()[chosen])


def _distinct(values: pd.Series) -> pd.Series:
    return pd.Series(pd.unique(values.dropna().astype("str")), dtype="str")


def has_decimal_commas(file: str) -> bool:
    """Whether numbers in the first rows of a file have a comma before their decimals."""
    if _is_parquet(file):
        return False
    cells = pd.Series([cell.strip() for row in first_rows(file)[1:] for cell in row], dtype="str")
    return bool(cells.str.match(SHOWS["comma"]).any() and not cells.str.match(SHOWS["point"]).any())


def _delimiter(stream) -> str:
    """The separator of a file, by its first line."""
    head = stream.readline()
    stream.seek(0)
    return _delimiter_in(head)


def _delimiter_in(head: bytes) -> str:
    """The separator that the first line has most often; a comma where none is there."""
    first = re.sub(rb'"[^"]*"', b"", head.splitlines()[0]) if head else b""
    return max(DELIMITERS, key=first.count).decode()


@contextmanager
def _opened(file: str):
    """One file open for reading, gzip by its suffix; every failure to read becomes a DataError naming the file."""
    import pyarrow

    fs, name = _file_system(file)
    try:
        with _reached(file), fs.open(name, "rb", compression="infer") as stream:
            yield stream
    except (pyarrow.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        if "UTF8" in text or isinstance(error, UnicodeDecodeError):
            raise DataError(f"{shown(file)} is not written in UTF-8; save it as UTF-8") from None
        raise DataError(f"{shown(file)} is damaged or not of the type of its file name: {text}") from None


@contextmanager
def _reached(path: str):
    """Around every call to a remote service: whatever it raises for want of a key, a network or a permission is a
    DataError (30), for each has errors of its own."""
    try:
        yield
    except (OpenbookError, OSError, ValueError, ImportError):
        raise
    except Exception as error:
        if "://" not in path:
            raise
        raise DataError(f"cannot read {shown(path)}: {type(error).__name__}: {error}") from None


def _file_system(path: str):
    """fsspec's file system for a path or URL, and the path inside it; a relative path starts at the desk. What it needs
    to log in comes from the environment or from the file of secrets, never from the path, which is sealed."""
    import fsspec.config

    fsspec.config.set_conf_env(fsspec.config.conf, secrets.for_sources())
    try:
        with _reached(path):
            return fsspec.url_to_fs(inside(path))
    except ImportError as error:
        scheme = path.partition("://")[0]
        if scheme in REMOTE:
            raise lacks("remote", f"{shown(path)}: {scheme}://") from error
        raise UsageError(f"{shown(path)}: {scheme}:// needs a package that is missing: {error}; install it") from None
    except ValueError as error:
        raise DataError(f"cannot read {shown(path)}: {error}") from None


def _is_parquet(file: str) -> bool:
    """By the file name's suffix; an unknown suffix is an error."""
    plain = file.split("?")[0]
    if not plain.lower().endswith(SUFFIXES):
        raise DataError(f"unknown file type of {shown(file)}; its name must end with {', '.join(SUFFIXES)}")
    return plain.lower().endswith(PARQUET)


def _text(values: pd.Series, where: str) -> pd.Series:
    """str dtype, without blanks around it; an empty or missing text is an error."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        labels = pd.array(values.cat.categories.astype(str), dtype="str")  # type: ignore[call-overload]
        out = pd.Series(labels.take(values.cat.codes.to_numpy(), allow_fill=True), index=values.index)
    else:
        out = values.astype("str")
    out = _stripped(out)
    bad = out.isna() | (out == "")
    if bad.any():
        raise DataError(f"{where} is empty in {int(bad.sum())} rows, the first is row {int(np.argmax(bad)) + 1}")
    return out


def _stripped(values: pd.Series) -> pd.Series:
    """The same texts without blanks before and after; each distinct one is processed once."""
    codes, distinct = pd.factorize(values)
    plain = pd.array([text.strip() for text in distinct], dtype="str")
    if list(plain) == list(distinct):
        return values
    return pd.Series(plain.take(codes, allow_fill=True), index=values.index)


def _numbers(values: pd.Series, where: str) -> pd.Series:
    """float64, missing is NaN; text that is no number is an error."""
    try:
        return values.astype("float64")
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} has a value that is not a number: {error}") from None


def _dates(values: pd.Series, where: str, date_format: str | None, field: str) -> pd.Series:
    """datetime64 at midnight without a zone: the date that the file shows on its own clock."""
    if not pd.api.types.is_datetime64_any_dtype(values):
        values = _parse_dates(values, where, date_format)
    if values.dt.tz is not None:
        values = values.dt.tz_localize(None)
    if field not in MAY_BE_MISSING and values.isna().any():
        raise DataError(f"{where} has no date in {int(values.isna().sum())} rows")
    odd = values.dt.year[~(values.dt.year.between(1, 9999) | values.isna())]
    if len(odd):
        raise DataError(f"{where} has a date in the year {int(odd.iloc[0])}, in row {int(odd.index[0]) + 1}")
    return values.dt.normalize().astype("datetime64[us]")


def _parse_dates(values: pd.Series, where: str, date_format: str | None) -> pd.Series:
    """Each distinct text once."""
    codes, distinct = pd.factorize(values.astype("str"))
    parsed = parse_dates(pd.Series(distinct, dtype="str"), date_format, where)
    return pd.Series(parsed.to_numpy(), index=parsed.index).reindex(codes).set_axis(values.index)
