"""Constants that several rooms share."""

CASH = "CASH"  # the row of cash among weights, positions and lines of a statement
SESSIONS_A_YEAR = 252  # by which means and deviations of daily returns are annualised
BOOK_KINDS = ("paper", "live")
