"""From scores to target weights of a session: frames in, a frozen `Portfolio` out, with the reason for each weight."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from openbook.common.constants import CASH, NORMAL, REGIME_NAMES
from openbook.common.errors import DataError
from openbook.portfolio.constraints import Limits
from openbook.portfolio.target_weights import (
    DUST,
    PortfolioSettings,
    RegimeAdaptation,
    WeightDecision,
    WeightInputs,
    decide_weights,
    rank_rows,
    smooth,
    unchosen,
)
from openbook.portfolio.turnover import turnover

__all__ = [
    "CASH",
    "Portfolio",
    "PortfolioSettings",
    "RegimeAdaptation",
    "construct_portfolio",
    "sector_codes",
    "smooth_scores",
]

UNKNOWN = "unknown"
AT_LIMIT = 1e-6  # a weight this close to its limit is bound by it


@dataclass(frozen=True, eq=False)
class Portfolio:
    """Target weights of a session and everything that led to them.

    weights : by symbol, sorted, CASH last; sums to 1
    held : the weights before, likewise; target : the optimizer's, before no-trade band and turnover cap
    optimizer : the one used; chain : optimizer, outcome, reason of each that was tried
    binding : limit, name, value, cap of each limit that holds something back
    turnover : ½Σ|change|, cash included; uncapped_turnover : what it would be without the cap
    trade_fraction : part of the trades made, 1 if the cap did not bind
    chosen : symbol, score, rank, held, expected, volatility, target, weight of the chosen names
    story : one row per chosen or held symbol: sector, score, rank, held, target, weight, change, reason
    expected, covariance : of the chosen, a year; limits : under which the optimizer worked
    warning : that the settings leave the model nothing to choose; empty where it chooses
    """

    date: pd.Timestamp
    regime: int
    weights: pd.Series
    held: pd.Series
    target: pd.Series
    optimizer: str
    chain: pd.DataFrame
    binding: pd.DataFrame
    turnover: float
    uncapped_turnover: float
    trade_fraction: float
    chosen: pd.DataFrame
    story: pd.DataFrame
    expected: pd.Series
    covariance: pd.DataFrame
    limits: Limits
    notes: tuple[str, ...]
    warning: str

    @property
    def reasons(self) -> pd.Series:
        """Why each chosen or held name has its weight, one sentence by symbol."""
        return self.story["reason"]


def construct_portfolio(
    scores: pd.DataFrame,
    close: pd.DataFrame,
    *,
    held: pd.Series | None = None,
    sectors: pd.Series | None = None,
    regime: int = NORMAL,
    locked: tuple[str, ...] = (),
    settings: PortfolioSettings = PortfolioSettings(),  # noqa: B008 (frozen)
) -> Portfolio:
    """Target weights of the last date of `scores` and `close`, to be traded in the next session.

    scores : dates × symbols up to this session; higher is better; NaN: no score
    close : adjusted closes, sessions × symbols, up to this session
    held : weights now, by symbol, with or without CASH; None: everything is cash, and the turnover cap does not apply.
        With CASH below zero the names count as the whole portfolio, so that what is kept of each repays the debit
    sectors : by symbol; a name without one counts to the sector "unknown"; None: sector limits are not applied
    locked : held symbols that cannot trade; they keep their weight and use up their part of the limits

    Raises DataError if the tables do not fit together, OptimizerError (50) if no weights satisfy the limits.

    Examples
    --------
    >>> scores = ob.compute_features(market, ["momentum_126"])["momentum_126"]
    >>> wanted = ob.construct_portfolio(scores, market.adjusted, settings=ob.PortfolioSettings(top_n=10))
    >>> float(wanted.weights.sum().round(9))
    1.0
    """
    close = _sorted_columns(close, "close")
    scores = _scores_like(scores, close)
    symbols = close.columns
    codes, names = sector_codes(sectors, symbols)
    inputs = WeightInputs(
        ranks=rank_rows(scores.to_numpy(dtype=float)[-settings.score_window :]),
        close=close.to_numpy(dtype=float)[-(settings.lookback + 1) :],
        held=_held_weights(held, close, locked),
        locked=symbols.isin(list(locked)),
        sectors=codes,
        sector_names=names,
        sector_caps=sectors is not None,
        symbols=symbols.to_numpy(dtype=object),
        regime=int(regime),
    )
    return _portfolio(close.index[-1], inputs, decide_weights(inputs, settings), settings)


def smooth_scores(scores: pd.DataFrame, half_life: float) -> pd.Series:
    """This session's scores by symbol: the mean of each name's within-date percentile ranks in [-0.5, 0.5], the weight
    halving every `half_life` rows back and ending after six of them; only names with a score in the last row."""
    window = PortfolioSettings(score_half_life=half_life).score_window
    ranks = rank_rows(scores.to_numpy(dtype=float)[-window:])
    return pd.Series(smooth(ranks, half_life), index=scores.columns, name="score").dropna()


def sector_codes(sectors: pd.Series | None, symbols: pd.Index) -> tuple[np.ndarray, tuple[str, ...]]:
    """Each symbol's sector as a code into the sorted names; those without one share the sector "unknown"."""
    if sectors is None:
        return np.zeros(len(symbols), dtype=np.intp), ("all",)
    known = sectors.reindex(symbols)
    labels = np.where(known.isna() | (known == ""), UNKNOWN, known.astype(object))
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    return codes.astype(np.intp), tuple(str(name) for name in names)


def keep_tradable(scores: pd.DataFrame, tradable: pd.Index) -> pd.DataFrame:
    """The scores, in the last session only of names that can be traded; earlier sessions are unchanged."""
    last = scores.iloc[[-1]].where(scores.columns.isin(tradable)[None, :])
    return pd.concat([scores.iloc[:-1], last])


def weights_table(weights: pd.Series, scores: pd.Series, sectors: pd.Series | None) -> pd.DataFrame:
    """portfolio_weights.csv: symbol, weight, score, sector; sorted by symbol, CASH last."""
    known = pd.Series(dtype="str") if sectors is None else sectors
    symbols = weights.index
    return pd.DataFrame(
        {
            "symbol": symbols,
            "weight": weights.to_numpy(),
            "score": scores.reindex(symbols).to_numpy(),
            "sector": known.reindex(symbols).fillna("").to_numpy(),
        }
    )


# ---- checks of the inputs ----


def _sorted_columns(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table by symbol; DataError if it is empty or a symbol comes twice."""
    if table.empty:
        raise DataError(f"{name} has no rows or no symbols")
    if not table.columns.is_unique:
        raise DataError(f"{name} has symbol {table.columns[table.columns.duplicated()][0]!r} twice")
    return table if table.columns.is_monotonic_increasing else table.sort_index(axis=1)


def _scores_like(scores: pd.DataFrame, close: pd.DataFrame) -> pd.DataFrame:
    """The scores with the symbols of close; DataError if they are not of this session, or of names without prices."""
    scores = _sorted_columns(scores, "scores")
    if scores.index[-1] != close.index[-1]:
        raise DataError(f"scores end on {scores.index[-1]:%Y-%m-%d}, prices on {close.index[-1]:%Y-%m-%d}")
    stray = scores.columns[scores.iloc[-1].notna()].difference(close.columns)
    if len(stray):
        raise DataError(f"scores without prices: {', '.join(stray[:5])}")
    return scores if scores.columns.equals(close.columns) else scores.reindex(columns=close.columns)


def _held_weights(held: pd.Series | None, close: pd.DataFrame, locked: tuple[str, ...]) -> np.ndarray:
    """Held weights in the order of close's symbols, (n,), cash left out; DataError names what is wrong with them."""
    if held is None:
        held = pd.Series({CASH: 1.0})
    if not held.index.is_unique:
        raise DataError(f"held has {held.index[held.index.duplicated()][0]!r} twice")
    names = held.drop(CASH, errors="ignore")
    if not (names >= -DUST).all() or held.isna().any():
        wrong = held.index[~(held >= -DUST)]
        raise DataError(f"held weight of {wrong[0]} is negative or missing")
    total = float(held.sum())
    if not (total <= 1 + 1e-6 if CASH not in held.index else abs(total - 1) <= 1e-6):
        raise DataError(f"held weights sum to {total:.6f}, not 1")
    names = names[names > DUST]
    if held.get(CASH, 0.0) < -DUST:  # a debit: of every name a part has to pay for it
        names = names / names.sum()
    free = names.index.difference(list(locked))
    today = close.iloc[-1].reindex(free)
    if today.isna().any():
        raise DataError(
            f"held name {today.index[today.isna()][0]} has no price on this session; import it, or lock the name"
        )
    absent = pd.Index(list(locked)).difference(names.index.intersection(close.columns))
    if len(absent):
        raise DataError(f"locked {absent[0]!r} is not a held symbol with prices")
    return names.reindex(close.columns).fillna(0.0).to_numpy(dtype=float)


# ---- the account of it ----


def _portfolio(date, inputs: WeightInputs, decision: WeightDecision, settings: PortfolioSettings) -> Portfolio:
    """The arrays of a decision as frames."""
    symbols = pd.Index(inputs.symbols, dtype="str", name="symbol")
    chosen = symbols[decision.chosen]
    story = _story(symbols, inputs, decision, settings)
    volatility = np.sqrt(np.diag(decision.covariance))
    table = story.loc[chosen].assign(expected=decision.expected, volatility=volatility)
    return Portfolio(
        date=pd.Timestamp(date),
        regime=inputs.regime,
        weights=with_cash(decision.weights, symbols, "weight"),
        held=with_cash(inputs.held, symbols, "held"),
        target=with_cash(decision.target, symbols, "target"),
        optimizer=decision.optimizer,
        chain=pd.DataFrame([vars(step) for step in decision.chain], columns=["optimizer", "outcome", "reason"]),
        binding=pd.DataFrame(_binding(inputs, decision, settings), columns=["limit", "name", "value", "cap"]),
        turnover=turnover(decision.weights, inputs.held),
        uncapped_turnover=decision.uncapped_turnover,
        trade_fraction=decision.trade_fraction,
        chosen=table[["score", "rank", "held", "expected", "volatility", "target", "weight"]].reset_index(),
        story=story,
        expected=pd.Series(decision.expected, index=chosen, name="expected"),
        covariance=pd.DataFrame(decision.covariance, index=chosen, columns=chosen),
        limits=decision.limits,
        notes=_notes(inputs, decision, settings),
        warning=unchosen(int(np.count_nonzero(decision.rank)), settings),
    )


def with_cash(weights: np.ndarray, symbols: pd.Index, name: str) -> pd.Series:
    """The positive weights by symbol, CASH last; together they are 1, and what rounding leaves is cash."""
    some = np.flatnonzero(weights > 0)
    values = np.append(weights[some], cash_of(weights))
    return pd.Series(values, index=pd.Index([*symbols[some], CASH], dtype="str", name="symbol"), name=name)


def cash_of(weights: np.ndarray) -> float:
    """What the weights leave to 1, never below 0."""
    return max(1.0 - math.fsum(weights[weights > 0]), 0.0)


def _binding(inputs: WeightInputs, decision: WeightDecision, settings: PortfolioSettings) -> list[tuple]:
    """Rows limit, name, value, cap of what held the optimizer back, then of what slowed the way there."""
    limits, hard, target = decision.limits, decision.hard, decision.target
    found = target[decision.chosen]
    rows = [
        ("position", limits.symbols[i], found[i], limits.upper[i])
        for i in np.flatnonzero(found >= limits.upper - AT_LIMIT)
    ]
    locked = np.where(inputs.locked, inputs.held, 0.0)
    tight = (hard.group_sums(target - locked) >= hard.caps - AT_LIMIT) & (hard.group_sums(target) > 0)
    if inputs.sector_caps:
        value, cap = hard.group_sums(target), settings.max_sector_weight
        rows += [("sector", inputs.sector_names[g], value[g], cap) for g in np.flatnonzero(tight)]
    exposure = settings.rule(inputs.regime).exposure
    if exposure < 1:
        rows.append(("exposure", REGIME_NAMES[inputs.regime], target.sum(), exposure))
    if limits.exposure + locked.sum() < exposure - AT_LIMIT:
        rows.append(("room", "remainder held in cash", target.sum(), exposure))
    cut = np.flatnonzero(inputs.held - locked > decision.floor + AT_LIMIT)
    rows += [("held above a limit", inputs.symbols[i], inputs.held[i], decision.floor[i]) for i in cut]
    if decision.trade_fraction < 1:
        rows.append(
            (
                "turnover",
                f"{decision.trade_fraction:.0%} of the intended change",
                decision.uncapped_turnover,
                settings.max_turnover,
            )
        )
    for i in _capped(inputs, decision, settings):
        rows.append(("single trade", inputs.symbols[i], target[i] - inputs.held[i], settings.max_trade))
    return rows


def _capped(inputs: WeightInputs, decision: WeightDecision, settings: PortfolioSettings) -> np.ndarray:
    """Positions of the names that may not grow as far as the optimizer wants in one session."""
    if not (inputs.held > DUST).any():
        return np.array([], dtype=np.intp)
    return np.flatnonzero(decision.target - inputs.held > settings.max_trade + AT_LIMIT)


def _story(
    symbols: pd.Index, inputs: WeightInputs, decision: WeightDecision, settings: PortfolioSettings
) -> pd.DataFrame:
    """One row per chosen or held symbol, with the reason for its weight."""
    chosen = np.zeros(len(symbols), dtype=bool)
    chosen[decision.chosen] = True
    rows = np.flatnonzero(chosen | (inputs.held > DUST))
    sector = np.array(inputs.sector_names, dtype=object)[inputs.sectors]
    table = pd.DataFrame(
        {
            "sector": pd.array(sector if inputs.sector_caps else [""] * len(symbols), dtype="str"),
            "score": decision.score,
            "rank": decision.rank,
            "held": inputs.held,
            "target": decision.target,
            "weight": decision.weights,
            "change": decision.weights - inputs.held,
        },
        index=symbols,
    ).iloc[rows]
    reasons = [_reason(i, bool(chosen[i]), inputs, decision, settings) for i in rows.tolist()]
    return table.assign(reason=pd.array(reasons, dtype="str"))


def _reason(i: int, chosen: bool, inputs: WeightInputs, decision: WeightDecision, settings: PortfolioSettings) -> str:
    """Why symbol i has its weight, in one sentence."""
    if inputs.locked[i]:
        return "cannot trade this session: position unchanged"
    text = _move(i, chosen, inputs, decision, settings)
    bounds = []
    if chosen and decision.target[i] >= decision.hard.upper[i] - AT_LIMIT:
        bounds.append(f"at the position limit {decision.hard.upper[i]:.1%}")
    sector = inputs.sectors[i]
    full = decision.hard.group_sums(decision.target)[sector] >= decision.hard.caps[sector] - AT_LIMIT
    if chosen and inputs.sector_caps and full and decision.target[i] > 0:
        bounds.append(f"{inputs.sector_names[sector]} at its limit {settings.max_sector_weight:.1%}")
    if inputs.held[i] > decision.floor[i] + AT_LIMIT:
        bounds.append("held above a limit")
    if i in _capped(inputs, decision, settings):
        bounds.append(f"increase limited to {settings.max_trade:.1%} per rebalance")
    if decision.trade_fraction < 1 and abs(decision.target[i] - inputs.held[i]) > DUST and not decision.kept[i]:
        bounds.append(f"{decision.trade_fraction:.0%} of the intended change, because of the turnover limit")
    return "; ".join([text, *bounds])


def _move(i: int, chosen: bool, inputs: WeightInputs, decision: WeightDecision, settings: PortfolioSettings) -> str:
    """What happens to symbol i and what its rank has to do with it."""
    rank, ranked = decision.rank[i], int(np.count_nonzero(decision.rank))
    held, weight = inputs.held[i], decision.weights[i]
    if not chosen:
        return f"sold: {_why_not(i, decision, settings)}"
    place = f"rank {rank} of {ranked}"
    if decision.target[i] <= DUST:
        return f"{'sold' if held > DUST else 'not bought'}: the optimizer gives it no weight, {place}"
    if decision.kept[i]:
        return f"{'kept' if held > DUST else 'not bought'}: change within the no-trade band, {place}"
    if held <= DUST:
        return f"bought: {place}"
    return f"{'position increased' if weight > held else 'position reduced'}: {place}"


def _why_not(i: int, decision: WeightDecision, settings: PortfolioSettings) -> str:
    """Why a held symbol was not chosen again."""
    if np.isnan(decision.score[i]):
        return "no score this session"
    rank, last = decision.rank[i], settings.hold_buffer * settings.top_n
    if rank == 0:
        return "too short a price history"
    if rank > last:
        return f"rank {rank}, outside the hold buffer ({last:g})"
    return f"rank {rank}, and {settings.top_n} held names rank better"


def _notes(inputs: WeightInputs, decision: WeightDecision, settings: PortfolioSettings) -> tuple[str, ...]:
    """Sentences that the page shows beside the weights."""
    notes = []
    if not inputs.sector_caps:
        notes.append("sector limits not applied: no sectors")
    elif UNKNOWN in inputs.sector_names:
        code = inputs.sector_names.index(UNKNOWN)
        count = int(np.count_nonzero(inputs.sectors[decision.chosen] == code))
        if count:
            notes.append(f"{count} chosen names without a sector share one limit of {settings.max_sector_weight:.0%}")
    if len(inputs.close) <= settings.lookback:
        notes.append(f"covariance from {len(inputs.close) - 1} sessions, fewer than the {settings.lookback} asked for")
    if decision.chain[0].outcome == "failed":
        notes.append(f"{decision.chain[0].optimizer} failed, {decision.optimizer} was used: {decision.chain[0].reason}")
    return tuple(notes)
