"""One pass over a frame and its denoised image: what the image leaves, in units of the noise that it predicts.

The residual of a pixel is z = (y - x) / σ(x), with y the photo-electrons seen, x those of the image, and
σ² = F² x + r² + rounding: 1 on average where the image is the truth. Smoothed at the scale of the optics, and scaled so
that white noise keeps its variance of 1, the same residual shows structure that the image lacks or has invented.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from smartscope_models.calibration import Floats, PixelCalibration

CELL = 4
"""Sums are kept for cells of so many pixels along each axis."""
REACH = 3
"""The smoothing looks so many pixels to each side; beyond the frame it sees 0."""
CLIP = 5.0
"""A residual counts as this at most: one hot pixel that no map tells of is no structure."""
TOLERANCE = 0.01
"""Relative error of the light that is nobody's fault: gains of single pixels are known no better."""
LEAST_E = 0.05
"""Light of an image is not believed to be darker than this, else a single photon would be impossible."""
MOST_E = 1e6
"""Brighter is no camera's light; also the residual of a pixel that is not a number, which nothing explains."""

FLAGS = {"reassoc", "contract", "arcp", "afn", "nsz"}
"""Fast, but infinite and missing values of a failing network stay what they are."""


def smoothing(sigma_px: float) -> Floats:
    """(4,) half of a Gaussian of 7 taps, so scaled that smoothing along both axes keeps the variance of white noise."""
    half = np.exp(-(np.arange(REACH + 1) ** 2) / (2 * sigma_px**2))
    taps: Floats = (half / np.sqrt(2 * (half**2).sum() - half[0] ** 2)).astype(np.float32)
    return taps


@njit(nogil=True, cache=True, fastmath=FLAGS, error_model="numpy")
def _standardise(pixels, image, offset, gain, floor, camera, z, squares, tails):  # type: ignore[no-untyped-def]
    """One row: z (W + 2 · REACH), zero at both ends; its squares and x / σ⁴ are added to squares and tails (W,)."""
    nominal_offset, nominal_gain, excess, tolerance2, saturation = camera
    zero, one, most, clip = np.float32(0), np.float32(1), np.float32(MOST_E), np.float32(CLIP)
    for j in range(len(pixels)):
        seen = np.float32(pixels[j])
        light = (image[j] - nominal_offset) * nominal_gain
        lit = light if light > zero else zero  # also where it is not a number
        lit = lit if lit < most else most
        inverse = one / (floor[j] + (excess + tolerance2 * lit) * lit)
        residual = ((seen - offset[j]) * gain[j] - light) * np.sqrt(inverse)
        residual = residual if seen < saturation else zero
        residual = min(max(residual, -clip), clip) if residual == residual else most
        z[j + REACH] = residual
        squares[j] += residual * residual
        tails[j] += lit * inverse * inverse


@njit(nogil=True, cache=True, fastmath=FLAGS)
def _across(z, taps, out):  # type: ignore[no-untyped-def]
    c0, c1, c2, c3 = taps[0], taps[1], taps[2], taps[3]
    l2, l1, middle, r1, r2, r3 = z[1:], z[2:], z[3:], z[4:], z[5:], z[6:]
    for j in range(len(out)):
        out[j] = c0 * middle[j] + c1 * (l1[j] + r1[j]) + c2 * (l2[j] + r2[j]) + c3 * (z[j] + r3[j])


@njit(nogil=True, cache=True, fastmath=FLAGS)
def _down(ring, newest, taps, squares):  # type: ignore[no-untyped-def]
    """Adds the squares of the row in the middle of the ring (7, W), smoothed downwards, to squares (W,)."""
    c0, c1, c2, c3 = taps[0], taps[1], taps[2], taps[3]
    a, b, c, d = ring[(newest + 1) % 7], ring[(newest + 2) % 7], ring[(newest + 3) % 7], ring[(newest + 4) % 7]
    e, f, g = ring[(newest + 5) % 7], ring[(newest + 6) % 7], ring[newest]
    for j in range(len(squares)):
        smooth = c0 * d[j] + c1 * (c[j] + e[j]) + c2 * (b[j] + f[j]) + c3 * (a[j] + g[j])
        squares[j] += smooth * smooth


@njit(nogil=True, cache=True)
def _empty(line, cells):  # type: ignore[no-untyped-def]
    """Sums of line (W,) over each cell → cells (W / CELL,); line is zero again."""
    whole = len(line) // CELL
    for k in range(whole):
        cells[k] = (line[4 * k] + line[4 * k + 1]) + (line[4 * k + 2] + line[4 * k + 3])
    for j in range(CELL * whole, len(line)):
        cells[whole] = line[j] + (cells[whole] if j > CELL * whole else np.float32(0))
    line[:] = 0


@njit(nogil=True, cache=True)
def _survey(pixels, image, offset, gain, floor, camera, taps, z, ring, lines, cells):  # type: ignore[no-untyped-def]
    """cells (3, H / CELL, W / CELL): sums of z², of smoothed z², and of x / σ⁴; z, ring, lines are work."""
    height = pixels.shape[0]
    squares, smooth, tails = lines[0], lines[1], lines[2]  # unpacked at once, their layout would not be known
    ring[:] = 0
    for i in range(height + REACH):
        newest = i % 7
        if i < height:
            _standardise(pixels[i], image[i], offset[i], gain[i], floor[i], camera, z, squares, tails)
            _across(z, taps, ring[newest])
            if (i + 1) % CELL == 0 or i + 1 == height:
                _empty(squares, cells[0, i // CELL])
                _empty(tails, cells[2, i // CELL])
        else:
            ring[newest] = 0
        middle = i - REACH
        if middle >= 0:
            _down(ring, newest, taps, smooth)
            if (middle + 1) % CELL == 0 or middle + 1 == height:
                _empty(smooth, cells[1, middle // CELL])


class Residuals:
    """The pass over frames of one region of the sensor; its arrays are overwritten by each frame."""

    def __init__(self, calibration: PixelCalibration, taps: Floats) -> None:
        """taps: :func:`smoothing`."""
        self.calibration, self._taps = calibration, taps
        gain, read_variance = calibration.electrons_per_adu, calibration.read_variance_e2
        # rounding adds 1/12 count² where noise spreads a value over several counts, up to 1/4 where it does not:
        # 1/12 + Σ cos(2πkμ) exp(-2π²k²σ²) / (πk)² (Widrow & Kollar, Quantization Noise, 2008), at its worst μ
        undithered = np.exp(-2 * np.pi**2 * read_variance / gain**2)
        rounding = gain**2 * (np.float32(1 / 12) + undithered / 6)
        self._floor = (read_variance + rounding + calibration.excess * LEAST_E).astype(np.float32)
        told = (
            calibration.nominal_offset_adu,
            calibration.nominal_electrons_per_adu,
            calibration.excess,
            TOLERANCE**2,
            calibration.saturation_adu,
        )
        self._camera = tuple(np.float32(value) for value in told)
        height, width = calibration.offset_adu.shape
        self._z, self._ring = np.zeros(width + 2 * REACH, np.float32), np.zeros((7, width), np.float32)
        self._lines = np.zeros((3, width), np.float32)
        self._cells = np.zeros((3, -(-height // CELL), -(-width // CELL)), np.float32)
        rows, columns = (np.minimum(CELL, n - CELL * np.arange(-(-n // CELL))) for n in (height, width))
        self.counts: Floats = np.outer(rows, columns).astype(np.float32)
        """(H / CELL, W / CELL) pixels in each cell: fewer at the lower and right edge."""

    def survey(self, pixels: np.ndarray, image: Floats) -> Floats:
        """(3, H / CELL, W / CELL) sums over cells: of z², of smoothed z², and of x / σ⁴, the weight of rare photons."""
        calibration = self.calibration
        offset, gain = calibration.offset_adu, calibration.electrons_per_adu
        _survey(
            pixels, np.ascontiguousarray(image, np.float32), offset, gain, self._floor, self._camera, self._taps,
            self._z, self._ring, self._lines, self._cells,
        )  # fmt: skip
        return self._cells
