"""All spots of a frame fitted in their groups, and at the end how well each is known and explains its pixels."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.localization.fit_kernels import inverse_diagonal
from smartscope_models.localization.groups import groups_of
from smartscope_models.localization.joint import LARGEST_GROUP, fit_group, held_in, paint, place_window


@njit(nogil=True, cache=True, error_model="numpy")
def add_light(field, table, curve, bench):  # type: ignore[no-untyped-def]
    """Put every spot of table (K, 4) where it may lie, and add its light to the model."""
    for k in range(len(table)):
        held_in(table[k], field.model.shape)
        paint(field.model, table[k], 1.0, curve, bench)


@njit(nogil=True, cache=True, error_model="numpy")
def sweep(field, table, beliefs, effort, errors, bench):  # type: ignore[no-untyped-def]
    """Fit every group once; standard errors of x, y, N and t into errors (K, 4), NaN where there is no fit.

    ``errors`` of no rows: they are not wanted. effort: see :func:`fit_group`.
    """
    free = bench.stamps.shape[2]
    variance, column = np.empty(LARGEST_GROUP * free), np.empty(LARGEST_GROUP * free)
    order, starts = groups_of(table, beliefs.reach_px, LARGEST_GROUP)
    for g in range(len(starts) - 1):
        members = order[starts[g] : starts[g + 1]]
        size = len(members) * free
        good = not math.isnan(fit_group(field, table, members, beliefs, effort, bench))
        if len(errors) == 0:
            continue
        if good:
            inverse_diagonal(bench.lower[:size, :size], column[:size], variance[:size])
        for k in range(len(members)):
            for a in range(4):
                known = math.sqrt(variance[k * free + a]) if a < free else 0.0
                errors[members[k], a] = known if good else np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def agreement(field, table, curve, out, bench):  # type: ignore[no-untyped-def]
    """Background and misfit of each spot of table (K, 4) into out (K, 2)."""
    for k in range(len(table)):
        out[k, 0], out[k, 1] = _agreement(field, table[k], curve, bench.stamps.shape[2], bench)


@njit(nogil=True, cache=True, error_model="numpy")
def _agreement(field, spot, curve, free, bench):  # type: ignore[no-untyped-def]
    """Mean background in a spot's window, and Pearson's chi-square there over its degrees of freedom."""
    window = bench.windows[LARGEST_GROUP]
    place_window(spot, curve, field.light.shape, window)
    chi2, level = 0.0, 0.0
    for i in range(window[0], window[1]):
        for j in range(window[2], window[3]):
            rest = field.light[i, j] + field.read[i, j] - field.model[i, j]
            chi2 += rest * rest / field.model[i, j]
            level += field.background[i, j]
    size = (window[1] - window[0]) * (window[3] - window[2])
    return level / max(size, 1), chi2 / max(size - free, 1)
