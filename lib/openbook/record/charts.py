"""The figures of the pages: a table in, one picture with its alt text out; only what is drawn is computed here."""

import numpy as np
import pandas as pd

from openbook.record.report import PALETTE, chart, figure

REGIME_COLOURS = {0: PALETTE["stop"], 1: PALETTE["muted"], 2: PALETTE["ok"]}
REGIME_WORDS = {0: "risk-off", 1: "normal", 2: "risk-on"}
MOST_BARS = 30


def score_distribution(scores: pd.Series, marked: tuple[str, ...] = ()):
    """Histogram of tonight's scores, with those of the `marked` names (the ones chosen) in colour."""
    fig, ax = chart(8, 2.8)
    edges = np.histogram_bin_edges(scores.dropna(), bins=min(30, max(5, len(scores) // 4)))
    inside = scores.index.isin(list(marked))
    ax.hist([scores[inside], scores[~inside]], bins=edges, stacked=True, color=[PALETTE["main"], PALETTE["soft"]])
    ax.legend(["chosen", "not chosen"], frameon=False)
    ax.set_xlabel("score: higher is better, within this evening only")
    ax.set_ylabel("names")
    return figure(fig, f"Histogram of {scores.notna().sum()} scores, {inside.sum()} of them of chosen names")


def regime(table: pd.DataFrame):
    """Market level on bands coloured by regime, with volatility below; `table` as detect_regime gives it."""
    fig, (top, low) = chart(8, 4.2, rows=2, heights=(2, 1))
    dates = table.index
    top.plot(dates, table["level"], color=PALETTE["ink"], linewidth=1.2)
    top.set_yscale("log")
    top.yaxis.set_major_formatter("{x:,.0f}")
    top.yaxis.set_minor_formatter("{x:,.0f}")
    for code, colour in REGIME_COLOURS.items():
        here = (table["regime"] == code).to_numpy()
        span = np.array([0, 1])[:, None]
        top.fill_between(dates, *span, where=here, color=colour, alpha=0.16, linewidth=0, step="post",
                         transform=top.get_xaxis_transform(), label=REGIME_WORDS[code])  # fmt: skip
    top.legend(frameon=False, ncols=3, loc="upper left")
    top.set_title("Market level and regime", loc="left")
    low.plot(dates, table["volatility"], color=PALETTE["main"], linewidth=1)
    low.yaxis.set_major_formatter("{x:.0%}")
    low.set_title("Volatility a year", loc="left")
    last = table.iloc[-1]
    return figure(
        fig,
        f"Market level since {dates[0]:%Y-%m-%d} with its regimes; tonight {REGIME_WORDS[int(last['regime'])]}, "
        f"volatility {last['volatility']:.0%} a year",
    )


def weights(held: pd.Series, target: pd.Series):
    """Target beside current weights, largest first, cash last; a weight is a fraction of the portfolio."""
    both = pd.DataFrame({"held": held, "target": target}).fillna(0.0)
    names = both.drop("CASH", errors="ignore")
    names = names[(names > 0).any(axis=1)].sort_values(["target", "held"], ascending=False).iloc[:MOST_BARS]
    shown = pd.concat([names, both.loc[["CASH"]]]).iloc[::-1]
    fig, ax = chart(8, 0.9 + 0.24 * len(shown))
    at = np.arange(len(shown))
    ax.barh(at + 0.2, shown["target"], height=0.38, color=PALETTE["main"], label="target")
    ax.barh(at - 0.2, shown["held"], height=0.38, color=PALETTE["soft"], label="held now")
    ax.set_yticks(at, list(shown.index))
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.legend(frameon=False, loc="best")
    more = len(both) - len(shown)
    rest = f", the largest {MOST_BARS}; {more} smaller are in portfolio_weights.csv" if more > 0 else ""
    ax.set_title(f"Weights{rest}")
    return figure(
        fig, "Target and current weights: " + ", ".join(f"{n} {w:.1%}" for n, w in target.items() if w > 0.02)
    )


def equity(curves: pd.DataFrame, title: str):
    """Equity curves (sessions × name, any unit) from 1, with the drawdown of the first below."""
    growth = curves / curves.bfill().iloc[0]
    marker = "o" if len(growth) < 3 else None  # one session is no line
    fig, (top, low) = chart(8, 4.2, rows=2, heights=(2, 1))
    for i, name in enumerate(growth):
        style = {"linewidth": 1.6 if i == 0 else 1.0, "color": PALETTE["series"][i], "marker": marker}
        top.plot(growth.index, growth[name], label=name, **style)
    top.legend(frameon=False, ncols=2)
    top.set_title(title, loc="left")
    first = growth.iloc[:, 0]
    drawdown = first / first.cummax() - 1
    low.fill_between(drawdown.index, drawdown, 0, color=PALETTE["stop"], alpha=0.5, linewidth=0)
    low.yaxis.set_major_formatter("{x:.1%}")
    low.set_title(f"Drawdown of {growth.columns[0]}", loc="left")
    ends = ", ".join(f"{name} {growth[name].iloc[-1] - 1:+.1%}" for name in growth)
    return figure(fig, f"{title}: {ends}; deepest drawdown {drawdown.min():.1%}")


def lines(table: pd.DataFrame, title: str, form: str = "{x:.2f}", zero: bool = True):
    """Several series through time on one axis."""
    fig, ax = chart(8, 2.8)
    for i, name in enumerate(table):
        ax.plot(table.index, table[name], label=name, linewidth=1.2, color=PALETTE["series"][i])
    if zero:
        ax.axhline(0, color=PALETTE["muted"], linewidth=0.8)
    ax.yaxis.set_major_formatter(form)
    ax.set_title(title, loc="left")
    ax.legend(frameon=False, ncols=3)
    return figure(
        fig, f"{title}: " + ", ".join(f"{name} ends at {table[name].dropna().iloc[-1]:.3f}" for name in table)
    )


def bars(values: pd.Series, title: str, form: str = "{x:.2f}"):
    """Horizontal bars, in the order given."""
    fig, ax = chart(8, 0.8 + 0.24 * len(values))
    ax.barh(np.arange(len(values))[::-1], values, color=PALETTE["main"], height=0.7)
    ax.set_yticks(np.arange(len(values))[::-1], list(values.index))
    ax.xaxis.set_major_formatter(form)
    ax.set_title(title, loc="left")
    return figure(fig, f"{title}: " + ", ".join(f"{name} {value:.3g}" for name, value in values.items()))


def heatmap(table: pd.DataFrame, title: str, form: str = "{:.2f}"):
    """A small table as coloured cells with their numbers; rows × columns."""
    fig, ax = chart(8, 1.1 + 0.42 * len(table))
    values = table.to_numpy(dtype=float)
    reach = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 1.0
    ax.imshow(values, cmap="RdYlGn", vmin=-reach, vmax=reach, aspect="auto", alpha=0.75)
    ax.set_xticks(np.arange(len(table.columns)), list(table.columns))
    ax.set_yticks(np.arange(len(table)), list(table.index))
    for row, column in np.ndindex(values.shape):
        ax.text(column, row, form.format(values[row, column]), ha="center", va="center", fontsize=9)
    ax.grid(visible=False)
    ax.set_title(title, loc="left")
    return figure(
        fig, f"{title}: rows {', '.join(map(str, table.index))}; columns {', '.join(map(str, table.columns))}"
    )
