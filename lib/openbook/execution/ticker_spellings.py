"""One table of how share classes, preferreds, warrants, rights and units are spelled, to a broker and back.

A ticker is a root and what follows it. The exchanges' own convention (CMS) puts a space between them: BRK B, BAC PRK,
BAC WS. Interactive Brokers writes that, Alpaca the same with a dot, Yahoo a dash and shorter suffixes: BAC-PK, BAC-WT.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from openbook.common.errors import BookError


class Suffix(NamedTuple):
    """What follows the root of a ticker: by the exchanges' convention, and as Yahoo has it; a series letter may follow.

    A class of common stock is its letter alone, and spelled alike by all.
    """

    exchange: str
    yahoo: str


# "Ticker Symbol Convention", nasdaqtrader.com, column CMS. Yahoo's are those of its quote pages: BAC-PK, CCIV-WT.
SUFFIXES = {
    "preferred": Suffix("PR", "P"),
    "warrant": Suffix("WS", "WT"),
    "right": Suffix("RT", "RI"),
    "unit": Suffix("U", "UN"),
}
SEPARATORS = {"ibkr": " ", "alpaca": "."}  # before the suffix, by the shape that orders leave in
TICKER = re.compile(r"[A-Za-z0-9]+(?:[.\-/ ][A-Za-z0-9]+)*")
BETWEEN = re.compile(r"[.\-/ ]")
# Yahoo's P is read after a dash or a slash alone: .PK is how others write the pink sheets.
LIKE_YAHOO = {"-", "/"}
SERIES = "[A-Z]?"


def parts_of(ticker: str) -> tuple[str, str]:
    """Root of a ticker and its suffix by the exchanges' convention; ("BAC", "PRK") for BAC-PK, BAC PRK and BAC.PR.K.

    The suffix is empty where there is none. One that the table does not have stays as it is, its parts by a blank; and
    so does what is no ticker at all, as a root.
    """
    if not TICKER.fullmatch(ticker):
        return ticker, ""
    root, *rest = BETWEEN.split(ticker)
    if not rest:
        return root, ""
    joined, dashed = "".join(rest), ticker[len(root)] in LIKE_YAHOO
    for exchange, yahoo in SUFFIXES.values():
        if dashed and len(rest) == 1 and yahoo == "P" and re.fullmatch(f"P{SERIES}", joined):
            return root, exchange + joined[1:]
        if re.fullmatch(f"{exchange}{SERIES}", joined) and exchange != "U":
            return root, joined
        if len(yahoo) > 1 and re.fullmatch(f"{yahoo}{SERIES}", joined):
            return root, exchange + joined[len(yahoo) :]
    return root, " ".join(rest)


def spelled(symbol: str, form: str) -> str:
    """A symbol as the shape `form` writes it; as it is where that has no spelling of its own (generic)."""
    root, suffix = parts_of(symbol)
    if form not in SEPARATORS or not suffix:
        return symbol
    return SEPARATORS[form].join([root, *suffix.split(" ")])


def same_security(one: str, other: str) -> bool:
    """Whether two symbols are spellings of one."""
    return parts_of(one) == parts_of(other)


def match_symbols(given: Iterable[str], held: Iterable[str], known: Iterable[str] = ()) -> dict[str, str]:
    """The book's symbol for each symbol of a broker's file; one that fits none stays as it is.

    given : symbols of the file; held : symbols that the book holds or has orders for; known : others that it knows

    BookError (60) where a spelling fits two symbols that are held, or two spellings of the file fit one symbol. Symbols
    are distinguished by their spelling if the file spells all of them as the book does.
    """
    given = list(given)
    theirs, holds, knows = _by_parts(given), _by_parts(held), _by_parts(known)
    found: dict[str, str] = {}
    for key, names in theirs.items():
        ours = holds.get(key) or knows.get(key) or []
        if names == ours or not ours or (len(ours) > 1 and key not in holds):
            found |= {name: name for name in names}
        elif len(ours) > 1:
            raise BookError(
                f"{_listed(names)} may be {_listed(ours, 'or')} in the book, which are spellings of one "
                "security; correct the book so that it holds only one of them"
            )
        elif len(names) > 1:
            raise BookError(f"{_listed(names)} are spellings of the same security, {ours[0]}; list it once")
        else:
            found[names[0]] = ours[0]
    return found


def _by_parts(symbols: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Symbols by root and suffix, sorted, each once."""
    found: dict[tuple[str, str], list[str]] = {}
    for symbol in sorted({*symbols}):
        found.setdefault(parts_of(symbol), []).append(symbol)
    return found


def _listed(names: list[str], last: str = "and") -> str:
    """Names in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
