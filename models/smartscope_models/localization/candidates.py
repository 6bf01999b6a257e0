"""Where a frame asks for a spot that the model does not have: a matched filter in units of the noise itself.

Each pixel's test value is Rao's score for a spot centred there: what the model leaves over, filtered with the spot's
shape and divided by the standard deviation that the camera's noise on the model's own mean gives it. The threshold is
in these units, from the rate of false alarms; nothing is estimated from the frame's contrast, so that it stays where it
is however many spots there are. (A threshold relative to the frame's spread rises with density and finds less when
there is more: fatal to whoever steers the laser by the count.)
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from scipy.special import erf

from smartscope_models.calibration import Floats
from smartscope_models.localization.fit_kernels import FAINTEST

TAPS = 2.5
"""Half the filter's length over the spot's width."""


def half_profile(sigma_px: float) -> Floats:
    """(R + 1,) float32: share of a spot's light in the middle row and in those above."""
    edges = np.arange(math.ceil(TAPS * sigma_px) + 2) - 0.5
    share: Floats = (0.5 * np.diff(erf(edges / (sigma_px * math.sqrt(2))))).astype(np.float32)
    return share


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _down(source, half, out):  # type: ignore[no-untyped-def]
    """out (H, W): columns of source filtered with half, and nothing outside the frame."""
    height, width = source.shape
    for i in range(height):
        target = out[i]
        for j in range(width):
            target[j] = half[0] * source[i, j]
        for r in range(1, len(half)):
            for row in (i - r, i + r):
                if 0 <= row < height:
                    for j in range(width):
                        target[j] += half[r] * source[row, j]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _across(source, half, out):  # type: ignore[no-untyped-def]
    """The same for rows."""
    height, width = source.shape
    for i in range(height):
        target, line = out[i], source[i]
        for j in range(width):
            target[j] = half[0] * line[j]
        for r in range(1, len(half)):
            for j in range(r, width):
                target[j] += half[r] * line[j - r]
            for j in range(width - r):
                target[j] += half[r] * line[j + r]


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def score_map(field, half, bench, score, amount):  # type: ignore[no-untyped-def]
    """score (H, W): standard deviations by which a spot is missing at each pixel; amount (H, W): its light, shots."""
    rest, weight, work, square = bench.rest, bench.weight, bench.mean, half * half
    height, width = rest.shape
    for i in range(height):
        for j in range(width):
            w = np.float32(1) / max(field.model[i, j], np.float32(FAINTEST))
            weight[i, j] = w
            rest[i, j] = (field.light[i, j] + field.read[i, j]) * w - np.float32(1)
    _down(rest, half, work)
    _across(work, half, amount)
    _down(weight, square, work)
    _across(work, square, weight)
    for i in range(height):
        for j in range(width):
            score[i, j] = amount[i, j] / np.sqrt(weight[i, j])
            amount[i, j] /= weight[i, j]


@njit(nogil=True, cache=True, error_model="numpy")
def maxima(score, threshold, places):  # type: ignore[no-untyped-def]
    """Local maxima (3 x 3, the frame's rim included) above the threshold: (row, column) into places (K, 2); how many.

    Of those that do not fit into ``places`` the lower ones of the frame are left out.
    """
    height, width = score.shape
    found = 0
    for i in range(height):
        for j in range(width):
            value = score[i, j]
            if not value > threshold:
                continue
            top = found < len(places)
            for a in range(max(i - 1, 0), min(i + 2, height)):
                for b in range(max(j - 1, 0), min(j + 2, width)):
                    other = score[a, b]
                    if other > value or (other == value and (a < i or (a == i and b < j))):
                        top = False
            if top:
                places[found, 0], places[found, 1] = i, j
                found += 1
    return found


def threshold(sigma_px: float, false_alarms_per_megapixel: float) -> float:
    """Standard deviations above which noise alone has so many maxima per million pixels.

    White noise filtered with a Gaussian of width sigma has a slope of variance 1 / (2 sigma²) per axis; the number of
    maxima follows as in :meth:`smartscope_models.detection.matched_filter.SpotFilter.threshold`.
    """
    roughness = 0.5 / sigma_px**2
    low, high = 1.0, 40.0
    for _ in range(50):
        u = 0.5 * (low + high)
        rate = 1e6 * roughness * (2 * math.pi) ** -1.5 * u * math.exp(-u * u / 2)
        low, high = (u, high) if rate > false_alarms_per_megapixel else (low, u)
    return high
