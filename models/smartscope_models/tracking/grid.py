"""Points sorted into square cells, and those near a place; the same cost in a crowd and in an empty field."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

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


@njit(nogil=True, cache=True, inline="always")
def near(x, y, reach, places, cell, low, rows, columns, first, order, found):  # type: ignore[no-untyped-def]
    """Fill ``found`` with points within ``reach`` of a place: how many, and for how many there was no room."""
    left, right = math.floor((x - reach - low[0]) / cell), math.floor((x + reach - low[0]) / cell)
    top, bottom = math.floor((y - reach - low[1]) / cell), math.floor((y + reach - low[1]) / cell)
    count, left_out = 0, 0
    for row in range(max(top, 0), min(bottom, rows - 1) + 1):
        here = row * columns
        lowest = first[here + min(max(left, 0), columns)]
        highest = first[here + max(min(right, columns - 1) + 1, 0)]
        for k in range(lowest, highest):
            d = order[k]
            if (places[d, 0] - x) ** 2 + (places[d, 1] - y) ** 2 > reach * reach:
                continue
            if count == len(found):
                left_out += 1
                continue
            found[count] = d
            count += 1
    return count, left_out
