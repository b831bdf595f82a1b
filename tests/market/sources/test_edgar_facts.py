"""Which tags mean which item: beside the groups of synonyms of EdgarTools, written down here.

EdgarTools itself is no dependency of the tests: for the sake of one table it would bring twelve packages.
"""

import pytest

from openbook.market.sources.edgar_facts import ITEMS

# EdgarTools 5.62.1 (MIT), edgar.standardization.SynonymGroups: the group that knows each item, and its tags in order.
# fmt: off
PUBLISHED_GROUPS = {
    "sales": ("revenue", "Revenues RevenueFromContractWithCustomerExcludingAssessedTax "
              "RevenueFromContractWithCustomerIncludingAssessedTax Revenue SalesRevenueNet SalesRevenueGoodsNet "
              "TotalRevenues NetSales OperatingRevenue"),
    "cost_of_sales": ("cost_of_revenue", "CostOfRevenue CostOfGoodsAndServicesSold CostOfGoodsSold CostOfSales "
                      "CostOfGoodsAndServiceExcludingDepreciationDepletionAndAmortization DirectOperatingCosts"),
    "gross_profit": ("gross_profit", "GrossProfit"),
    "research_and_development": ("research_and_development",
                                 "ResearchAndDevelopmentExpense ResearchAndDevelopmentCosts"),
    "operating_income": ("operating_income", "OperatingIncomeLoss OperatingIncome "
                         "IncomeLossFromContinuingOperationsBeforeInterestAndTaxes ProfitLossFromOperatingActivities"),
    "earnings": ("net_income", "NetIncomeLoss ProfitLoss NetIncome NetEarnings NetIncomeLossAttributableToParent "
                 "IncomeLossFromContinuingOperations ProfitLossAttributableToOwnersOfParent"),
    "eps_diluted": ("earnings_per_share_diluted", "EarningsPerShareDiluted DilutedEarningsLossPerShare"),
    "cash_flow": ("operating_cash_flow", "NetCashProvidedByUsedInOperatingActivities "
                  "NetCashProvidedByUsedInOperatingActivitiesContinuingOperations"),
    "capex": ("capex", "PaymentsToAcquirePropertyPlantAndEquipment CapitalExpenditures "
              "PurchaseOfPropertyPlantAndEquipment PaymentsToAcquireProductiveAssets"),
    "dividends_paid": ("dividends_paid", "PaymentsOfDividends PaymentsOfDividendsCommonStock DividendsPaid"),
    "assets": ("total_assets", "Assets AssetsTotal"),
    "liabilities": ("total_liabilities", "Liabilities LiabilitiesTotal"),
    "book": ("stockholders_equity", "StockholdersEquity "
             "StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest "
             "StockholdersEquityAttributableToParent EquityAttributableToParent ShareholdersEquity TotalEquity "
             "PartnersCapital MembersEquity EquityAttributableToOwnersOfParent"),
    "cash": ("cash_and_equivalents", "CashAndCashEquivalentsAtCarryingValue CashCashEquivalentsAndShortTermInvestments "
             "CashEquivalentsAtCarryingValue Cash"),
    "long_term_debt": ("long_term_debt", "LongTermDebtNoncurrent LongTermDebt LongTermDebtAndCapitalLeaseObligations "
                       "LongTermBorrowings LongTermNotesAndLoans"),
    "shares_outstanding": ("common_shares_outstanding", "CommonStockSharesOutstanding "
                           "WeightedAverageNumberOfSharesOutstandingBasic NumberOfSharesOutstanding"),
}
# fmt: on

OURS_ALONE = {  # in none of its groups
    "RevenuesNetOfInterestExpense",
    "CostOfServices",
    "ResearchAndDevelopmentExpenseExcludingAcquiredInProcessCost",
    "NetIncomeLossAvailableToCommonStockholdersBasic",
    "EarningsPerShareBasicAndDiluted",
    "CashCashEquivalentsRestrictedCashAndRestrictedCashEquivalents",
    "EntityCommonStockSharesOutstanding",
}
THEIRS_ALONE = {
    "of the IFRS taxonomy, which is not read": "Revenue CostOfSales ProfitLossFromOperatingActivities DividendsPaid "
    "ProfitLossAttributableToOwnersOfParent DilutedEarningsLossPerShare EquityAttributableToOwnersOfParent "
    "NumberOfSharesOutstanding",
    "used by no company, by its own count": "TotalRevenues NetSales OperatingRevenue ResearchAndDevelopmentCosts "
    "OperatingIncome IncomeLossFromContinuingOperationsBeforeInterestAndTaxes NetIncome NetEarnings "
    "NetIncomeLossAttributableToParent CapitalExpenditures PurchaseOfPropertyPlantAndEquipment AssetsTotal "
    "LiabilitiesTotal StockholdersEquityAttributableToParent EquityAttributableToParent ShareholdersEquity TotalEquity "
    "LongTermBorrowings",
    "wider or narrower than the item": "CostOfGoodsAndServiceExcludingDepreciationDepletionAndAmortization "
    "DirectOperatingCosts IncomeLossFromContinuingOperations PartnersCapital MembersEquity Cash "
    "CashCashEquivalentsAndShortTermInvestments CashEquivalentsAtCarryingValue LongTermNotesAndLoans "
    "WeightedAverageNumberOfSharesOutstandingBasic",
}
OTHER_ORDER = {"dividends_paid"}  # common dividends are the narrower figure, so they come first here


def published(item: str) -> list[str]:
    return PUBLISHED_GROUPS[item][1].split()


def test_each_item_is_a_group_of_its_own():
    assert set(PUBLISHED_GROUPS) == set(ITEMS)
    assert len({group for group, _ in PUBLISHED_GROUPS.values()}) == len(ITEMS)


@pytest.mark.parametrize("item", ITEMS)
def test_the_tags_that_both_know_mean_the_same_and_are_preferred_in_the_same_order(item):
    ours, theirs = list(ITEMS[item][1]), published(item)
    shared = [tag for tag in ours if tag in theirs]
    assert shared
    assert (shared == [tag for tag in theirs if tag in ours]) == (item not in OTHER_ORDER)
    foreign = {tag for other in ITEMS if other != item for tag in published(other)}
    assert not foreign & set(ours)


def test_what_only_one_of_the_two_knows_is_written_down():
    ours = {tag for _, tags in ITEMS.values() for tag in tags}
    theirs = {tag for item in ITEMS for tag in published(item)}
    assert ours - theirs == OURS_ALONE
    assert theirs - ours == {tag for tags in THEIRS_ALONE.values() for tag in tags.split()}
