"""Company facts of the SEC as one long table: which tags mean which item, and what is not accepted."""

import pandas as pd

RAW_COLUMNS = ["symbol", "item", "period_start", "period_end", "value", "filed", "form", "accession"]

# Our item, by the name that the features know → unit, and its tags in order of preference: where one filing gives
# several for one period, the first counts. Tags of the US GAAP Financial Reporting Taxonomy (FASB); the number of
# shares stands on the cover page (dei).
ITEMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sales": (
        "USD",
        (
            "Revenues",
            "RevenueFromContractWithCustomerExcludingAssessedTax",
            "RevenueFromContractWithCustomerIncludingAssessedTax",
            "SalesRevenueNet",
            "SalesRevenueGoodsNet",
            "RevenuesNetOfInterestExpense",
        ),
    ),
    "cost_of_sales": ("USD", ("CostOfRevenue", "CostOfGoodsAndServicesSold", "CostOfGoodsSold", "CostOfServices")),
    "gross_profit": ("USD", ("GrossProfit",)),
    "research_and_development": (
        "USD",
        (
            "ResearchAndDevelopmentExpense",
            "ResearchAndDevelopmentExpenseExcludingAcquiredInProcessCost",
        ),
    ),
    "operating_income": ("USD", ("OperatingIncomeLoss",)),
    "earnings": ("USD", ("NetIncomeLoss", "ProfitLoss", "NetIncomeLossAvailableToCommonStockholdersBasic")),
    "eps_diluted": ("USD/shares", ("EarningsPerShareDiluted", "EarningsPerShareBasicAndDiluted")),
    "cash_flow": (
        "USD",
        (
            "NetCashProvidedByUsedInOperatingActivities",
            "NetCashProvidedByUsedInOperatingActivitiesContinuingOperations",
        ),
    ),
    "capex": ("USD", ("PaymentsToAcquirePropertyPlantAndEquipment", "PaymentsToAcquireProductiveAssets")),
    "dividends_paid": ("USD", ("PaymentsOfDividendsCommonStock", "PaymentsOfDividends")),
    "assets": ("USD", ("Assets",)),
    "liabilities": ("USD", ("Liabilities",)),
    "book": (
        "USD",
        ("StockholdersEquity", "StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest"),
    ),
    "cash": (
        "USD",
        (
            "CashAndCashEquivalentsAtCarryingValue",
            "CashCashEquivalentsRestrictedCashAndRestrictedCashEquivalents",
        ),
    ),
    "long_term_debt": ("USD", ("LongTermDebtNoncurrent", "LongTermDebt", "LongTermDebtAndCapitalLeaseObligations")),
    "shares_outstanding": ("shares", ("EntityCommonStockSharesOutstanding", "CommonStockSharesOutstanding")),
}
TAXONOMIES = ("us-gaap", "dei")


def empty_facts() -> pd.DataFrame:
    """No facts, with the right columns."""
    types = dict.fromkeys(RAW_COLUMNS, "str") | {"value": "float64"}
    types |= dict.fromkeys(("period_start", "period_end", "filed"), "datetime64[us]")
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


def parse_facts(symbol: str, answer: dict, items: tuple[str, ...]) -> pd.DataFrame:
    """The facts of one company as RAW_COLUMNS; period_start is NaT for balances, dates are naive, values in `ITEMS`.

    answer : {"cik": …, "entityName": …, "facts": {taxonomy: {tag: {"units": {unit: [{"end", "val", "accn", "fy", "fp",
        "form", "filed", and for flows "start"}, …]}}}}}

    Other units (another currency, a pure number) are ignored. An invalid number, or one filed before its
    period ended, is not a fact. The same number in later filings is kept: each row states its filing and date.
    """
    facts = answer.get("facts") if isinstance(answer, dict) else None
    found = [
        (item, rank, entry)
        for item in items
        for rank, tag in enumerate(ITEMS[item][1])
        for entry in _entries(facts, tag, ITEMS[item][0])
    ]
    if not found:
        return empty_facts()
    table = pd.DataFrame([entry for _, _, entry in found]).reindex(
        columns=["start", "end", "val", "filed", "form", "accn"]
    )
    table.columns = ["period_start", "period_end", "value", "filed", "form", "accession"]
    table = table.assign(symbol=symbol, item=[item for item, _, _ in found], rank=[rank for _, rank, _ in found])
    for field in ("period_start", "period_end", "filed"):
        table[field] = pd.to_datetime(table[field], format="%Y-%m-%d", errors="coerce").dt.as_unit("us")
    table["value"] = pd.to_numeric(table["value"], errors="coerce").astype("float64")
    table = table[_is_fact(table) & _has_period(found, table)]
    key = ["item", "period_start", "period_end", "filed", "accession"]
    table = table[table["rank"] == table.groupby(key, dropna=False)["rank"].transform("min")]
    text = dict.fromkeys(("symbol", "item", "form", "accession"), "str")
    return table[RAW_COLUMNS].astype(text).drop_duplicates(ignore_index=True)


def _entries(facts, tag: str, unit: str) -> list[dict]:
    """The entries of one tag in one unit, [] where the company does not use it."""
    for taxonomy in TAXONOMIES:
        place = facts
        for step in (taxonomy, tag, "units", unit):
            place = place.get(step) if isinstance(place, dict) else None
        if isinstance(place, list):
            return [entry for entry in place if isinstance(entry, dict)]
    return []


def _is_fact(table: pd.DataFrame) -> pd.Series:
    """Finite numbers of a period that was over, and begun before it ended, when they were filed."""
    number = table["value"].abs() < float("inf")
    begun = table["period_start"].isna() | (table["period_start"] < table["period_end"])
    return number & begun & (table["period_end"] <= table["filed"]) & table["accession"].notna()


def _has_period(found: list, table: pd.DataFrame) -> pd.Series:
    """False where a start is written that is no date: not a balance, but a flow of unknown length."""
    written = pd.Series([entry.get("start") is not None for _, _, entry in found], index=table.index)
    return ~written | table["period_start"].notna()
