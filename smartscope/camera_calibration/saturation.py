"""Only this file knows where a camera saturates, from the counts that it gave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from smartscope.camera_calibration.levels import Level

PILE, TIMES = 30, 5.0
"""The highest count is where the converter ends if it came so often, and so many times oftener than those below it."""
BELOW = 5
AWAY = 4.0
"""A pixel's mean must be so many standard deviations below saturation, or its variance is cut short."""


def saturation_of(levels: Sequence[Level], known_adu: float | None) -> float | None:
    """Counts at which pixels were seen to saturate, or the known value if that is lower; None: neither."""
    total = np.sum([level.histogram for level in levels], axis=0)
    came = np.flatnonzero(total)
    top, below = int(came[-1]), total[came[:-1]][-BELOW:]
    piled = total[top] >= PILE and len(below) and total[top] > TIMES * below.mean()
    seen = float(top) if piled or top == len(total) - 1 else None
    candidates = [value for value in (seen, known_adu) if value is not None]
    return min(candidates, default=None)


def usable_pixels(level: Level, saturation_adu: float | None) -> npt.NDArray[np.bool_]:
    """(H, W): pixels whose noise lies below saturation, and that have noise at all."""
    alive = level.variance_adu2 > 0
    if saturation_adu is None:
        return np.asarray(alive)
    return np.asarray(alive & (level.mean_adu + AWAY * np.sqrt(level.variance_adu2) < saturation_adu))
