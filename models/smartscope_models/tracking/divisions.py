"""Divisions inside the assignment: an object may take two detections, where that explains more than anything else.

A division is judged as a whole: the midpoint lies where the mother was expected, the sisters a typical distance apart,
their size and brightness a typical ratio to hers and like each other. What is typical is learned.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.tracking.candidates import bin_points, cell_of
from smartscope_models.tracking.looks import ODD, STEADY_SIGHTINGS, likeness

NEARBY = 12
"""Detections near a mother that are thought of as daughters; more are left out, and counted."""
GROWN = 3
"""Sightings before an object is known well enough to be a mother."""


@njit(nogil=True, cache=True)
def _gauss(off, variance):  # type: ignore[no-untyped-def]
    return -0.5 * (off * off / variance + math.log(2 * math.pi * variance))


@njit(nogil=True, cache=True)
def _around(state, steady, one, other, noise, kinship):  # type: ignore[no-untyped-def]
    """Log density, px⁻⁴, of two places (2,) as those of sisters: on a ring around where the mother was expected."""
    middle = 0.0
    mx, my = 0.5 * (one[0] + other[0]), 0.5 * (one[1] + other[1])
    for m in range(2):
        variance = state[m, 4] + noise[3] + kinship[9]
        squared = (mx - state[m, 0]) ** 2 + (my - state[m, 1]) ** 2
        middle += (steady if m else 1 - steady) * math.exp(-0.5 * squared / variance) / (2 * math.pi * variance)
    squared = (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 + 1e-6
    ring = _gauss(0.5 * math.log(squared) - kinship[0], kinship[8]) - math.log(2 * math.pi * squared)
    return math.log(middle + 1e-300) + ring


@njit(nogil=True, cache=True)
def _alike(known, hits, one, other, looks, kinship):  # type: ignore[no-untyped-def]
    """Log likelihood ratio of two looks (2,) as those of daughters, against those of any two objects."""
    total = 0.0
    for k in range(2):
        variance = kinship[3 + k] + looks[0, k] * (0.5 + 1 / min(hits, STEADY_SIGHTINGS))
        same = _gauss(0.5 * (one[k] + other[k]) - known[k] - kinship[1 + k], variance)
        same += _gauss(one[k] - other[k], kinship[5 + k])
        anyone = math.log(math.exp(_gauss(one[k] - looks[1, k], looks[2, k])) + ODD)
        anyone += math.log(math.exp(_gauss(other[k] - looks[1, k], looks[2, k])) + ODD)
        total += max(same - anyone, -8.0)
    return total


@njit(nogil=True, cache=True)
def _gauss2(x, y, variance):  # type: ignore[no-untyped-def]
    return -0.5 * (x * x + y * y) / variance - math.log(2 * math.pi * variance)


@njit(nogil=True, cache=True)
def _later(centre, spread, known, hits, places, chain, late, sister, look, noise, looks, kinship, waiting):  # type: ignore[no-untyped-def]
    """Does the chain (M, 2) of places and of looks become a daughter only after its first frame?

    The sister is first seen in frame ``late``; the chain may be the mother until any frame up to that one. centre (2,)
    and spread: where the mother is expected, and the variance per axis.
    """
    best, at = -1e300, 0
    for j in range(late + 1):
        if math.isnan(places[j, 0]):
            continue
        score = _alike(known, hits, chain[j], look, looks, kinship) - waiting * (late - j)
        squared = (places[j, 0] - sister[0]) ** 2 + (places[j, 1] - sister[1]) ** 2 + 1e-6
        score += _gauss(0.5 * math.log(squared) - kinship[0], kinship[8]) - math.log(squared)
        x, y, variance = centre[0], centre[1], spread
        for i in range(late + 1):
            if math.isnan(places[i, 0]):
                continue
            if i == j:
                mx, my = 0.5 * (places[i, 0] + sister[0]), 0.5 * (places[i, 1] + sister[1])
                score += _gauss2(mx - x, my - y, variance + kinship[9])
            else:
                score += _gauss2(places[i, 0] - x, places[i, 1] - y, variance)
                score += likeness(known if i < j else chain[j], hits if i < j else 1.0, chain[i], looks)
            x, y, variance = places[i, 0], places[i, 1], noise[0] + 2 * noise[3]
        if score > best:
            best, at = score, j
    return at > 0


@njit(nogil=True, cache=True)
def divide(  # type: ignore[no-untyped-def]
    state, steady, known, hits, price, spent, matched, owner,
    places, seen, begin, worth, noise, looks, kinship, waiting,
):  # fmt: skip
    """The divisions that make the assignment cheaper: mother (K,), daughters (K, 2), gain (K,), and how many left out.

    price (N,): constant part of the cost of a division; spent (N,): what each object costs now; matched (N,), owner
    (D,): the assignment; places (D, M, 2), seen (D, M, 2), begin (D,): chains of sightings and where they begin; worth
    (D,): what their later sightings say for their being real.
    """
    count, room = 0, len(matched)
    mother, gain = np.empty(room, np.int64), np.empty(room)
    pair = np.empty((room, 2), np.int64)
    left_out = 0
    reach = kinship[7]
    free = np.flatnonzero(owner < 0)
    if len(free) == 0:
        return mother[:0], pair[:0], gain[:0], 0
    some = np.empty((len(free), 2))
    for k in range(len(free)):
        some[k] = places[free[k], begin[free[k]]]
    cell = cell_of(some, reach)
    low, rows, columns, first, order = bin_points(some, cell)
    near = np.empty(NEARBY + 1, np.int64)
    for n in range(len(matched)):
        if hits[n] < GROWN:
            continue
        cx = state[n, 0, 0] + steady[n] * (state[n, 1, 0] - state[n, 0, 0])
        cy = state[n, 0, 1] + steady[n] * (state[n, 1, 1] - state[n, 0, 1])
        left, right = math.floor((cx - reach - low[0]) / cell), math.floor((cx + reach - low[0]) / cell)
        top, bottom = math.floor((cy - reach - low[1]) / cell), math.floor((cy + reach - low[1]) / cell)
        found = 0
        for row in range(max(top, 0), min(bottom, rows - 1) + 1):
            here = row * columns
            lowest = first[here + min(max(left, 0), columns)]
            highest = first[here + max(min(right, columns - 1) + 1, 0)]
            for k in range(lowest, highest):
                d, place = free[order[k]], some[order[k]]
                if (place[0] - cx) ** 2 + (place[1] - cy) ** 2 > reach * reach:
                    continue
                if found == NEARBY:
                    left_out += 1
                    break
                near[found] = d
                found += 1
        if found == 0:
            continue
        many = found
        if matched[n] >= 0:
            near[found] = matched[n]
            many += 1
        best = 0.0
        for i in range(found):
            for j in range(i + 1, many):
                a, b = near[i], near[j]
                if begin[a] > 0 and begin[b] > 0:
                    continue
                one, other = places[a, begin[a]], places[b, begin[b]]
                look, other_look = seen[a, begin[a]], seen[b, begin[b]]
                cost = price[n] + (begin[a] + begin[b]) * waiting - worth[a] - worth[b]
                cost -= _around(state[n], steady[n], one, other, noise, kinship)
                cost -= _alike(known[n], hits[n], look, other_look, looks, kinship)
                if spent[n] - cost <= best:
                    continue
                if begin[b] > begin[a]:
                    a, b = b, a
                if begin[a] > 0:
                    centre = (cx, cy)
                    spread = noise[3] + (1 - steady[n]) * state[n, 0, 4] + steady[n] * state[n, 1, 4]
                    sister, look = places[a, begin[a]], seen[a, begin[a]]
                    if _later(
                        centre, spread, known[n], hits[n], places[b], seen[b], begin[a], sister, look,
                        noise, looks, kinship, waiting,
                    ):  # fmt: skip
                        continue
                best = spent[n] - cost
                mother[count], pair[count, 0], pair[count, 1], gain[count] = n, a, b, best
        count += best > 0
    return mother[:count], pair[:count], gain[:count], left_out


@njit(nogil=True, cache=True)
def settle_claims(pair, gain, detections):  # type: ignore[no-untyped-def]
    """Which of the divisions stand when the best come first: (K,) bool."""
    taken = np.zeros(detections, np.bool_)
    stands = np.zeros(len(gain), np.bool_)
    for k in np.argsort(-gain):
        if not taken[pair[k, 0]] and not taken[pair[k, 1]]:
            stands[k] = True
            taken[pair[k, 0]] = taken[pair[k, 1]] = True
    return stands
