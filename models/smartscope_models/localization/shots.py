"""A raw frame in shots: photo-electrons over the excess factor, in which every camera's noise is Poisson's.

x photo-electrons have variance F² x + r²; u = x / F² has variance u + (r / F²)². One frame thus serves CCD, sCMOS and
EMCCD alike, and only who reports photons has to know F².
"""

from __future__ import annotations

import numpy as np
from numba import njit

from smartscope.frame import Pixels
from smartscope_models.calibration import Floats, PixelCalibration


@njit(nogil=True, cache=True, error_model="numpy")
def _convert(pixels, offset, gain, out):  # type: ignore[no-untyped-def]
    for i in range(pixels.shape[0]):
        source, dark, scale, target = pixels[i], offset[i], gain[i], out[i]
        for j in range(pixels.shape[1]):
            target[j] = (np.float32(source[j]) - dark[j]) * scale[j]


class Shots:
    """The conversion for one region of the sensor."""

    def __init__(self, calibration: PixelCalibration) -> None:
        self.excess = calibration.excess
        self._offset = calibration.offset_adu
        self._gain: Floats = calibration.electrons_per_adu / np.float32(calibration.excess)
        self.read: Floats = calibration.read_variance_e2 / np.float32(calibration.excess**2)
        """(H, W) float32: read variance, shots²."""

    def of(self, pixels: Pixels, out: Floats) -> None:
        """(H, W) uint16 counts → (H, W) float32 shots, negative where noise fell below the offset."""
        _convert(pixels, self._offset, self._gain, out)
