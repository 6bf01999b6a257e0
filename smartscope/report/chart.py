"""How curves become SVG: axes with units from zero, nice ticks, and few enough points that a page stays small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from smartscope.report.series import Series

WIDTH, HEIGHT = 480, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 30
SPIKE = 4.0
"""A maximum so many times the 99th percentile leaves the axis, and is told instead: it would flatten all else."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart, or its points where lines would suggest values in between."""

    name: str
    series: Series
    colour: int
    """Which of the page's series colours."""
    points: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """What is plotted, its unit, and what it should be compared with."""

    title: str
    unit: str
    goal: float | None = None
    """Drawn as a line across."""
    goal_name: str = ""
    tolerance: float = 0.0
    """Half width of the band around the goal, as a fraction."""


def chart(axis: Axis, curves: Sequence[Curve]) -> str:
    """A figure with its legend; empty where there is nothing to show."""
    curves = [curve for curve in curves if len(curve.series)]
    if not curves:
        return ""
    t_high = max(float(curve.series.t_s.max()) for curve in curves)
    t_low = min(0.0, *(float(curve.series.t_s.min()) for curve in curves))
    y_high, above = _top(axis, curves)
    frame = _Frame(t_low, t_high if t_high > t_low else t_low + 1, y_high)
    drawn = [frame.grid(axis.unit), frame.goal(axis), *(frame.curve(curve) for curve in curves)]
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(axis.title)}">{"".join(drawn)}</svg>'
    unit = f' <span class="unit">{escape(axis.unit)}</span>' if axis.unit else ""
    note = f'<p class="note">{escape(above)}</p>' if above else ""
    return f"<figure><h3>{escape(axis.title)}{unit}</h3>{svg}{_legend(axis, curves)}{note}</figure>"


def decimated(series: Series, columns: int) -> Series:
    """At most four points per column of the picture: first, lowest, highest, last; no peak is lost."""
    n = len(series)
    if n <= 4 * columns:
        return series
    t = series.t_s
    span = float(t[-1] - t[0]) or 1.0
    column = np.minimum(((t - t[0]) / span * columns).astype(int), columns - 1)
    starts = np.flatnonzero(np.r_[True, np.diff(column) != 0])
    ends = np.r_[starts[1:], n]
    kept: set[int] = set()
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        part = series.value[start:end]
        kept.update((start, end - 1, start + int(part.argmin()), start + int(part.argmax())))
    rows = np.array(sorted(kept))
    return Series(t[rows], series.value[rows])


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``, ``low < high``."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """Three figures, thousands apart, with a true minus sign."""
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
    return text.replace("-", "−")


@dataclass(frozen=True, slots=True)
class _Frame:
    """Maps figures to the picture."""

    t_low: float
    t_high: float
    y_high: float

    def x(self, t: float) -> float:
        return LEFT + (t - self.t_low) / (self.t_high - self.t_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - min(value / self.y_high, 1.0) * (HEIGHT - TOP - BOTTOM)

    def grid(self, unit: str) -> str:
        lines = []
        for value in ticks(0, self.y_high, 5):
            y = self.y(value)
            lines.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            lines.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(value)}</text>')
        for t in ticks(self.t_low, self.t_high, 7):
            x = self.x(t)
            lines.append(f'<path class="tick" d="M{x:.1f} {HEIGHT - BOTTOM}v4"/>')
            lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{number(t)}</text>')
        lines.append(f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">time, s</text>')
        lines.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
        return "".join(lines)

    def goal(self, axis: Axis) -> str:
        if axis.goal is None:
            return ""
        band, y = "", self.y(axis.goal)
        if axis.tolerance:
            top, bottom = self.y(axis.goal * (1 + axis.tolerance)), self.y(axis.goal * (1 - axis.tolerance))
            size = f'width="{WIDTH - LEFT - RIGHT}" height="{bottom - top:.1f}"'
            band = f'<rect class="band" x="{LEFT}" y="{top:.1f}" {size}/>'
        return f'{band}<path class="goal" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'

    def curve(self, curve: Curve) -> str:
        few = decimated(curve.series, (WIDTH - LEFT - RIGHT) // (2 if curve.points else 1))
        places = [(self.x(t), self.y(v)) for t, v in zip(few.t_s.tolist(), few.value.tolist(), strict=True)]
        if curve.points or len(places) == 1:
            dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
            return f'<path class="dots c{curve.colour}" d="{dots}"/>'
        return f'<path class="line c{curve.colour}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>'


def _top(axis: Axis, curves: Sequence[Curve]) -> tuple[float, str]:
    """End of the value axis, and what to say of values beyond it."""
    values: npt.NDArray[np.float64] = np.concatenate([curve.series.value for curve in curves])
    highest, usual = float(values.max()), float(np.percentile(values, 99))
    goal = (axis.goal or 0.0) * (1 + axis.tolerance)
    if usual > 0 and highest > SPIKE * usual and highest > goal:
        top = max(1.5 * usual, 1.05 * goal)
        above = int((values > top).sum())
        return top, f"{above} of {len(values):,} values lie above the axis, up to {number(highest)} {axis.unit}"
    return 1.05 * max(highest, goal) or 1.0, ""


def _legend(axis: Axis, curves: Sequence[Curve]) -> str:
    entries = [f'<span class="key c{curve.colour}">{escape(curve.name)}</span>' for curve in curves if curve.name]
    if axis.goal is not None:
        entries.append(f'<span class="key goal">{escape(axis.goal_name)}</span>')
    return f"<figcaption>{''.join(entries)}</figcaption>" if entries else ""
