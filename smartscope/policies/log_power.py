"""The law of activation: integral action on the logarithm of a power, between a floor and the lowest of several caps.

Molecules switch on in proportion to the power and to the dark pool that is left, so equal ratios of count and target
want equal factors, whatever the pool: d = ki e + kp (e - e before), power <- power exp(d), e = ln(target / count).
What of e is more than blinking explains is taken off faster than by ki: waiting would not tell it any better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

LARGEST_ERROR = 2.0
"""|e| is taken as no more."""
QUICK = 0.6
"""Gain on what blinking does not explain: the count still answers well where molecules glow for a whole update."""
LARGEST_FACTOR = 2.0
"""By which one update changes the power."""
CROWDED = 1.5
"""Count over target from which the floor is still too much, and the light goes off."""
ROUNDING = 0.01
"""Relative difference of two powers that is none."""


class Cap(NamedTuple):
    """The most that a light may be given, and what says so."""

    power_mw: float
    by: str


def same(a_mw: float, b_mw: float, tolerance: float = ROUNDING) -> bool:
    """Whether two powers are one, as devices and read-back go."""
    return math.isclose(a_mw, b_mw, rel_tol=tolerance)


@dataclass(frozen=True, slots=True)
class LogPower:
    """Gains per update."""

    ki: float
    kp: float

    def wanted_mw(self, now_mw: float, floor_mw: float, error: float, before: float | None, noise: float) -> float:
        """The next power, before caps; ``error`` is e now, ``before`` the one of the update before.

        ``noise``: as much of |e| as blinking may explain. A light that is off starts at the floor; at the floor it goes
        off where that is still far too much.
        """
        if now_mw <= 0:
            return floor_mw if error > 0 else 0.0
        error = _bounded(error, LARGEST_ERROR)
        change = error - _bounded(before, LARGEST_ERROR) if before is not None else 0.0
        blinking = _bounded(error, noise)
        step = self.ki * blinking + max(self.ki, QUICK) * (error - blinking) + self.kp * change
        factor = math.exp(_bounded(step, math.log(LARGEST_FACTOR)))
        if now_mw * factor >= floor_mw:
            return now_mw * factor
        too_much = error < -math.log(CROWDED) and now_mw <= (1 + ROUNDING) * floor_mw
        return 0.0 if too_much else floor_mw


def _bounded(value: float, most: float) -> float:
    return min(max(value, -most), most)
