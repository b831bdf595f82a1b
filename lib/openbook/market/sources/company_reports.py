"""Reports of companies beside the bars: as a vendor worked them out, or as they were filed."""

from typing import Self

import pandas as pd
from pydantic import Field, model_validator

from openbook.market.fundamentals import FACT_COLUMNS, FilingLimits, facts_of, known_items
from openbook.market.securities import resolve
from openbook.market.sources.reading import SideTable, read_side, shown
from openbook.market.tables import FUNDAMENTAL_COLUMNS


class FundamentalsTable(SideTable):
    """Reports by symbol: columns period_end, and `available` (first session of use) or `filed` (usable after it).

    Figures are taken as they are, unless the columns name `period_start` (beside item, value) or `focus` (Q1, Q2, Q3 or
    FY, beside `items`): then they are as filed, and quarters and twelve months are made of them.
    """

    items: dict[str, str] = Field({}, description="our item → their column; default: the file has columns item, value")
    to_date: tuple[str, ...] = Field((), description="with focus: items that 10-Qs give since the fiscal year's start")
    balances: tuple[str, ...] = Field((), description="with focus: items at the period's end; others are flows")
    limits: FilingLimits = FilingLimits()

    @model_validator(mode="after")
    def _periods_are_told_once(self) -> Self:
        if "focus" in self.columns and (not self.items or "period_start" in self.columns):
            raise ValueError("focus tells the periods of `items` in columns; a table of facts has period_start instead")
        if self.as_filed and "available" in self.columns:
            raise ValueError("figures as filed need the column `filed`, from which `available` is derived")
        if (self.to_date or self.balances) and "focus" not in self.columns:
            raise ValueError("to_date and balances belong to reports with a column `focus`")
        return self

    @property
    def as_filed(self) -> bool:
        """Whether quarters and twelve months are to be made."""
        return bool({"focus", "period_start"} & self.columns.keys())


def read_reports(
    spec: FundamentalsTable | None, bars: pd.DataFrame, master: pd.DataFrame | None
) -> tuple[pd.DataFrame | None, list[str]]:
    """FUNDAMENTAL_COLUMNS under the symbols of the bars, and notes for the pages.

    A session is a date with bars; `filed` makes a figure usable on the first one after it.
    """
    if spec is None:
        return None, []
    sessions = pd.DatetimeIndex(bars["date"].unique()).sort_values()
    if not spec.as_filed:
        return _as_delivered(spec, sessions, master), []
    facts = _facts(spec)
    facts = facts if master is None else resolve(facts, master, on="filed")[0]
    table, odd = known_items(facts, sessions, spec.limits)
    count = odd["reason"].value_counts(sort=False)
    return table, [f"{n} figures of {shown(spec.path).rsplit('/', 1)[-1]}, {reason}." for reason, n in count.items()]


def _facts(spec: FundamentalsTable) -> pd.DataFrame:
    """FACT_COLUMNS of the file, and accession if its column is named."""
    if "focus" not in spec.columns:
        named = ("accession",) if "accession" in spec.columns else ()
        return read_side(spec, (*FACT_COLUMNS, *named))
    wide = spec.model_copy(update={"columns": spec.columns | spec.items})
    reports = read_side(wide, ("symbol", "period_end", "focus", "filed", *spec.items))
    return facts_of(reports, list(spec.items), to_date=spec.to_date, balances=spec.balances)


def _as_delivered(spec: FundamentalsTable, sessions: pd.DatetimeIndex, master) -> pd.DataFrame:
    """One row per symbol, period and item; `available` is the first session after `filed`."""
    since = "filed" if "filed" in spec.columns else "available"
    keys = ["symbol", since, "period_end"]
    if spec.items:
        wide = read_side(spec.model_copy(update={"columns": spec.columns | spec.items}), (*keys, *spec.items))
        table = wide.melt(id_vars=keys, value_vars=list(spec.items), var_name="item").dropna(subset="value")
    else:
        table = read_side(spec, (*keys, "item", "value"))
    table = table if master is None else resolve(table, master, on=since)[0]
    if since == "filed":
        after = sessions.searchsorted(table["filed"], side="right")
        table = table[after < len(sessions)].assign(available=sessions[after[after < len(sessions)]])
    table = table.astype({"item": "str"}).sort_values(["available", "symbol", "item", "period_end"], ignore_index=True)
    return table[FUNDAMENTAL_COLUMNS]
