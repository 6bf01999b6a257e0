"""How many molecules glow, from how many were told apart: coincidences that no fit can resolve are allowed for.

Two molecules closer than a dead radius d count as one. For molecules scattered at random with density n, the found
density is (1 - exp(-n a)) / a with a = pi d² / 2, as for a counter with dead time; solved for n. The brighter spots
are, the closer they are told apart: d was measured with this package's fits on simulated frames of 0.4 to 3 molecules
per µm², 300 to 3000 photons (tests/unit/test_localization_localizer.py holds it to that).
"""

from __future__ import annotations

import math

DEAD_RADIUS, AT_SIGNAL_TO_NOISE = 1.5, 30.0
"""Widths of a spot within which two are found as one, where photons are so many times their error."""
SHARPER = 1 / 3
"""Power of the signal to noise with which the radius shrinks."""
FULL = 0.9
"""Found density times a above which the counter is full, and says so by its error."""
DOUBTFUL = 0.35
"""Relative error of the correction."""


def glowing(found: int, area_px: float, sigma_px: float, signal_to_noise: float) -> tuple[float, float]:
    """Expected number of molecules in an area where so many were told apart, and its standard error.

    signal_to_noise: photons of a typical one over their error.
    """
    sharpness = (max(signal_to_noise, 1.0) / AT_SIGNAL_TO_NOISE) ** SHARPER
    dead = 0.5 * math.pi * (DEAD_RADIUS * sigma_px / sharpness) ** 2
    filled = min(found / area_px * dead, FULL)
    missed = max(-math.log1p(-filled) / dead * area_px - found, 0.0)
    doubt = DOUBTFUL * missed if filled < FULL else float(found)
    return found + missed, math.sqrt(missed + doubt**2 + 0.25)
