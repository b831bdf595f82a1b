"""Tables from a folder, a file or a URL: parquet or CSV, only the columns asked for, types checked.

Text stays text: the tickers NA, TRUE and 1E5 are not missing, not a bool, and not a number.
"""

import re
import zlib
from contextlib import contextmanager
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common import secrets
from openbook.common.desk_folder import inside
from openbook.common.errors import DataError, OpenbookError, UsageError
from openbook.common.extras import lacks
from openbook.common.settings import Settings

TEXT_FIELDS = {"symbol", "kind", "item", "sector", "id", "ticker", "focus", "accession"}
DATE_FIELDS = {"date", "start", "end", "available", "filed", "period_start", "period_end"}
MAY_BE_MISSING = {"start", "end", "period_start"}
REMOTE = {"http", "https", "s3", "s3a", "gs", "gcs", "abfs", "az"}  # by the extra of that name
SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz")
MISSING_NUMBERS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A"]


class SideTable(Settings):
    """A table beside the bars."""

    path: str = Field(min_length=1, description="file, folder or URL; parquet or CSV")
    columns: dict[str, str] = Field({}, description="our name → theirs, where they differ")
    rename: dict[str, str] = Field({}, description="their symbol → the bars' symbol, for example BRK.B → BRK-B")
    date_format: str | None = Field(None, description="strftime format of text dates; nothing: ISO 8601")


def list_files(path: str) -> list[str]:
    """The parquet and CSV files at `path`, sorted by name; a folder is not searched below its first level."""
    fs, root = _file_system(path)
    try:
        with _reached(path):
            if fs.isfile(root):
                return [path]
            there = fs.ls(root, detail=False)
            names = sorted(name for name in there if str(name).endswith(SUFFIXES))
    except FileNotFoundError:
        raise DataError(f"no file or folder at {shown(path)}; check the path of the source") from None
    except (OSError, ValueError) as error:  # a name that the system cannot spell is a ValueError
        raise DataError(f"cannot look into {shown(path)}: {error}") from None
    if not names:
        ends = ", ".join(SUFFIXES)
        raise DataError(f"nothing to read in {shown(path)}: none of its {len(there)} entries ends with {ends}")
    return [fs.unstrip_protocol(name) for name in names]


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


def read_table(path: str, columns: dict[str, str], *, date_format: str | None = None) -> pd.DataFrame:
    """The named columns of every file at `path`, under our names.

    columns : our field → the column's name in the files
    Text fields are str, dates are datetime64 at midnight (zone dropped), anything else float64.
    Raises DataError naming the file and the column that is missing, or the first value that is no date or no number.
    """
    parts = [_read_file(file, columns) for file in list_files(path)]
    table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    where = shown(path)
    for field in columns:
        if field in DATE_FIELDS:
            table[field] = _dates(table[field], f"column {columns[field]!r} of {where}", date_format, field)
        elif field in TEXT_FIELDS:
            table[field] = _text(table[field], f"column {columns[field]!r} of {where}")
    return table


def read_keys(file: str, columns: dict[str, str]) -> tuple[pd.DataFrame, int]:
    """Symbol and date of each row of one file, and how many rows were left out because they name no symbol."""
    table = _read_file(file, columns)
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
    out = read_table(table.path, columns, date_format=table.date_format)
    if "symbol" in out and table.rename:
        out["symbol"] = out["symbol"].replace(table.rename).astype("str")
    return out


def shown(path: str) -> str:
    """The path for a message: no user, password or token of a URL."""
    return re.sub(r"//[^/@]*@", "//", path.split("?")[0])


def file_name(path: str) -> str:
    """Folder and file name only, for a page that travels."""
    return "/".join(PurePosixPath(shown(path)).parts[-2:])


def _read_file(file: str, columns: dict[str, str]) -> pd.DataFrame:
    """One file, columns renamed to ours, numbers float64, text and dates as they are."""
    present = column_names(file)
    for field, name in columns.items():
        if name not in present:
            wanted = f"column {name!r}" if name == field else f"column {name!r} (for {field})"
            raise DataError(f"{shown(file)} has no {wanted}; it has {', '.join(map(repr, present))}")
        if present.count(name) > 1:
            raise DataError(f"{shown(file)} has the column {name!r} {present.count(name)} times; keep one of them")
    read = _read_parquet if _is_parquet(file) else _read_csv
    table = read(file, columns)
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


def _read_csv(file: str, columns: dict[str, str]) -> pd.DataFrame:
    """CSV through pyarrow: text and dates are read as text in any case."""
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
        parse = pyarrow.csv.ParseOptions(delimiter=_delimiter(stream))
        try:
            return pyarrow.csv.read_csv(stream, parse_options=parse, convert_options=convert).to_pandas()
        except pyarrow.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
        stream.seek(0)
        convert.column_types = dict.fromkeys(is_text, pyarrow.string())
        table = pyarrow.csv.read_csv(stream, parse_options=parse, convert_options=convert).to_pandas()
    for name, text in is_text.items():
        if not text:
            table[name] = _with_commas(table[name], f"column {name!r} of {shown(file)}")
    return table


def _delimiter(stream) -> str:
    """The separator of the first line: a comma, or another one if there is no comma."""
    head = stream.readline()
    stream.seek(0)
    return next((mark.decode() for mark in (b",", b";", b"\t") if mark in head), ",")


def _with_commas(values: pd.Series, where: str) -> pd.Series:
    """Numbers written as text; a decimal comma is read where it can be nothing else, and else DataError names it.

    It can be nothing else if no number of the column has a point, none has two commas, and the digits after a comma are
    not always three, as after a comma between thousands.
    """
    text = values.str.strip().where(~values.str.strip().isin(MISSING_NUMBERS))
    plain = pd.to_numeric(text, errors="coerce")
    odd = text[text.notna() & plain.isna()]
    if odd.empty:
        return plain.astype("float64")
    comma = odd.str.fullmatch(r"[+-]?\d+,\d+")
    if not comma.all():
        raise DataError(f"{where} holds {odd[~comma].iloc[0]!r}, which is not a number{_thousands(odd[~comma])}")
    points = text.dropna()[text.dropna().str.contains(".", regex=False)]
    if len(points):
        raise DataError(
            f"{where} holds {odd.iloc[0]!r} and {points.iloc[0]!r}: mixed commas and points; write every "
            "number with a decimal point"
        )
    if odd.str.fullmatch(r"[+-]?\d{1,3},\d{3}").all() and not odd.str.match(r"[+-]?0,").any():
        raise DataError(
            f"{where} holds {odd.iloc[0]!r}: ambiguous comma (decimal or thousands); write numbers with a "
            "decimal point and without thousands separators"
        )
    return pd.to_numeric(text.str.replace(",", "."), errors="coerce").astype("float64")


def _thousands(values: pd.Series) -> str:
    """The way out, if it is a number with marks between its thousands."""
    marked = values.iloc[0].replace(",", "").replace(".", "").replace(" ", "").replace("'", "").lstrip("+-").isdigit()
    return ": write numbers with a decimal point and without thousands separators" if marked else ""


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
    if not plain.endswith(SUFFIXES):
        raise DataError(f"unknown file type of {shown(file)}; its name must end with {', '.join(SUFFIXES)}")
    return plain.endswith((".parquet", ".pq"))


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
    """Each distinct text once; a zone offset at the end of an ISO text is dropped."""
    codes, distinct = pd.factorize(values.astype("str"))
    text = pd.Series(distinct, dtype="str").str.replace(r"(?<=\d\d)(Z|[+-]\d\d:\d\d)$", "", regex=True)
    parsed = pd.to_datetime(text.mask(text == ""), format=date_format or "ISO8601", errors="coerce")
    bad = text[parsed.isna() & (text != "")]
    if len(bad):
        like = date_format or "YYYY-MM-DD"
        raise DataError(f"{where} holds {bad.iloc[0]!r}, not a date like {like}; set date_format")
    return pd.Series(parsed.to_numpy(), index=parsed.index).reindex(codes).set_axis(values.index)
