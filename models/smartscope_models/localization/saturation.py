"""What a saturated pixel costs: it is left out of the fits, and molecules that had their light there are not told."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter

from smartscope.frame import Pixels
from smartscope_models.calibration import Floats, PixelCalibration

Bools = npt.NDArray[np.bool_]
BLIND = np.float32(1e8)
"""Read variance of a pixel that tells nothing: it is saturated."""
TOUCHING = 2.0
"""Widths from a spot's centre within which a saturated pixel makes it worthless."""
SATURATED_TRUST = 0.9
"""Trust in a frame with one saturated pixel."""


class Saturation:
    """The saturated pixels of one frame."""

    def __init__(self, pixels: Pixels, calibration: PixelCalibration) -> None:
        self._where: Bools = pixels >= calibration.saturation_adu
        self._pixels = int(np.count_nonzero(self._where))

    def blinded(self, read: Floats) -> Floats:
        """Read variance (H, W) with ``BLIND`` where the pixel tells nothing."""
        return np.where(self._where, BLIND, read) if self._pixels else read

    def touching(self, places: npt.NDArray[np.float64], sigma_px: float) -> Bools:
        """Which of the spots (K, 2 or more: x, y, ...) of this width have a saturated pixel near their centre."""
        if not self._pixels:
            return np.zeros(len(places), bool)
        near = maximum_filter(self._where, 2 * math.ceil(TOUCHING * sigma_px) + 1)
        shape = self._where.shape
        rows, columns = (np.rint(places[:, axis]).astype(int).clip(0, shape[1 - axis] - 1) for axis in (1, 0))
        return np.asarray(near[rows, columns])

    def doubts(self, found: int, lost: int) -> tuple[tuple[float, str], ...]:
        """Factor on the trust in the frame, with its reason; lost: how many of those found are not told."""
        if not self._pixels:
            return ()
        share = max(lost / max(found, 1), min(20 * self._pixels / self._where.size, 1.0))
        why = f"{self._pixels} pixels are saturated; {lost} molecules on them are left out"
        return ((SATURATED_TRUST * (1 - share), why),)


def inside(places: npt.NDArray[np.float64], shape: tuple[int, int]) -> Bools:
    """Which spots (K, 2 or more: x, y, ...) lie in the frame; light of others may reach into it."""
    x, y = places[:, 0], places[:, 1]
    return np.asarray((x >= -0.5) & (x <= shape[1] - 0.5) & (y >= -0.5) & (y <= shape[0] - 0.5))
