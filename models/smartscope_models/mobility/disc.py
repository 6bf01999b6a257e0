"""Diffusion in a disc whose wall reflects: how far it goes in a time, and what exposures see of it.

Kusumi, Sako & Yamamoto, Biophys. J. 65:2021 (1993); Saxton & Jacobson, Annu. Rev. Biophys. 26:373 (1997); Bickel,
Physica A 377:24 (2007): the coordinate of a particle in a disc of radius R has the variance R²/4 and forgets where it
was as a sum of exponentials, with weights w_m = 8 / (a_m² (a_m² - 1)) and times R² / (a_m² D), where a_m are the zeros
of J1', the derivative of the Bessel function.
"""

from __future__ import annotations

import math

from numba import njit
from scipy.special import jnp_zeros

RATES = jnp_zeros(1, 8) ** 2
"""(8,) a_m²: rates of forgetting, in units of D / R²."""
WEIGHTS = 8 / (RATES * (RATES - 1))
"""(8,) shares of the variance; what is left of 1 is forgotten at once."""


@njit(nogil=True, cache=True)
def disc_msd(time_s, diffusion, radius):  # type: ignore[no-untyped-def]
    """Mean squared displacement after ``time_s`` in the plane, without noise or blur; unit of ``radius`` squared."""
    kept = 0.0
    for m in range(len(RATES)):
        kept += WEIGHTS[m] * math.exp(-RATES[m] * diffusion * time_s / (radius * radius))
    return max(radius * radius * (WEIGHTS.sum() - kept), 1e-300)


@njit(nogil=True, cache=True)
def averaged(x):  # type: ignore[no-untyped-def]
    """What averaging over an exposure of x relaxation times leaves: of the variance, and of later covariances.

    With an exponential correlation: 2 (x - 1 + e^-x) / x² and 2 (cosh x - 1) / x², the second times e^-x, so that it
    stays finite.
    """
    if x < 1e-3:
        return 1 - x / 3, (1 + x * x / 12) * math.exp(-x)
    fall = math.exp(-x)
    return 2 * (x - 1 + fall) / (x * x), (1 - fall) ** 2 / (x * x)


@njit(nogil=True, cache=True)
def disc_filter(rate, exposure):  # type: ignore[no-untyped-def]
    """The disc as two processes that forget exponentially and white noise, for exposures a frame interval apart.

    rate: D · interval / R²; exposure: share of the interval. The first process is the slowest exponential; the second
    stands for all others, and has their covariance after one and after two intervals. Returns what each keeps per
    interval and its variance, and the variance of the white noise (it can be negative: blur takes variance away), all
    variances as shares of R²/4.
    """
    variance, after_one, after_two = 1 - WEIGHTS.sum(), 0.0, 0.0
    slow_keeps, slow_variance = 0.0, 0.0
    for m in range(len(RATES)):
        x = RATES[m] * rate
        same, later = averaged(x * exposure)
        variance += WEIGHTS[m] * same
        one = WEIGHTS[m] * later * math.exp(-x * (1 - exposure))
        if m == 0:
            slow_keeps = math.exp(-x)
            slow_variance = one / max(slow_keeps, 1e-300)
        else:
            after_one += one
            after_two += one * math.exp(-x)
    fast_keeps, fast_variance = 0.0, 0.0
    if after_one > 1e-6:
        fast_keeps = after_two / after_one
        fast_variance = after_one / fast_keeps
    return slow_keeps, slow_variance, fast_keeps, fast_variance, variance - slow_variance - fast_variance


SLOWEST_RATE = float(RATES[0])
