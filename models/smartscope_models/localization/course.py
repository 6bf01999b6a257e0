"""The drift between and beyond the times at which it was measured; meter and picture follow the same."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

KNOTS = 32
"""Measurements that are remembered."""
JUMP_NM = 200.0
"""A knot so far from where it was expected was not drifted to: it holds for all times since the one before."""


@dataclass(frozen=True, slots=True)
class Knot:
    """The drift at one time, from one block."""

    t_s: float
    x_nm: float
    y_nm: float
    error_nm: float
    """Standard error per axis."""


class Course:
    """The drift at any time: straight between knots, and on from the last as far as its slope can be believed."""

    def __init__(self) -> None:
        self.knots: deque[Knot] = deque(maxlen=KNOTS)
        self.settled_s = -math.inf
        """Drift at times up to this will not be told otherwise."""
        self._slope_x = self._slope_y = self._ahead_s = 0.0

    def add(self, knot: Knot, settled_s: float | None = None) -> None:
        """The newest knot, later than all before it; the drift is settled up to its time, or to the one given."""
        x_nm, y_nm = self.at(knot.t_s)
        self._slope_x = self._slope_y = self._ahead_s = 0.0
        if self.knots:
            last = self.knots[-1]
            lapse_s, variance = knot.t_s - last.t_s, knot.error_nm**2 + last.error_nm**2
            if math.hypot(knot.x_nm - x_nm, knot.y_nm - y_nm) > JUMP_NM:
                self.knots.append(replace(knot, t_s=math.nextafter(last.t_s, math.inf)))
            else:
                self._slope_x = _believed(knot.x_nm - last.x_nm, variance) / lapse_s
                self._slope_y = _believed(knot.y_nm - last.y_nm, variance) / lapse_s
                self._ahead_s = 2 * lapse_s
        self.knots.append(knot)
        self.settled_s = knot.t_s if settled_s is None else settled_s

    def at(self, t_s: float) -> tuple[float, float]:
        """(x, y) nm; 0 before anything is known."""
        if not self.knots:
            return 0.0, 0.0
        later = self.knots[-1]
        ahead_s = min(t_s - later.t_s, self._ahead_s)
        if ahead_s >= 0:
            return later.x_nm + ahead_s * self._slope_x, later.y_nm + ahead_s * self._slope_y
        for earlier in reversed(self.knots):
            if earlier.t_s <= t_s:
                share = (t_s - earlier.t_s) / (later.t_s - earlier.t_s)
                x_nm = earlier.x_nm + share * (later.x_nm - earlier.x_nm)
                return x_nm, earlier.y_nm + share * (later.y_nm - earlier.y_nm)
            later = earlier
        return later.x_nm, later.y_nm


def _believed(step: float, variance: float) -> float:
    """A step as far as it stands out of its noise: the garrote (Breiman, Technometrics 37:373 (1995))."""
    return step * (1 - variance / step**2) if step**2 > variance else 0.0
