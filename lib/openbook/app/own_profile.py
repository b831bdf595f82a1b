"""`openbook data check FOLDER --write params/NAME`: what was recognized, as a profile of parameters that runs."""

import os
from pathlib import Path
from typing import Any

import yaml

from openbook.app.settings import NOTEBOOKS, PROFILE_FOLDER, check_params
from openbook.common.errors import DataError, UsageError
from openbook.common.files import write_folder
from openbook.market.checks.history import CHECKS, Checkup, Extent
from openbook.market.sources.files import FilesSource
from openbook.signals.features import FEATURES

# Sessions below which a training has nothing to be judged by: a year of features, folds and a holdout.
FEWEST = 300
# At most so many names: the most traded ones of each month, so that a training of 10,000 does not take a night.
MOST_NAMES = 500
USUAL_WEIGHT = 0.15
LONG_SPANS = ("252", "36_12", "last_year", "5_years")  # in names of features that need a longer history
HEAD = """# Written by `openbook data check {path} --write {profile}`: {n_symbols} symbols, {first} to {last}.
# How the files were understood, line by line:
{readings}
"""


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
    files = profile_files(folder, path, source, checkup)
    folder.parent.mkdir(exist_ok=True)
    write_folder(folder, files)
    extent = checkup.extent
    assert extent is not None  # said by profile_files
    return _next_commands(folder.name, extent)


def profile_files(folder: Path, path: str, source: FilesSource | None, checkup: Checkup) -> dict[str, bytes]:
    """The YAML of each notebook by file name, checked as a run checks it."""
    extent = _require_usable(path, source, checkup)
    assert source is not None
    values = parameters(source.model_copy(update={"path": _from_desk(source.path, folder.parents[1])}), extent)
    days = [f"{day:%Y-%m-%d}" for day in (extent.sessions[0], extent.sessions[-1])]
    readings = "\n".join(f"#   {line}" for line in checkup.readings)
    about = {"path": path, "profile": f"{PROFILE_FOLDER}/{folder.name}", "n_symbols": extent.n_symbols}
    head = HEAD.format(**about, first=days[0], last=days[1], readings=readings)
    files = {}
    for notebook, given in values.items():
        check_params(notebook, given, where=f"{notebook}.yaml")
        text = yaml.safe_dump(given, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
        files[f"{notebook}.yaml"] = ((head if notebook == "train_candidates" else "") + text).encode()
    return files


def _require_usable(path: str, source: FilesSource | None, checkup: Checkup) -> Extent:
    """The extent of prices that a run can use; DataError in one line, with the file, the finding and the way out."""
    if source is None or checkup.extent is None:
        raise DataError(checkup.unpriced)
    whole = [rule for rule in checkup.stopping if CHECKS[rule].stops == "delivery"]
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
    if len(checkup.extent.sessions) < FEWEST:
        raise DataError(
            f"{path} has {len(checkup.extent.sessions)} sessions; a model is trained and judged on at least {FEWEST}: "
            "get a longer history"
        )
    return checkup.extent


def _from_desk(path: str, desk: Path) -> str:
    """A path as parameters have it: from the desk on, where it is inside."""
    if "://" in path:
        return path
    relative = os.path.relpath(path, desk)
    return path if relative.startswith("..") else relative


def parameters(source: FilesSource, extent: Extent) -> dict[str, dict[str, Any]]:
    """The parameters of each notebook for these prices: spans by the sessions there are, sizes by the names."""
    told: dict[str, Any] = source.model_dump(mode="json", exclude_defaults=True) | {"prices": source.prices}
    told = {"provider": "files"} | told
    if extent.n_symbols > MOST_NAMES and "volume" in extent.fields and source.members is None:
        told["liquid"] = {"top": MOST_NAMES}
    names = min(extent.n_symbols, MOST_NAMES)
    n_sessions = len(extent.sessions)
    is_short = n_sessions < 1000
    holdout = n_sessions // 5 if is_short else 252
    train: dict[str, Any] = {
        "source": told,
        "horizon": 5 if is_short else 20,
        "walk_forward": {
            "n_folds": 3 if is_short else 6,
            "embargo": 5,
            "holdout": holdout,
        },
        "candidates": _candidates(30),
    }
    if is_short:
        fields = {"close", *extent.fields}
        known = [feature.name for feature in FEATURES.values() if fields >= set(feature.needs)]
        train["features"] = [name for name in known if not any(span in name for span in LONG_SPANS)]
    top = min(names, max(7, min(50, names // 3)))
    widest = max(USUAL_WEIGHT, round(1.05 / top + 0.005, 2))  # so that the names held can take all of the money
    return {
        "train_candidates": train,
        "compare": {
            "source": told,
            "optimizers": ["max_sharpe", "min_volatility", "hrp", "inverse_vol", "equal_weight"],
            "portfolio": {"cash_absorbs": True, "top_n": top, "hold_buffer": 1.5, "max_weight": widest},
            "costs": {"commission_bps": 1.0, "slippage_bps": 5.0},
        },
        "select_champion": {},
        "daily_run": {
            "source": told,
            "limits": _limits(widest),
            "max_model_age": 92,
            "dry_run": True,
        },
    }


def _limits(widest: float) -> dict[str, Any]:
    """The usual limits, and wider ones for so few names that each may be more than the usual weight."""
    if widest <= USUAL_WEIGHT:
        return {"max_weight": USUAL_WEIGHT, "max_sector_weight": 0.30, "max_turnover": 0.40}
    first = {"max_turnover": 1.0, "max_trade": widest, "max_cost": 0.01, "max_trades": 100}
    return {"max_weight": widest, "max_trade": widest, "initial": first}


def _candidates(n_trials: int) -> list[dict[str, Any]]:
    """The five candidates of every training."""
    return [
        {"name": "xgboost_default", "algorithm": "xgboost"},
        {"name": "xgboost_tuned", "algorithm": "xgboost", "tuning": {"n_trials": n_trials}},
        {"name": "random_forest", "algorithm": "random_forest", "n_estimators": 300},
        {"name": "lightgbm", "algorithm": "lightgbm"},
        {"name": "ensemble", "algorithm": "ensemble", "top": 3},
    ]


def _next_commands(name: str, extent: Extent) -> list[str]:
    """What comes after the profile: a month, a book, an evening."""
    last = f"{extent.sessions[-1]:%Y-%m-%d}"
    research = [f"openbook run {notebook} --date {last} --profile {name}" for notebook in NOTEBOOKS][:-1]
    evening = ["openbook init --cash 100000", f"openbook run daily_run --date {last} --profile {name}", "openbook open"]
    return [f"{PROFILE_FOLDER}/{name} is written; next:", *(f"  {line}" for line in [*research, *evening])]
