"""An ensemble: the mean of its members' ranks within the date, written down as one file that holds all of them.

Ranks, because scores of two models are not on one scale; within the date, because that is all that a score means. Every
member has one vote (Caruana et al. 2004 weigh them; weights fitted on noise are noise).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from openbook.common.errors import ModelError, ParameterError, SchemaError
from openbook.common.ranks import average_ranks
from openbook.signals.learners import LEARNERS, Algorithm


class Member(NamedTuple):
    """One model of an ensemble."""

    name: str
    algorithm: str
    booster: Any


def mean_ranks(scores: np.ndarray) -> np.ndarray:
    """Mean over members of the ranks within each row, scaled to [-0.5, 0.5], ties averaged; one name alone is 0.

    scores : (members, dates, n). Ranks are added before they are scaled, so that equal sums stay equal to the bit.
    """
    total = sum(average_ranks(table) for table in scores)
    count = np.isfinite(total).sum(axis=1, keepdims=True)
    return (total / len(scores) - (count + 1) / 2) / np.maximum(count - 1, 1)


def ensemble_scores(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean of the per-date percentile ranks of several scores, dates × symbols; NaN unless every member has a score."""
    first = tables[0]
    if any(not (t.index.equals(first.index) and t.columns.equals(first.columns)) for t in tables[1:]):
        raise SchemaError(
            "ensemble members have scores for different dates or symbols; score them on the same features"
        )
    ranks = mean_ranks(np.stack([table.to_numpy(dtype=float) for table in tables]))
    return pd.DataFrame(ranks, index=first.index, columns=first.columns)


def members_of(models: Mapping[str, Any]) -> tuple[Member, ...]:
    """The members of an ensemble of these models, in the order given; SchemaError unless their features agree."""
    seen = {tuple(model.features) for model in models.values()}
    if len(models) < 2 or len(seen) != 1:
        raise SchemaError(
            f"an ensemble needs at least two models with the same features, not {len(models)} with {len(seen)}"
        )
    return tuple(Member(name, model.algorithm, model.booster) for name, model in models.items())


def _refuse(*_) -> Any:
    raise ParameterError("an ensemble is built from trained members, not fitted; add candidates for it")


def _predict(members: tuple[Member, ...], X: np.ndarray, n_jobs: int) -> np.ndarray:
    """Mean rank of each row among the rows given: those of one date."""
    predictions = [LEARNERS[member.algorithm].predict(member.booster, X, n_jobs) for member in members]
    return mean_ranks(np.stack(predictions)[:, None, :])[0]


def _dump(members: tuple[Member, ...]) -> bytes:
    """JSON with each member's own text."""
    texts = [(m.name, m.algorithm, LEARNERS[m.algorithm].dump(m.booster).decode()) for m in members]
    content = {"members": [dict(zip(("name", "algorithm", "model"), text, strict=True)) for text in texts]}
    return json.dumps(content, sort_keys=True).encode()


def _load(data: bytes) -> tuple[Member, ...]:
    """The members of these bytes, which must have been hashed before."""
    try:
        entries = json.loads(data)["members"]
        found = [(entry["name"], entry["algorithm"], entry["model"].encode()) for entry in entries]
        algorithms = [LEARNERS[algorithm] for _, algorithm, _ in found]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the model file is not an ensemble: {error!r}; pack the model again") from None
    return tuple(
        Member(name, algorithm, learner.load(text))
        for (name, algorithm, text), learner in zip(found, algorithms, strict=True)
    )


def _names(members: tuple[Member, ...]) -> tuple[str, ...]:
    known = {LEARNERS[member.algorithm].names(member.booster) for member in members}
    return known.pop() if len(known) == 1 else ()


def _gain(members: tuple[Member, ...]) -> np.ndarray:
    """Mean of the members' shares of gain."""
    gains = [np.asarray(LEARNERS[member.algorithm].gain(member.booster), dtype=float) for member in members]
    return np.mean([gain / (gain.sum() or 1.0) for gain in gains], axis=0)


ENSEMBLE_OF_LEARNERS = Algorithm(
    libraries=("lightgbm", "xgboost"),
    filename="members.json",
    defaults={},
    bin=_refuse,
    boost=_refuse,
    predict=_predict,
    dump=_dump,
    load=_load,
    names=_names,
    gain=_gain,
    stops_early=False,
    within_date=True,
)
