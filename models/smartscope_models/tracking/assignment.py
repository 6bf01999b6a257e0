"""The cheapest one-to-one assignment of detections to objects, where an object may also stay without one.

Sparse shortest augmenting paths with row and column prices (Jonker & Volgenant, Computing 38:325, 1987): the search
for one object reaches only as far as its choice disturbs others, so crowded corners do not slow down the rest.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LONGEST_SEARCH = 400
"""Detections that one search may touch; beyond it the object takes the best one still free (counted)."""


@njit(nogil=True, cache=True)
def assign(start, detection, cost, miss, detections):  # type: ignore[no-untyped-def]
    """Detection of each object, -1 for none, and the number of searches that were cut short.

    start (N + 1,), detection (E,), cost (E,): candidates of object n are start[n] .. start[n + 1]; miss (N,): of none.
    """
    count = len(start) - 1
    chosen, owner = np.full(count, -1), np.full(detections, -1)
    price, row_price = np.zeros(detections), np.zeros(count)
    distance, via = np.full(detections, np.inf), np.full(detections, -1)
    done = np.zeros(detections, np.bool_)
    touched = np.empty(detections, np.int64)
    cut = 0
    for n in range(count):
        least = miss[n]
        for e in range(start[n], start[n + 1]):
            least = min(least, cost[e] - price[detection[e]])
        row_price[n] = least
        used, last, column, length, whole = _search(
            n, start, detection, cost, miss, price, row_price, owner, distance, via, done, touched
        )
        if whole:
            row_price[n] += length
            for t in range(used):
                d = touched[t]
                if done[d]:
                    price[d] -= length - distance[d]
                    row_price[owner[d]] += length - distance[d]
            _augment(n, last, column, chosen, owner, via)
        else:
            cut += 1
            _take_free(n, start, detection, cost, miss, chosen, owner)
        for t in range(used):
            distance[touched[t]] = np.inf
            done[touched[t]] = False
    return chosen, cut


@njit(nogil=True, cache=True)
def _search(n, start, detection, cost, miss, price, row_price, owner, distance, via, done, touched):  # type: ignore[no-untyped-def]
    """Dijkstra from object n: (columns touched, object that ends without, or -1; free column; length; complete?)."""
    used, row, reached = 0, n, 0.0
    shortest_miss, misser = np.inf, -1
    while True:
        if reached + miss[row] - row_price[row] < shortest_miss:
            shortest_miss, misser = reached + miss[row] - row_price[row], row
        for e in range(start[row], start[row + 1]):
            d = detection[e]
            length = reached + cost[e] - row_price[row] - price[d]
            if not done[d] and length < distance[d]:
                if distance[d] == np.inf:
                    touched[used] = d
                    used += 1
                distance[d], via[d] = length, row
        best, column = shortest_miss, -1
        for t in range(used):
            d = touched[t]
            if not done[d] and distance[d] < best:
                best, column = distance[d], d
        if column < 0:
            return used, misser, -1, best, True
        if owner[column] < 0:
            return used, -1, column, best, True
        if used > LONGEST_SEARCH:
            return used, -1, -1, best, False
        done[column] = True
        row, reached = owner[column], best


@njit(nogil=True, cache=True)
def _augment(n, last, column, chosen, owner, via):  # type: ignore[no-untyped-def]
    """Pass detections on along the path that ends at a free column, or at an object that gives its own away."""
    if column < 0:
        if last == n:
            return
        column = chosen[last]
        chosen[last] = -1
    while True:
        row = via[column]
        column_before = chosen[row]
        chosen[row], owner[column] = column, row
        if row == n:
            return
        column = column_before


@njit(nogil=True, cache=True)
def _take_free(n, start, detection, cost, miss, chosen, owner):  # type: ignore[no-untyped-def]
    least = miss[n]
    for e in range(start[n], start[n + 1]):
        if owner[detection[e]] < 0 and cost[e] < least:
            least, chosen[n] = cost[e], detection[e]
    if chosen[n] >= 0:
        owner[chosen[n]] = n


@njit(nogil=True, cache=True)
def consequences(start, detection, cost, miss, chosen, detections):  # type: ignore[no-untyped-def]
    """What an assignment means: cost of each object (N,), its detections' owners (D,), -1 for none, and (N,) bool
    whether object and detection had no other candidate."""
    spent, alone, owner = miss.copy(), np.zeros(len(chosen), np.bool_), np.full(detections, -1)
    rivals = np.zeros(detections, np.int64)
    for d in detection:
        rivals[d] += 1
    for n in range(len(chosen)):
        if chosen[n] < 0:
            continue
        owner[chosen[n]] = n
        alone[n] = start[n + 1] - start[n] == 1 and rivals[chosen[n]] == 1
        for e in range(start[n], start[n + 1]):
            if detection[e] == chosen[n]:
                spent[n] = cost[e]
    return spent, owner, alone
