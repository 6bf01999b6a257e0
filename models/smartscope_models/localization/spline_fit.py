"""Height from a measured point spread function: fits of (x, y, N, b, z) on a cubic spline, from the best of several z.

The likelihood of an arbitrary point spread function may have a maximum near many heights, so that a few starts are
climbed a few steps each, and the likeliest of them to the top, in a window that holds the spot at that height.
Babcock, Zhuang, Scientific Reports 7 (2017) 552; Li et al., Nature Methods 15 (2018) 367.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope.optics.point_spread.spline_kernels import make_scratch, spline_spot
from smartscope_models.calibration import Floats
from smartscope_models.localization.fit import (
    CONVERGED_PX,
    ITERATIONS,
    Doubles,
    Fits,
    bound_step,
    in_parts,
    start_values,
    window,
)
from smartscope_models.localization.fit_kernels import FAINTEST, factorise, inverse_diagonal, solve

BETWEEN_STARTS_NM = 250.0
FIRST_STEPS = 2
HELD = 0.99
"""Part of the light at its height that the window holds, before one pixel more on each side."""
MARGIN = 1.15
"""Heights up to so many ranges are allowed, so that the error of a spot at the end of the range is not cut off."""
CONVERGED = 1e-3
"""Likelihood still promised by a step."""


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _normal(light, read, f, spot, matrix, vector):  # type: ignore[no-untyped-def]
    """Fisher information (5, 5), lower half, and score (5,) at f for light, read (h, w), spot (4, h, w)."""
    number, background = f[2], f[3]
    matrix[:] = 0
    vector[:] = 0
    for i in range(light.shape[0]):
        xx = yx = yy = px = py = pp = bx = by = bp = bb = zx = zy = zp = zb = zz = rx = ry = rp = rb = rz = 0.0
        for j in range(light.shape[1]):
            p, x, y, z = spot[0, i, j], spot[1, i, j], spot[2, i, j], spot[3, i, j]
            w = 1 / max(number * p + background + read[i, j], FAINTEST)
            r = (light[i, j] + read[i, j]) * w - 1
            wx, wy, wz, wp = w * x, w * y, w * z, w * p
            xx += wx * x
            yx += wx * y
            yy += wy * y
            px += wx * p
            py += wy * p
            pp += wp * p
            bx += wx
            by += wy
            bp += wp
            bb += w
            zx += wx * z
            zy += wy * z
            zp += wz * p
            zb += wz
            zz += wz * z
            rx += r * x
            ry += r * y
            rp += r * p
            rb += r
            rz += r * z
        matrix[0, 0] += number * number * xx
        matrix[1, 0] += number * number * yx
        matrix[1, 1] += number * number * yy
        matrix[2, 0] += number * px
        matrix[2, 1] += number * py
        matrix[2, 2] += pp
        matrix[3, 0] += number * bx
        matrix[3, 1] += number * by
        matrix[3, 2] += bp
        matrix[3, 3] += bb
        matrix[4, 0] += number * number * zx
        matrix[4, 1] += number * number * zy
        matrix[4, 2] += number * zp
        matrix[4, 3] += number * zb
        matrix[4, 4] += number * number * zz
        vector[0] += number * rx
        vector[1] += number * ry
        vector[2] += rp
        vector[3] += rb
        vector[4] += number * rz


@njit(nogil=True, cache=True, error_model="numpy")
def _paint(f, left, top, psf, spot, scratch):  # type: ignore[no-untyped-def]
    """Unit light and its slopes at f, in the window from (left, top) on; by nm of height."""
    weights, oversampling, low, step = psf
    spline_spot(weights, oversampling, f[0] - left, f[1] - top, (f[4] - low) / step, spot, scratch)
    spot[3] /= step


@njit(nogil=True, cache=True, error_model="numpy")
def _climb(light, read, left, top, f, psf, curve, limit, work):  # type: ignore[no-untyped-def]
    """Improve f (5,) in place, as ``fit.climb`` does; the number of iterations, negative where the fit ran away."""
    spot, scratch, matrix, vector = work
    x0, y0, stray = f[0], f[1], float(light.shape[0])
    step, lower = np.empty(5), np.empty((5, 5))
    damping, promise = 0.0, np.inf
    for iteration in range(1, limit + 1):
        _paint(f, left, top, psf, spot, scratch)
        _normal(light, read, f, spot, matrix, vector)
        if not factorise(matrix, damping, lower):
            damping = 10 * damping + 1e-3
            if damping > 1e3:
                return -iteration
            continue
        solve(lower, vector, step)
        promised = 0.0
        for a in range(5):
            promised += step[a] * vector[a]
        damping = 0.2 * damping if promised < promise else 4 * damping + 0.01
        promise = promised
        bound_step(f, step, curve)
        for a in range(5):
            f[a] += step[a]
        f[2], f[3] = max(f[2], 1.0), max(f[3], FAINTEST)
        f[4] = min(max(f[4], curve[4]), curve[5])
        if not abs(f[0] - x0) + abs(f[1] - y0) < stray:
            return -iteration
        if abs(step[0]) + abs(step[1]) < CONVERGED_PX and promised < CONVERGED:
            break
    return iteration


@njit(nogil=True, cache=True, error_model="numpy")
def _deviance_and_chi2(light, read, f, spot):  # type: ignore[no-untyped-def]
    """As ``fit_kernels.deviance_and_chi2``, of a painted spot."""
    deviance, chi2 = 0.0, 0.0
    for i in range(light.shape[0]):
        for j in range(light.shape[1]):
            mean = max(f[2] * spot[0, i, j] + f[3] + read[i, j], FAINTEST)
            data = light[i, j] + read[i, j]
            chi2 += (data - mean) ** 2 / mean
            deviance += 2 * (mean - data + data * math.log(data / mean)) if data > 0 else 2 * mean
    return deviance, chi2


@njit(nogil=True, cache=True, error_model="numpy")
def _best_start(light, read, left, top, f, psf, curve, starts, work):  # type: ignore[no-untyped-def]
    """Put the likeliest of the first climbs into f (5,)."""
    spot, scratch, _, _ = work
    trial, start, best = np.empty(5), f.copy(), np.inf
    for z in starts:
        trial[:] = start
        trial[4] = z
        _climb(light, read, left, top, trial, psf, curve, FIRST_STEPS, work)
        if not abs(trial[0]) + abs(trial[1]) + trial[2] < np.inf:
            continue
        _paint(trial, left, top, psf, spot, scratch)
        deviance = _deviance_and_chi2(light, read, trial, spot)[0]
        if deviance < best:
            best = deviance
            f[:] = trial


@njit(nogil=True, cache=True, error_model="numpy")
def _finish(light, read, left, top, f, psf, iterations, work, row):  # type: ignore[no-untyped-def]
    """Write values, errors, deviance, misfit, iterations into row (13,); NaN for a fit that ran away."""
    spot, scratch, matrix, vector = work
    lower, column, variance = np.empty((5, 5)), np.empty(5), np.empty(5)
    row[:12] = np.nan
    row[12] = abs(iterations)
    if iterations < 0:
        return
    _paint(f, left, top, psf, spot, scratch)
    _normal(light, read, f, spot, matrix, vector)
    if not factorise(matrix, 0.0, lower):
        return
    inverse_diagonal(lower, column, variance)
    row[:5] = f
    row[5:10] = np.sqrt(variance)
    row[10], row[11] = _deviance_and_chi2(light, read, f, spot)
    row[11] /= max(light.size - 5, 1)


@njit(nogil=True, cache=True, error_model="numpy")
def _cut(light, read, left, right, top, bottom, memory):  # type: ignore[no-untyped-def]
    """Light, read (h, w) of a window and space for its spot (4, h, w), each in one piece, which is worth 2x in time."""
    height, width = bottom - top, right - left
    pieces = memory[: 6 * height * width].reshape((6, height, width))
    pieces[0] = light[top:bottom, left:right]
    pieces[1] = read[top:bottom, left:right]
    return pieces[0], pieces[1], pieces[2:]


@njit(nogil=True, cache=True, error_model="numpy")
def _fit(light, read, places, psf, radii, curve, starts, out):  # type: ignore[no-untyped-def]
    side = 2 * radii.max() + 1
    memory, scratch = np.empty(6 * side * side), make_scratch(side, psf[1])
    f, matrix, vector = np.empty(5), np.empty((5, 5)), np.empty(5)
    for k in range(len(places)):
        f[0], f[1], f[4] = places[k, 0], places[k, 1], 0.5 * (curve[4] + curve[5])
        radius = radii[len(radii) // 2]
        for last in (False, True):
            left, right, top, bottom = window(light, f[0], f[1], radius)
            if right - left < 4 or bottom - top < 4:
                out[k, :12] = np.nan
                out[k, 12] = 0
                break
            data, noise, spot = _cut(light, read, left, right, top, bottom, memory)
            work = spot, scratch, matrix, vector
            if last:
                steps = _climb(data, noise, left, top, f, psf, curve, ITERATIONS, work)
                _finish(data, noise, left, top, f, psf, steps, work, out[k])
            else:
                start_values(data, f)
                _best_start(data, noise, left, top, f, psf, curve, starts, work)
                radius = radii[min(max(round((f[4] - psf[2]) / psf[3]), 0), len(radii) - 1)]


@njit(nogil=True, cache=True, error_model="numpy")
def _shine(f, psf, radii, sign, memory, scratch, lit):  # type: ignore[no-untyped-def]
    """Add ``sign`` times the light of the molecule f (5,), without its background, to lit (H, W)."""
    radius = radii[min(max(round((f[4] - psf[2]) / psf[3]), 0), len(radii) - 1)]
    left, right, top, bottom = window(lit, f[0], f[1], radius)
    height, width = bottom - top, right - left
    if height < 1 or width < 1:
        return
    spot = memory[: 4 * height * width].reshape((4, height, width))
    _paint(f, left, top, psf, spot, scratch)
    for i in range(height):
        for j in range(width):
            lit[top + i, left + j] += np.float32(sign * f[2] * max(spot[0, i, j], 0.0))


@njit(nogil=True, cache=True, error_model="numpy")
def _sweep(light, read, rows, lit, psf, radii, curve, starts, first):  # type: ignore[no-untyped-def]
    side = 2 * radii.max() + 1
    memory, scratch = np.empty(6 * side * side), make_scratch(side, psf[1])
    f, matrix, vector = np.empty(5), np.empty((5, 5)), np.empty(5)
    for k in range(len(rows)):
        _shine(rows[k], psf, radii, -1.0, memory, scratch, lit)
        f[:] = rows[k, :5]
        radius = radii[min(max(round((f[4] - psf[2]) / psf[3]), 0), len(radii) - 1)]
        left, right, top, bottom = window(light, f[0], f[1], radius)
        if right - left < 4 or bottom - top < 4:
            rows[k, 5:] = np.nan
            continue
        data, noise, spot = _cut(light, read, left, right, top, bottom, memory)
        data -= lit[top:bottom, left:right]
        noise += lit[top:bottom, left:right]
        work = spot, scratch, matrix, vector
        if k >= first:
            _best_start(data, noise, left, top, f, psf, curve, starts, work)
        steps = _climb(data, noise, left, top, f, psf, curve, ITERATIONS, work)
        if steps > 0:
            _finish(data, noise, left, top, f, psf, steps, work, rows[k])
        else:
            rows[k, 5:] = np.nan
        _shine(rows[k], psf, radii, 1.0, memory, scratch, lit)


@lru_cache(maxsize=4)
def window_radii(spline: SplinePointSpread) -> npt.NDArray[np.int64]:
    """Half the side of the window, pixels, for each of the spline's planes (Z,)."""
    samples = np.abs(spline.samples())
    y, x = (np.abs(np.arange(n) - (n - 1) / 2) / spline.oversampling for n in samples.shape[1:])
    away = np.maximum(y[:, None], x)
    rings = np.arange(1, math.ceil(away.max()) + 1)
    held = np.stack([(samples * (away <= ring)).sum(axis=(1, 2)) for ring in rings]) / samples.sum(axis=(1, 2))
    return np.asarray(rings[np.argmax(held >= HELD, axis=0)] + 1)


def heights_within(spline: SplinePointSpread, range_nm: float | None) -> tuple[float, float]:
    """Lowest and highest height looked for: ``MARGIN`` of the range, as far as the spline reaches; None: all."""
    low, high = spline.range_nm
    return (low, high) if range_nm is None else (max(low, -MARGIN * range_nm), min(high, MARGIN * range_nm))


def start_heights(low_nm: float, high_nm: float) -> Doubles:
    """(S,): heights near enough to every other one for a climb from there to the likeliest, nm."""
    count = math.ceil((high_nm - low_nm) / BETWEEN_STARTS_NM)
    return np.asarray(low_nm + (high_nm - low_nm) * (np.arange(count) + 0.5) / count)


def _setting(
    spline: SplinePointSpread, range_nm: float | None
) -> tuple[tuple[Doubles, int, float, float], Doubles, Doubles]:
    """What the kernels know the spline by; bounds of the height; heights to start from."""
    low, high = heights_within(spline, range_nm)
    psf = spline.weights, spline.oversampling, float(spline.low_nm), float(spline.step_nm)
    return psf, np.array([0.0, 0.0, 0.0, 0.0, low, high]), start_heights(low, high)


def fit_spline(
    light: Floats,
    read: Floats,
    places: Doubles,
    spline: SplinePointSpread,
    *,
    range_nm: float | None = None,
    threads: int = 1,
) -> Fits:
    """Fit a molecule at each place of one frame; the last of the values is z in nm.

    Args:
        light: (H, W) float32, shots (see :mod:`smartscope_models.localization.shots`).
        read: (H, W) float32, read variance, shots².
        places: (K, 2) float64, x and y within about two pixels of the molecule, pixels.
        spline: the point spread function.
        range_nm: heights from minus to plus ``MARGIN`` of this are looked for, as far as the spline reaches; None: all.
        threads: work on so many parts at once; the kernel holds no interpreter lock.
    """
    psf, curve, starts = _setting(spline, range_nm)
    radii = window_radii(spline)

    def part(some: Doubles, out: Doubles) -> None:
        _fit(light, read, some, psf, radii, curve, starts, out)

    return in_parts(part, places, threads)


def fit_in_turn(
    light: Floats,
    read: Floats,
    rows: Doubles,
    lit: Floats,
    spline: SplinePointSpread,
    *,
    range_nm: float | None = None,
    first: int = 0,
) -> None:
    """Fit each molecule of one frame once more, beside the light of all others as it is known so far.

    Known light is added to the read variance, as that is in all of this package, so that the likelihood stays the right
    one. The errors hold the neighbours fixed: where these overlap the molecule they are too small.

    Args:
        light: (H, W) float32, shots.
        read: (H, W) float32, read variance, shots².
        rows: (K, 13) float64, x, y, N, b, z; improved in place, with standard errors, deviance, misfit and iterations.
            Where a fit ran away the five stay, and the rest is NaN.
        lit: (H, W) float32, the light of all of them without background; kept so.
        spline: the point spread function.
        range_nm: as for :func:`fit_spline`.
        first: from this row on the height is not known: several are tried.
    """
    psf, curve, starts = _setting(spline, range_nm)
    _sweep(light, read, rows, lit, psf, window_radii(spline), curve, starts, first)


@njit(nogil=True, cache=True, error_model="numpy")
def _shine_all(rows, psf, radii, lit):  # type: ignore[no-untyped-def]
    side = 2 * radii.max() + 1
    memory, scratch = np.empty(4 * side * side), make_scratch(side, psf[1])
    lit[:] = 0
    for k in range(len(rows)):
        _shine(rows[k], psf, radii, 1.0, memory, scratch, lit)


def light_of(rows: Doubles, spline: SplinePointSpread, lit: Floats) -> None:
    """Make lit (H, W) float32 the light of the molecules rows (K, 5 or more: x, y, N, b, z), without background."""
    _shine_all(rows, _setting(spline, None)[0], window_radii(spline), lit)
