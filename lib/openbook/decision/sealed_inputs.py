"""What a sealed daily run decided from, read back from its folder, its champion's bundle and the store."""

import json
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from openbook.common.errors import AuditError, BookError, DataError, UsageError
from openbook.common.files import storage
from openbook.common.strict_json import parse_json
from openbook.common.strict_yaml import in_words
from openbook.decision.decide import Data, DecisionInputs, Holdings, gather
from openbook.ledger.records import Settlement
from openbook.market.checks.session import QualityRules, check_session
from openbook.market.sources import parse_source
from openbook.market.store import load_market
from openbook.market.tables import Market
from openbook.portfolio.schedule import is_rebalance
from openbook.runs import registry, score_files
from openbook.runs.runs_folder import STORE, RunsFolder, read_run
from openbook.selection.champion import read_champion
from openbook.signals.models import Model

LOCATIONS = ("date", "store", "champion", "champion_note", "previous", "scores_file")  # parameters that locate inputs


def decision_inputs(sealed: Path, known: Market | None = None) -> DecisionInputs:
    """The inputs of a sealed daily run, from what it recorded, its champion's bundle, and the store.

    known : a market of the same source that goes as far or further, in the place of the store

    Raises OpenbookError if the folder is not a daily run, ModelError or DataError if its bundle or prices are missing.
    """
    run, located = read_run(sealed), input_locations(sealed)
    params, recorded, session = run["params"], run["recorded"], pd.Timestamp(run["date"])
    market = known or load_market(parse_source(params["source"]), store=located["store"], through=session)[0]
    market = market.upto(session, as_known_on=session)
    if market.dates.empty or market.dates[-1] != session:
        raise DataError(f"the store has lost the prices of {session:%Y-%m-%d}; restore it from a backup")
    settled = read_settlement(sealed)
    model, _, card = read_champion(located["champion"])
    model = with_scores(model, located.get("scores_file"))
    # Older pages recorded it as "due"; the oldest, from before a missed rebalance was made up for, not at all.
    scheduled = is_rebalance(session, card.portfolio.rebalance_every) or settled.positions.empty
    rebalances = recorded.get("is_rebalance", recorded.get("due", scheduled))
    holdings = Holdings.of(settled, market, rebalances)
    data = known_data(market, settled, params["quality"])
    return gather(data, model, card, holdings, recorded["regime"], recorded["switch"])


def with_scores(model: Model, file: str | None) -> Model:
    """A model with the desk's own scores of a kept file; as it is without one."""
    if file is None:
        return model
    try:
        return model.reading(pd.read_parquet(file))
    except (OSError, ValueError) as error:
        raise DataError(f"the kept scores {file} cannot be read: {error}; restore them from a backup") from None


def read_settlement(folder: Path) -> Settlement:
    """What a stage or a sealed run settled; BookError (60) for a file that does not say it."""
    file = folder / "settlement.json"
    with storage(f"read {file}"):
        data = file.read_bytes()
    try:
        parse_json(data)  # no number that is none, and none beyond 64 bits
        return Settlement.model_validate_json(data)
    except ValueError as error:
        why = in_words(error) if isinstance(error, ValidationError) else error
        raise BookError(f"{file} cannot be read: {why}; see openbook verify") from None


def known_data(market: Market, settled: Settlement, quality: dict) -> Data:
    """A market with the names that could trade in its last session. quality : of the run, as JSON has it"""
    rules = QualityRules.model_validate_json(json.dumps(quality))
    checked = check_session(market, market.dates[-1], held=tuple(settled.positions.index), rules=rules)
    return Data(market, checked.tradable)


def sealed_day(runs: Path, date: str) -> Path:
    """The folder of the sealed daily run of a session; UsageError (64) if there is none."""
    sealed = RunsFolder(runs).sealed("daily_run", date)
    if sealed is None:
        raise UsageError(f"no sealed daily_run of {date} in {runs}; see openbook status")
    return sealed


def input_locations(sealed: Path) -> dict:
    """Location of the inputs, from the sealed notebook's parameters; below the same runs folder if it was moved."""
    notebooks = sorted(sealed.glob("*.ipynb"))
    try:
        shape = {"metadata": {"papermill": {"parameters": {f"{name}?": (str, type(None)) for name in LOCATIONS}}}}
        params = parse_json(notebooks[0].read_bytes(), shape)["metadata"]["papermill"]["parameters"]
    except (IndexError, OSError, ValueError) as error:
        raise AuditError(f"{sealed} has no executed notebook to replay: {error}; see openbook verify") from None
    found = {name: params[name] for name in LOCATIONS if params.get(name) is not None}
    places = {"store": STORE, "champion": registry.FOLDER, "previous": "daily_run", "scores_file": score_files.FOLDER}
    for name, folder in places.items():
        beside = sealed.parents[1] / folder / Path(found.get(name, ".")).name
        if name in found and beside.exists():
            found[name] = str(beside.resolve())
    return found
