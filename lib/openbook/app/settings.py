"""The parameters of each notebook: read from YAML, checked in full before anything runs.

A parameter is written once, in `params/<profile>/<notebook>.yaml`; what a file leaves out has the default stated here.
Types are strict: the text "false" is not a bool, and an unknown key is an error.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, overload

from pydantic import Field, ValidationError, field_validator

from openbook.common import extensions, secrets
from openbook.common.errors import ParameterError
from openbook.common.settings import Settings
from openbook.common.strict_yaml import DEEPEST, in_words, parse_yaml, read_yaml
from openbook.execution.kill_switch import KillSwitch
from openbook.execution.risk_checks import SafetyLimits
from openbook.ledger.account import Account
from openbook.market.checks.session import QualityRules
from openbook.market.sources import BY_PROVIDER, Source
from openbook.monitoring.monitoring_log import OpsMonitor
from openbook.portfolio.construct import PortfolioSettings
from openbook.portfolio.costs import Costs
from openbook.portfolio.optimizers import OPTIMIZERS
from openbook.portfolio.regime import RegimeSettings
from openbook.portfolio.target_weights import check_optimizers
from openbook.selection import SelectionWeights, Thresholds
from openbook.signals.leakage_tests import MAX_IC
from openbook.signals.models import Candidate
from openbook.signals.training import WalkForward

PROFILE_FOLDER = Path("params")


class TrainCandidates(Settings):
    """Features, labels and universe are decided here, and travel with the model."""

    source: Source = Field(description="where prices come from", discriminator=BY_PROVIDER)
    quality: QualityRules = QualityRules()
    features: tuple[str, ...] = Field((), description="feature names; empty: every feature that the data supports")
    horizon: int = Field(20, ge=1, description="label horizon in sessions")
    first: str = Field("", description="first training session; empty: all")
    candidates: tuple[Candidate, ...]
    walk_forward: WalkForward = WalkForward()
    max_ic: float = Field(
        MAX_IC, gt=0, le=1, description="a mean rank IC above this is treated as leakage and stops the run"
    )
    seed: int = Field(0, ge=0, description="random seed of the leakage tests")
    storage: str = Field("", description="Optuna storage URL; empty: an SQLite file in the runs folder")
    n_jobs: int = Field(2, ge=1, description="parallel processes; each fit uses one thread")


class Compare(Settings):
    """Optimizer, regime rule and costs are decided here, and travel with the champion."""

    source: Source = Field(description="where prices come from", discriminator=BY_PROVIDER)
    first: str = Field("", description="first session to backtest; empty: the first with scores")
    optimizers: tuple[str, ...] = Field(tuple(OPTIMIZERS), description="optimizers to combine with every candidate")
    portfolio: PortfolioSettings = PortfolioSettings()
    regime: RegimeSettings = RegimeSettings()
    costs: Costs = Costs()
    seed: int = Field(0, ge=0, description="random seed of the random-scores baseline and the bootstrap")
    shaken: int = Field(5, ge=0, description="number of top combinations in the sensitivity analysis")
    n_jobs: int = Field(2, ge=1, description="parallel processes")

    @field_validator("optimizers")
    @classmethod
    def _known(cls, names):
        check_optimizers(names)
        return names


class SelectChampion(Settings):
    """Which model to promote, and at which confidence."""

    weights: SelectionWeights = SelectionWeights()
    thresholds: Thresholds = Thresholds()
    seed: int = Field(0, ge=0, description="random seed of the bootstrap and of the perturbed weights")


class DailyRun(Settings):
    """Limits of the desk; features, optimizer, regime rule and costs come with the champion."""

    source: Source = Field(description="where prices come from", discriminator=BY_PROVIDER)
    quality: QualityRules = QualityRules()
    limits: SafetyLimits = SafetyLimits()
    monitor: OpsMonitor = OpsMonitor()
    min_trade_size: float = Field(100.0, ge=0, description="USD; smaller trades are dropped, full exits are not")
    max_model_age: int = Field(92, ge=1, description="maximum days since the last training label")
    fallback_champion: Literal["none", "previous"] = Field(
        "none",
        description=(
            "if the champion's bundle is missing: none stops the run, previous uses the previous champion "
            "and says so on the page"
        ),
    )
    kill_switch: KillSwitch = KillSwitch()
    account: Account = Account()
    require_manual_approval: bool = Field(
        True, description="each batch needs a person's approval; false is allowed for paper only"
    )
    dry_run: bool = Field(True, description="true: paper book; false: live book, filled only by imported fills")


NOTEBOOKS: dict[str, type[Settings]] = {
    "train_candidates": TrainCandidates,
    "compare": Compare,
    "select_champion": SelectChampion,
    "daily_run": DailyRun,
}


@overload
def load_params(
    notebook: Literal["daily_run"], profile: str, sets: tuple[str, ...] = (), *, root: Path = Path(".")
) -> DailyRun: ...


@overload
def load_params(notebook: str, profile: str, sets: tuple[str, ...] = (), *, root: Path = Path(".")) -> Settings: ...


def load_params(notebook: str, profile: str, sets: tuple[str, ...] = (), *, root: Path = Path(".")) -> Settings:
    """The checked parameters of one notebook: the profile's file, then each `key=value` of `sets` over it.

    Raises ParameterError (78) naming the file and the key that is unknown, missing or of the wrong type.
    """
    extensions.load()
    folder = root / PROFILE_FOLDER
    file = folder / profile / f"{notebook}.yaml"
    known = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if profile not in known or not file.is_file():  # a name among these, so that ../ leads nowhere
        raise ParameterError(f"no parameter file {file}; available profiles: {', '.join(known) or 'none'}")
    values = read_yaml(file)
    if not isinstance(values, dict):
        raise ParameterError(f"{file}: expected `key: value` lines, found {type(values).__name__}")
    for text in sets:
        set_value(values, text)
    _require_no_secret(values, str(file))
    return check_params(notebook, values, where=str(file))


def _require_no_secret(values: Mapping, where: str) -> None:
    """ParameterError (78) for a URL that holds a password or a key: parameters are sealed, and shown on pages."""
    for key, value in flattened(values).items():
        if found := secrets.in_url(value):
            protocol = value.lower().partition("://")[0].rpartition(":")[2].strip('["')
            way_out = (
                "leave it to the driver of the database: ~/.pgpass or PGPASSWORD"
                if key == "storage"
                else f"put it into FSSPEC_{protocol.upper()}, in the environment or in the file of {secrets.FILE}"
            )
            raise ParameterError(f"{where}: {key} contains {found}, and parameters are sealed with the run; {way_out}")


@overload
def check_params(notebook: Literal["daily_run"], values: dict, *, where: str = "parameters") -> DailyRun: ...


@overload
def check_params(notebook: str, values: dict, *, where: str = "parameters") -> Settings: ...


def check_params(notebook: str, values: dict, *, where: str = "parameters") -> Settings:
    """`values` as the frozen settings of `notebook`, or ParameterError (78) naming each offending key."""
    try:
        return NOTEBOOKS[notebook].model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise ParameterError(f"{where}: {in_words(error)}") from None


def differences(was: Mapping, now: Mapping) -> list[str]:
    """Each parameter that is not the same, by its dotted key, as `key: was → now`."""
    flat = (flattened(was), flattened(now))
    keys = sorted({*flat[0], *flat[1]})
    pairs = [(key, *(one.get(key, "not set") for one in flat)) for key in keys]
    return [f"{key}: {before} → {after}" for key, before, after in pairs if before != after]


def flattened(values: Mapping, above: str = "") -> dict[str, str]:
    """Nested plain values by dotted key, as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        flat |= flattened(value, f"{name}.") if isinstance(value, Mapping) and value else {name: json.dumps(value)}
    return flat


def set_value(values: dict, text: str) -> None:
    """Apply one `key=value` of the command line to `values`; dots reach inside, the value is YAML."""
    key, equals, value = text.partition("=")
    if not (equals and all(part.isidentifier() or part.isdigit() for part in key.split("."))):
        raise ParameterError(f"--set {text!r}: write key=value, for example portfolio.top_n=30")
    *path, last = key.split(".")
    if len(path) > DEEPEST:
        raise ParameterError(f"--set {key[:40]}…: more than {DEEPEST} levels")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ParameterError(f"--set {text!r}: {part} is not a mapping")
    values[last] = parse_yaml(value, f"--set {key}")
