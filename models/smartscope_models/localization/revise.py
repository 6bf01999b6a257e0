"""How many spots there are: one more, one less, two for one or one for two, judged by the evidence.

Each change is tried: the spots around it are fitted again, and it is kept if the posterior odds say so. The evidence of
a model is its likelihood times the prior of its spots, integrated over their parameters in Laplace's approximation
(Kass & Raftery, J Am Stat Assoc 90:773, 1995), so that a spot has to pay for its freedom:
ln L + sum of ln(density · p(N) · p(t)) + (n/2) ln 2π - ½ ln |Fisher information|.
Nothing here is a threshold on a spot's appearance, and none depends on how full the frame is. A spot on its own has
beside to be more than noise makes at the stated rate of false alarms.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.localization.fit_kernels import FAINTEST, widths
from smartscope_models.localization.joint import fit_group, paint, place_window

COMPANY = 4
"""Spots that are fitted again with a change, at most."""
STRAY_PX = 3
"""A spot that goes farther in a trial was not what the trial was about."""
HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


@njit(nogil=True, cache=True, error_model="numpy")
def _log_priors(table, members, beliefs):  # type: ignore[no-untyped-def]
    """Sum of the logarithms of the members' prior densities."""
    middle, precision, height, strangers = beliefs.brightness
    total = 0.0
    for k in members:
        apart = math.log(table[k, 2]) - middle
        density = height * math.sqrt(precision) * math.exp(-0.5 * apart * apart * precision) + strangers
        total += beliefs.log_density + math.log(density / table[k, 2])
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _company(table, count, x, y, reach, own, out):  # type: ignore[no-untyped-def]
    """The rows ``own`` and those within ``reach`` of (x, y), the nearest first, into out; how many."""
    found = len(own)
    gaps = np.empty(len(out))
    out[:found] = own
    gaps[:found] = -1.0
    for k in range(count):
        gap = (table[k, 0] - x) ** 2 + (table[k, 1] - y) ** 2
        if gap > reach * reach or table[k, 2] == 0 or np.any(own == k):
            continue
        at = min(found, len(out) - 1)
        if found == len(out) and gaps[at] <= gap:
            continue
        while at > 0 and gaps[at - 1] > gap:
            gaps[at], out[at] = gaps[at - 1], out[at - 1]
            at -= 1
        gaps[at], out[at] = gap, k
        found = min(found + 1, len(out))
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def _likelihood(field, region):  # type: ignore[no-untyped-def]
    """Log-likelihood of the region's pixels, without what does not depend on the model."""
    total = 0.0
    for i in range(region[0], region[1]):
        for j in range(region[2], region[3]):
            mean = max(field.model[i, j], np.float32(FAINTEST))
            total += (field.light[i, j] + field.read[i, j]) * math.log(mean) - mean
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _region(kept, added, curve, shape):  # type: ignore[no-untyped-def]
    """The box of all pixels that a trial may change."""
    top, bottom, left, right = shape[0], 0, shape[1], 0
    window = np.empty(4, np.int64)
    for spots in (kept, added):
        for k in range(len(spots)):
            place_window(spots[k], curve, shape, window)
            top, bottom = min(top, window[0]), max(bottom, window[1])
            left, right = min(left, window[2]), max(right, window[3])
    top, left = max(top - STRAY_PX, 0), max(left - STRAY_PX, 0)
    return top, min(bottom + STRAY_PX, shape[0]), left, min(right + STRAY_PX, shape[1])


@njit(nogil=True, cache=True, error_model="numpy")
def _strayed(kept, added, table, rest, removed):  # type: ignore[no-untyped-def]
    """Whether a spot went too far in a trial."""
    stayed = len(kept) - removed
    for k in range(len(rest)):
        start = kept[removed + k] if k < stayed else added[k - stayed]
        if abs(table[rest[k], 0] - start[0]) > STRAY_PX or abs(table[rest[k], 1] - start[1]) > STRAY_PX:
            return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def _doubt(field, kept, curve, model_error):  # type: ignore[no-untyped-def]
    """Log-likelihood that a wrong shape of the spots there may win for a change: half their summed (error · S/N)²."""
    total, window = 0.0, np.empty(4, np.int64)
    for k in range(len(kept)):
        place_window(kept[k], curve, field.model.shape, window)
        around = field.background[(window[0] + window[1]) // 2, (window[2] + window[3]) // 2]
        sx, sy, _, _ = widths(kept[k, 3], curve)
        total += kept[k, 2] * kept[k, 2] / (kept[k, 2] + 4 * math.pi * sx * sy * around)
    return 0.5 * model_error * model_error * total


@njit(nogil=True, cache=True, error_model="numpy")
def _attempt(field, table, count, removed, added, beliefs, efforts, bench):  # type: ignore[no-untyped-def]
    """Replace the rows ``removed`` (r,) of table by ``added`` (a, 4) if the evidence grows; the number of rows then.

    Rows in use are the first ``count``; the photons of one that goes become 0.
    """
    curve, model = beliefs.curve, field.model
    centre = added[0] if len(added) == 1 else table[removed[0]]
    work = np.empty(COMPANY, np.int64)
    before = _company(table, count, centre[0], centre[1], beliefs.reach_px, removed, work)
    members = work[:before]
    old = 0.0
    if before:
        old = fit_group(field, table, members, beliefs, efforts[0], bench)
    kept = table[members].copy()
    stayed = before - len(removed)
    rest = np.empty(stayed + len(added), np.int64)
    rest[:stayed] = members[len(removed) :]
    for k in range(len(added)):
        table[count + k] = added[k]
        rest[stayed + k] = count + k
    region = _region(kept, added, curve, model.shape)
    likelihood = -_likelihood(field, region)
    gain = old - _log_priors(table, members, beliefs)
    for k in removed:
        paint(model, table[k], -1.0, curve, bench)
    for k in rest[stayed:]:
        paint(model, table[k], 1.0, curve, bench)
    new = 0.0
    if len(rest):
        new = fit_group(field, table, rest, beliefs, efforts[1], bench)
    likelihood += _likelihood(field, region)
    gain += likelihood + _log_priors(table, rest, beliefs) - new
    gain += (len(rest) - before) * bench.stamps.shape[2] * HALF_LOG_2_PI
    doubt = _doubt(field, kept, curve, beliefs.model_error) * (len(rest) - before)
    wanted = gain > doubt
    if len(removed) == 0:
        wanted = wanted and likelihood > beliefs.least_gain
    if len(added) == 0:
        wanted = wanted or likelihood > -beliefs.least_gain
    if wanted and not _strayed(kept, added, table, rest, len(removed)):
        table[removed, 2] = 0
        return count + len(added)
    for k in rest:
        paint(model, table[k], -1.0, curve, bench)
    for k in range(before):
        table[members[k]] = kept[k]
        paint(model, kept[k], 1.0, curve, bench)
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def revise(field, table, count, proposals, beliefs, efforts, bench):  # type: ignore[no-untyped-def]
    """Try one proposal (P, 12), see :mod:`proposals`, after the other; the number of rows in use then.

    efforts (2, 2): of the fits before and after a change, see :func:`fit_group`.
    """
    for row in proposals:
        gone, come = int(row[0]), int(row[1])
        removed = row[2 : 2 + gone].astype(np.int64)
        stale = count + come > len(table)
        for k in removed:
            stale = stale or table[k, 2] == 0
        if not stale:
            added = row[4 : 4 + 4 * come].copy().reshape(come, 4)
            count = _attempt(field, table, count, removed, added, beliefs, efforts, bench)
    left = 0
    for k in range(count):
        if table[k, 2] > 0:
            table[left] = table[k]
            left += 1
    return left
