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


@njit(nogil=True, cache=True, inline="always")
def cubic_weights(t: float, weights: Any, slopes: Any) -> None:
    """Fill in the four B-splines that reach a cell, and their slopes, at 0 <= t <= 1 inside it; both (4,)."""
    s = 1.0 - t
    weights[0] = s * s * s / 6
    weights[1] = (4 + 3 * t * t * (t - 2)) / 6
    weights[2] = (4 + 3 * s * s * (s - 2)) / 6
    weights[3] = t * t * t / 6
    slopes[0] = -s * s / 2
    slopes[1] = t * (3 * t - 4) / 2
    slopes[2] = -s * (3 * s - 4) / 2
    slopes[3] = t * t / 2


@njit(nogil=True, cache=True)
def make_scratch(pixels: int, oversampling: int) -> Any:
    """Work space for spots of ``pixels`` on their longer side, one for each thread; (3, n, n) float64."""
    n = oversampling * (pixels - 1) + 4
    return np.zeros((3, n, n))


@njit(nogil=True, cache=True)
def spline_spot(weights: Any, oversampling: int, x: float, y: float, z: float, spot: Any, scratch: Any) -> None:
    """Fill ``spot`` (4, H, W) with value, slope by x, by y and by z of one molecule of unit light.

    ``weights`` (Z + 2, Y + 2, X + 2): of the B-splines; that of node (k, j, i) at [k + 1, j + 1, i + 1]. x, y: place
    in pixels, (0, 0) the centre of the top-left pixel; z: height in nodes, held within 0 .. Z - 1. Slopes are per pixel
    and per node. Beyond the nodes the light fades to nothing. ``scratch``: from ``make_scratch``.
    """
    height, width = spot.shape[1], spot.shape[2]
    u = 0.5 * (weights.shape[2] - 3) - oversampling * x
    v = 0.5 * (weights.shape[1] - 3) - oversampling * y
    left, top = math.floor(u), math.floor(v)
    rows, columns = oversampling * (height - 1) + 4, oversampling * (width - 1) + 4
    plane, plane_by_z, lines = scratch[0], scratch[1], scratch[2]
    _sum_heights(weights, z, top, left, plane[:rows, :columns], plane_by_z[:rows, :columns])
    down, down_slope, along, along_slope = np.empty(4), np.empty(4), np.empty(4), np.empty(4)
    cubic_weights(v - top, down, down_slope)
    cubic_weights(u - left, along, along_slope)
    for row in range(height):
        j = oversampling * row
        _sum_rows(plane, j, columns, down, lines[0])
        _sum_rows(plane, j, columns, down_slope, lines[1])
        _sum_rows(plane_by_z, j, columns, down, lines[2])
        _sum_columns(lines[0], oversampling, along, 1.0, spot[0, row])
        _sum_columns(lines[0], oversampling, along_slope, -oversampling, spot[1, row])
        _sum_columns(lines[1], oversampling, along, -oversampling, spot[2, row])
        _sum_columns(lines[2], oversampling, along, 1.0, spot[3, row])


@njit(nogil=True, cache=True)
def _sum_heights(weights: Any, z: float, top: int, left: int, plane: Any, plane_by_z: Any) -> None:
    """Weights of the plane at z, and how they change with it, for the nodes from (top, left) on."""
    deep, tall, wide = weights.shape
    z = min(max(z, 0.0), deep - 3.0)
    k = min(int(z), deep - 4)
    up, up_slope = np.empty(4), np.empty(4)
    cubic_weights(z - k, up, up_slope)
    first, last = max(0, -left), min(plane.shape[1], wide - left)
    plane[:] = 0.0
    plane_by_z[:] = 0.0
    for j in range(max(0, -top), min(plane.shape[0], tall - top)):
        for i in range(first, last):
            a, b = weights[k, top + j, left + i], weights[k + 1, top + j, left + i]
            c, d = weights[k + 2, top + j, left + i], weights[k + 3, top + j, left + i]
            plane[j, i] = up[0] * a + up[1] * b + up[2] * c + up[3] * d
            plane_by_z[j, i] = up_slope[0] * a + up_slope[1] * b + up_slope[2] * c + up_slope[3] * d


@njit(nogil=True, cache=True, inline="always")
def _sum_rows(plane: Any, j: int, columns: int, down: Any, line: Any) -> None:
    for i in range(columns):
        line[i] = (
            down[0] * plane[j, i] + down[1] * plane[j + 1, i] + down[2] * plane[j + 2, i] + down[3] * plane[j + 3, i]
        )


@njit(nogil=True, cache=True, inline="always")
def _sum_columns(line: Any, step: int, along: Any, scale: float, out: Any) -> None:
    for column in range(out.size):
        i = step * column
        out[column] = scale * (
            along[0] * line[i] + along[1] * line[i + 1] + along[2] * line[i + 2] + along[3] * line[i + 3]
        )


@njit(nogil=True, cache=True)
def spline_spots(weights: Any, oversampling: int, x: Any, y: Any, z: Any, spots: Any) -> None:
    """``spline_spot`` for each of N molecules: x, y, z (N,), ``spots`` (N, 4, H, W)."""
    scratch = make_scratch(max(spots.shape[2], spots.shape[3]), oversampling)
    for n in range(x.size):
        spline_spot(weights, oversampling, x[n], y[n], z[n], spots[n], scratch)
