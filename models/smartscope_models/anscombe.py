"""The generalised Anscombe transform of a camera frame to noise of unit variance, and its exact unbiased inverse.

With x photo-electrons of variance F² x + r², u = x / F² has variance u + s², s = r / F², and y = 2 √(u + 3/8 + s²) has
variance 1. The inverse of an average of y is not algebraic: it is the closed form of Mäkitalo & Foi, IEEE TIP 22:91
(2013), which undoes the bias of the square root.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.calibration import Floats, PixelCalibration

_ROOT = math.sqrt(1.5)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _stabilise(pixels, offset, gain, shift, out):  # type: ignore[no-untyped-def]
    """out[i, j] = 2 √max(0, (pixels - offset) · gain + shift); all (H, W)."""
    height, width = pixels.shape
    for i in range(height):
        source, dark, scale, target = pixels[i], offset[i], gain[i], out[i]
        for j in range(width):
            light = (np.float32(source[j]) - dark[j]) * scale[j]
            target[j] = np.float32(2) * np.sqrt(max(light + shift, np.float32(0)))


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _restore(stable, read, scale, offset):  # type: ignore[no-untyped-def]
    """In place: (H, W) stabilised means → counts."""
    height, width = stable.shape
    least = np.float32(0.8)
    for i in range(height):
        row = stable[i]
        for j in range(width):
            y = max(row[j], least)
            inverse = np.float32(1) / y
            series = np.float32(0.25 * _ROOT) + inverse * (np.float32(-11 / 8) + inverse * np.float32(0.625 * _ROOT))
            row[j] = (np.float32(0.25) * y * y + inverse * series - np.float32(0.125) - read) * scale + offset


@njit(nogil=True, cache=True)
def _calm(pixels, offset, gain, noisy, weight, shift, out):  # type: ignore[no-untyped-def]
    """Stabilised value of unusually noisy pixels (K, 2) from themselves, by weight (K,), and from their neighbours."""
    height, width = pixels.shape
    for k in range(len(noisy)):
        row, column = noisy[k]
        total, count = 0.0, 0
        for i in range(max(row - 1, 0), min(row + 2, height)):
            for j in range(max(column - 1, 0), min(column + 2, width)):
                if i != row or j != column:
                    total += (pixels[i, j] - offset[i, j]) * gain[i, j]
                    count += 1
        own = (pixels[row, column] - offset[row, column]) * gain[row, column]
        mean = weight[k] * own + (1 - weight[k]) * total / max(count, 1)
        out[row, column] = 2 * np.sqrt(max(mean + shift, 0.0))


class Anscombe:
    """The transform for one region of the sensor.

    All pixels share one curve, that of the nominal read noise, so that equal light gives equal values; a pixel whose
    own read noise is more than twice the nominal (0.1 % of an sCMOS sensor) borrows from its neighbours first.
    """

    def __init__(self, calibration: PixelCalibration) -> None:
        excess = calibration.excess
        self._offset = calibration.offset_adu
        self._gain: Floats = calibration.electrons_per_adu / np.float32(excess)
        self._read = np.float32(calibration.nominal_read_variance_e2 / excess**2)
        self._shift = np.float32(self._read + 0.375)
        self._scale = np.float32(excess / calibration.nominal_electrons_per_adu)
        self._nominal_offset = np.float32(calibration.nominal_offset_adu)
        variance = calibration.read_variance_e2
        limit = 4 * max(calibration.nominal_read_variance_e2, 0.25)
        self._noisy = np.argwhere(variance > limit)
        self._weight = (limit / 4 / variance[variance > limit]).astype(np.float64)

    def forward(self, pixels: np.ndarray, out: Floats) -> None:
        """(H, W) uint16 counts → (H, W) float32 of unit noise variance."""
        _stabilise(pixels, self._offset, self._gain, self._shift, out)
        if len(self._noisy):
            _calm(pixels, self._offset, self._gain, self._noisy, self._weight, self._shift, out)

    def inverse(self, stable: Floats) -> None:
        """In place: means of stabilised values → counts at the nominal gain and offset."""
        _restore(stable, self._read, self._scale, self._nominal_offset)
