"""Which spots are fitted together: those that overlap, the closest first, no more than a group holds."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def _root(parent, k):  # type: ignore[no-untyped-def]
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@njit(nogil=True, cache=True)
def pairs_within(table, reach):  # type: ignore[no-untyped-def]
    """(M, 2) pairs of rows of table (K, 2+) whose places are closer than ``reach``, the closest first."""
    order = np.argsort(table[:, 1])
    count = 0
    for turn in range(2):
        if turn:
            pairs, gaps = np.empty((count, 2), np.int64), np.empty(count)
            count = 0
        for a in range(len(order)):
            i = order[a]
            for b in range(a + 1, len(order)):
                j = order[b]
                dy = table[j, 1] - table[i, 1]
                if dy >= reach:
                    break
                dx = table[j, 0] - table[i, 0]
                if dx * dx + dy * dy < reach * reach:
                    if turn:
                        pairs[count, 0], pairs[count, 1] = i, j
                        gaps[count] = dx * dx + dy * dy
                    count += 1
    return pairs[np.argsort(gaps)]


@njit(nogil=True, cache=True)
def groups_of(table, reach, largest):  # type: ignore[no-untyped-def]
    """Rows of table (K, 2+) in the order of their groups, and where each group starts in it (G + 1,).

    Pairs closer than ``reach`` are joined, the closest first; a union of more than ``largest`` is not made, so that a
    crowd is cut where its links are weakest.
    """
    count = len(table)
    parent, size = np.arange(count), np.ones(count, np.int64)
    for pair in pairs_within(table, reach):
        a, b = _root(parent, pair[0]), _root(parent, pair[1])
        if a != b and size[a] + size[b] <= largest:
            parent[b] = a
            size[a] += size[b]
    label = np.empty(count, np.int64)
    for k in range(count):
        label[k] = _root(parent, k)
    order = np.argsort(label, kind="mergesort")
    starts, groups = np.zeros(count + 1, np.int64), 0
    for k in range(1, count + 1):
        if k == count or label[order[k]] != label[order[k - 1]]:
            groups += 1
            starts[groups] = k
    return order, starts[: groups + 1]
