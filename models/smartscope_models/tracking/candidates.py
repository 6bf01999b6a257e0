"""Which detection could belong to which object, and what believing so costs (a negative log likelihood ratio).

A detection is the first sighting of a chain: with what came after it, where that is known already (fixed lag). An
object's claim to a chain is judged by how well it foretells the whole of it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.tracking.backward import retraced
from smartscope_models.tracking.grid import bin_points, cell_of, near
from smartscope_models.tracking.looks import blend, likeness
from smartscope_models.tracking.motion import density, move, see, start

EDGES_PER_OBJECT = 24
"""Room for candidates; more than that per object on average are dropped, and counted."""
BEST_LIKENESS = 12.0
"""Log likelihood ratio of looks; places so unlikely that it would not make up for them are passed over."""
DETECTIONS_LOOKED_AT = 400
"""Per object, so that a flood of detections at one place costs no more than a crowd."""


@njit(nogil=True, cache=True)
def candidates(  # type: ignore[no-untyped-def]
    state, steady, known, hits, was, cost_of_one, miss,
    places, seen, anyone, begin, back, gate, noise, looks, backward, waiting,
):  # fmt: skip
    """Pairs cheaper than leaving the object without a detection.

    state (N, 2, 7), steady (N,), known (N, 2), hits (N,), was (N, 2): objects; cost_of_one (N,): constant part of a
    pair's cost; miss (N,): cost of none; places, seen, anyone (D, M, 2), begin (D,): chains of sightings over M frames
    from this one on, their looks and the density of these as anyone's, and where they begin; back (D, 2): as of
    ``Sightings``; waiting: cost of each frame that an object goes unseen before. Returns start (N + 1,), detection
    (E,), cost (E,), and how many had no room.
    """
    count = len(steady)
    room = EDGES_PER_OBJECT * count + 64
    first_edge = np.zeros(count + 1, np.int64)
    detection, cost = np.empty(room, np.int64), np.empty(room)
    filled, dropped = 0, 0
    heads = np.empty((len(begin), 2))
    for d in range(len(begin)):
        heads[d] = places[d, begin[d]]
    cell = cell_of(heads, gate)
    low, rows, columns, first, order = bin_points(heads, cell)
    found = np.empty(DETECTIONS_LOOKED_AT, np.int64)
    for n in range(count):
        x = state[n, 0, 0] + steady[n] * (state[n, 1, 0] - state[n, 0, 0])
        y = state[n, 0, 1] + steady[n] * (state[n, 1, 1] - state[n, 0, 1])
        many, left_out = near(x, y, gate, heads, cell, low, rows, columns, first, order, found)
        dropped += left_out
        hopeless = math.exp(cost_of_one[n] - miss[n] - BEST_LIKENESS)
        for d in found[:many]:
            likely = density(state[n], steady[n], heads[d], begin[d], noise)
            if likely < hopeless:
                continue
            likely *= likeness(known[n], hits[n], seen[d, begin[d]], anyone[d, begin[d]], looks)
            likely *= retraced(back[d], was[n], backward)
            c = cost_of_one[n] + begin[d] * waiting - math.log(likely)
            if c >= miss[n]:
                continue
            if filled == room:
                dropped += 1
                continue
            detection[filled], cost[filled] = d, c
            filled += 1
        first_edge[n + 1] = filled
    return first_edge, detection[:filled], cost[:filled], dropped


@njit(nogil=True, cache=True)
def foresee(  # type: ignore[no-untyped-def]
    first_edge, detection, cost, state, steady, known, hits, places, seen, anyone, begin, elapsed, noise, looks
):
    """Add to each disputed pair what the rest of the chain says for it, in place.

    elapsed (M,): frame periods from the window's frame before to each. The ratio is that of the chain after its first
    sighting as this object foretells it, and as an object would that began with the chain.
    """
    rivals = np.zeros(len(begin), np.int64)
    for e in range(len(detection)):
        rivals[detection[e]] += 1
    alone = np.full(len(begin), np.nan)
    scratch, look = np.empty((2, 7)), np.empty(2)
    for n in range(len(steady)):
        single = first_edge[n + 1] - first_edge[n] == 1
        for e in range(first_edge[n], first_edge[n + 1]):
            d = detection[e]
            if single and rivals[d] == 1:
                continue
            if math.isnan(alone[d]):
                start(scratch, places[d, begin[d]], noise)
                look[:] = seen[d, begin[d]]
                alone[d] = _foretold(
                    scratch, 0.5, look, 1.0, places[d], seen[d], anyone[d], begin[d], elapsed, noise, looks
                )
            scratch[:] = state[n]
            look[:] = known[n]
            weight = steady[n]
            for j in range(1, begin[d] + 1):
                weight = move(scratch, weight, elapsed[j], noise)
            weight, _ = see(scratch, weight, places[d, begin[d]], noise[3])
            blend(look, hits[n], seen[d, begin[d]])
            told = _foretold(
                scratch, weight, look, hits[n] + 1, places[d], seen[d], anyone[d], begin[d], elapsed, noise, looks
            )
            cost[e] -= told - alone[d]


@njit(nogil=True, cache=True)
def _foretold(state, steady, look, hits, places, seen, anyone, begin, elapsed, noise, looks):  # type: ignore[no-untyped-def]
    """Log likelihood of the sightings after the first; state and look are used up."""
    total = 0.0
    for j in range(begin + 1, len(places)):
        steady = move(state, steady, elapsed[j], noise)
        if math.isnan(places[j, 0]):
            continue
        ratio = likeness(look, hits, seen[j], anyone[j], looks)
        blend(look, hits, seen[j])
        hits += 1
        steady, likely = see(state, steady, places[j], noise[3])
        total += math.log(ratio * likely)
    return total
