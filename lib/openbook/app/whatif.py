"""The same day with a parameter changed: what would have been ordered, at which risk and cost.

The sealed day is executed again in a scratch folder, as `openbook replay` does; nothing below the runs folder changes.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from pydantic import ValidationError

from openbook.app.audit import run_again
from openbook.app.pre_trade_recheck import Written, read_written
from openbook.app.settings import DailyRun, check_params, set_value
from openbook.common.constants import CASH
from openbook.common.desk_folder import runs_folder
from openbook.common.errors import ConflictError, OpenbookError, ParameterError, UsageError
from openbook.common.extras import needed
from openbook.common.strict_yaml import in_words
from openbook.decision.decide import DecisionInputs
from openbook.decision.sealed_inputs import decision_inputs, input_locations, sealed_day
from openbook.portfolio.target_weights import recent_covariance
from openbook.portfolio.turnover import turnover
from openbook.report.elements import Element
from openbook.report.page import callout, render_report, table
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.runs.stage import REPORT
from openbook.selection.champion import CARD, ChampionCard, champion_hash, parse_card, read_card

OF_THE_CHAMPION = ("portfolio", "regime", "costs")  # came with the card
FIXED = ("source", "dry_run")  # another source or book is another desk, not the same day
FIGURES = {  # how each is written
    "orders": ",.0f",
    "traded, USD": ",.0f",
    "cost, USD": ",.2f",
    "turnover": ".1%",
    "names": ",.0f",
    "largest weight": ".1%",
    "cash": ".1%",
    "annualized volatility": ".1%",
}


@dataclass(frozen=True, eq=False)
class WhatIf:
    """A sealed day beside the same day with parameters changed.

    orders : symbol, sealed, tried, change (signed shares), what (added, dropped, changed); only orders that differ
    figures : `FIGURES` × sealed, tried, change. Both volatilities are of the target weights and by one covariance, of
        the names in either; turnover is ½Σ|target − held|, cash included
    verdicts : of the sealed page and of the other; kept : folder of the other page, None if it was removed
    """

    date: str
    sets: tuple[str, ...]
    orders: pd.DataFrame
    figures: pd.DataFrame
    verdicts: tuple[str, str]
    kept: Path | None

    @property
    def lines(self) -> list[str]:
        """All of it for a terminal."""
        orders = ["no orders change"] if self.orders.empty else self.orders.to_string(index=False).splitlines()
        return [
            f"{self.date} with {', '.join(self.sets)}",
            f"sealed: {self.verdicts[0]}",
            f"tried:  {self.verdicts[1]}",
            *orders,
            *self.formatted.to_string().splitlines(),
            f"page kept in {self.kept}" if self.kept else "page discarded; use --out FOLDER to keep it",
        ]

    @property
    def formatted(self) -> pd.DataFrame:
        """The figures as text, each in its unit."""
        rows = {name: [format(value, form) for value in self.figures.loc[name]] for name, form in FIGURES.items()}
        return pd.DataFrame.from_dict(rows, orient="index", columns=self.figures.columns)


def try_it(runs: str | Path, date: str, sets: Sequence[str], *, out: str | Path | None = None) -> WhatIf:
    """A sealed daily run of `runs` with some parameters changed, and what differs.

    sets : key=value, of the daily run (limits.max_trade=0.05) or of what came with its champion: portfolio, regime,
        costs (portfolio.top_n=20). The costs are those of that session's simulated fills too
    out : a folder to keep the other page in, as a runs folder of its own; None: it is removed

    Raises UsageError (64) if the day is not sealed or nothing is set, ParameterError (78) naming a key that is unknown
    or of the wrong type, and any error of the notebook with these parameters.
    """
    runs, sets = Path(runs), tuple(sets)
    sealed = sealed_day(runs, date)
    if not sets:
        raise UsageError("nothing to change: pass --set key=value")
    params, files = _changed(sealed, sets)
    with _scratch(runs, date, out) as scratch:
        champion = (
            None
            if files is None
            else scratch.promote(files, parse_card(files[CARD]).model_dump(mode="json"), champion_hash(files))
        )
        note = f"What-if with {', '.join(sets)}: no orders result from this page."
        stage = run_again(runs, date, scratch, params=params, champion=champion, note=note)
        stage.require_finished()
        was, now = read_written(sealed), read_written(stage.folder)
        kept = None
        if out is not None:
            stage.write(REPORT, render_report(stage.folder / "daily_run.ipynb"))
            kept = scratch.seal(stage)
    verdicts = (was.recorded["verdict"], now.recorded["verdict"])
    return WhatIf(date, sets, _orders(was, now), _figures(was, now, decision_inputs(sealed)), verdicts, kept)


# ---- what is changed ----


def _changed(sealed: Path, sets: Sequence[str]) -> tuple[dict, dict[str, bytes] | None]:
    """The day's parameters with `sets`, and its champion's bundle as another one; None if it stays as it is."""
    params = read_run(sealed)["params"]
    files = {path.name: path.read_bytes() for path in sorted(Path(input_locations(sealed)["champion"]).iterdir())}
    card = parse_card(files[CARD]).model_dump(mode="json")
    for text in sets:
        set_value(card if _owner(text) == "champion" else params, text)
    params = check_params("daily_run", params, where="--set").model_dump(mode="json")
    if all(_owner(text) == "daily_run" for text in sets):
        return params, None
    card["optimizer"] = card["portfolio"].get("optimizer")
    try:
        checked = ChampionCard.model_validate_json(json.dumps(card), strict=True)
    except ValidationError as error:
        raise ParameterError(f"--set: {in_words(error)}") from None
    return params, {**files, CARD: checked.to_bytes()}


def _owner(text: str) -> str:
    """Whether a key=value changes "daily_run" or "champion"; ParameterError names an unknown key."""
    key = text.partition("=")[0].strip()
    first = key.partition(".")[0]
    if first in FIXED:
        raise ParameterError(f"--set {key}: {first} cannot be changed in a what-if; the sealed day's value is used")
    if first in OF_THE_CHAMPION and "." in key:
        return "champion"
    if first not in DailyRun.model_fields:
        known = [*(name for name in DailyRun.model_fields if name not in FIXED), *(f"{n}.*" for n in OF_THE_CHAMPION)]
        raise ParameterError(f"--set {key}: unknown parameter; choose from {', '.join(known)}")
    return "daily_run"


def _promoted(scratch: RunsFolder, files: dict[str, bytes]) -> Path:
    """The folder of a changed champion's bundle."""
    return scratch.promote(files, parse_card(files[CARD]).model_dump(mode="json"), champion_hash(files))


@contextmanager
def _scratch(runs: Path, date: str, out: str | Path | None) -> Iterator[RunsFolder]:
    """A runs folder of its own to work in: `out`, or a temporary one."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="openbook-whatif-") as folder:
            yield RunsFolder(folder)
        return
    if Path(out).resolve().is_relative_to(runs.resolve()):
        raise UsageError(f"{out} is inside the runs folder {runs}; choose a folder outside it")
    if RunsFolder(out).sealed("daily_run", date) is not None:
        raise ConflictError(f"{out} already has a page of {date}; choose another folder")
    yield RunsFolder(out)


# ---- what comes out ----


def _orders(was: Written, now: Written) -> pd.DataFrame:
    """The orders that differ: symbol, sealed, tried, change, what; shares are signed, a missing order is 0."""
    sides = {"sealed": was.trades, "tried": now.trades}
    shares = pd.DataFrame({name: trades.set_index("symbol")["shares"] for name, trades in sides.items()})
    table = shares.fillna(0).astype("int64").sort_index()
    table = table[table["sealed"] != table["tried"]].assign(change=lambda t: t["tried"] - t["sealed"])
    words = np.select([table["sealed"] == 0, table["tried"] == 0], ["added", "dropped"], "changed")
    return table.assign(what=words).rename_axis("symbol").reset_index()


def _figures(was: Written, now: Written, inputs: DecisionInputs) -> pd.DataFrame:
    """`FIGURES` × sealed, tried, change. inputs : the sealed one, whose prices both share"""
    names = was.weights.index.union(now.weights.index).drop(CASH)
    close = inputs.data.market.adjusted[names].to_numpy(dtype=float)[-(inputs.settings.lookback + 1) :]
    covariance = recent_covariance(close)
    sides = {"sealed": was, "tried": now}
    table = pd.DataFrame(
        {name: _side(side, inputs.data.market.close, covariance, names) for name, side in sides.items()}
    )
    return table.assign(change=table["tried"] - table["sealed"])


def _side(written: Written, close: pd.DataFrame, covariance: np.ndarray, names: pd.Index) -> dict[str, float]:
    """The figures of one of the two days."""
    trades, weights, settled = written.trades, written.weights, written.settlement
    held = settled.positions * close.iloc[-1].reindex(settled.positions.index) / settled.equity
    aimed = weights.drop(CASH).reindex(names).fillna(0.0)
    new, old = weights.drop(CASH).align(held, fill_value=0.0)
    return {
        "orders": len(trades),
        "traded, USD": trades["notional"].sum(),
        "cost, USD": (trades["commission_est"] + trades["slippage_est"]).sum(),
        "turnover": turnover(new, old),
        "names": len(weights) - 1,
        "largest weight": aimed.max() if len(aimed) else 0.0,
        "cash": weights[CASH],
        "annualized volatility": float(np.sqrt(aimed.to_numpy() @ covariance @ aimed.to_numpy())),
    }


# ---- in JupyterLab ----


def panel(runs: str | Path | None = None, date: str | None = None):
    """For JupyterLab: choose a setting of a sealed day, change its value, press the button; the differences appear
    below.

    runs : None: OPENBOOK_RUNS or those of the desk, wherever the notebook lies; date : None: the last sealed day

    More settings than one go into the second line, as key=value parted by spaces. Nothing is computed until the button
    is pressed. If no day is sealed, a callout says so instead.
    """
    with needed("lab", "the what-if panel"):
        from ipywidgets import Button, Dropdown, HBox, Label, Layout, Output, Text, VBox

    runs = runs_folder() if runs is None else Path(runs)
    try:
        sealed = latest_day(runs) if date is None else sealed_day(runs, date)
        known = settings_of(sealed)
    except OpenbookError as error:
        return callout(str(error), kind="warn", title="No sealed daily run for a what-if")
    day = read_run(sealed)["date"]
    options = [(f"{key} (was {was})", key) for key, was in known.items()]
    setting = Dropdown(options=options, value="portfolio.top_n", layout=Layout(width="420px"))
    value, button = Text(layout=Layout(width="160px")), Button(description="What if?", button_style="primary")
    more, meaning, below = Text(placeholder="optional: more settings, key=value key=value"), Label(), Output()
    more.layout.width = "588px"

    def choose(_) -> None:
        value.value, meaning.value = known[setting.value], meaning_of(setting.value)

    def press(_) -> None:
        button.disabled = True
        with below:
            _show(callout(f"Recomputing the daily run of {day}; this takes a few seconds."))
            _show(*answer(runs, day, [f"{setting.value}={value.value}", *more.value.split()]))
        button.disabled = False

    setting.observe(choose, "value")
    button.on_click(press)
    choose(None)
    return VBox([Label(f"Daily run of {day}"), HBox([setting, value, button]), meaning, more, below])


def answer(runs: str | Path, date: str, sets: Sequence[str]) -> list[Element]:
    """What `panel` shows for some settings: `shown` of `try_it`, or what is wrong with them."""
    try:
        return shown(try_it(runs, date, sets))
    except OpenbookError as error:
        return [callout(str(error), kind="stop", title="Settings rejected")]


def shown(tried: WhatIf) -> list[Element]:
    """Verdicts, orders that differ, and figures, for display."""
    verdicts = f"Sealed: {tried.verdicts[0]}\nTried: {tried.verdicts[1]}"
    return [
        callout(verdicts, title=f"{tried.date} with {', '.join(tried.sets)}"),
        table(tried.orders, caption="Changed orders, in shares", empty="No orders change."),
        table(tried.formatted.rename_axis("figure").reset_index(), caption="Risk and cost"),
    ]


def settings_of(sealed: Path) -> dict[str, str]:
    """The settings of a sealed day that `try_it` may change: key → its value then, as typed; the champion's first.

    Lists are left out, and tables that hold nothing; both can still be set by name.
    """
    params = check_params("daily_run", read_run(sealed)["params"], where=str(sealed)).model_dump(mode="json")
    card = read_card(input_locations(sealed)["champion"]).model_dump(mode="json")
    of_the_desk = {key: value for key, value in params.items() if key not in FIXED}
    return dict(_flat({**{key: card[key] for key in OF_THE_CHAMPION}, **of_the_desk}))


def meaning_of(key: str) -> str:
    """The description of a setting; empty if it has none."""
    model, description = ChampionCard if key.partition(".")[0] in OF_THE_CHAMPION else DailyRun, ""
    for part in key.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            break
        model, description = field.annotation, field.description or ""
    return description


def latest_day(runs: Path) -> Path:
    """The folder of the last sealed daily run; UsageError (64) if there is none."""
    sealed = RunsFolder(runs).latest("daily_run")
    if sealed is None:
        raise UsageError(f"no sealed daily_run in {runs} yet; openbook demo creates some")
    return sealed


def _flat(values: dict, before: str = "") -> Iterator[tuple[str, str]]:
    """Each value below, by its dotted key, as YAML on one line."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        elif not isinstance(value, list):
            yield f"{before}{key}", yaml.safe_dump(value, width=float("inf")).splitlines()[0]


def _show(*elements: Element) -> None:
    """In the place of what stood there."""
    from IPython.display import clear_output, display

    clear_output(wait=True)
    display(*elements)
