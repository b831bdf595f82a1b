"""Numbers that a file writes as text: decimal commas, thousands, currency signs, 12.5M.

A mark between digits is read where it can be nothing else in the whole file; where it can be either, DataError says so,
and `decimal` in the source settles it.
"""

from typing import Literal

import pandas as pd

from openbook.common.errors import DataError

Decimal = Literal["point", "comma"]
MISSING_NUMBERS = [
    "",
    "NA",
    "N/A",
    "n/a",
    "NaN",
    "nan",
    "null",
    "NULL",
    "None",
    "#N/A",
    "#N/A N/A",
    "n.a.",
    ".",
    "-",
    "--",
]
USD = r"^(?:US\$|USD|\$)\s*|\s*(?:USD|\$)$"
FOREIGN = r"[€£¥₹₩]|\b(?:EUR|GBP|GBX|JPY|CHF|CAD|AUD|HKD|CNY|INR)\b"
GAPS = "[\u0020\u00a0\u202f'’](?=\\d{3}(?:\\D|$))"  # what else stands between thousands
MULTIPLES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
COUNTED = ("volume", "market_cap")  # written as 12.5M by some
# What shows that a comma, or a point, is the decimal mark: beside the other mark, or where no thousands can stand.
SHOWS: dict[Decimal, str] = {
    "comma": r"^[+-]?(?:\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}|0?,\d+|\d+,(?:\d{1,2}|\d{4,})|\d{4,},\d+)$",
    "point": r"^[+-]?(?:\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:,\d{3}){2,}|0?\.\d+|\d+\.(?:\d{0,2}|\d{4,})|\d{4,}\.\d+)$",
}
WRITTEN: dict[Decimal, str] = {
    "comma": r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d*)(?:,\d*)?(?:[eE][+-]?\d+)?",
    "point": r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?",
}


def read_numbers(texts: dict[str, pd.Series], where: dict[str, str], decimal: Decimal | None) -> dict[str, pd.Series]:
    """The number columns of one file, by field, as float64; missing is NaN.

    texts : as written, by our field; where: each column and file, for a message
    decimal : the decimal mark; None: found in the file

    Raises DataError for what is not a number, for another currency than USD, and for a mark that can be either.
    """
    plain = {field: _plain(text, field, where[field]) for field, text in texts.items()}
    mark = decimal or decimal_of(plain, where)
    return {field: _as_floats(text, mark, field, where[field]) for field, text in plain.items()}


def decimal_of(plain: dict[str, pd.Series], where: dict[str, str]) -> Decimal:
    """The decimal mark of one file, from all of its numbers; a point where no number has any mark."""
    shown: dict[Decimal, tuple[str, str]] = {}
    unclear = None
    for field, text in plain.items():
        values = _without_multiple(text.dropna(), field)
        for mark, pattern in SHOWS.items():
            hit = values[values.str.match(pattern)]
            if len(hit):
                shown.setdefault(mark, (hit.iloc[0], where[field]))
        commas = values[values.str.fullmatch(r"[+-]?\d{1,3},\d{3}")]
        unclear = unclear or ((commas.iloc[0], where[field]) if len(commas) else None)
    if len(shown) == 2:
        (comma, place), (point, _) = shown["comma"], shown["point"]
        raise DataError(
            f"{place} holds {comma!r} and {point!r}: mixed commas and points; write every number with a decimal point"
        )
    if unclear and not shown:
        raise DataError(
            f"{unclear[1]} holds {unclear[0]!r}: ambiguous comma (decimal or thousands); set decimal: comma or "
            "decimal: point in the source"
        )
    return next(iter(shown), "point")


def _plain(text: pd.Series, field: str, where: str) -> pd.Series:
    """The texts without blanks, signs of USD and gaps between thousands; missing is NA."""
    out = text.astype("str").str.strip()
    out = out.mask(out.isin(MISSING_NUMBERS))
    foreign = out[out.str.contains(FOREIGN, regex=True, na=False)]
    if len(foreign):
        raise DataError(f"{where} holds {foreign.iloc[0]!r}: prices are read in USD; convert them, or leave them out")
    return out.str.replace(USD, "", regex=True).str.replace(GAPS, "", regex=True)


def _without_multiple(values: pd.Series, field: str) -> pd.Series:
    """Counts without their letter for thousands, millions, billions."""
    return values.str.replace(r"[KMBTkmbt]$", "", regex=True) if field in COUNTED else values


def _as_floats(text: pd.Series, mark: Decimal, field: str, where: str) -> pd.Series:
    """float64 of numbers with this decimal mark."""
    values = _without_multiple(text, field)
    known = values.dropna()
    wrong = text[known.index[~(known.str.fullmatch(WRITTEN[mark]) & known.str.contains(r"\d"))]]
    if len(wrong):
        raise DataError(f"{where} holds {wrong.iloc[0]!r}, which is not a number{_way_out(wrong.iloc[0], mark)}")
    thousands, point = (".", ",") if mark == "comma" else (",", ".")
    numbers = pd.to_numeric(values.str.replace(thousands, "").str.replace(point, "."), errors="coerce")
    if field in COUNTED:
        numbers = numbers * text.str[-1].str.upper().map(MULTIPLES).fillna(1.0).astype("float64")
    return numbers.astype("float64")


def _way_out(text: str, mark: Decimal) -> str:
    """What to do about a number with marks that do not fit."""
    digits = text.translate(str.maketrans("", "", ",.' +-")).isdigit()
    return f" with a decimal {mark}; write every number of the file in one way" if digits else "; correct or remove it"
