"""A desk's own scores from a table: nothing is fitted, and only what was known by a session's close counts for it.

The table has a row for each date, symbol and time at which the score was known. A session uses the rows of its own date
with `known_at` at or before its close, of several the latest; a row known later is never used, as it could not have
been on that evening. Symbols that the market lacks are left out, and a name without a score that day is not held for
it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from openbook.common.desk_folder import inside
from openbook.common.errors import DataError, DataNotReady, ModelError, NoSession, ParameterError
from openbook.market.calendar import session_close
from openbook.signals.learners import Algorithm

SCORES = "scores"  # the algorithm
COLUMNS = ["date", "symbol", "score", "known_at"]
SHOWN = 3  # rows or sessions that an error names


class ScoreTable(NamedTuple):
    """What stands for a fitted model: where the table is, and its rows, COLUMNS; None: read the file when asked."""

    names: tuple[str, ...]
    path: str
    rows: pd.DataFrame | None


def read_scores(path: str) -> pd.DataFrame:
    """The rows of a parquet or CSV file that were known by the close of their date, COLUMNS, one per date and symbol.

    date : YYYY-MM-DD, a session; score : finite; known_at : ISO 8601, UTC where it names no zone
    path : a relative one starts at the desk

    Raises DataError (30) naming what is missing, is no number or date, is there twice, or is no session.
    """
    return in_time(read_rows(path), path)


def read_rows(path: str) -> pd.DataFrame:
    """All rows of the file, those that came too late for their session too; DataError as `read_scores`."""
    file = Path(inside(path))
    if not file.is_file():
        raise DataError(f"the scores {path} are not there: no file {file}")
    table = _typed(_read(file), path)
    twice = table[table.duplicated(["date", "symbol", "known_at"], keep=False)]
    if len(twice):
        raise DataError(f"{path}: {_row(twice.iloc[0])} is there twice with one known_at; keep one")
    return table


def in_time(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """The rows that were known by the close of their date, of several the latest; DataError (30) if there is none."""
    closes = {date: _close(date, path) for date in table["date"].unique()}
    table = table[table["known_at"] <= table["date"].map(closes)]
    if table.empty:
        raise DataError(f"{path}: no score was known by the close of its date; known_at is in UTC, closes are at 21:00")
    table = table.sort_values(["date", "symbol", "known_at"], kind="stable")
    return table.drop_duplicates(["date", "symbol"], keep="last", ignore_index=True)


def scores_on(rows: pd.DataFrame, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """Scores, dates × symbols; NaN where there is none."""
    wanted = rows[rows["date"].isin(dates) & rows["symbol"].isin(symbols)]
    table = wanted.pivot(index="date", columns="symbol", values="score")
    return table.reindex(index=dates, columns=symbols).astype("float64").rename_axis(index=None, columns=None)


def require_sessions(scores: pd.DataFrame, path: str, error: type[Exception] = DataError) -> None:
    """Raise DataError (30), or `error`, naming the sessions on which no name has a score."""
    bare = pd.DatetimeIndex(scores.index[scores.isna().all(axis=1)])
    if len(bare):
        raise error(f"{path}: no score of this market was known by the close of {_days(bare)}")


def require_rows(table: pd.DataFrame, dates: pd.DatetimeIndex, path: str) -> None:
    """DataNotReady (31) naming the sessions that the table has no row of, not even a late one: a decision smooths the
    scores over them, and would differ from its backtest without a word."""
    bare = dates.difference(pd.DatetimeIndex(table["date"].unique()))
    if len(bare):
        raise DataNotReady(
            f"{path} has no row for {_days(bare)}, and tonight's scores are smoothed over {len(dates)} sessions; "
            "add the rows (one that was known after its close is not used, and the page says so)"
        )


def late_sessions(scores: pd.DataFrame) -> str:
    """What a reader of a decision has to know of sessions whose scores all came after the close; may be empty."""
    bare = pd.DatetimeIndex(scores.index[scores.isna().all(axis=1)])
    return f"No own score was known by the close of {_days(bare)}: the smoothed scores lack it." if len(bare) else ""


def rows_of(table: ScoreTable) -> pd.DataFrame:
    """The rows of a table, read from its file unless they came with it."""
    return read_scores(table.path) if table.rows is None else table.rows


def _read(file: Path) -> pd.DataFrame:
    """The four columns as the file has them; texts from CSV."""
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file, columns=COLUMNS)
        return pd.read_csv(file, usecols=COLUMNS, dtype="str", keep_default_na=False)
    except (ValueError, KeyError, OSError) as error:
        raise DataError(
            f"{file} cannot be read: {' '.join(str(error).split())[:200]}; columns: {', '.join(COLUMNS)}"
        ) from None


def _typed(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """The columns with their types; DataError names the first row that has another."""
    made = pd.DataFrame(
        {
            "date": _converted(table, "date", path, lambda v: pd.to_datetime(v, format="%Y-%m-%d", errors="coerce")),
            "symbol": table["symbol"].astype("str"),
            "score": _converted(table, "score", path, _numbers),
            "known_at": _converted(
                table, "known_at", path, lambda v: pd.to_datetime(v, format="ISO8601", utc=True, errors="coerce")
            ),
        }
    )
    empty = table["symbol"].isna() | (made["symbol"] == "")
    if empty.any():
        raise DataError(f"{path}: row {int(np.flatnonzero(empty)[0]) + 1} has no symbol")
    return made.astype({"date": "datetime64[us]", "known_at": "datetime64[us, UTC]"})


def _converted(table: pd.DataFrame, column: str, path: str, convert: Callable) -> pd.Series:
    """A column converted; DataError where a value is missing, not finite or not of its kind."""
    values = convert(table[column])
    bad = values.isna() | (values.isin([np.inf, -np.inf]) if column == "score" else False)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise DataError(f"{path}: row {at + 1} ({table['symbol'].iloc[at]}): {column} is {table[column].iloc[at]!r}")
    return values


def _numbers(values: pd.Series) -> pd.Series:
    return pd.Series(pd.to_numeric(values, errors="coerce"), index=values.index, dtype="float64")


def _days(days: pd.DatetimeIndex) -> str:
    """The first of some sessions, and how many more there are."""
    said = ", ".join(f"{day:%Y-%m-%d}" for day in days[:SHOWN])
    return f"{said} and {len(days) - SHOWN} more sessions" if len(days) > SHOWN else said


def _row(row: pd.Series) -> str:
    return f"{row['symbol']} on {row['date']:%Y-%m-%d}"


def _close(date: pd.Timestamp, path: str) -> pd.Timestamp:
    try:
        return session_close(date)
    except NoSession:
        raise DataError(
            f"{path}: {date:%Y-%m-%d} is no session; date each score by the close it was made for"
        ) from None


# ---- as an algorithm ----


def _refuse(*_) -> Any:
    raise ParameterError("own scores are read, not fitted")


def _dump(table: ScoreTable) -> bytes:
    """Where the table is; its rows are inputs of each session, not part of the model."""
    return json.dumps({"names": table.names, "path": table.path}, sort_keys=True).encode()


def _load(data: bytes) -> ScoreTable:
    try:
        content = json.loads(data)
        return ScoreTable(tuple(content["names"]), str(content["path"]), None)
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(f"the model file does not say where its scores are: {error!r}; pack it again") from None


OWN_SCORES = Algorithm(
    libraries=(),
    filename="scores.json",
    defaults={},
    bin=_refuse,
    boost=_refuse,
    predict=lambda table, X, n_jobs: np.zeros(len(X)),  # features say nothing; see `Model.predict`
    dump=_dump,
    load=_load,
    names=lambda table: table.names,
    gain=lambda table: np.zeros(len(table.names)),
    contributions=lambda table, X: np.zeros((len(X), X.shape[1] + 1)),
    stops_early=False,
    has_trees=False,
)


def latest_rows(rows: pd.DataFrame, dates: Iterable) -> pd.DataFrame:
    """The rows of some dates, for the record of one evening."""
    return rows[rows["date"].isin(list(dates))].reset_index(drop=True)


def rows_digest(rows: pd.DataFrame) -> str:
    """sha256 of rows, whatever file they came from."""
    return hashlib.sha256(pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()).hexdigest()
