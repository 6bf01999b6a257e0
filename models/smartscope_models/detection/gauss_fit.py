"""Where exactly a spot is, how wide and how bright: a weighted least-squares fit of one Gaussian on a flat background.

Levenberg-Marquardt on (x, y, sigma, amplitude, background) with weights 1 / variance of the camera at the fitted level,
renewed each iteration: close to maximum likelihood above a few photo-electrons (Mortensen et al., Nat Methods 7:377,
2010).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

ITERATIONS = 12
CONVERGED_PX = 4e-3
LONELY = 0.4
"""Neighbours' light, over what it would be around a spot centred here, below which a pixel is merely hot."""


@njit(nogil=True, cache=True, error_model="numpy")
def _normal_equations(data, left, top, f, excess, read, matrix, vector):  # type: ignore[no-untyped-def]
    """Fill J'WJ (5, 5) and J'Wr (5,) at parameters f; returns r'Wr."""
    size = data.shape[0]
    inverse = 1 / (f[2] * f[2])
    matrix[:] = 0
    vector[:] = 0
    chi2 = 0.0
    gx, derivative = np.empty(size), np.empty(5)
    for j in range(size):
        gx[j] = math.exp(-0.5 * (left + j - f[0]) ** 2 * inverse)
    for i in range(size):
        dy = top + i - f[1]
        gy = math.exp(-0.5 * dy * dy * inverse)
        for j in range(size):
            dx = left + j - f[0]
            g = gx[j] * gy
            model = f[3] * g + f[4]
            weight = 1 / (excess * abs(model) + read + 0.1)
            residual = data[i, j] - model
            chi2 += weight * residual * residual
            derivative[0] = f[3] * g * dx * inverse
            derivative[1] = f[3] * g * dy * inverse
            derivative[2] = f[3] * g * (dx * dx + dy * dy) * inverse / f[2]
            derivative[3] = g
            derivative[4] = 1.0
            for a in range(5):
                vector[a] += weight * derivative[a] * residual
                for b in range(a + 1):
                    matrix[a, b] += weight * derivative[a] * derivative[b]
    return chi2


@njit(nogil=True, cache=True, error_model="numpy")
def _solve(matrix, vector, damping, step):  # type: ignore[no-untyped-def]
    """Cholesky solution of (A + damping · diag A) step = vector; False if A is not positive."""
    lower = np.zeros((5, 5))
    for a in range(5):
        for b in range(a + 1):
            total = matrix[a, b] * (1 + damping) if a == b else matrix[a, b]
            for k in range(b):
                total -= lower[a, k] * lower[b, k]
            if a == b:
                if not total > 1e-12:
                    return False
                lower[a, a] = math.sqrt(total)
            else:
                lower[a, b] = total / lower[b, b]
    for a in range(5):
        total = vector[a]
        for k in range(a):
            total -= lower[a, k] * step[k]
        step[a] = total / lower[a, a]
    for a in range(4, -1, -1):
        total = step[a]
        for k in range(a + 1, 5):
            total -= lower[k, a] * step[k]
        step[a] = total / lower[a, a]
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _fit(data, left, top, f, sigma, excess, read):  # type: ignore[no-untyped-def]
    """Improve f = (x, y, sigma, amplitude, background) in place; False if it ran away."""
    matrix, vector, step, trial = np.empty((5, 5)), np.empty(5), np.empty(5), np.empty(5)
    x0, y0 = f[0], f[1]
    damping = 0.003
    chi2 = _normal_equations(data, left, top, f, excess, read, matrix, vector)
    for _ in range(ITERATIONS):
        if not _solve(matrix, vector, damping, step):
            return False
        trial[:] = f + step
        trial[2] = min(max(trial[2], 0.3 * sigma), 4 * sigma)
        if abs(trial[0] - x0) > 2 * sigma + 1 or abs(trial[1] - y0) > 2 * sigma + 1:
            return False
        better = _normal_equations(data, left, top, trial, excess, read, matrix, vector)
        moved = abs(trial[0] - f[0]) + abs(trial[1] - f[1])
        f[:] = trial
        damping = damping * 0.2 if better < chi2 else damping * 4 + 0.01
        chi2 = better
        if moved < CONVERGED_PX:
            break
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _is_single_pixel(data, row, column, background, sigma):  # type: ignore[no-untyped-def]
    """Whether the four neighbours are far darker than the optics allow: a hot pixel, not a spot."""
    total, count = 0.0, 0
    for i, j in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
        if 0 <= i < data.shape[0] and 0 <= j < data.shape[1]:
            total += data[i, j] - background
            count += 1
    expected = math.exp(-0.5 / (sigma * sigma)) * (data[row, column] - background)
    return total / max(count, 1) < LONELY * expected


@njit(nogil=True, cache=True, error_model="numpy")
def fit_spots(pixels, offset, gain, places, sign, sigma, radius, excess, read, out):  # type: ignore[no-untyped-def]
    """Fit a spot at each (row, column) of places (K, 2) in the raw frame; x, y, sigma, sum in electrons → out (K, 4).

    A hot pixel, and a fit that ran away, give NaN. ``sign`` is -1 for dark spots; excess, read: F² and r².
    """
    height, width = pixels.shape
    size = min(2 * radius + 1, height, width)
    data, f = np.empty((size, size)), np.empty(5)
    for k in range(len(places)):
        top = min(max(places[k, 0] - radius, 0), height - size)
        left = min(max(places[k, 1] - radius, 0), width - size)
        edge = 0.0
        for i in range(size):
            for j in range(size):
                y, x = top + i, left + j
                data[i, j] = sign * (pixels[y, x] - offset[y, x]) * gain[y, x]
                if i == 0 or j == 0 or i == size - 1 or j == size - 1:
                    edge += data[i, j]
        f[0], f[1], f[2] = places[k, 1], places[k, 0], sigma
        f[4] = edge / (4 * size - 4)
        f[3] = max(data[places[k, 0] - top, places[k, 1] - left] - f[4], 1.0)
        alone = _is_single_pixel(data, places[k, 0] - top, places[k, 1] - left, f[4], sigma)
        good = not alone and _fit(data, left, top, f, sigma, excess, read) and f[3] > 0
        out[k, 0] = f[0] if good else np.nan
        out[k, 1], out[k, 2], out[k, 3] = f[1], f[2], 2 * math.pi * f[3] * f[2] * f[2]
