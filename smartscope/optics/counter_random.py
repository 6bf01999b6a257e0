"""Only this file knows how random numbers follow from a counter, so that no order of threads can change them.

Each number is a hash of (key, counter): SplitMix64 (Steele, Lea, Flood 2014). Normal deviates come from the
ziggurat of Marsaglia and Tsang (2000) in Doornik's form (ZIGNOR, 2005), Poisson deviates from inversion for means
below ``POISSON_SPLIT`` and from a Cornish-Fisher expansion above. All functions run inside numba kernels.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31, _S32, _S56 = (np.uint64(shift) for shift in (11, 27, 30, 31, 32, 56))
_ONE = np.uint64(1)
_LOW_32 = np.uint64(0xFFFFFFFF)
_2_TO_MINUS_32 = 2.0**-32
_LAYER = np.uint64(0x7F)
_LAYERS = 128
_TAIL_START = 3.442619855899
_LAYER_AREA = 9.91256303526217e-3

POISSON_SPLIT = 32.0
"""Mean above which the expansion replaces inversion."""
_GRID = 45
"""Tabulated means per unit of the mean's square root."""
_GUIDES = 256
_COUNTS = 96
"""Counts tabulated; P(N >= 96 | mean 32) is below 1e-19."""


def _ziggurat() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Right edge x of each layer, and the ratio below which a point surely lies under the curve."""
    x = np.zeros(_LAYERS + 1)
    density = math.exp(-0.5 * _TAIL_START**2)
    x[0], x[1] = _LAYER_AREA / density, _TAIL_START
    for layer in range(2, _LAYERS):
        x[layer] = math.sqrt(-2 * math.log(_LAYER_AREA / x[layer - 1] + density))
        density = math.exp(-0.5 * x[layer] ** 2)
    return x, x[1:] / x[:-1]


def _poisson_tables() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """Cumulative probability (in 2^-32) of each count for each tabulated mean, and where to start searching it."""
    means = (np.arange(math.ceil(math.sqrt(POISSON_SPLIT) * _GRID) + 1) / _GRID) ** 2
    counts = np.arange(_COUNTS)
    log_factorial = np.array([math.lgamma(count + 1) for count in counts])
    with np.errstate(divide="ignore", invalid="ignore"):
        probability = np.exp(counts * np.log(means)[:, None] - means[:, None] - log_factorial)
    probability[0] = counts == 0
    cumulative = np.round(np.cumsum(probability, axis=1) * 2.0**32)
    cumulative[:, -1] = 2.0**32  # the search always ends
    first = np.arange(_GUIDES) * (2.0**32 / _GUIDES)
    guides = np.array([np.searchsorted(row, first, side="right") for row in cumulative])
    return cumulative.astype(np.uint64), guides.astype(np.uint8)


_EDGE, _SURE = _ziggurat()
_CUMULATIVE, _GUIDE = _poisson_tables()


@njit(nogil=True, cache=True, inline="always")
def bits(key: np.uint64, counter: np.uint64) -> np.uint64:
    """64 random bits, the ``counter``-th of the stream ``key``."""
    z = key + counter * _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@njit(nogil=True, cache=True)
def stream(seed: int, first: int, second: int) -> np.uint64:
    """Key of an independent stream, for instance of (seed, purpose, frame)."""
    key = bits(np.uint64(seed), np.uint64(1))
    key = bits(key ^ np.uint64(first), np.uint64(2))
    return bits(key ^ np.uint64(second), np.uint64(3))


@njit(nogil=True, cache=True, inline="always")
def uniform(random_bits: np.uint64) -> Any:
    """Uniform deviate in [0, 1) from the upper 53 bits."""
    return (random_bits >> _S11) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True)
def _rare_normal(layer: np.uint64, u: float, random_bits: np.uint64) -> Any:
    """The one deviate in a hundred that lies in the tail or beside the curve."""
    counter = np.uint64(0)
    while True:
        if layer == 0:  # tail: Marsaglia's method
            while True:
                counter += np.uint64(2)
                x = math.log(1.0 - uniform(bits(random_bits, counter))) / _TAIL_START
                y = math.log(1.0 - uniform(bits(random_bits, counter + np.uint64(1))))
                if -2.0 * y >= x * x:
                    return x - _TAIL_START if u < 0.0 else _TAIL_START - x
        x = u * _EDGE[layer]
        low = math.exp(-0.5 * (_EDGE[layer] * _EDGE[layer] - x * x))
        high = math.exp(-0.5 * (_EDGE[layer + _ONE] * _EDGE[layer + _ONE] - x * x))
        counter += np.uint64(2)
        if high + uniform(bits(random_bits, counter)) * (low - high) < 1.0:
            return x
        fresh = bits(random_bits, counter + np.uint64(1))
        layer = fresh & _LAYER
        u = 2.0 * uniform(fresh) - 1.0
        if abs(u) < _SURE[layer]:
            return u * _EDGE[layer]


@njit(nogil=True, cache=True, inline="always")
def normal(random_bits: np.uint64) -> Any:
    """Standard normal deviate."""
    layer = random_bits & _LAYER
    u = 2.0 * uniform(random_bits) - 1.0
    if abs(u) < _SURE[layer]:
        return u * _EDGE[layer]
    return _rare_normal(layer, u, random_bits)


@njit(nogil=True, cache=True, inline="always")
def _small_poisson(mean: float, random_bits: np.uint64) -> Any:
    """Inversion at one of the two tabulated means around ``mean``, drawn so that the mean is exact.

    Variance is too large by at most mean / ``_GRID``^2, 0.05 %.
    """
    below = math.floor(math.sqrt(mean) * _GRID)
    share = (mean * (_GRID * _GRID) - below * below) / (2.0 * below + 1.0)
    row = np.uint64(below)
    if (random_bits & _LOW_32) * _2_TO_MINUS_32 < share:
        row += _ONE
    count = np.uint64(_GUIDE[row, random_bits >> _S56])
    u = random_bits >> _S32
    while u >= _CUMULATIVE[row, count]:
        count += _ONE
    return float(count)


@njit(nogil=True, cache=True, inline="always")
def poisson(mean: float, random_bits: np.uint64) -> Any:
    """Poisson deviate, a whole number.

    Above ``POISSON_SPLIT``: Cornish-Fisher expansion with the skewness and kurtosis of the Poisson law (Fisher and
    Cornish 1960); the spread is lowered by what rounding to whole numbers adds (1/12, Sheppard).
    """
    if mean < POISSON_SPLIT:
        return _small_poisson(max(mean, 0.0), random_bits)
    z = normal(random_bits)
    root = math.sqrt(mean)
    third_order = (z * (1.0 - z * z) / 72.0 - z / 24.0) / root
    return math.floor(mean + root * z + (z * z - 1.0) / 6.0 + third_order + 0.5)
