"""The most probable parameters of a track under each way of moving, their errors, and how probable each way is.

Parameters are logarithms, so that priors and errors are relative: diffusion coefficient, localisation noise and, in a
disc, relaxation time R² / (a_1² D) over the frame interval. The evidence is Laplace's approximation at the maximum
(MacKay, Neural Computation 4:415, 1992). Priors are wide, the same for all specimens, and stated below.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.mobility.disc import SLOWEST_RATE, disc_filter
from smartscope_models.mobility.likelihood import IMPOSSIBLE, LOG_2_PI, disc_minus_log, drift_gain, walk_sums

CONFINED, BROWNIAN, DIRECTED = 0, 1, 2
DIFFUSION_SPREAD = 3.0
"""Prior of ln D: normal with this deviation (a factor of 20) about what the first displacements say."""
DRIFTS = np.array([0.03, 0.1, 0.3, 1.0, 3.0])
"""Prior of the drift per interval and axis: an even mixture of normals; deviations in diffusive steps √(2 D dt)."""
STEP = 0.05
"""Of the numerical derivatives."""
ROUNDS = 12
FARTHEST = 40.0
"""Minus log prior beyond which parameters are not looked at."""


@njit(nogil=True, cache=True)
def walk_terms(values, times, x, y, exposure, sums):  # type: ignore[no-untyped-def]
    """``walk_sums`` for ln(2 D dt), ln(sigma²); whether they are possible."""
    step, noise = math.exp(values[0]), math.exp(values[1])
    return walk_sums(times, x, y, step, noise - step * exposure / 6, sums)


@njit(nogil=True, cache=True)
def drift_evidence(values, sums):  # type: ignore[no-untyped-def]
    """Log evidence for a drift after ``walk_terms``: an even mixture of Gaussian priors."""
    best, total = -IMPOSSIBLE, 0.0
    for deviation in DRIFTS:
        best = max(best, drift_gain(sums, deviation * deviation * math.exp(values[0])))
    for deviation in DRIFTS:
        total += math.exp(drift_gain(sums, deviation * deviation * math.exp(values[0])) - best)
    return best + math.log(total / len(DRIFTS))


@njit(nogil=True, cache=True)
def minus_log_prior(value, prior):  # type: ignore[no-untyped-def]
    """Flat within prior[2] of prior[0], beyond that falling like a normal of deviation prior[1]."""
    beyond = max(abs(value - prior[0]) - prior[2], 0.0) / prior[1]
    return 0.5 * beyond * beyond + math.log(2 * prior[2] + math.sqrt(2 * math.pi) * prior[1])


@njit(nogil=True, cache=True)
def cost(kind, values, times, x, y, exposure, prior, sums):  # type: ignore[no-untyped-def]
    """Minus log posterior. prior: (3, 3) as ``minus_log_prior`` wants it, for each of ``values``."""
    total = 0.0
    for k in range(3 if kind == CONFINED else 2):
        total += minus_log_prior(values[k], prior[k])
        if total > FARTHEST:
            return IMPOSSIBLE
    if kind == CONFINED:
        relaxation = math.exp(values[2])
        shape = disc_filter(1 / (SLOWEST_RATE * relaxation), exposure)
        # R²/4 = a_1² D tau / 4
        variance = SLOWEST_RATE * relaxation * math.exp(values[0]) / 8
        return total + disc_minus_log(times, x, y, shape, variance, math.exp(values[1]))
    if not walk_terms(values, times, x, y, exposure, sums):
        return IMPOSSIBLE
    total += 0.5 * sums[0] + sums[4] * LOG_2_PI
    return total - drift_evidence(values, sums) if kind == DIRECTED else total


@njit(nogil=True, cache=True)
def curvature(kind, values, middle, data, prior, sums, gradient, hessian):  # type: ignore[no-untyped-def]
    """Gradient and Hessian of ``cost`` by differences, in place; whether all were possible."""
    times, x, y, exposure = data
    count = 3 if kind == CONFINED else 2
    up = np.empty(3)
    for k in range(count):
        values[k] += STEP
        up[k] = cost(kind, values, times, x, y, exposure, prior, sums)
        values[k] -= 2 * STEP
        down = cost(kind, values, times, x, y, exposure, prior, sums)
        values[k] += STEP
        gradient[k] = (up[k] - down) / (2 * STEP)
        hessian[k, k] = (up[k] - 2 * middle + down) / STEP**2
        if up[k] >= IMPOSSIBLE or down >= IMPOSSIBLE:
            return False
    for k in range(count):
        for j in range(k):
            values[k] += STEP
            values[j] += STEP
            both = cost(kind, values, times, x, y, exposure, prior, sums)
            values[k] -= STEP
            values[j] -= STEP
            if both >= IMPOSSIBLE:
                return False
            hessian[k, j] = hessian[j, k] = (both - up[k] - up[j] + middle) / STEP**2
    return True


@njit(nogil=True, cache=True)
def solve(hessian, gradient, count, damping, out):  # type: ignore[no-untyped-def]
    """out = (H + damping · |diagonal|)⁻¹ gradient by Cholesky; log determinant, or -1e300 where not positive."""
    factor, log_determinant = np.zeros((3, 3)), 0.0
    for i in range(count):
        for j in range(i + 1):
            total = hessian[i, j] + (damping * max(abs(hessian[i, i]), 1.0) if i == j else 0.0)
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                if total <= 1e-9:
                    return -IMPOSSIBLE
                factor[i, i] = math.sqrt(total)
                log_determinant += math.log(total)
            else:
                factor[i, j] = total / factor[j, j]
    for i in range(count):
        out[i] = gradient[i]
        for k in range(i):
            out[i] -= factor[i, k] * out[k]
        out[i] /= factor[i, i]
    for i in range(count - 1, -1, -1):
        for k in range(i + 1, count):
            out[i] -= factor[k, i] * out[k]
        out[i] /= factor[i, i]
    return log_determinant


@njit(nogil=True, cache=True)
def climb(kind, values, data, prior, sums, hessian):  # type: ignore[no-untyped-def]
    """Newton's method with damping from ``values``, in place; the least cost."""
    times, x, y, exposure = data
    count = 3 if kind == CONFINED else 2
    gradient, move, trial = np.zeros(3), np.zeros(3), np.empty(3)
    best, damping = cost(kind, values, times, x, y, exposure, prior, sums), 1e-3
    for _ in range(ROUNDS):
        if not curvature(kind, values, best, data, prior, sums, gradient, hessian):
            break
        improved = False
        for _ in range(8):
            if solve(hessian, gradient, count, damping, move) > -IMPOSSIBLE:
                longest = 0.0
                for k in range(count):
                    longest = max(longest, abs(move[k]))
                shorter = min(1.0, 1.5 / max(longest, 1e-12))
                for k in range(count):
                    trial[k] = values[k] - shorter * move[k]
                there = cost(kind, trial, times, x, y, exposure, prior, sums)
                if there < best:
                    improved = True
                    break
            damping = max(damping * 8, 1e-2)
        if not improved:
            break
        gain, best = best - there, there
        values[:count] = trial[:count]
        damping = damping * 0.1 if damping > 1e-4 else 0.0
        if gain < 1e-4:
            curvature(kind, values, best, data, prior, sums, gradient, hessian)
            break
    return best
