"""Only this file knows how to work out one spot of a cubic spline, with its slopes, in the fewest operations.

A cubic spline on a grid is 64 coefficients in each cell, or the same function as one weight per node: a sum of cubic
B-splines (Unser, Aldroubi, Eden, IEEE Transactions on Signal Processing 41 (1993) 821). All pixels of a spot lie at
the same place inside their cells, so that the sum is taken axis by axis: height, rows, columns. That is about 45
multiplications a pixel for value and three slopes where the 64 coefficients would take 256, and 64 times less memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def cubic_weights(t: float) -> tuple[float, float, float, float]:
    """The four B-splines that reach a cell, at 0 <= t <= 1 inside it."""
    s = 1.0 - t
    return s * s * s / 6, (4 + 3 * t * t * (t - 2)) / 6, (4 + 3 * s * s * (s - 2)) / 6, t * t * t / 6


@njit(nogil=True, cache=True)
def cubic_slopes(t: float) -> tuple[float, float, float, float]:
    """Their derivatives by t."""
    s = 1.0 - t
    return -s * s / 2, t * (3 * t - 4) / 2, s * (4 - 3 * s) / 2, t * t / 2


@njit(nogil=True, cache=True)
def make_scratch(pixels: int, oversampling: int) -> Any:
    """Work space for spots of ``pixels`` on their longer side, one for each thread; (3, n, n) float64."""
    n = oversampling * (pixels - 1) + 4
    return np.zeros((3, n, n))


@njit(nogil=True, cache=True, error_model="numpy")
def spline_spot(weights: Any, oversampling: int, x: float, y: float, z: float, spot: Any, scratch: Any) -> None:
    """Fill ``spot`` (4, H, W) with value, slope by x, by y and by z of one molecule of unit light.

    ``weights`` (Z + 2, Y + 2, X + 2): of the B-splines; that of node (k, j, i) at [k + 1, j + 1, i + 1]. x, y: place
    in pixels, (0, 0) the centre of the top-left pixel; z: height in nodes, held within 0 .. Z - 1. Slopes are per pixel
    and per node. Beyond the nodes the light fades to nothing. ``scratch``: from ``make_scratch``. Arrays in one piece,
    and no slices of them inside, are worth a factor of five in time.
    """
    height, width = spot.shape[1], spot.shape[2]
    u = 0.5 * (weights.shape[2] - 3) - oversampling * x
    v = 0.5 * (weights.shape[1] - 3) - oversampling * y
    left, top = math.floor(u), math.floor(v)
    rows, columns = oversampling * (height - 1) + 4, oversampling * (width - 1) + 4
    _sum_heights(weights, z, top, left, rows, columns, scratch)
    down, down_slope = cubic_weights(v - top), cubic_slopes(v - top)
    along, along_slope = cubic_weights(u - left), cubic_slopes(u - left)
    for row in range(height):
        _sum_rows(scratch, oversampling * row, columns, down, down_slope)
        _sum_columns(scratch, oversampling, along, along_slope, spot, row)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _sum_heights(weights: Any, z: float, top: int, left: int, rows: int, columns: int, scratch: Any) -> None:
    """Into scratch[0] the weights of the plane at z, into scratch[1] their slopes, of the nodes from (top, left)."""
    deep, tall, wide = weights.shape
    z = min(max(z, 0.0), deep - 3.0)
    k = min(int(z), deep - 4)
    (e, f, g, h), (p, q, r, s) = cubic_weights(z - k), cubic_slopes(z - k)
    first, last = max(0, -left), min(columns, wide - left)
    for j in range(rows):
        for i in range(columns):
            scratch[0, j, i] = 0.0
            scratch[1, j, i] = 0.0
        row = top + j
        if 0 <= row < tall:
            for i in range(first, last):
                a, b = weights[k, row, left + i], weights[k + 1, row, left + i]
                c, d = weights[k + 2, row, left + i], weights[k + 3, row, left + i]
                scratch[0, j, i] = e * a + f * b + g * c + h * d
                scratch[1, j, i] = p * a + q * b + r * c + s * d


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _sum_rows(scratch: Any, j: int, columns: int, down: Any, down_slope: Any) -> None:
    """Into the first lines of scratch[2] the row below node j: weights, their slopes by place and by height."""
    (e, f, g, h), (p, q, r, s) = down, down_slope
    for i in range(columns):
        a, b, c, d = scratch[0, j, i], scratch[0, j + 1, i], scratch[0, j + 2, i], scratch[0, j + 3, i]
        scratch[2, 0, i] = e * a + f * b + g * c + h * d
        scratch[2, 1, i] = p * a + q * b + r * c + s * d
        a, b, c, d = scratch[1, j, i], scratch[1, j + 1, i], scratch[1, j + 2, i], scratch[1, j + 3, i]
        scratch[2, 2, i] = e * a + f * b + g * c + h * d


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _sum_columns(scratch: Any, step: int, along: Any, along_slope: Any, spot: Any, row: int) -> None:
    """One row of the spot; places in nodes run against places of the molecule in pixels."""
    (e, f, g, h), (p, q, r, s) = along, along_slope
    for column in range(spot.shape[2]):
        i = step * column
        a, b, c, d = scratch[2, 0, i], scratch[2, 0, i + 1], scratch[2, 0, i + 2], scratch[2, 0, i + 3]
        spot[0, row, column] = e * a + f * b + g * c + h * d
        spot[1, row, column] = -step * (p * a + q * b + r * c + s * d)
        a, b, c, d = scratch[2, 1, i], scratch[2, 1, i + 1], scratch[2, 1, i + 2], scratch[2, 1, i + 3]
        spot[2, row, column] = -step * (e * a + f * b + g * c + h * d)
        a, b, c, d = scratch[2, 2, i], scratch[2, 2, i + 1], scratch[2, 2, i + 2], scratch[2, 2, i + 3]
        spot[3, row, column] = e * a + f * b + g * c + h * d


@njit(nogil=True, cache=True)
def spline_spots(weights: Any, oversampling: int, x: Any, y: Any, z: Any, spots: Any) -> None:
    """``spline_spot`` for each of N molecules: x, y, z (N,), ``spots`` (N, 4, H, W)."""
    scratch = make_scratch(max(spots.shape[2], spots.shape[3]), oversampling)
    for n in range(x.size):
        spline_spot(weights, oversampling, x[n], y[n], z[n], spots[n], scratch)
