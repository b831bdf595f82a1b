"""A book is bound to the source of its prices: its holdings must not be marked at another source's."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from openbook.common.errors import DataError, ParameterError
from openbook.ledger import book, book_commands
from openbook.market.sources import Source, origin, parse_source
from openbook.market.store import from_second, load_market
from openbook.runs.runs_folder import RunsFolder, read_run

WAYS = (
    "use a separate runs folder (openbook --runs FOLDER …) or a separate desk (openbook.yaml, "
    "notebooks/, params/) for this source"
)
INVENTED = ("sample", "simulated")  # providers whose prices are no desk's own
REWRITTEN = 1e-4  # relative; a close that adjusted prices have moved by more was rewritten
ALIKE = 1e-3  # relative; two vendors' closes of one session differ by less, a split or a dividend by more


def bound_to(runs: Path, place: Path | str) -> str | None:
    """The source of the prices of a book's last session; None for a book without a session, or if none is recorded."""
    state = book.read_book(place)
    if state.last_session is None:
        return None
    recorded = book_commands.read_batch(place, f"{state.last_session:%Y-%m-%d}").about.get("source")
    return recorded or _of_its_page(runs, state)


def require_own_source(runs: Path, places: dict[str, Path | str], source: Source) -> None:
    """ParameterError (78) if the books of these runs use bundled or simulated prices and this source does not, or
    the other way round.

    places : of the books that the run is about, by kind
    """
    bound = {kind: recorded for kind, place in places.items() if (recorded := bound_to(runs, place))}
    apart = [kind for kind, recorded in bound.items() if recorded != origin(source) and _is_invented(recorded, source)]
    if apart and len(apart) == len(bound):
        raise ParameterError(_refusal(runs, apart[0], bound[apart[0]], source))


def require_same_marks(runs: Path, kind: str, place: Path | str, source: Source, store: Path) -> None:
    """ParameterError (78) if prices come from another source than the book's last session, and differ from its marks.

    A vendor's files may move, and a desk may change its vendor: where every held name has the close there at which the
    book marked it, nothing of what it holds changes its value by that. The same holds for a name whose close of that
    session is from a second source.
    """
    recorded = bound_to(runs, place)
    if recorded is None:
        return
    session = cast(pd.Timestamp, book.read_book(place).last_session)  # a book is bound with its first one
    marked = book.marked_prices(place)
    second = from_second(store, session) if recorded == origin(source) else None
    marked = marked if second is None else marked[marked.index.isin(list(second))]
    if marked.empty:
        return
    for symbol, price, close in _other_marks(marked, source, store, session, ALIKE):
        found = f"{close:,.4f}" if close > 0 else "missing"
        example = f"close of {symbol} on {session:%Y-%m-%d}: {price:,.4f} in the book, {found} here"
        break
    else:
        return
    if second is None:
        raise ParameterError(_refusal(runs, kind, recorded, source, f" ({example})"))
    names = ", ".join(sorted({second[symbol] for symbol in marked.index}))
    raise ParameterError(
        f"the second source {names} has another price than that at which the {kind} book in {runs} was marked "
        f"({example}); correct it, or remove second_source, and run openbook data update --whole"
    )


def require_carrying(place: Path | str, source: Source, store: Path, *, paper: bool) -> None:
    """Refuse prices that their vendor rewrites at every split and dividend, while the shares of a book stay.

    ParameterError (78) for a live book. A paper book may use them until the close of a held name at which it was marked
    is another one: then DataError (30).
    """
    if getattr(source, "carries_a_live_book", True):
        return
    if not paper:
        raise ParameterError(
            f"source.prices: {getattr(source, 'prices', '')} does not work for a live book: the vendor rewrites such "
            "prices at every split, while the book's share counts stay the same. Use raw prices with their corporate "
            "actions, or give the source the columns split and dividend"
        )
    session = book.read_book(place).last_session
    if session is None:
        return
    for symbol, marked, close in _other_marks(book.marked_prices(place), source, store, session, REWRITTEN):
        if not close > 0:
            continue  # a name that is gone is another matter, for the settlement
        raise DataError(
            f"held name {symbol} was marked at {marked:,.4f} on {session:%Y-%m-%d}, but the source now has "
            f"{close:,.4f}, {close / marked:.4g} times as much: its prices are adjusted, and were rewritten for "
            "a split or a dividend, while the shares held stay. Begin another paper book for this download "
            "(openbook --runs FOLDER …), or use prices as traded with their actions"
        )


def _other_marks(
    marks: pd.Series, source: Source, store: Path, session: pd.Timestamp, tolerance: float
) -> Iterator[tuple[str, float, float]]:
    """Of these marks those that are not the close of their session: symbol, mark, close (NaN: missing)."""
    market, _ = load_market(source, store=store, through=session)
    known = market.close.loc[session:].reindex(columns=marks.index)
    closes = known.iloc[0] if len(known) else pd.Series(np.nan, index=marks.index)
    for symbol, price in zip(marks.index, marks, strict=True):
        if not abs(closes[symbol] / price - 1) <= tolerance:
            yield str(symbol), float(price), float(closes[symbol])


def _refusal(runs: Path, kind: str, recorded: str, source: Source, example: str = "") -> str:
    """Why a run is refused, and the two ways on."""
    mine = f"this run uses {origin(source)}{example}"
    return f"the {kind} book in {runs} is bound to the price source {recorded}, {mine}; {WAYS}"


def _is_invented(recorded: str, source: Source) -> bool:
    """Whether one of the two is bundled or simulated data: its positions are not real."""
    return recorded.partition(" ")[0] in INVENTED or source.provider in INVENTED


def _of_its_page(runs: Path, state) -> str | None:
    """The source of the sealed page of the book's last session, for books written before they recorded it."""
    sealed = RunsFolder(runs).sealed("daily_run", state.last_session)
    if sealed is None or read_run(sealed)["params"]["dry_run"] != (state.kind == "paper"):
        return None
    return origin(parse_source(read_run(sealed)["params"]["source"], sealed=True))
