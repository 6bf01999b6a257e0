"""Which detection could belong to which object, and what believing so costs (a negative log likelihood ratio).

A detection is the first sighting of a chain: with what came after it, where that is known already (fixed lag). An
object's claim to a chain is judged by how well it foretells the whole of it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.tracking.looks import blend, likeness
from smartscope_models.tracking.motion import density, move, see, start

EDGES_PER_OBJECT = 24
"""Room for candidates; more than that per object on average are dropped, and counted."""
DETECTIONS_LOOKED_AT = 400
"""Per object, so that a flood of detections at one place costs no more than a crowd."""
MOST_CELLS = 512
"""Along the longer side of the grid."""


@njit(nogil=True, cache=True)
def bin_points(places, cell):  # type: ignore[no-untyped-def]
    """Sort points (D, 2) into square cells: origin (2,), cells along (y, x), first row of each cell, order (D,)."""
    low = np.array([places[:, 0].min(), places[:, 1].min()])
    columns = int((places[:, 0].max() - low[0]) / cell) + 1
    rows = int((places[:, 1].max() - low[1]) / cell) + 1
    first = np.zeros(rows * columns + 1, np.int64)
    key = np.empty(len(places), np.int64)
    for d in range(len(places)):
        key[d] = int((places[d, 1] - low[1]) / cell) * columns + int((places[d, 0] - low[0]) / cell)
        first[key[d] + 1] += 1
    for k in range(rows * columns):
        first[k + 1] += first[k]
    order = np.empty(len(places), np.int64)
    free = first[:-1].copy()
    for d in range(len(places)):
        order[free[key[d]]] = d
        free[key[d]] += 1
    return low, rows, columns, first, order


@njit(nogil=True, cache=True)
def cell_of(places, reach):  # type: ignore[no-untyped-def]
    """Edge of the cells of a grid over ``places`` for searches within ``reach``."""
    span = max(places[:, 0].max() - places[:, 0].min(), places[:, 1].max() - places[:, 1].min())
    return max(reach, span / MOST_CELLS)


@njit(nogil=True, cache=True)
def candidates(state, steady, known, hits, cost_of_one, miss, places, seen, begin, gate, noise, looks, waiting):  # type: ignore[no-untyped-def]
    """Pairs cheaper than leaving the object without a detection.

    state (N, 2, 7), steady (N,), known (N, 2), hits (N,): objects; cost_of_one (N,): constant part of a pair's cost;
    miss (N,): cost of none; places (D, M, 2), seen (D, M, 2), begin (D,): chains of sightings over M frames from this
    one on and where they begin; waiting: cost of each frame that an object goes unseen before. Returns start (N + 1,),
    detection (E,), cost (E,), and how many had no room.
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
    for n in range(count):
        cx = state[n, 0, 0] + steady[n] * (state[n, 1, 0] - state[n, 0, 0])
        cy = state[n, 0, 1] + steady[n] * (state[n, 1, 1] - state[n, 0, 1])
        left, right = math.floor((cx - gate - low[0]) / cell), math.floor((cx + gate - low[0]) / cell)
        top, bottom = math.floor((cy - gate - low[1]) / cell), math.floor((cy + gate - low[1]) / cell)
        looked_at = 0
        for row in range(max(top, 0), min(bottom, rows - 1) + 1):
            here = row * columns
            lowest = first[here + min(max(left, 0), columns)]
            highest = first[here + max(min(right, columns - 1) + 1, 0)]
            for k in range(lowest, highest):
                d = order[k]
                if (heads[d, 0] - cx) ** 2 + (heads[d, 1] - cy) ** 2 > gate * gate:
                    continue
                looked_at += 1
                if looked_at > DETECTIONS_LOOKED_AT:
                    dropped += 1
                    continue
                c = cost_of_one[n] + begin[d] * waiting
                c -= math.log(density(state[n], steady[n], heads[d], begin[d], noise))
                if c > miss[n] + 12:
                    continue
                c -= likeness(known[n], hits[n], seen[d, begin[d]], looks)
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
def foresee(first_edge, detection, cost, state, steady, known, hits, places, seen, begin, elapsed, noise, looks):  # type: ignore[no-untyped-def]
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
                alone[d] = _foretold(scratch, 0.5, look, 1.0, places[d], seen[d], begin[d], elapsed, noise, looks)
            scratch[:] = state[n]
            look[:] = known[n]
            weight = steady[n]
            for j in range(1, begin[d] + 1):
                weight = move(scratch, weight, elapsed[j], noise)
            weight, _ = see(scratch, weight, places[d, begin[d]], noise[3])
            blend(look, hits[n], seen[d, begin[d]])
            told = _foretold(scratch, weight, look, hits[n] + 1, places[d], seen[d], begin[d], elapsed, noise, looks)
            cost[e] -= told - alone[d]


@njit(nogil=True, cache=True)
def _foretold(state, steady, look, hits, places, seen, begin, elapsed, noise, looks):  # type: ignore[no-untyped-def]
    """Log likelihood of the sightings after the first; state and look are used up."""
    total = 0.0
    for j in range(begin + 1, len(places)):
        steady = move(state, steady, elapsed[j], noise)
        if math.isnan(places[j, 0]):
            continue
        total += likeness(look, hits, seen[j], looks)
        blend(look, hits, seen[j])
        hits += 1
        steady, log_density = see(state, steady, places[j], noise[3])
        total += log_density
    return total
