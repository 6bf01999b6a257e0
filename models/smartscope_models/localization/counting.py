"""How many molecules glow, from how many were told apart: coincidences that no fit can resolve are allowed for.

Two molecules closer than a dead radius d count as one. For molecules scattered at random with density n, the found
density is (1 - exp(-n a)) / a with a = pi d² / 2, as for a counter with dead time; solved for n. The radius was
measured with this package's fits on simulated frames (tests/unit/test_localization_counting.py holds it to that).
"""

from __future__ import annotations

import math

DEAD_RADIUS = 0.8
"""Distance below which two spots of the same brightness are found as one, over their width, at ``TYPICAL`` S/N."""
MOST = 0.9
"""Found density times a above which the counter is full, and says so by its error."""
DOUBTFUL = 0.4
"""Relative error of the correction."""


def glowing(found: int, area_px: float, sigma_px: float) -> tuple[float, float]:
    """Expected number of molecules in an area where so many were told apart, and its standard error."""
    dead = 0.5 * math.pi * (DEAD_RADIUS * sigma_px) ** 2
    filled = min(found / area_px * dead, MOST)
    glow = -math.log1p(-filled) / dead * area_px
    missed = max(glow - found, 0.0)
    return found + missed, math.sqrt(missed + (DOUBTFUL * missed) ** 2 + 0.25)
