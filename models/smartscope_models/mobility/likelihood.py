"""How probable a track is under one way of moving: exact Gaussian likelihoods by prediction errors, O(points).

Positions are averaged over the exposure and carry localisation noise. Averaging leaves the covariance of a random walk
between frames as it was and takes D · exposure / 3 off its variance within a frame (Berglund, Phys. Rev. E 82:011917,
2010; Michalet & Berglund, Phys. Rev. E 85:061916, 2012), so that a Kalman filter whose measurement noise is
sigma² - D · exposure / 3, negative or not, gives the likelihood of any track, missing frames included. Both axes share
variances and gains. Where the track lies is marginalised under a flat prior, the velocity under a Gaussian one.
Times are in units of the frame interval.
"""

from __future__ import annotations

import math

from numba import njit

IMPOSSIBLE = 1e300
LOG_2_PI = math.log(2 * math.pi)


@njit(nogil=True, cache=True)
def walk_sums(times, x, y, step, noise, sums):  # type: ignore[no-untyped-def]
    """A random walk of ``step`` variance per interval and axis, seen with variance ``noise``: sums for its likelihood.

    times, x, y: (N,). Fills sums (5,): log variances plus squared errors of both axes, time² , time · x, time · y, of
    prediction errors over their variances, and the number of errors. Returns whether the variances are possible.
    """
    variance, place_x, place_y, place_t = noise, x[0], y[0], 0.0
    log_sum, product, squares, tt, tx, ty = 0.0, 1.0, 0.0, 0.0, 0.0, 0.0
    for k in range(1, len(times)):
        gap = times[k] - times[k - 1]
        variance += step * gap
        total = variance + noise
        if not total > 0.0:
            return False
        product *= total
        if product < 1e-200 or product > 1e200:
            log_sum += math.log(product)
            product = 1.0
        inverse = 1 / total
        gain = variance * inverse
        error_x, error_y, error_t = x[k] - place_x, y[k] - place_y, times[k] - times[0] - place_t
        squares += (error_x * error_x + error_y * error_y) * inverse
        tt += error_t * error_t * inverse
        tx += error_t * error_x * inverse
        ty += error_t * error_y * inverse
        place_x += gain * error_x
        place_y += gain * error_y
        place_t += gain * error_t
        variance = gain * noise
    sums[0] = 2 * (log_sum + math.log(product)) + squares
    sums[1], sums[2], sums[3] = tt, tx, ty
    sums[4] = len(times) - 1
    return True


@njit(nogil=True, cache=True)
def drift_gain(sums, speed_variance):  # type: ignore[no-untyped-def]
    """Log evidence that a constant velocity, Gaussian of this variance per axis, adds to ``walk_sums``."""
    shrunk = 1 / (sums[1] + 1 / speed_variance)
    return 0.5 * (sums[2] * sums[2] + sums[3] * sums[3]) * shrunk - math.log(1 + speed_variance * sums[1])


@njit(nogil=True, cache=True)
def disc_minus_log(times, x, y, shape, variance, noise):  # type: ignore[no-untyped-def]
    """Minus log likelihood of a track in a disc.

    shape: as from ``disc_filter``; variance: R²/4; noise: of localisation. The centre is marginalised.
    """
    keep_1, share_1, keep_2, share_2, share_white = shape
    full_1, full_2, white = share_1 * variance, share_2 * variance, share_white * variance + noise
    p11, p12, p22 = full_1, 0.0, full_2
    x1, x2, y1, y2, c1, c2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    log_sum, product, squares, cc, cx, cy = 0.0, 1.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(times)):
        if k > 0:
            gap = times[k] - times[k - 1]
            f1, f2 = keep_1, keep_2
            if gap != 1.0:
                f1, f2 = keep_1**gap, keep_2**gap
            p11 = full_1 + f1 * f1 * (p11 - full_1)
            p12 *= f1 * f2
            p22 = full_2 + f2 * f2 * (p22 - full_2)
            x1, y1, c1, x2, y2, c2 = x1 * f1, y1 * f1, c1 * f1, x2 * f2, y2 * f2, c2 * f2
        h1, h2 = p11 + p12, p12 + p22
        total = h1 + h2 + white
        if not total > 0.0:
            return IMPOSSIBLE
        product *= total
        if product < 1e-200 or product > 1e200:
            log_sum += math.log(product)
            product = 1.0
        inverse = 1 / total
        error_x, error_y, error_c = x[k] - x[0] - x1 - x2, y[k] - y[0] - y1 - y2, 1.0 - c1 - c2
        squares += (error_x * error_x + error_y * error_y) * inverse
        cc += error_c * error_c * inverse
        cx += error_c * error_x * inverse
        cy += error_c * error_y * inverse
        g1, g2 = h1 * inverse, h2 * inverse
        x1, y1, c1 = x1 + g1 * error_x, y1 + g1 * error_y, c1 + g1 * error_c
        x2, y2, c2 = x2 + g2 * error_x, y2 + g2 * error_y, c2 + g2 * error_c
        p11 -= g1 * h1
        p12 -= g1 * h2
        p22 -= g2 * h2
    squares -= (cx * cx + cy * cy) / cc
    logs = log_sum + math.log(product) + math.log(cc)
    return logs + 0.5 * squares + (len(times) - 1) * LOG_2_PI
