"""Whether a session is a rebalance of a book: by the schedule, or because an earlier one was missed."""

from pathlib import Path

import pandas as pd

from openbook.execution.kill_switch import HALTED
from openbook.ledger.records import BookState, Settlement
from openbook.market.calendar import next_session, previous_session, sessions
from openbook.portfolio.schedule import Rebalance, rebalance_on
from openbook.runs.runs_folder import read_run


def rebalance_of(state: BookState, settlement: Settlement, every: int, previous: str | None) -> Rebalance:
    """Whether the session of a settlement is a rebalance, from what is known of the book before it; see `rebalance_on`.

    state : the book before the settlement; previous : folder of the page before, or None

    Orders that a halted book proposed were for no rebalance, and are not made up for. That of approved orders none was
    filled comes from a broker statement; an empty book with rejected last orders waits for the schedule.
    """
    session, skipped = pd.Timestamp(settlement.session), pd.DatetimeIndex([])
    if state.last_session is not None and next_session(state.last_session) < session:
        skipped = sessions(next_session(state.last_session), previous_session(session))
    waited = {row.order_id for row in settlement.results if (row.before, row.status) == ("PENDING", "EXPIRED")}
    expired = {f"{day:%Y-%m-%d}" for day in state.pending["decided"][state.pending["order_id"].isin(waited)]}
    page = {} if previous is None else read_run(Path(previous))
    halted = {page["date"]} if page and page["recorded"].get("switch") == HALTED else set()
    ends, decided = set(state.last_orders["status"]) - {"VOID"}, state.last_orders["decided"].max()
    unfilled = {f"{decided:%Y-%m-%d}"} if ends == {"EXPIRED"} and decided == state.last_session else set()
    return rebalance_on(
        session,
        every,
        skipped=skipped,
        expired=sorted(expired - halted),
        unfilled=sorted(unfilled - halted),
        empty=settlement.positions.empty,
        rejected=decided if ends == {"REJECTED"} else None,
    )
