"""Two sealed days side by side: where the change of their target weights comes from, and what else differs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from openbook.app.pre_trade_recheck import Written, read_written
from openbook.app.settings import differences
from openbook.common.frames import each_row, plain_rows
from openbook.decision.decide import INPUTS, DecisionInputs
from openbook.decision.difference import Difference, compare
from openbook.decision.sealed_inputs import decision_inputs, input_locations, sealed_day
from openbook.runs.provenance import versions
from openbook.runs.runs_folder import read_run
from openbook.selection.champion import read_card

BIGGEST = 15  # rows of the table
AGREES = 1e-6  # what is decided again and what was sealed are the same within it
SHORT = 12  # characters of a hash


@dataclass(frozen=True, eq=False)
class Diff:
    """The targets of two days and why they differ (see `Difference`), and a line for each other difference."""

    dates: tuple[str, str]
    difference: Difference
    beside: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """All of it for a program; weights and changes are fractions of the portfolio."""
        weights = {"before": self.difference.before.to_dict(), "after": self.difference.after.to_dict()}
        changes, sizes = plain_rows(self.difference.table), self.difference.sizes.to_dict()
        notes = [*self.difference.notes, *self.beside]
        return {"dates": list(self.dates), **weights, "changes": changes, "sizes": sizes, "notes": notes}

    @property
    def lines(self) -> list[str]:
        """All of it for a terminal."""
        table, more = self.difference.table, max(len(self.difference.table) - BIGGEST, 0)
        beyond = [f"… and {more} smaller changes"] if more else []
        return [
            f"{self.dates[0]} → {self.dates[1]}: target weights and attribution of their change",
            *_text(table.head(BIGGEST), self.difference.sizes),
            *beyond,
            *self.difference.sentence.splitlines(),
            *self.beside,
        ]


def diff(runs: str | Path, first: str, second: str) -> Diff:
    """Two sealed daily runs compared; UsageError (64) if one is not sealed, ModelError or DataError if its inputs are
    missing.

    Examples
    --------
    >>> ob.diff("runs", "2022-12-27", "2022-12-28")
    Traceback (most recent call last):
    openbook.common.errors.UsageError: ...
    """
    sealed = [sealed_day(Path(runs), date) for date in (first, second)]
    before, after = _inputs(sealed)
    difference = compare(before, after)
    written = [read_written(folder) for folder in sealed]
    decided = (difference.before, difference.after)
    odd = [_odd(date, w.weights, made) for date, w, made in zip((first, second), written, decided, strict=True)]
    beside = [*filter(None, odd), *_settings(sealed), *_champions(sealed), _orders(written)]
    return Diff((first, second), difference, tuple(beside))


def _inputs(sealed: list[Path]) -> list[DecisionInputs]:
    """The inputs of both; where both read the same source, prices are read once."""
    runs = [read_run(folder) for folder in sealed]
    late = 0 if runs[0]["date"] > runs[1]["date"] else 1
    same = runs[0]["params"]["source"] == runs[1]["params"]["source"]
    inputs = {late: decision_inputs(sealed[late])}
    inputs[1 - late] = decision_inputs(sealed[1 - late], inputs[late].data.market if same else None)
    return [inputs[0], inputs[1]]


def _odd(date: str, was: pd.Series, made: pd.Series) -> str:
    """A line if deciding a sealed day again gives another result; else nothing."""
    gap = was.sub(made, fill_value=0.0).abs().max()
    if gap <= AGREES:
        return ""
    return (
        f"recomputed target weights of {date} differ from the sealed ones by up to {gap:.2%}; check with "
        f"openbook replay {date}"
    )


def _settings(sealed: list[Path]) -> list[str]:
    """A line for each parameter, package and the code, where they differ."""
    runs = [read_run(folder) for folder in sealed]
    kept = [{"code": run["code"], "packages": versions(run), "profile": run["profile"]} for run in runs]
    return differences(*({**run["params"], **rest} for run, rest in zip(runs, kept, strict=True)))


def _champions(sealed: list[Path]) -> list[str]:
    """The two champions and what differs between their cards, if they are not the same."""
    folders = [Path(input_locations(folder)["champion"]) for folder in sealed]
    if folders[0].name == folders[1].name:
        return []
    cards = [read_card(folder).model_dump(mode="json") for folder in folders]
    names = [f"{c['model']} × {c['optimizer']}, {f.name[:SHORT]}" for c, f in zip(cards, folders, strict=True)]
    changed = differences(*({key: card[key] for key in ("portfolio", "regime", "costs")} for card in cards))
    return [f"champion: {names[0]} → {names[1]}", *(f"  {line}" for line in changed)]


def _orders(written: list[Written]) -> str:
    """How many orders each day had, and which names have one on one day only."""
    before, after = ({row.symbol: row.side for row in each_row(side.trades)} for side in written)
    gone = [f"{before[symbol]} {symbol}" for symbol in sorted(before.keys() - after.keys())]
    new = [f"{after[symbol]} {symbol}" for symbol in sorted(after.keys() - before.keys())]
    changes = [f"only on the first date: {', '.join(gone)}"] if gone else []
    changes += [f"only on the second date: {', '.join(new)}"] if new else []
    return "; ".join([f"orders: {len(before)} → {len(after)}", *changes])


def _text(table: pd.DataFrame, sizes: pd.Series) -> list[str]:
    """The table for a terminal, with a line of the total moved, ½Σ|effect|, below it."""
    total = pd.DataFrame([{"symbol": "total moved", "change": sizes["total"], **sizes[list(INPUTS)]}])
    whole = pd.concat([table, total], ignore_index=True) if len(table) else total.assign(before=None, after=None)
    shown = whole[["symbol", "before", "after", "change", *INPUTS]]
    plain = dict.fromkeys(("before", "after"), _percent)
    formats = {**plain, **dict.fromkeys(("change", *INPUTS), _signed)}
    return shown.to_string(index=False, formatters=formats, na_rep="").splitlines()


def _percent(value) -> str:
    return "" if pd.isna(value) else f"{value:.2%}"


def _signed(value: float) -> str:
    """A change in percent; nothing for none."""
    return f"{value:+.2%}" if abs(value) >= 5e-5 else "·"
