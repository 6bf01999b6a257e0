"""Divisions inside the assignment: an object may take two detections, where that explains more than anything else.

A division is judged as a whole: the midpoint lies where the mother was expected, the sisters a typical distance apart,
their size and brightness a typical ratio to hers and like each other. What is typical is learned.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.tracking.grid import bin_points, cell_of, near
from smartscope_models.tracking.looks import STEADY_SIGHTINGS, likeness

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
def _alike(known, hits, one, other, anyone_one, anyone_other, looks, kinship):  # type: ignore[no-untyped-def]
    """Log likelihood ratio of two looks (2,) as those of daughters, against those of any two objects."""
    total = 0.0
    for k in range(2):
        variance = kinship[3 + k] + looks[0, k] * (0.5 + 1 / min(hits, STEADY_SIGHTINGS))
        same = _gauss(0.5 * (one[k] + other[k]) - known[k] - kinship[1 + k], variance)
        same += _gauss(one[k] - other[k], kinship[5 + k])
        total += max(same - math.log(anyone_one[k] * anyone_other[k]), -8.0)
    return total


@njit(nogil=True, cache=True)
def _gauss2(x, y, variance):  # type: ignore[no-untyped-def]
    return -0.5 * (x * x + y * y) / variance - math.log(2 * math.pi * variance)


@njit(nogil=True, cache=True)
def _later(  # type: ignore[no-untyped-def]
    centre, spread, known, hits, places, seen, anyone, late, sister, look, anyone_sister, noise, looks, kinship, waiting
):
    """Does the chain (M, 2) of places and of looks become a daughter only after its first frame?

    The sister is first seen in frame ``late``; the chain may be the mother until any frame up to that one. centre (2,)
    and spread: where the mother is expected, and the variance per axis.
    """
    best, at = -1e300, 0
    for j in range(late + 1):
        if math.isnan(places[j, 0]):
            continue
        score = _alike(known, hits, seen[j], look, anyone[j], anyone_sister, looks, kinship) - waiting * (late - j)
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
                old, often = (known, hits) if i < j else (seen[j], 1.0)
                score += math.log(likeness(old, often, seen[i], anyone[i], looks))
            x, y, variance = places[i, 0], places[i, 1], noise[0] + 2 * noise[3]
        if score > best:
            best, at = score, j
    return at > 0


@njit(nogil=True, cache=True)
def _two_of(  # type: ignore[no-untyped-def]
    state, steady, known, hits, x, y, price, spent, some, many, places, seen, anyone, begin, worth,
    noise, looks, kinship, waiting,
):  # fmt: skip
    """The best two daughters of one mother expected at x, y, and the gain; no gain: none.

    some (F,): those near; of the first ``many``, which belong to nobody, one is among the two.
    """
    best, one, other = 0.0, -1, -1
    for i in range(many):
        for j in range(i + 1, len(some)):
            a, b = some[i], some[j]
            if begin[b] > begin[a]:
                a, b = b, a
            if begin[b] > 0:
                continue
            head_a, head_b = places[a, begin[a]], places[b, begin[b]]
            look_a, look_b = seen[a, begin[a]], seen[b, begin[b]]
            any_a, any_b = anyone[a, begin[a]], anyone[b, begin[b]]
            cost = price + begin[a] * waiting - worth[a] - worth[b]
            cost -= _around(state, steady, head_a, head_b, noise, kinship)
            cost -= _alike(known, hits, look_a, look_b, any_a, any_b, looks, kinship)
            if spent - cost <= best:
                continue
            spread = noise[3] + (1 - steady) * state[0, 4] + steady * state[1, 4]
            if begin[a] > 0 and _later(
                (x, y), spread, known, hits, places[b], seen[b], anyone[b], begin[a], head_a, look_a, any_a,
                noise, looks, kinship, waiting,
            ):  # fmt: skip
                continue
            best, one, other = spent - cost, a, b
    return best, one, other


@njit(nogil=True, cache=True)
def divide(  # type: ignore[no-untyped-def]
    state, steady, known, hits, price, spent, matched, owner,
    places, seen, anyone, begin, worth, noise, looks, kinship, waiting,
):  # fmt: skip
    """The divisions that make the assignment cheaper: mother (K,), daughters (K, 2), gain (K,), and how many left out.

    price (N,): constant part of the cost of a division; spent (N,): what each object costs now; matched (N,), owner
    (D,): the assignment; places, seen, anyone (D, M, 2), begin (D,): chains of sightings, their looks and the density
    of these as anyone's, and where they begin; worth (D,): what their later sightings say for their being real.
    """
    count, room = 0, len(matched)
    mother, gain = np.empty(room, np.int64), np.empty(room)
    pair = np.empty((room, 2), np.int64)
    left_out = 0
    reach = kinship[7]
    free = np.flatnonzero(owner < 0)
    if len(free) == 0:
        return mother[:0], pair[:0], gain[:0], 0
    heads = np.empty((len(free), 2))
    for k in range(len(free)):
        heads[k] = places[free[k], begin[free[k]]]
    cell = cell_of(heads, reach)
    low, rows, columns, first, order = bin_points(heads, cell)
    some = np.empty(NEARBY + 1, np.int64)
    for n in range(len(matched)):
        if hits[n] < GROWN:
            continue
        x = state[n, 0, 0] + steady[n] * (state[n, 1, 0] - state[n, 0, 0])
        y = state[n, 0, 1] + steady[n] * (state[n, 1, 1] - state[n, 0, 1])
        many, too_many = near(x, y, reach, heads, cell, low, rows, columns, first, order, some[:NEARBY])
        left_out += too_many
        if many == 0:
            continue
        some[:many] = free[some[:many]]
        some[many] = matched[n]
        gain[count], pair[count, 0], pair[count, 1] = _two_of(
            state[n], steady[n], known[n], hits[n], x, y, price[n], spent[n], some[: many + (matched[n] >= 0)], many,
            places, seen, anyone, begin, worth, noise, looks, kinship, waiting,
        )  # fmt: skip
        mother[count] = n
        count += gain[count] > 0
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
