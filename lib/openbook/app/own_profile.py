"""`openbook data check FOLDER --write params/NAME`: what was recognized, as a profile of parameters that runs."""

import os
from pathlib import Path
from typing import Any

import yaml

from openbook.app.settings import NOTEBOOKS, PROFILE_FOLDER, check_params
from openbook.common.errors import DataError, UsageError
from openbook.common.files import write_folder
from openbook.common.text import counted, printable
from openbook.market.checks.history import CHECKS, Checkup, Extent
from openbook.market.sources.files import FilesSource
from openbook.market.sources.price_kinds import UNTAKEN
from openbook.signals.features import FEATURES

# Sessions below which a training has nothing to be judged by: a year of features, folds and a holdout.
FEWEST, FEWEST_NAMES = 300, 5  # and names, among which there is something to choose
# At most so many names: the most traded ones of each month, so that a training of 10,000 does not take a night.
MOST_NAMES = 500
USUAL_WEIGHT = 0.15
LONG = 1000  # sessions, from which on features of a year and a horizon of a month leave enough to judge
CANDIDATES: list[dict[str, Any]] = [
    {"name": "xgboost_default", "algorithm": "xgboost"},
    {"name": "xgboost_tuned", "algorithm": "xgboost", "tuning": {"n_trials": 30}},
    {"name": "random_forest", "algorithm": "random_forest", "n_estimators": 300},
    {"name": "lightgbm", "algorithm": "lightgbm"},
    {"name": "ensemble", "algorithm": "ensemble", "top": 3},
]
LONG_SPANS = ("252", "36_12", "last_year", "5_years")  # in names of features that need a longer history


def require_free(desk: Path, profile: str) -> Path:
    """The folder of a new profile, below params/ of the desk. UsageError (64) for another place and for one in use."""
    folder = Path(profile)
    name = folder.name if folder.parent == PROFILE_FOLDER else ""
    if not name.replace("-", "_").isidentifier():
        raise UsageError(f"--write {profile}: write params/NAME, for example --write params/mine")
    free = desk / PROFILE_FOLDER / name
    if free.exists():
        raise UsageError(f"{PROFILE_FOLDER / name} is there already; choose another name, or remove it first")
    return free


def write_profile(folder: Path, path: str, source: FilesSource | None, checkup: Checkup) -> list[str]:
    """Write the four files of a profile, all or none; the commands that come next, line by line.

    DataError (30) where no run could use the prices, or where there are too few.
    """
    source, extent = _require_usable(path, source, checkup)
    told = _from_desk(source.model_dump(mode="json", exclude_defaults=True), folder.parents[1])
    files = {"train_candidates.yaml": _head(folder.name, path, checkup.readings, extent)}
    for notebook, given in parameters({"provider": "files", **told, "prices": source.prices}, extent).items():
        check_params(notebook, given, where=f"{notebook}.yaml")
        text = yaml.safe_dump(given, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
        files[f"{notebook}.yaml"] = files.get(f"{notebook}.yaml", b"") + text.encode()
    folder.parent.mkdir(exist_ok=True)
    write_folder(folder, files)
    days = checkup.findings.loc[checkup.findings["rule"].isin(checkup.stopping), "last"].dropna()
    warned = (
        [f"a run stops on {counted(days.nunique(), 'session')} until what is found above is mended"]
        if len(days)
        else []
    )
    return [*warned, *_next_commands(folder.name, extent)]


def _head(name: str, path: str, readings: tuple[str, ...], extent: Extent) -> bytes:
    """Comments above the parameters: where they come from. A name in a vendor's file cannot end a comment."""
    first, last = (f"{day:%Y-%m-%d}" for day in (extent.sessions[0], extent.sessions[-1]))
    lines = [
        f"Written by `openbook data check {path} --write {PROFILE_FOLDER}/{name}`:",
        f"{extent.n_symbols} symbols, {first} to {last}. How the files were understood, line by line:",
        *(f"  {line}" for line in readings),
    ]
    return "".join(f"# {printable(line)}\n" for line in lines).encode()


def _require_usable(path: str, source: FilesSource | None, checkup: Checkup) -> tuple[FilesSource, Extent]:
    """Prices that a run can use; DataError in one line, with the file, the finding and the way out."""
    if source is None or checkup.extent is None:
        raise DataError(checkup.unpriced)
    whole = [rule for rule in checkup.stopping if CHECKS[rule].stops == "delivery" or rule == "unadjusted split"]
    if whole:
        worst = checkup.findings[checkup.findings["rule"] == whole[0]].iloc[0]
        named = ", ".join(repr(source.columns.get(field, field)) for field in ("symbol", "date", "close"))
        said = (
            worst["detail"]
            if whole[0] == "refused"
            else f"{worst['symbol']} {worst['first']:%Y-%m-%d}: {worst['detail']}"
        )
        way_out = "" if whole[0] == "refused" else f"; {CHECKS[whole[0]].way_out}"
        raise DataError(f"{source.path} (columns {named}): {CHECKS[whole[0]].reason}: {said}{way_out}")
    closed = checkup.findings.loc[checkup.findings["rule"] == "weekend bars", "symbol"]
    if closed.nunique() > checkup.extent.n_symbols / 2:
        column = source.columns.get("date", "date")
        raise DataError(
            f"{source.path}: column {column!r}: {closed.iloc[0]} has bars on weekends, so it is no US stock"
        )
    untold = next((line for line in checkup.readings if UNTAKEN in line), "")
    if untold:
        raise DataError(f"{source.path}: {untold}; put a table of the splits (date, symbol, ratio) beside the prices")
    if (n := checkup.extent.n_symbols) < FEWEST_NAMES:
        raise DataError(
            f"{path} has {counted(n, 'symbol')}; a model ranks names against each other: at least {FEWEST_NAMES}"
        )
    if len(checkup.extent.sessions) < FEWEST:
        raise DataError(
            f"{path} has {len(checkup.extent.sessions)} sessions; a model is trained and judged on at least {FEWEST}: "
            "get a longer history"
        )
    return source, checkup.extent


def _from_desk(told: dict[str, Any], desk: Path) -> dict[str, Any]:
    """The settings of a source with its paths from the desk on, where they are inside."""
    out = {name: _from_desk(value, desk) if isinstance(value, dict) else value for name, value in told.items()}
    path = str(out.get("path", "://"))
    if "://" not in path and not (relative := os.path.relpath(path, desk)).startswith(".."):
        out["path"] = relative
    return out


def parameters(told: dict[str, Any], extent: Extent) -> dict[str, dict[str, Any]]:
    """The parameters of each notebook for these prices: spans by the sessions there are, sizes by the names.

    told : the settings of the source
    """
    if extent.n_symbols > MOST_NAMES and "volume" in extent.fields and "members" not in told:
        told = told | {"liquid": {"top": MOST_NAMES}}
    names = min(extent.n_symbols, MOST_NAMES)
    top = min(names, max(7, min(50, names // 3)))
    # Wide enough that the names held can take all of the money; there are at least FEWEST_NAMES.
    widest = max(USUAL_WEIGHT, round(1.05 / top + 0.005, 2))
    portfolio = {"cash_absorbs": True, "top_n": top, "hold_buffer": 1.5, "max_weight": widest}
    return {
        "train_candidates": {"source": told, **_training(extent)},
        "compare": {
            "source": told,
            "optimizers": ["max_sharpe", "min_volatility", "hrp", "inverse_vol", "equal_weight"],
            "portfolio": portfolio,
            "costs": {"commission_bps": 1.0, "slippage_bps": 5.0},
        },
        "select_champion": {},
        "daily_run": {"source": told, "limits": _limits(widest), "max_model_age": 92, "dry_run": True},
    }


def _training(extent: Extent) -> dict[str, Any]:
    """Features, horizon, folds and candidates, for a long history or a short one."""
    n_sessions = len(extent.sessions)
    if n_sessions >= LONG:
        folds = {"n_folds": 6, "embargo": 5, "holdout": 252}
        return {"horizon": 20, "walk_forward": folds, "candidates": CANDIDATES}
    fields = {"close", *extent.fields}
    known = [feature.name for feature in FEATURES.values() if fields >= set(feature.needs)]
    return {
        "features": [name for name in known if not any(span in name for span in LONG_SPANS)],
        "horizon": 5,
        "walk_forward": {"n_folds": 3, "embargo": 5, "holdout": n_sessions // 5},
        "candidates": CANDIDATES,
    }


def _limits(widest: float) -> dict[str, Any]:
    """The usual limits, and wider ones for so few names that each may be more than the usual weight."""
    if widest <= USUAL_WEIGHT:
        return {"max_weight": USUAL_WEIGHT, "max_sector_weight": 0.30, "max_turnover": 0.40}
    first = {"max_turnover": 1.0, "max_trade": widest, "max_cost": 0.01, "max_trades": 100}
    return {"max_weight": widest, "max_trade": widest, "initial": first}


def _next_commands(name: str, extent: Extent) -> list[str]:
    """What comes after the profile: a month, a book, an evening."""
    last = f"{extent.sessions[-1]:%Y-%m-%d}"
    research = [f"openbook run {notebook} --date {last} --profile {name}" for notebook in NOTEBOOKS][:-1]
    evening = ["openbook init --cash 100000", f"openbook run daily_run --date {last} --profile {name}", "openbook open"]
    return [f"{PROFILE_FOLDER}/{name} is written; next:", *(f"  {line}" for line in [*research, *evening])]
