"""Whether a spot asks to be two: a score test for the second derivatives of its shape."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.localization.fit_kernels import FAINTEST, factorise, solve, widths
from smartscope_models.localization.joint import LARGEST_GROUP, place_window, profiles_of

FARTHEST = 1.5
"""Half the distance of two spots, over their width, that one may be taken for: beyond, there would be two maxima."""


@njit(nogil=True, cache=True, error_model="numpy")
def excess_shape(field, spot, curve, bench, lower, step):  # type: ignore[no-untyped-def]
    """One scoring step of a spot's (x, y, N, sxx, syy, sxy) into step (6,); Cholesky factor into lower (6, 6).

    The last three are what its light has of variance along x and y, and of covariance, beyond the model's, px²: a shape
    p blurred a little more is p + sxx/2 p_xx + syy/2 p_yy + sxy p_xy. False where the information is not positive.
    """
    window = bench.windows[LARGEST_GROUP]
    place_window(spot, curve, field.light.shape, window)
    across, down, _, _ = profiles_of(spot, window, curve, bench.profiles)
    sx, sy, _, _ = widths(spot[3], curve)
    matrix, vector, by = np.zeros((6, 6)), np.zeros(6), np.empty(6)
    for i in range(down.shape[1]):
        row, top = window[0] + i, spot[2] * down[0, i]
        for j in range(across.shape[1]):
            column = window[2] + j
            weight = 1 / max(field.model[row, column], np.float32(FAINTEST))
            rest = (field.light[row, column] + field.read[row, column]) * weight - 1
            by[0], by[1] = top * across[1, j], spot[2] * down[1, i] * across[0, j]
            by[2] = down[0, i] * across[0, j]
            by[3], by[4] = 0.5 * top * across[2, j] / sx, 0.5 * spot[2] * down[2, i] * across[0, j] / sy
            by[5] = spot[2] * down[1, i] * across[1, j]
            for a in range(6):
                vector[a] += by[a] * rest
                for b in range(a + 1):
                    matrix[a, b] += weight * by[a] * by[b]
    if not factorise(matrix, 0.0, lower):
        return False
    solve(lower, vector, step)
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def elongation(field, spot, curve, bench):  # type: ignore[no-untyped-def]
    """How a spot asks to be two: (test value in standard deviations, half the distance along x and along y).

    Two spots of N / 2 at ± d differ from one of N, to lowest order, by a covariance d d' of its light: d is the longer
    axis of the excess covariance.
    """
    lower, step, solved = np.zeros((6, 6)), np.empty(6), np.empty(6)
    if not excess_shape(field, spot, curve, bench, lower, step):
        return 0.0, 0.0, 0.0
    xx, yy, xy = step[3], step[4], step[5]
    longest = 0.5 * (xx + yy) + math.sqrt(0.25 * (xx - yy) ** 2 + xy * xy)
    if longest <= 0:
        return 0.0, 0.0, 0.0
    angle = 0.5 * math.atan2(2 * xy, xx - yy)
    along = np.zeros(6)
    along[3], along[4], along[5] = math.cos(angle) ** 2, math.sin(angle) ** 2, math.sin(2 * angle)
    solve(lower, along, solved)
    variance = along[3] * solved[3] + along[4] * solved[4] + along[5] * solved[5]
    sx, sy, _, _ = widths(spot[3], curve)
    half = math.sqrt(min(longest, FARTHEST * FARTHEST * sx * sy))
    return longest / math.sqrt(variance), half * math.cos(angle), half * math.sin(angle)


@njit(nogil=True, cache=True, error_model="numpy")
def excess_variance(field, spot, curve, bench):  # type: ignore[no-untyped-def]
    """Variance of a spot's light beyond the model's, over the model's, and its standard error; 0, inf if unknown."""
    lower, step, solved = np.zeros((6, 6)), np.empty(6), np.empty(6)
    if not excess_shape(field, spot, curve, bench, lower, step):
        return 0.0, np.inf
    sx, sy, _, _ = widths(spot[3], curve)
    along = np.zeros(6)
    along[3], along[4] = 0.5 / (sx * sx), 0.5 / (sy * sy)
    solve(lower, along, solved)
    variance = along[3] * solved[3] + along[4] * solved[4]
    return along[3] * step[3] + along[4] * step[4], math.sqrt(variance)
