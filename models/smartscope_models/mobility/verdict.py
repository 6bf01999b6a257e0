"""One track's verdict: every way of moving fitted, the most probable one's figures, errors that include the doubt."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.mobility.disc import SLOWEST_RATE
from smartscope_models.mobility.fit import (
    BROWNIAN,
    CONFINED,
    DIFFUSION_SPREAD,
    DIRECTED,
    climb,
    cost,
    solve,
    walk_terms,
)
from smartscope_models.mobility.likelihood import IMPOSSIBLE, LOG_2_PI
from smartscope_models.mobility.scaling import exponents

ESTIMATES = (
    "diffusion_um2_s",
    "diffusion_error_um2_s",
    "alpha",
    "alpha_error",
    "mss_slope",
    "speed_um_s",
    "speed_error_um_s",
    "radius_um",
    "radius_error_um",
    "noise_nm",
    "p_confined",
    "p_brownian",
    "p_directed",
)
"""What ``judge`` says of a track, in this order."""
FEWEST_POINTS = 8
VISITS = 8.0
"""Prior of the confined: any relaxation time (logarithm) between one interval and the track's length over this …"""
EDGE = 0.5
"""… with edges of this standard deviation. What met the wall less often moves freely, for all one knows."""


@njit(nogil=True, cache=True)
def priors(times, x, y, exposure, noise_um, noise_spread, prior):  # type: ignore[no-untyped-def]
    """Fill prior (3, 3): ln(2 D · interval) from squared displacements, ln(sigma²) as told, ln(relaxation time)."""
    squares, spans = 0.0, 0.0
    for k in range(1, len(times)):
        squares += 0.5 * ((x[k] - x[k - 1]) ** 2 + (y[k] - y[k - 1]) ** 2)
        spans += times[k] - times[k - 1]
    noise = noise_um * noise_um
    step = max(squares - 2 * noise * (len(times) - 1), 0.1 * squares, 1e-6 * noise * spans)
    length = max(times[-1] - times[0], VISITS + 1)
    prior[0, 0] = math.log(step / (spans - exposure / 3 * (len(times) - 1)))
    prior[0, 1], prior[0, 2] = DIFFUSION_SPREAD, 0.0
    prior[1, 0], prior[1, 1], prior[1, 2] = 2 * math.log(noise_um), 2 * noise_spread, 0.0
    half = 0.5 * math.log(length / VISITS)
    prior[2, 0], prior[2, 1], prior[2, 2] = half, EDGE, half


@njit(nogil=True, cache=True)
def begin(kind, data, prior, sums, values):  # type: ignore[no-untyped-def]
    """Start values: the prior's; in a disc the best of three relaxation times, with what each makes of the step."""
    times, x, y, exposure = data
    values[:] = prior[:, 0]
    if kind != CONFINED:
        return
    least, trial = IMPOSSIBLE, np.empty(3)
    for relaxation, more in ((0.2, 0.5), (1.5, 0.2), (3.0, 0.0)):
        trial[0], trial[1], trial[2] = prior[0, 0] + more, prior[1, 0], relaxation
        here = cost(kind, trial, times, x, y, exposure, prior, sums)
        if here < least:
            least = here
            values[:] = trial


@njit(nogil=True, cache=True)
def deviation(hessian, count, which):  # type: ignore[no-untyped-def]
    """(standard error of one parameter, log determinant of the Hessian); 1 where it is not positive."""
    unit, out = np.zeros(3), np.zeros(3)
    unit[which] = 1.0
    log_determinant = solve(hessian, unit, count, 0.0, out)
    if log_determinant <= -IMPOSSIBLE:
        return 1.0, 0.0
    return math.sqrt(out[which]), log_determinant


@njit(nogil=True, cache=True)
def judge(times, x, y, interval_s, exposure, noise_um, noise_spread, out):  # type: ignore[no-untyped-def]
    """Fill out (13,) with ``ESTIMATES``.

    times: (N,) in intervals, rising; x, y: (N,) um; exposure: share of the interval; noise: localisation error per axis
    and how far it may be wrong (1 = a factor of e).
    """
    data, longest = (times, x, y, exposure), max(int(0.25 * (times[-1] - times[0] + 1)), 3)
    prior, sums, values, hessian = np.empty((3, 3)), np.zeros(5), np.empty((3, 3)), np.zeros((3, 3, 3))
    priors(times, x, y, exposure, noise_um, noise_spread, prior)
    evidence, error = np.empty(3), np.empty((3, 2))
    for kind in range(3):
        count = 3 if kind == CONFINED else 2
        begin(kind, data, prior, sums, values[kind])
        least = climb(kind, values[kind], data, prior, sums, hessian[kind])
        error[kind, 0], volume = deviation(hessian[kind], count, 0)
        evidence[kind] = 0.5 * count * LOG_2_PI - 0.5 * volume - least
    error[CONFINED, 1], _ = deviation(hessian[CONFINED], 3, 2)
    walk_terms(values[DIRECTED], times, x, y, exposure, sums)
    drift_error = 1 / math.sqrt(sums[1])
    drift = math.sqrt(max((sums[2] ** 2 + sums[3] ** 2) / sums[1] ** 2 - 2 * drift_error**2, 0.0))
    chance = np.exp(evidence - evidence.max())
    chance /= chance.sum()
    kind = int(np.argmax(chance))
    alphas, slopes, alpha_errors = _scaling(values, error, drift, drift_error, longest)
    out[0] = math.exp(values[kind, 0]) / (2 * interval_s)
    out[1] = out[0] * _doubt(chance, values[:, 0], error[:, 0], values[kind, 0])
    out[2], out[3] = alphas[kind], _doubt(chance, alphas, alpha_errors, alphas[kind])
    out[4] = slopes[kind]
    out[5:9] = np.nan
    if kind == DIRECTED:
        out[5], out[6] = drift / interval_s, drift_error / interval_s
    if kind == CONFINED:
        # R² = a_1² D tau, and errors of D and tau are nearly those of R² and tau apart
        out[7] = math.sqrt(SLOWEST_RATE * 0.5 * math.exp(values[kind, 0] + values[kind, 2]))
        out[8] = out[7] * _radius_deviation(hessian[CONFINED])
    out[9] = 1000 * math.exp(0.5 * values[kind, 1])
    out[10:13] = chance


@njit(nogil=True, cache=True)
def _radius_deviation(hessian):  # type: ignore[no-untyped-def]
    """Standard error of ln R = (ln D + ln tau) / 2 + constant."""
    unit, out = np.array([0.5, 0.0, 0.5]), np.zeros(3)
    if solve(hessian, unit, 3, 0.0, out) <= -IMPOSSIBLE:
        return 1.0
    return math.sqrt(0.5 * (out[0] + out[2]))


@njit(nogil=True, cache=True)
def _scaling(values, error, drift, drift_error, longest):  # type: ignore[no-untyped-def]
    """(alpha, slope, error of alpha), (3,) each, by way of moving."""
    alphas, slopes, errors = np.empty(3), np.empty(3), np.zeros(3)
    relaxation, step = math.exp(values[CONFINED, 2]), math.exp(0.5 * values[DIRECTED, 0])
    alphas[CONFINED], slopes[CONFINED] = exponents(True, relaxation, longest)
    other, _ = exponents(True, relaxation * math.exp(0.5 * error[CONFINED, 1]), longest)
    errors[CONFINED] = 2 * abs(other - alphas[CONFINED])
    alphas[BROWNIAN], slopes[BROWNIAN] = 1.0, 0.5
    alphas[DIRECTED], slopes[DIRECTED] = exponents(False, drift / step, longest)
    # of ln(drift / step)
    relative = math.hypot(drift_error, 0.5 * drift * error[DIRECTED, 0])
    other, _ = exponents(False, (drift + 0.5 * relative) / step, longest)
    errors[DIRECTED] = 2 * abs(other - alphas[DIRECTED])
    return alphas, slopes, errors


@njit(nogil=True, cache=True)
def _doubt(chance, middles, errors, chosen):  # type: ignore[no-untyped-def]
    """Root mean square deviation from the chosen value over all ways of moving, by their probability."""
    total = 0.0
    for k in range(3):
        total += chance[k] * (errors[k] ** 2 + (middles[k] - chosen) ** 2)
    return math.sqrt(total)
