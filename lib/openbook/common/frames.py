"""Rows and places of pandas tables, under the types that their columns have."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pandas as pd


def each_row(table: pd.DataFrame, *, index: bool = True) -> Iterator[Any]:
    """Each row as a named tuple: `row.symbol`. What a field holds is the table's affair, hence Any."""
    return table.itertuples(index=index)


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Each row by column name, for JSON: numbers of Python, dates as YYYY-MM-DD, None for what is missing."""
    dates = {str(name): table[name].dt.strftime("%Y-%m-%d") for name in table.select_dtypes("datetime")}
    plain = table.assign(**dates).astype(object)
    return cast(list[dict[str, Any]], plain.where(plain.notna(), None).to_dict("records"))


def places_in(labels: pd.Index, wanted) -> np.ndarray:
    """Where each of `wanted`, any list-like, is among `labels`, (n,) int; -1 where it is not."""
    return labels.get_indexer(wanted)
