"""Constants that several rooms share."""

CASH = "CASH"  # the row of cash among weights, positions and lines of a statement
SESSIONS_A_YEAR = 252  # by which means and deviations of daily returns are annualized
RISK_OFF, NORMAL, RISK_ON = 0, 1, 2
REGIME_NAMES = {RISK_OFF: "risk-off", NORMAL: "normal", RISK_ON: "risk-on"}
BOOK_KINDS = ("paper", "live")
