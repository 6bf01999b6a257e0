"""Whether the camera is as noisy as its calibration says: what fitted frames leave over, and remembered.

More noise than calibrated (a wrong gain or offset, a multiplication nobody told of) would be taken for molecules. It
acts as a larger excess factor: of variance c (F² x + r²), x / (c F²) has Poisson's noise and read variance r² / (c F⁴).
"""

from __future__ import annotations

import numpy as np

from smartscope_models.calibration import Floats
from smartscope_models.localization.joint import Field

MEMORY = 50
"""Frames remembered."""
TOLERATED = 1.3
"""Variance over the calibrated one up to which the calibration is taken as it is."""
STEP = 2
"""Every so many pixels along an axis are looked at."""
MEDIAN_OF_CHI2 = 0.4549
"""Of a squared normal variable."""


class NoiseMeter:
    """A running median of the variance that is left over, in units of the calibrated one."""

    def __init__(self) -> None:
        self._recent = np.empty(MEMORY)
        self._seen = 0

    @property
    def factor(self) -> float:
        """c: 1 while the calibration holds."""
        if not self._seen:
            return 1.0
        typical = float(np.median(self._recent[: min(self._seen, MEMORY)]))
        return typical if typical > TOLERATED else 1.0

    def learn(self, variance: float) -> None:
        """Take in one frame's, in units of the calibrated one."""
        self._recent[self._seen % MEMORY] = variance
        self._seen += 1


def variance_left(field: Field) -> float:
    """Variance of what a fitted model leaves over, over the model's own; by the median, deaf to single misfits."""
    light, read, model = (part[::STEP, ::STEP] for part in (field.light, field.read, field.model))
    rest: Floats = light + read - model
    return float(np.median(rest * rest / model)) / MEDIAN_OF_CHI2
