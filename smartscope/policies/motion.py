"""Where a target will be: its last place plus a drift, believed as far as it stands out from random motion.

Extrapolating a velocity helps with directed motion and harms with Brownian motion, where the last place is the best
guess. So the drift v, measured end to end over a short trail, is multiplied by the garrote (1 - c / F)+ of Breiman
(1995, Technometrics 37:373), where F = |v|² T / q compares it with what a random walk with the trail's own steps, of
variance q per second and axis, would drift in the same time T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

SPACING_NS = 10_000_000
"""Sightings closer together than this replace each other: the trail stays short at any frame rate."""
LONGEST = 32
FEWEST = 6
"""Sightings; a drift from fewer says nothing."""
MIN_WINDOW_NS = 120_000_000
WINDOW_PER_HORIZON = 2.0
"""Look back twice as far as ahead: longer reacts late to turns, shorter is noise."""
SIGNIFICANCE = 6.0
"""The c of the garrote: a random walk reaches F = 6 in one of twenty trails (chi-square, 2 degrees of freedom)."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A place at a time."""

    t_ns: int
    x_um: float
    y_um: float


@dataclass(frozen=True, slots=True)
class Trail:
    """Recent sightings of one target, oldest first; at least one."""

    sightings: tuple[Sighting, ...]

    @property
    def last(self) -> Sighting:
        """The newest sighting."""
        return self.sightings[-1]

    def extended(self, sighting: Sighting) -> Trail:
        """The trail with a sighting later than its last; others are ignored."""
        if sighting.t_ns <= self.last.t_ns:
            return self
        kept = self.sightings
        if len(kept) > 1 and kept[-1].t_ns - kept[-2].t_ns < SPACING_NS:
            kept = kept[:-1]
        return Trail((*kept, sighting)[-LONGEST:])

    def predicted(self, t_ns: int) -> tuple[float, float]:
        """Place (x, y) in um at a time after the last sighting."""
        horizon_ns = max(0, t_ns - self.last.t_ns)
        vx, vy = self._drift_um_s(horizon_ns)
        return self.last.x_um + vx * horizon_ns / 1e9, self.last.y_um + vy * horizon_ns / 1e9

    def _drift_um_s(self, horizon_ns: int) -> tuple[float, float]:
        window_ns = max(MIN_WINDOW_NS, WINDOW_PER_HORIZON * horizon_ns)
        recent = [s for s in self.sightings[:-FEWEST] if self.last.t_ns - s.t_ns <= window_ns]
        recent += self.sightings[-FEWEST:]
        if len(recent) < FEWEST:
            return 0.0, 0.0
        first, time_s = recent[0], (self.last.t_ns - recent[0].t_ns) / 1e9
        vx, vy = (self.last.x_um - first.x_um) / time_s, (self.last.y_um - first.y_um) / time_s
        belief = _garrote(math.hypot(vx, vy) ** 2 * time_s, _spread_um2_s(recent, vx, vy))
        return belief * vx, belief * vy


def _spread_um2_s(sightings: list[Sighting], vx: float, vy: float) -> float:
    """Variance per second and axis of the steps around the mean drift."""
    total = 0.0
    for before, after in pairwise(sightings):
        dt_s = (after.t_ns - before.t_ns) / 1e9
        dx, dy = after.x_um - before.x_um - vx * dt_s, after.y_um - before.y_um - vy * dt_s
        total += (dx * dx + dy * dy) / dt_s
    return total / (2 * (len(sightings) - 2))


def _garrote(drift2: float, spread: float) -> float:
    return max(0.0, 1 - SIGNIFICANCE * spread / drift2) if drift2 > 0 else 0.0
