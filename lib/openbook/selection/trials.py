"""All trials so far: each is one more chance to be lucky."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from openbook.backtest.engine import VectorizedBacktester
from openbook.common import extensions
from openbook.common.errors import DataError
from openbook.portfolio.regime import RegimeSettings

_DIGITS = 16


@dataclass(frozen=True)
class Trials:
    """What was tried, each thing once.

    combinations : compared now; earlier : different ones of the comparisons before; tuning : trials of the tuning
    """

    combinations: int
    earlier: int
    tuning: int

    @property
    def total(self) -> int:
        """Inputs of the deflated Sharpe ratio."""
        return self.combinations + self.earlier + self.tuning

    @property
    def sentence(self) -> str:
        """The count in words, for the head of a page."""
        return (
            f"{self.total} trials counted: {self.combinations} combinations in this comparison, "
            f"{self.earlier} from earlier comparisons, {self.tuning} tuning trials. "
            "The fit of a candidate is part of its combinations."
        )


def count_trials(details_now: dict, earlier: Sequence[dict], ledger: pd.DataFrame) -> Trials:
    """The trials of this comparison, of the comparisons before it, and of the tuning.

    details_now, earlier : as `detailed_results` gives them; a combination is known by its `trial`, so one that is
        compared again is not counted again, and one with a changed setting is
    ledger : trials.parquet of the training: columns trial, kind; different trials of kind "tuning" count

    Too few, so the deflated Sharpe ratio too optimistic, when comparisons were deleted or made elsewhere.
    """
    lacking = [name for name in ("trial", "kind") if name not in ledger.columns]
    if lacking:
        raise DataError(f"the trial ledger has no column {lacking[0]}; pass trials.parquet of the training run")
    now = _trials_of(details_now)
    before = set().union(*(_trials_of(details) for details in earlier)) - now
    tuning = ledger.loc[ledger["kind"] == "tuning", "trial"].nunique()
    return Trials(combinations=len(now), earlier=len(before), tuning=int(tuning))


def _trials_of(details: dict) -> set[str]:
    """The trials of one comparison; DataError if it was written before they had names."""
    try:
        return {row["trial"] for row in details["combinations"]}
    except KeyError as error:
        raise DataError(f"a comparison has no {error}, so its trials cannot be counted; run compare again") from None


def trial_id(recipe: dict, optimizer: str, settings: dict) -> str:
    """What a combination is known by: the first 16 digits of the sha256 of all that makes it what it is.

    recipe : the candidate's settings; settings : portfolio, regime and costs as plain values, the optimizer aside
    """
    portfolio = settings["portfolio"] | {"optimizer": optimizer}
    whole = {"recipe": recipe, "optimizer": optimizer, "settings": settings | {"portfolio": portfolio}}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _optimizers(summary: pd.DataFrame, backtester: VectorizedBacktester) -> set[str]:
    """Every optimizer that a comparison may have used."""
    settings = backtester.settings
    others = [regime.optimizer for regime in settings.regimes.values() if regime.optimizer]
    return {*summary["optimizer"], *settings.fallbacks, *others}


def _own(optimizer: str) -> dict[str, str]:
    """The desk's own file that an optimizer is defined in, by sha256; nothing for one of the library."""
    return extensions.behind("OPTIMIZERS", [optimizer])


def detailed_results(
    summary: pd.DataFrame,
    baselines: pd.DataFrame,
    *,
    backtester: VectorizedBacktester,
    regime: RegimeSettings,
    recipes: Mapping[str, dict],
) -> dict:
    """backtest_detailed_results.json: every figure of every combination, and the settings that travel with a champion.

    summary, baselines : as `summarise_backtests` gives them
    recipes : by model, its candidate's settings as plain values; they and the settings here make `trial`
    """
    unknown = sorted(set(summary["model"]) - set(recipes))
    if unknown:
        raise DataError(f"no candidate settings for {unknown[0]}, which identify its trials; pass them in recipes")
    settings = {
        "portfolio": backtester.settings.model_dump(mode="json"),
        "regime": regime.model_dump(mode="json"),
        "costs": backtester.costs.model_dump(mode="json"),
    }
    own = {name: files for name in sorted(_optimizers(summary, backtester)) if (files := _own(name))}
    pairs = summary[["model", "optimizer"]].itertuples(index=False, name=None)
    ids = [trial_id(recipes[model], optimizer, settings) for model, optimizer in pairs]
    return {
        "schema_version": 2,
        "settings": settings,
        "combinations": summary.assign(trial=ids).to_dict("records"),
        "baselines": baselines.to_dict("records"),
        "baseline_names": list(baselines["combination"]),
    } | ({"extensions": own} if own else {})
