"""Changes worth trying: where light is left over, spots too long to be one, spots too faint to be, and close pairs.

A proposal is a row (12,): how many spots go and how many come, the rows of those that go (2), those that come (2 x 4).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.localization.candidates import maxima, score_map
from smartscope_models.localization.elongation import elongation
from smartscope_models.localization.fit_kernels import widths
from smartscope_models.localization.groups import pairs_within
from smartscope_models.localization.joint import held_in

BIRTH, SPLIT = 3.0, 2.0
"""Standard deviations of the score tests above which a change is tried."""
DOUBT = 8.0
"""A spot that is not so many standard deviations bright is tried without."""
CLOSE = 1.2
"""Widths between two spots below which one is tried in their place."""


@njit(nogil=True, cache=True, error_model="numpy")
def births(field, half, maps, places, height, bench):  # type: ignore[no-untyped-def]
    """A spot wherever the frame asks for one; maps: two (H, W) for score and amount, height: the spot's last value."""
    score, amount = maps
    score_map(field, half, bench, score, amount)
    found = maxima(score, np.float32(BIRTH), places)
    out = np.zeros((found, 12))
    for k in range(found):
        i, j = places[k]
        out[k, 1] = 1
        out[k, 4], out[k, 5], out[k, 6], out[k, 7] = j, i, max(amount[i, j], 1.0), height
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def splits(field, table, curve, bench):  # type: ignore[no-untyped-def]
    """Two spots of half the light for each that is too long."""
    out, found = np.zeros((len(table), 12)), 0
    for k in range(len(table)):
        test, dx, dy = elongation(field, table[k], curve, bench)
        if test < SPLIT:
            continue
        row = out[found]
        row[0], row[1], row[2] = 1, 2, k
        for at, sign in ((4, 1.0), (8, -1.0)):
            spot = row[at : at + 4]
            spot[:] = table[k]
            spot[0] += sign * dx
            spot[1] += sign * dy
            spot[2] *= 0.5
            held_in(spot, field.model.shape)
        found += 1
    return out[:found]


@njit(nogil=True, cache=True, error_model="numpy")
def _is_doubtful(model, spot, curve):  # type: ignore[no-untyped-def]
    """Whether its photons are few for the light around it; a spot's noise comes from 4 pi sigma² pixels."""
    sx, sy, _, _ = widths(spot[3], curve)
    row = min(max(int(spot[1] + 0.5), 0), model.shape[0] - 1)
    column = min(max(int(spot[0] + 0.5), 0), model.shape[1] - 1)
    area = 4 * math.pi * sx * sy
    around = max(model[row, column] - 2 * spot[2] / area, 0.0)
    return spot[2] * spot[2] < DOUBT * DOUBT * (spot[2] + area * around)


@njit(nogil=True, cache=True, error_model="numpy")
def departures(field, table, curve):  # type: ignore[no-untyped-def]
    """None for each faint spot, and one for each close pair."""
    pairs = pairs_within(table, CLOSE * curve[1])
    out, found = np.zeros((len(table) + len(pairs), 12)), 0
    for k in range(len(table)):
        if _is_doubtful(field.model, table[k], curve):
            out[found, 0], out[found, 2] = 1, k
            found += 1
    for a, b in pairs:
        row, one, two = out[found], table[a], table[b]
        row[0], row[1], row[2], row[3] = 2, 1, a, b
        row[4:8] = (one[2] * one + two[2] * two) / (one[2] + two[2])
        row[6] = one[2] + two[2]
        found += 1
    return out[:found]
