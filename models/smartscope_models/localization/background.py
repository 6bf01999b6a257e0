"""Light that is no molecule's: a smooth map, first from the darker pixels, then from what the spots leave over."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.localization.fit_kernels import FAINTEST

CELL_PX = 16
"""Distance of the map's knots."""
DARK = 0.25
"""Quantile of a cell's pixels that a start is made from: three quarters may be lit."""
CLIP = 4.0
"""Standard deviations beyond which a pixel says no more: there may be a spot that nobody has found yet."""


@njit(nogil=True, cache=True, error_model="numpy")
def knots(length):  # type: ignore[no-untyped-def]
    """How many cells lie along an axis."""
    return max(1, (length + CELL_PX // 2) // CELL_PX)


@njit(nogil=True, cache=True, error_model="numpy")
def _spread_out(cells, out):  # type: ignore[no-untyped-def]
    """Add the bilinear surface through the cells' centres to out (H, W)."""
    rows, columns = cells.shape
    height, width = out.shape
    for i in range(height):
        v = min(max((i + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
        a = min(int(v), max(rows - 2, 0))
        b, fy = min(a + 1, rows - 1), v - a
        for j in range(width):
            u = min(max((j + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
            c = min(int(u), max(columns - 2, 0))
            d, fx = min(c + 1, columns - 1), u - c
            upper = cells[a, c] + fx * (cells[a, d] - cells[a, c])
            lower = cells[b, c] + fx * (cells[b, d] - cells[b, c])
            out[i, j] += np.float32(upper + fy * (lower - upper))


@njit(nogil=True, cache=True, error_model="numpy")
def first_background(light, read, out):  # type: ignore[no-untyped-def]
    """out (H, W): a smooth level that suits the darker quarter of each cell's pixels."""
    height, width = light.shape
    rows, columns = knots(height), knots(width)
    cells = np.empty((rows, columns))
    for r in range(rows):
        a, b = r * height // rows, (r + 1) * height // rows
        for c in range(columns):
            left, right = c * width // columns, (c + 1) * width // columns
            some = np.sort(light[a:b, left:right].copy().ravel())
            level = max(float(some[int(DARK * (len(some) - 1))]), 0.0)
            cells[r, c] = max(level + 0.67 * math.sqrt(level + read[a:b, left:right].min()), 0.05)
    for i in range(height):
        out[i] = 0
    _spread_out(cells, out)


@njit(nogil=True, cache=True, error_model="numpy")
def _left_over(field, score, weight):  # type: ignore[no-untyped-def]
    """Fill score and information of each cell's level, (rows, columns)."""
    height, width = field.light.shape
    rows, columns = score.shape
    for i in range(height):
        r = i * rows // height
        for j in range(width):
            mean = max(field.model[i, j], np.float32(FAINTEST))
            limit = np.float32(CLIP) * np.sqrt(mean)
            rest = min(max(field.light[i, j] + field.read[i, j] - mean, -limit), limit)
            score[r, j * columns // width] += rest / mean
            weight[r, j * columns // width] += 1 / mean


@njit(nogil=True, cache=True, error_model="numpy")
def refine_background(field):  # type: ignore[no-untyped-def]
    """Move the background, and with it the model, by one scoring step of the map's cells, shrunk towards their mean.

    Shrunk by as much as their scatter is no more than noise makes (James & Stein, as empirical Bayes: Efron & Morris,
    J Am Stat Assoc 68:117, 1973): a flat background comes out as well known as the whole frame can tell it.
    """
    background = field.background
    height, width = background.shape
    rows, columns = knots(height), knots(width)
    score, weight, cells = np.zeros((rows, columns)), np.zeros((rows, columns)), np.empty((rows, columns))
    _left_over(field, score, weight)
    for r in range(rows):
        middle = (2 * r + 1) * height // (2 * rows)
        for c in range(columns):
            cells[r, c] = background[middle, (2 * c + 1) * width // (2 * columns)] + score[r, c] / weight[r, c]
    mean = (cells * weight).sum() / weight.sum()
    scatter, noise = ((cells - mean) ** 2).sum() / max(cells.size - 1, 1), (1 / weight).mean()
    texture = max(scatter - noise, 0.0)
    for r in range(rows):
        middle = (2 * r + 1) * height // (2 * rows)
        for c in range(columns):
            own = background[middle, (2 * c + 1) * width // (2 * columns)]
            target = mean + (cells[r, c] - mean) * texture / (texture + 1 / weight[r, c])
            cells[r, c] = max(target, 0.3 * own) - own
    _spread_out(cells, field.model)
    _spread_out(cells, background)
