"""Spots of their own, fitted in batches at the physical limit: round Gaussians of known or free width.

Fisher scoring (the Newton step with expected curvature), damped as Levenberg and Marquardt do where a step was worse
than promised. Start, step bounds and stopping rule are those of a fit that was measured to reach the Cramér-Rao bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope_models.calibration import Floats
from smartscope_models.localization.fit_kernels import (
    FAINTEST,
    deviance_and_chi2,
    factorise,
    inverse_diagonal,
    normal_4,
    normal_5,
    profile,
    solve,
    widths,
)

Doubles = npt.NDArray[np.float64]
ITERATIONS = 20
CONVERGED_PX = 1e-4
LONGEST_STEP_PX = 0.7
STRAY = 1.5
"""Widths from its start beyond which a fit has left its spot."""
REACH = 4.0
"""Half the window's side over the spot's width: with less, the background is known less well than it could be."""


@dataclass(frozen=True, slots=True, eq=False)
class Fits:
    """What came out for K spots; columns of length K in pixels and shots, NaN where a fit ran away."""

    values: Doubles
    """(K, 5): x, y, N, b, and the width (pixels) or height (nm)."""
    errors: Doubles
    """(K, 5): Cramér-Rao bounds of these at the values found, one standard error; 0 for what was held fixed."""
    deviance: Doubles
    """Twice the log-likelihood ratio against a model that fits every pixel."""
    misfit: Doubles
    """Pearson's chi-square over its degrees of freedom: the deviance to second order, and unlike the deviance's own
    its expectation for a right model is 1 however few the photons."""
    iterations: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)


def window_radius(sigma_px: float) -> int:
    """Pixels on each side of a spot that a fit of its own looks at."""
    return math.ceil(REACH * sigma_px)


@njit(nogil=True, cache=True, error_model="numpy")
def bound_step(f, step, curve):  # type: ignore[no-untyped-def]
    """Shorten a step (4 or 5,) where it would leave the region in which the quadratic model can be right."""
    for a in range(2):
        step[a] = min(max(step[a], -LONGEST_STEP_PX), LONGEST_STEP_PX)
    step[2] = min(max(step[2], -0.7 * f[2]), 2 * f[2] + 1)
    step[3] = min(max(step[3], -0.7 * f[3] - 1), 2 * f[3] + 1)
    if len(step) > 4:
        longest = 0.25 * (curve[5] - curve[4])
        step[4] = min(max(step[4], -longest), longest)


@njit(nogil=True, cache=True, error_model="numpy")
def workspace(side, count):  # type: ignore[no-untyped-def]
    """Profiles across and down (3, side) each, Fisher information (count, count) and score (count,), overwritten."""
    return np.empty((3, side)), np.empty((3, side)), np.empty((count, count)), np.empty(count)


@njit(nogil=True, cache=True, error_model="numpy")
def cut(work, width, height):  # type: ignore[no-untyped-def]
    """The same memory for a window of this size."""
    return work[0][:, :width], work[1][:, :height], work[2], work[3]


@njit(nogil=True, cache=True, error_model="numpy")
def _normal(light, read, left, top, f, curve, work):  # type: ignore[no-untyped-def]
    across, down, matrix, vector = work
    sx, sy, slope_x, slope_y = widths(f[4], curve)
    profile(left, f[0], sx, across[0], across[1], across[2])
    profile(top, f[1], sy, down[0], down[1], down[2])
    if len(vector) == 4:
        normal_4(light, read, f, across, down, matrix, vector)
    else:
        normal_5(light, read, f, slope_x, slope_y, across, down, matrix, vector)


@njit(nogil=True, cache=True, error_model="numpy")
def climb(light, read, left, top, f, curve, limit, work):  # type: ignore[no-untyped-def]
    """Improve f (5,) in place on light, read (h, w), the pixels from (left, top) on; work: see :func:`workspace`.

    Returns the number of iterations, negative where the fit ran away.
    """
    matrix, vector = work[2], work[3]
    count = len(vector)
    x0, y0 = f[0], f[1]
    sx, sy = widths(f[4], curve)[:2]
    stray = STRAY * max(sx, sy)
    step, lower = np.empty(count), np.empty((count, count))
    damping, promise = 0.0, np.inf
    for iteration in range(1, limit + 1):
        _normal(light, read, left, top, f, curve, work)
        if not factorise(matrix, damping, lower):
            damping = 10 * damping + 1e-3
            if damping > 1e3:
                return -iteration
            continue
        solve(lower, vector, step)
        promised = 0.0
        for a in range(count):
            promised += step[a] * vector[a]
        damping = 0.2 * damping if promised < promise else 4 * damping + 0.01
        promise = promised
        bound_step(f, step, curve)
        for a in range(count):
            f[a] += step[a]
        f[2], f[3] = max(f[2], 1.0), max(f[3], FAINTEST)
        if count > 4:
            f[4] = min(max(f[4], curve[4]), curve[5])
        if not abs(f[0] - x0) + abs(f[1] - y0) < 2 * stray:
            return -iteration
        if abs(step[0]) + abs(step[1]) < CONVERGED_PX and promised < 1e-3:
            break
    return iteration


@njit(nogil=True, cache=True, error_model="numpy")
def start_values(light, f):  # type: ignore[no-untyped-def]
    """N and b (f[2], f[3]) from the window's sum and its rim."""
    height, width = light.shape
    rim, total = 0.0, 0.0
    for i in range(height):
        for j in range(width):
            total += light[i, j]
            if i == 0 or j == 0 or i == height - 1 or j == width - 1:
                rim += light[i, j]
    f[3] = max(rim / (2 * (height + width) - 4), 0.1)
    f[2] = max(total - f[3] * height * width, 10.0)


@njit(nogil=True, cache=True, error_model="numpy")
def finish(light, read, left, top, f, curve, iterations, work, row):  # type: ignore[no-untyped-def]
    """Write values, errors, deviance, misfit, iterations into row (13,); NaN for a fit that ran away."""
    across, down, matrix, vector = work
    count = len(vector)
    lower, column, variance = np.empty((count, count)), np.empty(count), np.empty(count)
    good = iterations > 0
    if good:
        _normal(light, read, left, top, f, curve, work)
        good = factorise(matrix, 0.0, lower)
    if not good:
        row[:12] = np.nan
        row[12] = abs(iterations)
        return
    inverse_diagonal(lower, column, variance)
    deviance, chi2 = deviance_and_chi2(light, read, f, across, down)
    row[:5] = f
    row[5:10] = 0
    for a in range(count):
        row[5 + a] = math.sqrt(variance[a])
    row[10] = deviance
    row[11] = chi2 / max(light.size - count, 1)
    row[12] = iterations


@njit(nogil=True, cache=True, error_model="numpy")
def window(image, x, y, radius):  # type: ignore[no-untyped-def]
    """The first and last + 1 column and row of the window around (x, y), cut at the frame's edges."""
    height, width = image.shape
    column, row = math.floor(x + 0.5), math.floor(y + 0.5)
    left, right = max(column - radius, 0), min(column + radius + 1, width)
    return left, right, max(row - radius, 0), min(row + radius + 1, height)


@njit(nogil=True, cache=True, error_model="numpy")
def _fit_round(light, read, places, sigma, radius, count, curve, out):  # type: ignore[no-untyped-def]
    whole, f = workspace(2 * radius + 1, count), np.empty(5)
    for k in range(len(places)):
        left, right, top, bottom = window(light, places[k, 0], places[k, 1], radius)
        if right - left < 3 or bottom - top < 3:
            out[k] = np.nan
            out[k, 12] = 0
            continue
        data, noise = light[top:bottom, left:right], read[top:bottom, left:right]
        work = cut(whole, right - left, bottom - top)
        f[0], f[1], f[4] = places[k, 0], places[k, 1], sigma
        start_values(data, f)
        steps = climb(data, noise, left, top, f, curve, ITERATIONS, work)
        finish(data, noise, left, top, f, curve, steps, work, out[k])


def fit_round(
    light: Floats,
    read: Floats,
    places: Doubles,
    sigma_px: float,
    *,
    radius: int | None = None,
    width_free: bool = False,
    threads: int = 1,
) -> Fits:
    """Fit a spot at each place of one frame.

    Args:
        light: (H, W) float32, shots (see :mod:`smartscope_models.localization.shots`).
        read: (H, W) float32, read variance, shots².
        places: (K, 2) float64, x and y within about a width of the spot, pixels.
        sigma_px: the width, or where it is free its start; it is sought between 0.4 and 3 times this.
        radius: of the square window; None: four widths, where its bound is the evaluator's within half a percent.
        width_free: fit the width too.
        threads: work on so many parts at once; the kernel holds no interpreter lock.
    """
    radius = window_radius(sigma_px) if radius is None else radius
    count = 5 if width_free else 4
    curve = np.array([0.0, sigma_px, 0.0, 1.0, 0.4 * sigma_px, 3 * sigma_px])

    def part(some: Doubles, out: Doubles) -> None:
        _fit_round(light, read, some, sigma_px, radius, count, curve, out)

    return in_parts(part, places, threads)


def in_parts(part: Callable[[Doubles, Doubles], None], places: Doubles, threads: int) -> Fits:
    """Run ``part(places, out)`` on as many shares of ``places`` as there are threads."""
    out = np.empty((len(places), 13))
    if threads == 1 or len(places) < 2 * threads:
        part(places, out)
    else:
        edges = np.linspace(0, len(places), threads + 1).astype(int)
        shares = [(places[a:b], out[a:b]) for a, b in pairwise(edges)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda share: part(*share), shares))
    return Fits(out[:, :5], out[:, 5:10], out[:, 10], out[:, 11], out[:, 12].astype(np.int64))
