"""How moments of displacement grow with time: the anomalous exponent and the slope of the moment scaling spectrum.

The moment of order p grows as time to the power gamma_p; alpha = gamma_2, and the slope of gamma over p = 0 … 6 is that
of the moment scaling spectrum: 0 where bound, 0.5 diffusing freely, 1 moving straight (Ferrari, Manfroi & Young,
Physica D 154:111, 2001; Ewers et al., PNAS 102:15110, 2005). Here both follow from fitted parameters, over whole lags.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.mobility.disc import SLOWEST_RATE, disc_msd

SPECTRUM = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]) / 28
"""(7,) weights of gamma_0 … gamma_6 whose sum is the slope."""


def _even_weights() -> np.ndarray:
    """(3,) weights of gamma_2, gamma_4, gamma_6; odd orders lie on the cubic through the even ones and gamma_0 = 0."""
    orders = np.arange(7)
    through = [np.prod([(orders - j) / (i - j) for j in (0, 2, 4, 6) if j != i], axis=0) for i in (2, 4, 6)]
    return np.array([SPECTRUM @ one for one in through])


EVEN = _even_weights()


@njit(nogil=True, cache=True)
def drift_moments(lag, drift, out):  # type: ignore[no-untyped-def]
    """Moments 2, 4, 6 after ``lag`` intervals of diffusion with unit step (2 D · interval) and a drift (Rice)."""
    spread, gone = 2.0 * lag, (drift * lag) ** 2
    out[0] = spread + gone
    out[1] = 2 * spread**2 + 4 * spread * gone + gone**2
    out[2] = 6 * spread**3 + 18 * spread**2 * gone + 9 * spread * gone**2 + gone**3


@njit(nogil=True, cache=True)
def disc_moments(lag, relaxation, out):  # type: ignore[no-untyped-def]
    """Moments 2, 4, 6 after ``lag`` intervals in a disc of radius 1.

    Ratios to powers of the second go from those of a Gaussian (2, 6) to those of two independent places (5/3, 7/2) as
    the second moment goes to its limit.
    """
    second = disc_msd(lag / (SLOWEST_RATE * relaxation), 1.0, 1.0)
    out[0] = second
    out[1] = (2 - second / 3) * second**2
    out[2] = (6 - 2.5 * second) * second**3


@njit(nogil=True, cache=True)
def exponents(confined, value, longest):  # type: ignore[no-untyped-def]
    """(alpha, slope of the spectrum) over lags 1 … longest intervals, without noise and blur.

    value: relaxation time in intervals (confined), or drift per interval in diffusive steps √(2 D · interval).
    """
    moments = np.empty(3)
    mean_x, sum_xx, sum_x = 0.0, 0.0, np.zeros(3)
    for lag in range(1, longest + 1):
        mean_x += math.log(lag) / longest
    for lag in range(1, longest + 1):
        if confined:
            disc_moments(float(lag), value, moments)
        else:
            drift_moments(float(lag), value, moments)
        x = math.log(lag) - mean_x
        sum_xx += x * x
        for k in range(3):
            sum_x[k] += x * math.log(moments[k])
    return sum_x[0] / sum_xx, (EVEN[0] * sum_x[0] + EVEN[1] * sum_x[1] + EVEN[2] * sum_x[2]) / sum_xx
