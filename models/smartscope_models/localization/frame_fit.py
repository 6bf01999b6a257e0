"""All molecules of one frame: fits in groups; spots added, split, joined and taken away until the frame is explained.

The way of 3D-DAOSTORM (Babcock et al., Opt Nanoscopy 1:6, 2012), find in what is left and fit all again, with two
differences: neighbours are one least-uncertainty problem instead of taking turns, and what is added has to win odds.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.localization.background import refine_background
from smartscope_models.localization.candidates import maxima, score_map
from smartscope_models.localization.elongation import elongation
from smartscope_models.localization.fit_kernels import inverse_diagonal, widths
from smartscope_models.localization.groups import groups_of, pairs_within
from smartscope_models.localization.joint import LARGEST_GROUP, fit_group, held_in, paint, place_window
from smartscope_models.localization.revise import TRIAL_TOLERANCE_PX, attempt

BIRTH, SPLIT = 3.0, 2.0
"""Standard deviations of the score tests above which a change is tried."""
DOUBT = 8.0
"""A spot that is not so many standard deviations bright is tried without."""
CLOSE = 1.2
"""Widths between two spots below which one is tried in their place."""
ROUNDS = 2
FIRST_TOLERANCE_PX = 0.05
LAST_STEPS, LAST_TOLERANCE_PX = 12, 1e-3
FIGURES = 6
"""Per spot: errors of x, y, N, t; background; misfit."""


@njit(nogil=True, cache=True, error_model="numpy")
def sweep(field, table, beliefs, limit, tolerance, bench):  # type: ignore[no-untyped-def]
    """Fit every group once."""
    order, starts = groups_of(table, beliefs.reach_px, LARGEST_GROUP)
    for g in range(len(starts) - 1):
        members = order[starts[g] : starts[g + 1]]
        fit_group(field, table, members, beliefs.curve, beliefs.brightness, limit, tolerance, bench)


@njit(nogil=True, cache=True, error_model="numpy")
def _births(field, table, count, beliefs, half, maps, places, height, bench):  # type: ignore[no-untyped-def]
    """Try a spot wherever the frame asks for one; the number of rows then."""
    none, added = np.empty(0, np.int64), np.empty((1, 4))
    score, amount = maps
    score_map(field, half, bench, score, amount)
    for k in range(maxima(score, np.float32(BIRTH), places)):
        i, j = places[k]
        added[0, 0], added[0, 1], added[0, 2], added[0, 3] = j, i, max(amount[i, j], 1.0), height
        count = attempt(field, table, count, none, added, beliefs, bench)
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def _splits(field, table, count, beliefs, tried, bench):  # type: ignore[no-untyped-def]
    """Try two spots in place of each that is too long, unless that was tried where it is; the number of rows then."""
    one, added = np.empty(1, np.int64), np.empty((2, 4))
    for k in range(count - 1, -1, -1):
        if abs(table[k, 0] - tried[k, 0]) + abs(table[k, 1] - tried[k, 1]) < 0.05:
            continue
        tried[k] = table[k, :2]
        test, dx, dy = elongation(field, table[k], beliefs.curve, bench)
        if test < SPLIT:
            continue
        one[0] = k
        for m, sign in ((0, 1.0), (1, -1.0)):
            added[m] = table[k]
            added[m, 0] += sign * dx
            added[m, 1] += sign * dy
            added[m, 2] *= 0.5
            held_in(added[m], field.model.shape)
        count = attempt(field, table, count, one, added, beliefs, bench)
    return count


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
def _deaths(field, table, count, beliefs, bench):  # type: ignore[no-untyped-def]
    """Try without each faint spot, and one spot in place of each close pair; the number of rows then."""
    one, two = np.empty(1, np.int64), np.empty(2, np.int64)
    none, added = np.empty((0, 4)), np.empty((1, 4))
    for k in range(count - 1, -1, -1):
        if _is_doubtful(field.model, table[k], beliefs.curve):
            one[0] = k
            count = attempt(field, table, count, one, none, beliefs, bench)
    sx, sy, _, _ = widths(
        0.5 * (beliefs.curve[4] + beliefs.curve[5]) if beliefs.curve[0] else table[0, 3], beliefs.curve
    )
    close = CLOSE * max(sx, sy)
    for pair in pairs_within(table[:count], close):
        two[:] = pair
        if max(pair[0], pair[1]) >= count:
            continue
        a, b = table[pair[0]], table[pair[1]]
        if math.hypot(a[0] - b[0], a[1] - b[1]) > close:
            continue
        added[0] = (a[2] * a + b[2] * b) / (a[2] + b[2])
        added[0, 2] = a[2] + b[2]
        count = attempt(field, table, count, two, added, beliefs, bench)
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def settle(field, table, beliefs, bench):  # type: ignore[no-untyped-def]
    """Add the light of all spots to the model, fit them, and the background with them."""
    for k in range(len(table)):
        held_in(table[k], field.model.shape)
        paint(field.model, table[k], 1.0, beliefs.curve, bench)
    sweep(field, table, beliefs, 5, FIRST_TOLERANCE_PX, bench)
    refine_background(field)
    sweep(field, table, beliefs, 4, FIRST_TOLERANCE_PX, bench)


@njit(nogil=True, cache=True, error_model="numpy")
def revise(field, table, count, beliefs, half, maps, places, height, bench):  # type: ignore[no-untyped-def]
    """Rounds of spots added, split, joined and taken away; the number of rows then."""
    tried = np.full((len(table), 2), -1e9)
    for _ in range(ROUNDS):
        count = _births(field, table, count, beliefs, half, maps, places, height, bench)
        refine_background(field)
        count = _splits(field, table, count, beliefs, tried, bench)
        sweep(field, table[:count], beliefs, 3, TRIAL_TOLERANCE_PX, bench)
        refine_background(field)
        count = _deaths(field, table, count, beliefs, bench)
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def conclude(field, table, beliefs, out, bench):  # type: ignore[no-untyped-def]
    """The last fit of every group; out (K, FIGURES): errors, background under the spot, misfit; NaN where it failed."""
    free = bench.stamps.shape[2]
    variance, column = np.empty(LARGEST_GROUP * free), np.empty(LARGEST_GROUP * free)
    order, starts = groups_of(table, beliefs.reach_px, LARGEST_GROUP)
    for g in range(len(starts) - 1):
        members = order[starts[g] : starts[g + 1]]
        size = len(members) * free
        half_log = fit_group(
            field, table, members, beliefs.curve, beliefs.brightness, LAST_STEPS, LAST_TOLERANCE_PX, bench
        )
        good = not math.isnan(half_log)
        if good:
            inverse_diagonal(bench.lower[:size, :size], column[:size], variance[:size])
        for k in range(len(members)):
            out[members[k]] = 0
            for a in range(free):
                out[members[k], a] = math.sqrt(variance[k * free + a]) if good else np.nan
    for k in range(len(table)):
        out[k, 4], out[k, 5] = _agreement(field, table[k], beliefs.curve, free, bench)


@njit(nogil=True, cache=True, error_model="numpy")
def _agreement(field, spot, curve, free, bench):  # type: ignore[no-untyped-def]
    """Mean background in a spot's window, and Pearson's chi-square there over its degrees of freedom."""
    window = bench.windows[LARGEST_GROUP]
    place_window(spot, curve, 0, field.light.shape, window)
    chi2, level = 0.0, 0.0
    for i in range(window[0], window[1]):
        for j in range(window[2], window[3]):
            rest = field.light[i, j] + field.read[i, j] - field.model[i, j]
            chi2 += rest * rest / field.model[i, j]
            level += field.background[i, j]
    size = (window[1] - window[0]) * (window[3] - window[2])
    return level / max(size, 1), chi2 / max(size - free, 1)
