"""The figures of the pages: a table in, one picture with its alt text out; only what is drawn is computed here."""

import textwrap
from typing import Any, cast

import numpy as np
import pandas as pd

from openbook import metrics
from openbook.common.constants import NORMAL, REGIME_NAMES, RISK_OFF, RISK_ON
from openbook.common.text import counted
from openbook.report.page import PALETTE, callout, chart, figure

REGIME_COLORS = {RISK_OFF: PALETTE["stop"], NORMAL: PALETTE["muted"], RISK_ON: PALETTE["ok"]}
MOST_BARS = 30
MOST_CELLS = 160  # numbers in a heatmap; more would not stay below 60 KB
LONGEST = 290  # characters of an alt text, which screen readers read out


def score_distribution(scores: pd.Series, marked: tuple[str, ...] = ()):
    """Histogram of this session's scores, with those of the `marked` names (the ones chosen) in color."""
    fig, ax = chart(8, 2.8)
    scores = scores.dropna()
    edges = np.histogram_bin_edges(scores, bins=min(30, max(5, len(scores) // 4)))
    inside = scores.index.isin(list(marked))
    ax.hist([scores[inside], scores[~inside]], bins=edges, stacked=True, color=[PALETTE["main"], PALETTE["soft"]])
    ax.legend(["chosen", "not chosen"], frameon=False)
    ax.set_xlabel("score (comparable within one session only)")
    ax.set_ylabel("names")
    return figure(fig, f"Histogram of {len(scores)} scores, {inside.sum()} of them selected")


def regime(table: pd.DataFrame):
    """Market level on bands colored by regime, with volatility below; `table` as detect_regime gives it."""
    fig, (top, low) = chart(8, 4.2, rows=2, heights=(2, 1))
    dates, marker = table.index, _marker(table)
    top.plot(dates, table["level"], color=PALETTE["ink"], linewidth=1.2, marker=marker)
    _log_scale(top, table["level"].dropna())
    codes = np.repeat(table["regime"].to_numpy(), 2)[:-1]  # a regime's band lasts until the next session
    for code, color in REGIME_COLORS.items():
        top.fill_between(np.repeat(dates, 2)[1:], 0, 1, where=codes == code, color=color, alpha=0.16, linewidth=0,
                         transform=top.get_xaxis_transform(), label=REGIME_NAMES[code])  # fmt: skip
    top.legend(frameon=False, ncols=3, loc="upper left")
    top.set_title("Market level and regime", loc="left")
    low.plot(dates, table["volatility"], color=PALETTE["main"], linewidth=1, marker=marker)
    low.yaxis.set_major_formatter("{x:.0%}")
    low.set_title("Annualized volatility", loc="left")
    last = table.iloc[-1]
    return figure(
        fig,
        f"Market level since {dates[0]:%Y-%m-%d} with its regimes; now "
        f"{REGIME_NAMES[int(last['regime'])]}, annualized volatility {_formatted(last['volatility'], '.0%')}",
    )


def weights(held: pd.Series, target: pd.Series, legend: tuple[str, str] = ("held now", "target")):
    """Target beside current weights, largest first, cash last; a weight is a fraction of the portfolio.

    legend : what the two are called, where they are something else
    """
    from matplotlib.ticker import PercentFormatter

    both = pd.DataFrame({"held": held, "target": target}).fillna(0.0)
    names = both.drop("CASH", errors="ignore")
    names = names[(names > 0).any(axis=1)].sort_values(["target", "held"], ascending=False)
    shown = pd.concat([names.iloc[:MOST_BARS], both.loc[["CASH"]]]).iloc[::-1]
    fig, ax = chart(8, 0.9 + 0.24 * len(shown))
    at = np.arange(len(shown))
    ax.barh(at + 0.2, shown["target"], height=0.38, color=PALETTE["main"], label=legend[1])
    ax.barh(at - 0.2, shown["held"], height=0.38, color=PALETTE["soft"], label=legend[0])
    ax.set_yticks(at, list(shown.index))
    most, cash = names.to_numpy().max(initial=0.0), both.loc["CASH"]
    if cash.max() > 2 * most > 0:  # else the bars of the names would be too small to compare
        ax.set_xlim(0, 2 * most)
        ax.set_yticks(at, [f"CASH {cash['target']:.0%}, {legend[0]} {cash['held']:.0%}", *shown.index[1:]])
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.legend(frameon=False, loc="best")
    more = len(names) - MOST_BARS
    rest = f", the largest {MOST_BARS}; {more} smaller positions are in portfolio_weights.csv" if more > 0 else ""
    ax.set_title(f"Weights{rest}")
    largest = target.sort_values(ascending=False, kind="stable")
    return figure(
        fig, _listed(f"{legend[1].capitalize()} weights", [f"{name} {w:.1%}" for name, w in largest.items() if w > 0])
    )


def equity(curves: pd.DataFrame, title: str):
    """Equity curves (sessions × name, any unit) from 1, with the drawdown of the first below."""
    growth = curves / curves.bfill().iloc[0]
    fig, (top, low) = chart(8, 4.2, rows=2, heights=(2, 1))
    for i, name in enumerate(growth):
        top.plot(growth.index, growth[name], label=name, linewidth=1.6 if i == 0 else 1.0, **_style(i, growth))
    top.legend(frameon=False, ncols=2)
    top.set_title(title, loc="left")
    first = growth.iloc[:, 0]
    drawdown = first / first.cummax() - 1
    low.fill_between(drawdown.index, drawdown, 0, color=PALETTE["stop"], alpha=0.5, linewidth=0)
    low.yaxis.set_major_formatter("{x:.1%}" if not drawdown.min() > -0.004 else "{x:.2%}")
    low.set_title(f"Drawdown of {growth.columns[0]}", loc="left")
    ends = [f"{name} {_formatted(_last(growth[name]) - 1, '+.1%')}" for name in growth]
    return figure(fig, _listed(f"{title}; maximum drawdown {_formatted(drawdown.min(), '.1%')}", ends))


def lines(table: pd.DataFrame, title: str, form: str = "{x:.2f}", zero: bool = True):
    """Several series through time on one axis."""
    fig, ax = chart(8, 2.8)
    for i, name in enumerate(table):
        ax.plot(table.index, table[name], label=name, linewidth=1.2, **_style(i, table))
    if zero:
        ax.axhline(0, color=PALETTE["muted"], linewidth=0.8)
    ax.yaxis.set_major_formatter(form)
    ax.set_title(title, loc="left")
    ax.legend(frameon=False, ncols=3)
    return figure(fig, _listed(title, [f"{name} ends at {_formatted(_last(table[name]), '.3f')}" for name in table]))


def skill(table: pd.DataFrame):
    """Rank ICs by matured signal date with their trailing mean ± its error; columns rank_ic, mean, error."""
    if table["rank_ic"].notna().sum() < 2:
        return callout("No out-of-sample label has matured yet, so the model's rank IC is not known.")
    fig, ax = chart(8, 2.8)
    ax.plot(table.index, table["rank_ic"], ".", color=PALETTE["soft"], label="one session")
    ax.plot(table.index, table["mean"], color=PALETTE["main"], linewidth=1.6, label="rolling mean ± standard error")
    low, high = table["mean"] - table["error"], table["mean"] + table["error"]
    ax.fill_between(table.index, low, high, color=PALETTE["main"], alpha=0.2, linewidth=0)
    ax.axhline(0, color=PALETTE["muted"], linewidth=0.8)
    ax.set_title("Rank IC by matured signal date")
    ax.legend(ncols=2)
    mean, error = _last(table["mean"]), _last(table["error"])
    last = f"latest rolling mean {_formatted(mean, '+.3f')} ± {_formatted(error, '.3f')}"
    return figure(
        fig,
        f"Rank IC of {counted(table['rank_ic'].notna().sum(), 'session')} through {table.index[-1]:%Y-%m-%d}; {last}",
    )


def cone(book: pd.Series, backtest: pd.Series | None):
    """What a book earned since it began, in the cone of its resampled backtest; returns by session."""
    paths = None if backtest is None else metrics.backtest_cone(backtest, len(book), seed=0)
    if paths is None or paths.isna().to_numpy().any():
        return callout("No backtest of this champion is available for comparison.")
    fig, ax = chart(8, 2.8)
    for outer, shade in (((0.05, 0.95), 0.12), ((0.25, 0.75), 0.22)):
        share = f"{outer[1] - outer[0]:.0%} of bootstrapped backtest paths"
        ax.fill_between(
            paths.index, paths[outer[0]], paths[outer[1]], color=PALETTE["main"], alpha=shade, linewidth=0, label=share
        )
    earned = np.append(0.0, (1 + book.to_numpy(dtype=float)).cumprod() - 1)
    ax.plot(paths.index, earned, color=PALETTE["ink"], linewidth=1.6, label="book")
    ax.yaxis.set_major_formatter("{x:.0%}" if np.ptp(paths.to_numpy()) > 0.05 else "{x:.1%}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("sessions since inception")
    ax.set_title("Book return within the backtest cone")
    ax.legend(ncols=3)
    end = paths.iloc[-1]
    long = counted(len(book), "session")
    text = f"book {earned[-1]:+.1%} after {long}; 90% of bootstrapped backtest paths from {end[0.05]:+.1%}"
    return figure(fig, f"Book return within the backtest cone: {text} to {end[0.95]:+.1%}")


def bars(values: pd.Series, title: str, form: str = "{x:.2f}"):
    """Horizontal bars, in the order given, the first MOST_BARS of them."""
    shown, title = _first(values, title)
    fig, ax = chart(8, 0.8 + 0.24 * len(shown))
    at = np.arange(len(shown))[::-1]
    ax.barh(at, shown, color=PALETTE["main"], height=0.7)
    ax.set_yticks(at, list(shown.index))
    ax.xaxis.set_major_formatter(form)
    ax.set_title(title, loc="left")
    return figure(fig, _listed(title, [f"{name} {_formatted(value, '.3g')}" for name, value in shown.items()]))


def curve(table: pd.DataFrame, title: str, form: str = "{x:.3f}"):
    """Several series against a number, such as trees or sessions, on one axis; the best point of each is marked."""
    fig, ax = chart(8, 2.8)
    for i, name in enumerate(table.columns):
        ax.plot(table.index, table[name], label=name, linewidth=1.4, **_style(i, table))
        if table[name].notna().any():
            best: Any = table[name].idxmax()
            ax.plot([best], [table.loc[best, name]], "o", color=PALETTE["series"][i % len(PALETTE["series"])])
    ax.yaxis.set_major_formatter(form)
    ax.set_xlabel(str(table.index.name or ""))
    ax.set_title(title, loc="left")
    ax.legend(frameon=False, ncols=3)
    tops = [
        f"{name} best at {_formatted(float(cast(float, table[name].idxmax())), '.0f')}"
        for name in table.columns
        if table[name].notna().any()
    ]
    return figure(fig, _listed(title, tops))


def intervals(table: pd.DataFrame, title: str, form: str = "{x:.0%}"):
    """Estimates with their intervals, one row each, the first MOST_BARS; columns low, value, high."""
    shown, title = _first(table, title)
    fig, ax = chart(8, 0.9 + 0.24 * len(shown))
    at = np.arange(len(shown))[::-1]
    sure = (shown["low"] > 0) | (shown["high"] < 0)
    for clear, color in ((True, PALETTE["ok"]), (False, PALETTE["muted"])):
        these = (sure == clear).to_numpy()
        ax.hlines(at[these], shown["low"][these], shown["high"][these], color=color, linewidth=2)
        ax.plot(shown["value"][these], at[these], "o", color=color, markersize=4)
    ax.axvline(0, color=PALETTE["ink"], linewidth=0.8)
    ax.set_yticks(at, list(shown.index))
    ax.set_ylim(-0.7, len(shown) - 0.3)
    ax.xaxis.set_major_formatter(form)
    ax.set_title(title, loc="left")
    ends = [f"{name} {_formatted(row.low, '+.1%')} to {_formatted(row.high, '+.1%')}" for name, row in shown.iterrows()]
    return figure(fig, _listed(title, ends))


def histogram(values, title: str, mark: float = 0.0, label: str = ""):
    """Histogram with a line at `mark`; values below it in the color of a stop."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    fig, ax = chart(8, 2.8)
    edges = np.histogram_bin_edges(np.append(values, mark), bins=40)
    below = values <= mark
    ax.hist([values[below], values[~below]], bins=edges, stacked=True, color=[PALETTE["stop"], PALETTE["main"]])
    ax.axvline(mark, color=PALETTE["ink"], linewidth=0.8)
    ax.set_xlabel(label)
    ax.set_title(title, loc="left")
    return figure(
        fig, f"{title}: {len(values)} values, {below.mean() if len(values) else 0:.0%} of them at or below {mark:g}"
    )


def heatmap(table: pd.DataFrame, title: str, form: str = "{:.2f}"):
    """A small table as colored cells with their numbers, rows × columns; of a large one the last rows."""
    shown = table.iloc[-max(MOST_CELLS // table.shape[1], 1) :]
    if len(table) > len(shown):
        title = f"{title} (the last {len(shown)} of {len(table)})"
    fig, ax = chart(8, 1.1 + 0.42 * len(shown))
    values = shown.to_numpy(dtype=float)
    reach = np.abs(values[np.isfinite(values)]).max(initial=0.0) or 1.0
    ax.imshow(values, cmap="RdYlGn", vmin=-reach, vmax=reach, aspect="auto", alpha=0.75)
    columns = [textwrap.fill(str(name), 9, break_long_words=False) for name in shown.columns]
    ax.set_xticks(np.arange(len(columns)), columns, fontsize=9)
    ax.set_yticks(np.arange(len(shown)), list(shown.index))
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = form.format(value) if np.isfinite(value) else "–"
        ax.text(column, row, text, ha="center", va="center", fontsize=11 if len(columns) < 7 else 9)
    ax.grid(visible=False)
    ax.set_title(title, loc="left")
    named = ", ".join(map(str, shown.columns))
    return figure(fig, _listed(f"{title}: columns {named}; rows", list(map(str, shown.index))))


def warm_up() -> None:
    """Find the fonts once, in the process that kernels are forked from."""
    fig, axes = chart()
    axes.plot([0.0, 1.0])
    figure(fig, "nothing")._repr_mimebundle_()


def _first(rows, title: str):
    """The first MOST_BARS rows, and the title, which says so if there are more."""
    shown = rows.iloc[:MOST_BARS]
    return shown, f"{title} (the first {len(shown)} of {len(rows)})" if len(rows) > len(shown) else title


def _style(i: int, table: pd.DataFrame) -> dict:
    """How the i-th of several lines is drawn: eight colors, then the same ones dashed."""
    colors = PALETTE["series"]
    return {
        "color": colors[i % len(colors)],
        "linestyle": "-" if i < len(colors) else "--",
        "marker": _marker(table),
    }


def _marker(table: pd.DataFrame) -> str | None:
    """A dot where there are too few sessions for a line."""
    return "o" if len(table) < 3 else None


def _log_scale(ax, level: pd.Series) -> None:
    """A logarithmic axis with a handful of ticks, whether the level doubles or grows a hundredfold."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    wide = len(level) and level.max() > 5 * level.min()
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter("{x:,.0f}" if len(level) and level.min() >= 20 else "{x:,.2f}")


def _last(series: pd.Series) -> float:
    """The last value that there is, NaN if there is none."""
    known = series.dropna()
    return float(known.iloc[-1]) if len(known) else float("nan")


def _formatted(value: float, form: str) -> str:
    """A number in words."""
    return format(value, form) if np.isfinite(value) else "not yet known"


def _listed(title: str, parts: list[str]) -> str:
    """An alt text: the title and as many of the parts as one can listen to, then how many more there are."""
    title, text = title[: LONGEST - 20], ""
    for count, part in enumerate(parts):
        if len(title) + len(text) + len(part) > LONGEST - 20:
            return f"{title}{text}, and {len(parts) - count} more"
        text += f"{', ' if text else ': '}{part}"
    return title + text
