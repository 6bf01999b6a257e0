"""Height from astigmatism: fits of (x, y, z, N, b) whose window follows the spot, from the best of several heights.

The likelihood has a second, worse maximum where the two widths are exchanged, so that a few starts are climbed a few
steps each, and the likeliest of them to the top.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope.config import PointSpreadConfig
from smartscope_models.calibration import Floats
from smartscope_models.localization.fit import (
    ITERATIONS,
    Doubles,
    Fits,
    climb,
    cut,
    finish,
    in_parts,
    start_values,
    window,
    workspace,
)
from smartscope_models.localization.fit_kernels import deviance_and_chi2, profile, widths

STARTS = (-0.7, 0.0, 0.7)
"""Heights tried, over the range."""
FIRST_STEPS = 4
MARGIN = 1.15
"""Heights up to so many ranges are allowed, so that the error of a spot at the end of the range is not cut off."""
LOOK = 2.6
"""Half the first window's side over the width in focus."""


def astigmatic_curve(psf: PointSpreadConfig, sigma_px: float) -> Doubles:
    """The (6,) curve of :mod:`fit_kernels` for a calibrated astigmatic spot."""
    end = MARGIN * psf.range_nm
    return np.array([1.0, sigma_px, psf.focal_offset_nm, psf.focal_depth_nm, -end, end])


@njit(nogil=True, cache=True, error_model="numpy")
def _best_start(light, read, left, top, f, curve, starts, work):  # type: ignore[no-untyped-def]
    """Put the likeliest of the first climbs into f (5,)."""
    across, down, _, _ = work
    trial, start = np.empty(5), f.copy()
    best = np.inf
    for z in starts:
        trial[:] = start
        trial[4] = z
        climb(light, read, left, top, trial, curve, FIRST_STEPS, work)
        if not abs(trial[0]) + abs(trial[1]) + trial[2] < np.inf:
            continue
        sx, sy = widths(trial[4], curve)[:2]
        profile(left, trial[0], sx, across[0], across[1], across[2])
        profile(top, trial[1], sy, down[0], down[1], down[2])
        deviance = deviance_and_chi2(light, read, trial, across, down)[0]
        if deviance < best:
            best = deviance
            f[:] = trial


@njit(nogil=True, cache=True, error_model="numpy")
def _fit_elliptical(light, read, places, radius, largest, curve, starts, out):  # type: ignore[no-untyped-def]
    whole, f = workspace(2 * largest + 1, 5), np.empty(5)
    for k in range(len(places)):
        f[0], f[1] = places[k, 0], places[k, 1]
        reach, good = radius, True
        for last in (False, True):
            left, right, top, bottom = window(light, f[0], f[1], reach)
            good = right - left > 3 and bottom - top > 3
            if not good:
                break
            data, noise = light[top:bottom, left:right], read[top:bottom, left:right]
            work = cut(whole, right - left, bottom - top)
            if last:
                steps = climb(data, noise, left, top, f, curve, ITERATIONS, work)
                finish(data, noise, left, top, f, curve, steps, work, out[k])
            else:
                start_values(data, f)
                _best_start(data, noise, left, top, f, curve, starts, work)
                sx, sy = widths(f[4], curve)[:2]
                reach = min(math.ceil(curve[6] * max(sx, sy)), largest)
        if not good:
            out[k] = np.nan
            out[k, 12] = 0


def fit_elliptical(
    light: Floats,
    read: Floats,
    places: Doubles,
    psf: PointSpreadConfig,
    sigma_px: float,
    *,
    reach: float = 3.6,
    threads: int = 1,
) -> Fits:
    """Fit an astigmatic spot at each place; arguments and units as of :func:`fit_round`, the last value is z in nm.

    Args:
        psf: the calibrated curve.
        sigma_px: width in focus.
        reach: half the window's side over the larger width at the height found.
    """
    curve = np.append(astigmatic_curve(psf, sigma_px), reach)
    starts = np.array(STARTS) * psf.range_nm
    widest = max(widths(z, curve)[0] for z in (curve[4], curve[5]))
    radius, largest = math.ceil(LOOK * sigma_px * 1.5), math.ceil(reach * widest)

    def part(some: Doubles, out: Doubles) -> None:
        _fit_elliptical(light, read, some, radius, largest, curve, starts, out)

    return in_parts(part, places, threads)
