"""The champion's bundle: a model, and the card with what was selected with it and why."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from openbook.backtest.grid import label
from openbook.common import extensions
from openbook.common.days import Day
from openbook.common.errors import ModelError, ParameterError, UsageError
from openbook.common.strict_json import parse_json
from openbook.common.strict_yaml import in_words
from openbook.common.text import counted
from openbook.portfolio.construct import PortfolioSettings
from openbook.portfolio.costs import Costs
from openbook.portfolio.regime import RegimeSettings
from openbook.selection import Selection, SelectionWeights, against
from openbook.signals.bundle import SCHEMA, bundle_hash, load_model, require_bytes
from openbook.signals.models import Model

CARD = "champion_metadata.json"
PROMISE = "promise.json"  # beside it: what a later session compares the champion with
METRICS = ("cagr", "volatility", *SelectionWeights.model_fields, "beta", "active_return", "active_low", "active_high")
METRICS += ("active_low_all", "deflated_sharpe", "pbo", "track_record")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a champion is chosen from: figures, daily returns and files of everything that was compared.

    summary : one row per combination; see `summarise_backtests`
    returns : sessions × combination, the baselines among them, by the names in `baselines`, the universe first
    unseen : likewise over the holdout: a file, from which only the chosen columns are read, or a table; None without
        one
    models : by candidate, its bundle as file name -> bytes
    portfolio, regime, costs : the settings of the comparison; runs : notebook -> inputs hash of what led here
    code : notebook -> identity of the code of the same runs, if they record it
    details : backtest_detailed_results.json; ledger : trials.parquet of the training
    """

    summary: pd.DataFrame
    returns: pd.DataFrame
    unseen: Path | pd.DataFrame | None
    baselines: tuple[str, ...]
    models: dict[str, dict[str, bytes]]
    portfolio: PortfolioSettings
    regime: RegimeSettings
    costs: Costs
    runs: dict[str, str]
    details: dict
    ledger: pd.DataFrame
    code: dict[str, str] = field(default_factory=dict)

    @property
    def alone(self) -> pd.DataFrame:
        """The daily returns of the combinations, without the baselines."""
        return self.returns[list(self.summary["combination"])]

    @property
    def universe(self) -> pd.Series:
        """The daily returns of the whole universe at equal weight, after costs."""
        return self.returns[self.baselines[0]]

    def look(self, combination: str) -> pd.DataFrame | None:
        """Daily returns of one combination and of the universe over the holdout; None without one. Count each call."""
        columns = [combination, self.baselines[0]]
        if self.unseen is None or isinstance(self.unseen, pd.DataFrame):
            return None if self.unseen is None else self.unseen[columns]
        return pd.read_parquet(self.unseen, columns=columns)

    @property
    def sentence(self) -> str:
        """What was compared, for the head of a page."""
        models, optimizers = self.summary["model"].nunique(), self.summary["optimizer"].nunique()
        return f"Models: {models}. Optimizers: {optimizers}. Combinations: {len(self.summary)}."


class ChampionCard(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """What was selected is what trades: the settings that travel with a model, and how it came to be chosen."""

    format_version: Literal[1] = 1
    model: str
    optimizer: str
    vetted: bool = Field(description="passed every gate; an unvetted champion may only run the paper book")
    reason: str
    selected: Day = Field(description="date of selection, YYYY-MM-DD")
    score: float = Field(description="selection score, 0 to 1")
    n_trials: int = Field(ge=1, description="number of trials, tuning included")
    metrics: dict[str, float | None]
    features: tuple[str, ...]
    horizon: int
    trained_through: Day = Field(description="last session in the training labels")
    portfolio: PortfolioSettings
    regime: RegimeSettings
    costs: Costs
    model_sha256: str
    data_fingerprint: str
    promise_sha256: str = Field("", description=f"hash of {PROMISE}; empty if there is no expected performance")
    runs: dict[str, str] = Field(description="notebook → inputs hash of the sealed runs behind the champion")
    code: dict[str, str] = Field({}, description="notebook → code hash of those runs")
    extensions: dict[str, str] = Field({}, description="the desk's own files that it needs → sha256")

    def to_bytes(self) -> bytes:
        """The same card gives the same bytes."""
        said = self.model_dump(mode="json", exclude=None if self.extensions else {"extensions"})
        return (json.dumps(said, indent=1, sort_keys=True) + "\n").encode()

    @property
    def sentence(self) -> str:
        """Who it is and whether it passed, for the head of a page."""
        who = f"{self.model} × {self.optimizer}, selected {self.selected} after {counted(self.n_trials, 'trial')}"
        own = f"{self.model} × {self.optimizer} failed "
        mine = [f"failed: {part.removeprefix(own)}" for part in self.reason.split("; ") if part.startswith(own)]
        why = (mine or [self.reason])[0]
        return f"{who}: passed every gate." if self.vetted else f"{who}: NOT VETTED, paper only; {why}"

    def summary(self, date) -> dict[str, str]:
        """What a reader of a page should know of it, by name."""
        age = (pd.Timestamp(date) - pd.Timestamp(self.trained_through)).days
        own = ", ".join(f"{name} (sha256 {sha256[:12]}…)" for name, sha256 in self.extensions.items())
        return {
            "Model": self.model,
            "Optimizer": self.optimizer,
            "Passed every gate": "yes" if self.vetted else "no: paper only",
            "Trained through": f"{self.trained_through}, {counted(age, 'day')} ago",
            "Label horizon": counted(self.horizon, "session"),
            "Features": f"{len(self.features)}",
            "Selection score": f"{self.score:.2f}, after {counted(self.n_trials, 'trial')}",
        } | ({"Own code": own} if own else {})


class Promise(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A champion's out-of-sample record before its selection; the best of many looks better than it is.

    rank_ic : mean and standard deviation over dates, None with fewer than two; returns : by session, YYYY-MM-DD, of its
    combination after costs
    """

    rank_ic: tuple[float, float] | None
    returns: dict[Day, float]

    @property
    def series(self) -> pd.Series:
        """The returns by session, oldest first."""
        days = pd.to_datetime(list(self.returns), format="%Y-%m-%d").astype("datetime64[us]")
        return pd.Series(list(self.returns.values()), index=days, name="backtest", dtype="float64").sort_index()


def champion_hash(files: dict[str, bytes]) -> str:
    """The sha256 that names a champion: of its card, which pins the model's schema, which pins the model."""
    return hashlib.sha256(files[CARD]).hexdigest()


def read_champion(folder) -> tuple[Model, dict, ChampionCard]:
    """The model, its schema and its card from a bundle folder that is named by its hash.

    Raises ModelError (40) if anything is missing or altered; no parser sees a byte before its hash was compared.
    """
    card = read_card(folder)
    read_promise(folder, card)
    model, schema = load_model(folder, sha256=card.model_sha256)
    return model, schema, card


def verify_champion(folder) -> None:
    """Raise ModelError (40) if a bundle was altered, or no longer predicts what it did when it was saved.

    Of a champion whose own files have changed since, which a desk may do, the hashes alone are compared.
    """
    if not refusal(folder):
        read_champion(folder)
        return
    said = _plain(_card_bytes(folder))
    require_bytes(folder, said.get("model_sha256", ""))
    if said.get("promise_sha256"):
        _promise_bytes(Path(folder) / PROMISE, said["promise_sha256"])


def refusal(folder) -> str:
    """Why a daily run would refuse a champion for the desk's own files that it needs, with the exit code; empty if they
    are those of its selection."""
    said = _plain(_card_bytes(folder))
    try:
        changed = extensions.unlike(said.get("extensions", {}), _who(said))
    except (ParameterError, UsageError) as error:  # a file that cannot be loaded
        return f"daily_run would end with {error.exit_code}: {error}"
    return f"daily_run would end with {ModelError.exit_code}: {changed}" if changed else ""


def _who(said: Mapping) -> str:
    return f"the champion {said.get('model')} × {said.get('optimizer')}"


def own_scores_of(folder) -> str | None:
    """Where the own scores of a champion are, None if it is a fitted model; its bundle is checked where it is read."""
    try:
        schema = parse_json((Path(folder) / SCHEMA).read_bytes(), {"candidate": {"path?": (str, type(None))}})
        return schema["candidate"].get("path")
    except (OSError, ValueError) as error:
        raise ModelError(f"{Path(folder) / SCHEMA} cannot be read: {error!r}; promote the champion again") from None


def read_card(folder) -> ChampionCard:
    """The card of a bundle folder that is named by its hash; ModelError (40) if it is missing or altered, or if a file
    of the desk's own that it needs is not the one of its selection."""
    data = _card_bytes(folder)
    said = _plain(data)
    extensions.require(said.get("extensions", {}), _who(said))
    return parse_card(data, Path(folder) / CARD)


def _plain(data: bytes) -> dict:
    """What a card says, unchecked: its optimizer may be one that the desk no longer has. Empty for what is no card."""
    try:
        return parse_json(data, {"extensions?": {str: str}, "model_sha256?": str, "promise_sha256?": (str, type(None))})
    except ValueError:
        return {}


def _card_bytes(folder) -> bytes:
    """The card's file, whose hash is the folder's name."""
    file = Path(folder) / CARD
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the champion's {file}: {error.strerror}; promote it again") from None
    if hashlib.sha256(data).hexdigest() != file.parent.name:
        raise ModelError(f"{file} was altered: its hash differs from the folder name; promote the champion again")
    return data


def parse_card(data: bytes, where: Path | str = CARD) -> ChampionCard:
    """The card that a file holds; ModelError (40) names what is wrong with it."""
    try:
        return ChampionCard.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(f"{where}: {in_words(error)}; promote the champion again") from None


def read_promise(folder, card: ChampionCard) -> Promise | None:
    """What the champion of a bundle folder promised, None if nothing; ModelError (40) if the file was altered."""
    if not card.promise_sha256:
        return None
    file = Path(folder) / PROMISE
    data = _promise_bytes(file, card.promise_sha256)
    try:
        return Promise.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(f"{file}: {in_words(error)}; promote the champion again") from None


def _promise_bytes(file: Path, sha256: str) -> bytes:
    data = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(f"{file} was altered: its hash differs from the one in {CARD}; promote the champion again")
    return data


def bundle_champion(
    chosen: pd.Series, *, vetted: bool, selection: Selection, compared: Comparison, selected
) -> tuple[dict[str, bytes], ChampionCard]:
    """The files of a champion and its card.

    chosen : row of the ranking; compared : what it was chosen from. Raises ModelError if its model cannot be read.
    """
    files, promise = compared.models[chosen["model"]], _promise(chosen, compared)
    schema = json.loads(files[SCHEMA])
    card = ChampionCard(
        model=chosen["model"],
        optimizer=chosen["optimizer"],
        vetted=vetted,
        reason=selection.reason,
        selected=f"{pd.Timestamp(selected):%Y-%m-%d}",
        score=float(chosen["score"]),
        n_trials=selection.n_trials,
        metrics={name: _number(chosen[name]) for name in METRICS},
        features=tuple(schema["features"]),
        horizon=schema["horizon"],
        trained_through=schema["trained_through"],
        portfolio=compared.portfolio.model_copy(update={"optimizer": chosen["optimizer"]}),
        regime=compared.regime,
        costs=compared.costs,
        model_sha256=bundle_hash(files),
        data_fingerprint=schema["data_fingerprint"],
        promise_sha256=hashlib.sha256(promise).hexdigest(),
        runs=compared.runs,
        code=compared.code,
        extensions=_extensions(chosen["optimizer"], schema, compared),
    )
    return {**files, PROMISE: promise, CARD: card.to_bytes()}, card


def _extensions(optimizer: str, schema: Mapping, compared: Comparison) -> dict[str, str]:
    """The desk's own files behind a model and its optimizers, by sha256; ModelError (40) where one changed between
    training and comparison."""
    settings = compared.portfolio
    asked = {optimizer, *settings.fallbacks, *(one.optimizer for one in settings.regimes.values())}
    files = dict(schema.get("extensions", {}))
    for name, found in compared.details.get("extensions", {}).items():
        for file, sha256 in found.items() if name in asked else ():
            if files.setdefault(file, sha256) != sha256:
                raise ModelError(f"{file} changed between training and comparison; train and compare again")
    return files


def _promise(chosen: pd.Series, compared: Comparison) -> bytes:
    """What the chosen combination did before it was chosen; the same comparison gives the same bytes."""
    returns, tried = compared.returns[chosen["combination"]].dropna(), compared.ledger
    mine = (tried["kind"] == "candidate") & (tried["candidate"] == chosen["model"])
    daily = tried.loc[mine & (tried["date"] <= returns.index.max()), "rank_ic"].dropna()  # the holdout stays unseen
    promise = Promise(
        rank_ic=(float(daily.mean()), float(daily.std(ddof=1))) if len(daily) > 1 else None,
        returns={f"{day:%Y-%m-%d}": float(value) for day, value in returns.items()},
    )
    return (json.dumps(promise.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def against_incumbent(
    incumbent: str | None, chosen: pd.Series, ranking: pd.DataFrame, returns: pd.DataFrame, *, seed: int
) -> pd.DataFrame:
    """The incumbent beside its challenger, on the same dates; no row if there is none to compare.

    incumbent : folder of its bundle, whose combination identifies it among those compared now

    Columns: who, combination, score, the criteria, and difference_low, difference, difference_high: return a year of
    the challenger above the champion with its 95% interval (stationary bootstrap).
    """
    shown = ["combination", "score", *SelectionWeights.model_fields]
    gaps = ["difference_low", "difference", "difference_high"]
    name = None if incumbent is None else label(_combination(Path(incumbent)))
    old = ranking[ranking["combination"] == name]
    if old.empty:
        return pd.DataFrame(columns=["who", *shown, *gaps])
    found = against(returns[chosen["combination"]], returns[name], seed=seed)
    rows = pd.DataFrame([old.iloc[0][shown], chosen[shown]]).reset_index(drop=True)
    rows[gaps] = float("nan")
    rows.loc[1, gaps] = [found["active_low"], found["active_return"], found["active_high"]]
    return rows.assign(who=["incumbent", "challenger"])[["who", *shown, *gaps]]


def _combination(folder: Path) -> tuple[str, str]:
    """Model and optimizer of a champion, from its card."""
    said = _plain(_card_bytes(folder))
    return said.get("model", ""), said.get("optimizer", "")


def _number(value) -> float | None:
    """A plain number, or None for what is undefined or infinite, which JSON has no word for."""
    return float(value) if pd.notna(value) and math.isfinite(value) else None
