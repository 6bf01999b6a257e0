"""Only this file knows how emitters become the picture that a lens with a circular pupil makes on square pixels.

Emitters are spread on a grid twice as fine as the pixels, and the lens acts in Fourier space, where it passes nothing
beyond 2 NA / lambda: unlike the Gaussian of ``optics.psf``, this blur has the band limit that structured illumination
rests on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import fft

from smartscope.errors import InputError

MARGIN_PX = 16
"""Emitters so far outside the field still shine into it."""
_FINER = 2

Doubles = npt.NDArray[np.float64]


@njit(nogil=True, cache=True)
def _spread(x: Any, y: Any, amounts: Any, grid: Any) -> None:
    """Share each amount (N,) among 4 x 4 grid points by cubic B-splines; places (N,) outside the grid are left out."""
    height, width = grid.shape
    for i in range(x.size):
        column, row = math.floor(x[i]), math.floor(y[i])
        if column < 1 or row < 1 or column + 2 >= width or row + 2 >= height:
            continue
        u, v = x[i] - column, y[i] - row
        along = ((1 - u) ** 3 / 6, (4 - 6 * u * u + 3 * u**3) / 6, (1 + 3 * u + 3 * u * u - 3 * u**3) / 6, u**3 / 6)
        down = ((1 - v) ** 3 / 6, (4 - 6 * v * v + 3 * v**3) / 6, (1 + 3 * v + 3 * v * v - 3 * v**3) / 6, v**3 / 6)
        for b in range(4):
            share = amounts[i] * down[b]
            for a in range(4):
                grid[row - 1 + b, column - 1 + a] += share * along[a]


class IncoherentLens:
    """Pictures of (H, W) pixels, for one blur; its buffers are used again for each picture."""

    def __init__(self, shape: tuple[int, int], cutoff_per_px: float, extra_sigma_px: float = 0.0) -> None:
        """``cutoff_per_px``: 2 NA / lambda; ``extra_sigma_px``: a Gaussian on top, for defocus.

        Raises:
            InputError: pixels too large to carry what the lens passes.
        """
        if cutoff_per_px > 0.5:
            raise InputError(
                f"pixels carry 0.5 cycles each, the lens passes {cutoff_per_px:.3f}",
                where="camera.pixel_size_nm",
                allowed="emission_nm / (4 numerical_aperture) or less",
                remedy="smaller pixels in the sample, or the specimen 'beads'",
            )
        self._shape = shape
        height, width = (fft.next_fast_len(n + 2 * MARGIN_PX, real=True) for n in shape)
        self._whole = height, width
        self._grid = np.zeros((_FINER * height, _FINER * width), np.float32)
        fx, fy = fft.rfftfreq(width), fft.fftfreq(height)
        self._columns = int(np.searchsorted(fx, cutoff_per_px)) + 1
        fx = fx[: self._columns]
        self._rows = np.flatnonzero(np.abs(fy) < cutoff_per_px)
        fy = fy[self._rows]
        passed = lens(np.hypot(fx, fy[:, None]) / cutoff_per_px)
        passed *= np.exp(-2 * (math.pi * extra_sigma_px) ** 2 * (fx**2 + fy[:, None] ** 2))
        passed *= _pixel_and_grid(fx) * _pixel_and_grid(fy)[:, None]
        self._passed = passed.astype(np.float32)
        self._spectrum = np.zeros((height, self._columns), np.complex64)

    def add(self, x_px: Doubles, y_px: Doubles, amounts: Doubles, picture: npt.NDArray[np.float32]) -> None:
        """Add emitters (N,) to ``picture`` (H, W); the centre of the top-left pixel is (0, 0)."""
        height, width = self._whole
        self._grid.fill(0)
        _spread(_FINER * (x_px + MARGIN_PX), _FINER * (y_px + MARGIN_PX), amounts, self._grid)
        along = fft.rfft(self._grid, axis=1)[:, : self._columns]
        fine = fft.fft(along, axis=0)
        # the lens passes less than the pixels carry, so that leaving out the finer half is exact
        self._spectrum[self._rows] = fine[np.where(self._rows < height / 2, self._rows, self._rows - height)]
        self._spectrum[self._rows] *= self._passed
        blurred = fft.irfft(fft.ifft(self._spectrum, axis=0), n=width, axis=1)
        picture += blurred[MARGIN_PX : MARGIN_PX + self._shape[0], MARGIN_PX : MARGIN_PX + self._shape[1]]


def lens(radius: Doubles) -> Doubles:
    """Transfer of a circular pupil at frequencies over the cut-off (Goodman, Fourier Optics, section 6.3)."""
    s = np.minimum(radius, 1.0)
    return np.asarray(2 / math.pi * (np.arccos(s) - s * np.sqrt(1 - s * s)))


def _pixel_and_grid(per_px: Doubles) -> Doubles:
    """A pixel averages over its width; the spline that spread the emitters is taken out again."""
    return np.asarray(np.sinc(per_px) / np.sinc(per_px / _FINER) ** 4)
