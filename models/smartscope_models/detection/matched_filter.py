"""Where a frame holds something spot-like: a zero-mean matched filter and the threshold for a chosen false-alarm rate.

The filter is a difference of Gaussians: the spot's own width, which is the best linear detector in white noise, minus a
wider one, which takes out background that varies slowly. In the stabilised domain its noise is known beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.optimize import brentq

from smartscope_models.calibration import Floats

WIDE = 2.0
"""Width of the background's Gaussian over that of the spot's."""


@dataclass(frozen=True, slots=True, eq=False)
class SpotFilter:
    """Half kernels (R + 1,) float32 of the two Gaussians, and what white noise of variance 1 becomes in them."""

    narrow: Floats
    wide: Floats
    gain: float
    """1 / standard deviation of the unscaled filter's noise."""
    roughness: float
    """Variance of the filtered noise's slope along an axis, px⁻²."""

    @classmethod
    def of(cls, sigma_px: float) -> SpotFilter:
        """For spots of this Gaussian width."""
        radius = math.ceil(3 * WIDE * sigma_px)
        narrow, wide = (_half_gaussian(width, radius) for width in (sigma_px, WIDE * sigma_px))
        whole = _outer(narrow) - _outer(wide)
        slope = np.gradient(whole, axis=1)
        power = float((whole**2).sum())
        return cls(narrow.astype(np.float32), wide.astype(np.float32), power**-0.5, float((slope**2).sum()) / power)

    def threshold(self, false_alarms_per_megapixel: float) -> float:
        """Standard deviations above which noise alone has so many maxima.

        Expected maxima of a Gaussian field per area: roughness (2π)^(-3/2) u exp(-u²/2); Worsley et al., Hum Brain Mapp
        4:58 (1996), two dimensions.
        """

        def excess(u: float) -> float:
            per_px: float = self.roughness * (2 * math.pi) ** -1.5 * u * math.exp(-u * u / 2)
            return 1e6 * per_px - false_alarms_per_megapixel

        return float(brentq(excess, 1.0, 40.0)) if excess(1.0) > 0 else 1.0


def _half_gaussian(sigma: float, radius: int) -> np.ndarray:
    half = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    total: np.ndarray = half / (half[0] + 2 * half[1:].sum())
    return total


def _outer(half: np.ndarray) -> np.ndarray:
    line = np.concatenate([half[:0:-1], half])
    return np.outer(line, line)


@njit(nogil=True, cache=True, fastmath=True)
def respond(image, narrow, wide, gain, sign, margin, work, out):  # type: ignore[no-untyped-def]
    """out (H, W): filter response of ``image`` (H + margins, W + margins); work (2, width of ``image``)."""
    height, width = out.shape
    radius = len(narrow) - 1
    a, b = work[0], work[1]
    scale = gain * sign
    for i in range(height):
        middle = image[i + margin]
        for j in range(len(a)):
            a[j] = narrow[0] * middle[j]
            b[j] = wide[0] * middle[j]
        for r in range(1, radius + 1):
            above, below, n, w = image[i + margin - r], image[i + margin + r], narrow[r], wide[r]
            for j in range(len(a)):
                both = above[j] + below[j]
                a[j] += n * both
                b[j] += w * both
        target = out[i]
        ahead, behind = a[margin:], b[margin:]
        for j in range(width):
            target[j] = narrow[0] * ahead[j] - wide[0] * behind[j]
        for r in range(1, radius + 1):
            n, w = narrow[r], wide[r]
            left_a, right_a, left_b, right_b = a[margin - r :], a[margin + r :], b[margin - r :], b[margin + r :]
            for j in range(width):
                target[j] += n * (left_a[j] + right_a[j]) - w * (left_b[j] + right_b[j])
        for j in range(width):
            target[j] *= scale


@njit(nogil=True, cache=True)
def peaks(response, threshold, roundness, out):  # type: ignore[no-untyped-def]
    """Local maxima (3 x 3) above ``threshold`` that are no ridges: (row, column) into out (K, 2); how many there are.

    Ridge: curvatures whose ratio is above ``roundness`` (Lowe, IJCV 60:91, 2004, section 4.1).
    """
    height, width = response.shape
    limit = (roundness + 1) ** 2 / roundness
    found = 0
    for i in range(1, height - 1):
        above, row, below = response[i - 1], response[i], response[i + 1]
        for j in range(1, width - 1):
            value = row[j]
            if value <= threshold or value < row[j - 1] or value <= row[j + 1] or value < above[j] or value <= below[j]:
                continue
            if value < above[j - 1] or value < above[j + 1] or value <= below[j - 1] or value <= below[j + 1]:
                continue
            xx, yy = row[j - 1] + row[j + 1] - 2 * value, above[j] + below[j] - 2 * value
            xy = 0.25 * (above[j - 1] + below[j + 1] - above[j + 1] - below[j - 1])
            determinant = xx * yy - xy * xy
            if determinant <= 0 or (xx + yy) ** 2 > limit * determinant:
                continue
            if found < len(out):
                out[found, 0], out[found, 1] = i, j
            found += 1
    return found
