"""The equity of a book as a chart of two lines: their paths, axis labels, and a description in words.

Positions are percentages of the drawing, which a page stretches to its width; the words at its axes stay text.
"""

import math
from dataclasses import dataclass

from openbook.common.text import counted

N_TICKS = 4
WIDTH, HEIGHT = 1000, 100  # units of the drawing


@dataclass(frozen=True)
class CurvePanel:
    """One drawing: the line, the area below it, and its axis."""

    line: str  # points of an SVG polyline
    area: str  # points of an SVG polygon between the line and 0; empty where the axis does not begin at 0
    ticks: list[tuple[str, str]]  # position from the top in percent, label


@dataclass(frozen=True)
class Curve:
    """Equity and drawdown of a book over the same sessions."""

    equity: CurvePanel
    drawdown: CurvePanel
    dates: list[str]  # first, middle and last session
    words: str  # what the drawing shows


def draw_equity(points: list[tuple[str, float, float]]) -> Curve:
    """Both panels.

    points : date, equity in USD, drawdown (0 or below), by date; finite, two at least
    """
    dates, equity, drawdown = zip(*points, strict=True)
    low, high, worst = min(equity), max(equity), min(drawdown)
    margin = max((high - low) * 0.06, abs(high) * 1e-4, 0.01)
    deepest = min(worst * 1.08, -0.001)
    change = _minus(f" ({equity[-1] / equity[0] - 1:+.2%})") if equity[0] > 0 else ""
    return Curve(
        equity=_panel(equity, low - margin, high + margin, "{:,.0f}"),
        drawdown=_panel(drawdown, deepest, 0.0, "{:.1%}" if deepest > -0.04 else "{:.0%}"),
        dates=[dates[0], dates[len(dates) // 2], dates[-1]],
        words=(
            f"From {equity[0]:,.2f} USD on {dates[0]} to {equity[-1]:,.2f} USD on {dates[-1]}{change}, "
            f"{counted(len(dates), 'session')}. Maximum drawdown {_minus(f'{worst:.2%}')}"
            + (f", on {dates[drawdown.index(worst)]}." if worst < 0 else ".")
        ),
    )


def _panel(values, low: float, high: float, form: str) -> CurvePanel:
    """A line through evenly spaced values between `low` and `high`."""

    def height(value: float) -> float:
        return (high - value) / (high - low)

    step = WIDTH / (len(values) - 1)
    line = " ".join(f"{i * step:.1f},{height(value) * HEIGHT:.2f}" for i, value in enumerate(values))
    ticks = [(f"{height(tick) * 100:.1f}", _minus(form.format(tick))) for tick in _ticks(low, high)]
    return CurvePanel(line, f"0,0 {line} {WIDTH},0" if high == 0 else "", ticks)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / N_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _minus(text: str) -> str:
    """A real minus sign, as wide as a digit."""
    return text.replace("-", "−")
